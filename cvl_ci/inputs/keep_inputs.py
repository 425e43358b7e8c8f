"""The inputs that leave a machine alone: after its job, for a person, or with its job, for a later collection."""

from __future__ import annotations

from dataclasses import dataclass

from cvl_ci.inputs import bucket_address, parsers
from cvl_ci.inputs.option import option
from cvl_ci.model.bucket import BucketAddress


@dataclass(frozen=True, kw_only=True)
class KeepInputs:
    """The time for which a machine may stay after its job, and its key; or the place of a detached run's results."""

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
    detach_to: BucketAddress | None = option(
        bucket_address.read,
        help="With detach: the bucket in S3 for the results, on AWS machines.",
        metavar="S3",
        example="s3://my-bucket/results",
        default="none; detach needs one",
    )
