"""The inputs that leave a machine alone: for a person, for the next run, or with its job for a later collection."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cvl_ci.inputs import bucket_address, parsers
from cvl_ci.inputs.option import EntryPoint, option
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.reuse import SECRET_VARIABLE, IfBusy
from cvl_ci.model.secret import Secret

SHORTEST_SECRET = 32
"""Characters of the secret. A reader of a machine's public key can try guesses, which must not reach it."""
_KEY = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def read_key(value: object) -> str:
    """Return the key of a machine that waits for further runs. A label of each cloud can hold it. Raise Wrong."""
    key = str(value).strip()
    if not _KEY.fullmatch(key):
        raise Wrong("is not a key: at most 40 lower-case letters, digits and dashes inside")
    return key


def read_if_busy(value: object) -> IfBusy:
    """Return the answer to a machine in use. Raise Wrong."""
    return IfBusy(parsers.choice(*(one.value for one in IfBusy))(value))


def read_secret(value: object) -> Secret:
    """Return the secret of shared machines. Raise Wrong, which never shows it."""
    text = parsers.text(value) if isinstance(value, str) and value.isprintable() else ""
    if len(text) < SHORTEST_SECRET:
        raise Wrong(f"needs at least {SHORTEST_SECRET} characters in one line: openssl rand -hex 32", display="***")
    return Secret(text)


@dataclass(frozen=True, kw_only=True)
class KeepInputs:
    """The time for which a machine may stay, and for whom; or the place of a detached run's results."""

    keep_on_failure: int | None = option(
        parsers.minutes_kept,
        help="Minutes for which the machine of a failed job stays, so that you can log in. You pay for them, "
        "within max_cost; then the machine ends itself.",
        metavar="N",
        example="30",
        default="0",
    )
    down: bool | None = option(
        parsers.flag,
        help="`false`: the machine stays after its job, for idle_minutes_to_autostop. You pay for them, within "
        "max_cost; then the machine ends itself. In a workflow, it needs ssh_public_key. With `verb: deploy`, `true` "
        "ends the services of the environment.",
        metavar="true|false",
        example="false",
        default="true: the machine ends right after its job",
        is_value_optional=True,
    )
    idle_minutes_to_autostop: int | None = option(
        parsers.minutes_kept,
        help="With `down: false`: minutes for which the machine stays after its job.",
        metavar="N",
        example="30",
        default="10",
    )
    ssh_public_key: str | None = option(
        parsers.public_key,
        help="A public key that may log in to a kept machine. In a workflow, keep_on_failure needs one.",
        metavar="KEY",
        example="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFDYWOCYXsx/YEGKrwzFq1h/QsJXCohAlanozKzQ9lRc anna@laptop",
    )
    detach: bool | None = option(
        parsers.flag,
        help="`true`: the run's process ends as soon as the job runs. The machine stores its log, outputs and end in "
        "detach_to, and ends itself. `cvl-ci collect` fetches them. max_runtime limits the job as before.",
        metavar="true|false",
        example="true",
        default="false: the run waits for its job",
        is_value_optional=True,
    )
    managed: bool | None = option(
        parsers.flag,
        help="`true`: the run is a managed job of a SkyPilot API server. The server's controller launches the machine, "
        "launches it again after a loss, and ends it. The run's process ends as soon as the server has the job. The "
        "results go to detach_to, and `cvl-ci collect` fetches them.",
        metavar="true|false",
        example="true",
        default="false: cvl-ci launches and ends the machine",
        is_value_optional=True,
    )
    detach_to: BucketAddress | None = option(
        bucket_address.read,
        help="With detach or managed: the bucket in S3 for the results, on AWS machines.",
        metavar="S3",
        example="s3://my-bucket/results",
        default="none; detach and managed need one",
    )
    reuse: str | None = option(
        read_key,
        help="A key. After the job, the machine waits for the next run with this key. You pay for the wait. In a "
        "workflow it needs reuse_key.",
        metavar="KEY",
        example="trainer",
        default="each run has a machine of its own",
    )
    idle: float | None = option(
        parsers.minutes,
        help="With reuse: how long the machine waits for the next run. Then it ends itself.",
        metavar="TIME",
        example="20m",
        default="10m",
    )
    max_age: float | None = option(
        parsers.minutes,
        help="With reuse: the longest life of the machine. A later run with a larger value can make it longer.",
        metavar="TIME",
        example="4h",
        default="8h",
    )
    if_busy: IfBusy | None = option(
        read_if_busy,
        help="With reuse, while another run uses the machine: `wait` for it, or take a `new` machine that ends with "
        "its run.",
        metavar="wait|new",
        example="new",
        default="wait",
    )
    reuse_key: Secret | None = option(
        read_secret,
        help="With reuse: a secret of the repository, such as the output of `openssl rand -hex 32`. The machine's SSH "
        f"key follows from it, so runs on other computers enter the machine too. Elsewhere: {SECRET_VARIABLE}.",
        entry_points=frozenset({EntryPoint.ACTION, EntryPoint.LIBRARY}),
        default="the machine is for the runs of one home folder",
    )
