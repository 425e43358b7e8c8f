"""The checkpoints of a run: which files they are, where they are stored, and where a job goes on. Values, no I/O."""

from __future__ import annotations

import enum
import hashlib
import re
from dataclasses import dataclass, replace

from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.storage import Bucket, KeptBucket, StoredBytes, monthly_usd

EVERY_SECONDS = 300.0
KEEP = 3
RESUME_VARIABLE = "CVL_RESUME_FROM"
"""The path of the restored checkpoint on the machine. There is none without one."""


class OnRunner(enum.Enum):
    """A place without a bucket: the computer on which cvl-ci runs."""

    RUNNER = "runner"

    def __str__(self) -> str:
        return str(self.value)


class Resume(enum.Enum):
    """The run whose last checkpoint a job goes on from."""

    RUN = "run"
    """This run's own, after its machines were lost."""
    LATEST = "latest"
    """This run's own, or else the latest of an earlier run of the same work."""
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class CheckpointPlan:
    """`globs`: as `outputs`. `place`: the bucket of many runs. `on_runner`: cvl-ci copies them to its own computer.

    Without either, no checkpoint is stored during the job. `folder`: the folder of this run below the place, as
    `WORK/RUN`. `attempt`: the number of the machines, from 1.
    """

    globs: tuple[str, ...] = ()
    place: BucketAddress | None = None
    every_seconds: float = EVERY_SECONDS
    keep: int = KEEP
    resume: Resume = Resume.RUN
    folder: str = ""
    attempt: int = 1
    on_runner: bool = False

    @property
    def is_stored(self) -> bool:
        """Return whether checkpoints are stored during the job."""
        return self.place is not None or self.on_runner

    @property
    def place_text(self) -> str:
        """Return the place in words, as the input has it."""
        return str(self.place) if self.place is not None else str(OnRunner.RUNNER)

    @property
    def run_place(self) -> BucketAddress | None:
        """Return the folder of this run; None where no checkpoint is stored."""
        return self.place and replace(self.place, prefix=self.place.below(self.folder))

    @property
    def work(self) -> str:
        """Return the name of the work's folder."""
        return self.folder.partition("/")[0]

    @property
    def run(self) -> str:
        """Return the name of the run's folder."""
        return self.folder.partition("/")[2]


@dataclass(frozen=True, kw_only=True)
class StoredCheckpoint:
    """A checkpoint in its place. `step` -1: its name has none. `at`: epoch seconds of the machine that stored it."""

    name: str
    step: int
    at: float


@dataclass(frozen=True, kw_only=True)
class StoredCheckpoints:
    """The content of a run's folder. `newest` None: there is no readable manifest."""

    content: StoredBytes
    newest: StoredCheckpoint | None = None


@dataclass(frozen=True, kw_only=True)
class KeptCheckpoints:
    """The checkpoints that outlive a run. `stored` None: the provider did not list them."""

    place: BucketAddress
    stored: StoredCheckpoints | None = None

    @property
    def monthly_usd(self) -> float | None:
        return None if self.stored is None else monthly_usd(self.stored.content.bytes)

    def as_bucket(self, *, since: float) -> KeptBucket:
        """Return the run's folder as a bucket that stays, for the ledger. `since`: epoch seconds."""
        folder = "/".join(part for part in (self.place.bucket, self.place.prefix) if part)
        content = None if self.stored is None else self.stored.content
        return KeptBucket(bucket=Bucket(name=folder, stays=True), content=content, since=since)


def folder_of(*, title: str, directory: str, leg: str, run: str) -> str:
    """Return `WORK/RUN`. Runs of the same work share the first part, so that a later one finds the earlier ones.

    `leg`: of a matrix, because its legs train different things.
    """
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-") or "work"
    digest = hashlib.sha256(repr((title, directory, leg)).encode()).hexdigest()[:8]
    return f"{words}-{digest}/{run}"
