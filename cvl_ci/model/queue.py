"""Hold a queue: its jobs, and each job's state. Values, no I/O."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class RetryCause(enum.Enum):
    """Ends of a job after which a queue may start it again. None of them says anything about the code."""

    CAPACITY = "capacity"
    PREEMPTED = "preempted"


@dataclass(frozen=True, kw_only=True)
class Retry:
    """`limit`: how many further attempts a job gets after these ends."""

    on: frozenset[RetryCause] = frozenset()
    limit: int = 0


@dataclass(frozen=True, kw_only=True)
class QueueJob:
    """One job of a queue. `request`: the inputs of its run, by name. `needs` and `inputs_from`: ids of other jobs."""

    id: str
    request: Mapping[str, object]
    needs: tuple[str, ...] = ()
    inputs_from: tuple[str, ...] = ()
    """Jobs whose files this one gets, each below `inputs/ID` of its folder. They are needs too."""
    retry: Retry = field(default_factory=Retry)
    soft_fail: bool = False
    """A failure of this job makes the queue not red, and lets its dependents run."""
    allow_dependency_failure: bool = False
    """It runs although a job that it needs failed or did not run."""
    concurrency_group: str | None = None
    """At most one job of a group runs at a time."""
    machine: str | None = None
    """The key of a machine that its jobs use in turn, in one working directory. None: a machine of its own."""
    clean: bool = False
    """The next job of its machine finds nothing of this one."""
    leg: str = ""
    """The leg of a matrix that it is, as a report names it. Empty: none."""


@dataclass(frozen=True, kw_only=True)
class Queue:
    """Jobs in the order of their file. `budget`: US dollars of all jobs together."""

    jobs: tuple[QueueJob, ...]
    max_parallel: int = 4
    budget: float | None = None


class JobState(enum.Enum):
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SOFT_FAILED = "failed softly"
    NOT_RUN = "not run"
    """Infrastructure prevented or ended it, so nothing is known about its code."""
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


OVER = frozenset(JobState) - {JobState.WAITING, JobState.RUNNING}
GOOD = frozenset({JobState.SUCCEEDED, JobState.SOFT_FAILED})
"""States after which dependents run."""


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """One job so far. `lease`: of its last attempt. `digests`: the SHA-256 of each fetched file below `folder`."""

    state: JobState = JobState.WAITING
    reason: str = ""
    exit_code: int | None = None
    fingerprint: str = ""
    lease: str = ""
    folder: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    usd: float = 0.0
    seconds: float = 0.0
    attempts: int = 0
    is_reused: bool = False
    """Whether an earlier queue ran it, with the same content."""
    is_gone: bool = True
    """Whether the provider showed that nothing of it is left."""
