"""The inputs about checkpoints: which files they are, their place, and the checkpoint that a job goes on from."""

from __future__ import annotations

from dataclasses import dataclass

from cvl_ci.inputs import bucket_address, parsers
from cvl_ci.inputs.option import option
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.checkpoint_plan import OnRunner, Resume

SHORTEST_SECONDS = 5.0
MOST_KEPT = 100


def read_interval(value: object) -> float:
    """Return seconds. `30s`, `5m`; a number alone is minutes. Raises Wrong."""
    seconds = parsers.minutes(value) * 60
    if seconds < SHORTEST_SECONDS:
        raise Wrong(f"is less than {SHORTEST_SECONDS:.0f} seconds")
    return seconds


def read_count(value: object) -> int:
    """Return a number from 1 to MOST_KEPT. Raises Wrong."""
    number = parsers.whole_number(value)
    if number > MOST_KEPT:
        raise Wrong(f"is more than {MOST_KEPT}")
    return number


def read_place(value: object) -> BucketAddress | OnRunner:
    """Return a bucket, or the word `runner`. Raises Wrong."""
    word = parsers.text(value)
    return OnRunner.RUNNER if word == OnRunner.RUNNER.value else _bucket(word)


def _bucket(word: str) -> BucketAddress:
    if "://" not in word:
        raise Wrong("is neither an S3 address such as s3://bucket/prefix nor `runner`", near=(OnRunner.RUNNER.value,))
    return bucket_address.read(word)


def read_resume(value: object) -> Resume:
    """Return whose checkpoint the job goes on from. Raises Wrong."""
    return Resume(parsers.choice(*(one.value for one in Resume))(value))


@dataclass(frozen=True, kw_only=True)
class CheckpointInputs:
    """The checkpoints of a job."""

    checkpoints: tuple[str, ...] = option(
        parsers.globs,
        value=(),
        help="The checkpoints of the job: files or folders, as globs from its folder. The input checkpoint_to stores "
        "them during the job. The action uploads the fetched ones as an artifact of their own.",
        metavar="GLOB",
        example="outputs/checkpoint-*",
        default="none; in the action, the fetched files that have the names of checkpoints",
        is_repeatable=True,
    )
    checkpoint_to: BucketAddress | OnRunner | None = option(
        read_place,
        help="Store each complete checkpoint during the job: in this bucket, from machines of AWS. `runner`: on this "
        "computer, from machines of any cloud. New machines after a loss go on from the last one.",
        metavar="S3|runner",
        example="s3://my-bucket/checkpoints",
        default="no checkpoint is stored during the job",
    )
    checkpoint_every: float | None = option(
        read_interval,
        help="The time between two looks for new checkpoints. A number alone is minutes.",
        metavar="TIME",
        example="90s",
        default="5m",
    )
    checkpoint_keep: int | None = option(
        read_count,
        help="How many checkpoints of the run stay in the bucket, or on the machine: the newest ones.",
        metavar="N",
        example="1",
        default="3",
    )
    resume: Resume | None = option(
        read_resume,
        help="The checkpoint that the job goes on from. `run`: this run's own, after a loss. `latest`: without one, "
        "also that of the latest run of the same work. `none`: no checkpoint.",
        metavar="run|latest|none",
        example="latest",
        default="run",
    )
