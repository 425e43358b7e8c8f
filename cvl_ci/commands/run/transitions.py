"""The run as a table: which stage follows when a stage ends in a certain way. docs/architecture.md shows it.

Where jobs share a machine, RELEASE comes after the last of them, and a further job begins with SUBMIT.
Every stage stands under the lease: after any other event, such as a fault of cvl-ci, the run goes on with RELEASE.
"""

from __future__ import annotations

import enum


class Stage(enum.Enum):
    """A stage of a run, between the record of its lease and the release."""

    LAUNCH = "launch the machines with the job"
    SUBMIT = "send a further job to the live machines"
    FOLLOW = "stream the job"
    SERVE = "wait until the service answers"
    CLEAR = "prove the lost or broken machines gone"
    FETCH = "fetch the files"
    RESCUE = "fetch the files of a stopped job, for a minute"
    RELEASE = "take the machines down, with proof"


class StageEnd(enum.Enum):
    """A way in which a stage ends."""

    RUNNING = "the machines run and have the job"
    SERVING = "the machine runs and starts a service"
    ANSWERED = "it answers, so its machine stays under its lease"
    NOT_ANSWERED = "it ended, or it did not answer in time"
    DETACHED = "the job runs, so its machine stays under its lease, alone"
    MANAGED = "an API server has the job, and its controller launches the machine"
    JOB_OVER = "the job is over on all nodes"
    LOST = "the provider shows the loss, and a recovery is left"
    LOST_FOR_GOOD = "the machines are lost, and there is no recovery"
    REPLACED = "a machine is broken, the job did not begin, and a replacement is left"
    UNFIT = "a machine is broken, and there is no replacement"
    GONE = "the provider shows nothing of them"
    NOT_PROVED = "the provider still shows them, or does not answer"
    DONE = "it is done, or cannot be done"
    STOPPED = "a person stops the run"
    FAILED = "an error ends it"


TRANSITIONS = {
    (Stage.LAUNCH, StageEnd.RUNNING): Stage.FOLLOW,
    (Stage.LAUNCH, StageEnd.SERVING): Stage.SERVE,
    (Stage.LAUNCH, StageEnd.MANAGED): Stage.RELEASE,
    (Stage.LAUNCH, StageEnd.LOST): Stage.CLEAR,
    (Stage.LAUNCH, StageEnd.LOST_FOR_GOOD): Stage.RELEASE,
    (Stage.LAUNCH, StageEnd.STOPPED): Stage.RELEASE,
    (Stage.LAUNCH, StageEnd.FAILED): Stage.RELEASE,
    (Stage.SUBMIT, StageEnd.RUNNING): Stage.FOLLOW,
    (Stage.SUBMIT, StageEnd.STOPPED): Stage.RELEASE,
    (Stage.SUBMIT, StageEnd.FAILED): Stage.RELEASE,
    (Stage.FOLLOW, StageEnd.JOB_OVER): Stage.FETCH,
    (Stage.FOLLOW, StageEnd.DETACHED): Stage.RELEASE,
    (Stage.FOLLOW, StageEnd.LOST): Stage.CLEAR,
    (Stage.FOLLOW, StageEnd.LOST_FOR_GOOD): Stage.RELEASE,
    (Stage.FOLLOW, StageEnd.REPLACED): Stage.CLEAR,
    (Stage.FOLLOW, StageEnd.UNFIT): Stage.RELEASE,
    (Stage.FOLLOW, StageEnd.STOPPED): Stage.RESCUE,
    (Stage.FOLLOW, StageEnd.FAILED): Stage.RELEASE,
    (Stage.SERVE, StageEnd.ANSWERED): Stage.RELEASE,
    (Stage.SERVE, StageEnd.NOT_ANSWERED): Stage.RELEASE,
    (Stage.SERVE, StageEnd.STOPPED): Stage.RELEASE,
    (Stage.SERVE, StageEnd.FAILED): Stage.RELEASE,
    (Stage.CLEAR, StageEnd.GONE): Stage.LAUNCH,
    (Stage.CLEAR, StageEnd.NOT_PROVED): Stage.RELEASE,
    (Stage.CLEAR, StageEnd.STOPPED): Stage.RELEASE,
    (Stage.CLEAR, StageEnd.FAILED): Stage.RELEASE,
    (Stage.FETCH, StageEnd.DONE): Stage.RELEASE,
    (Stage.FETCH, StageEnd.STOPPED): Stage.RELEASE,
    (Stage.RESCUE, StageEnd.DONE): Stage.RELEASE,
}
FIRST, LAST = Stage.LAUNCH, Stage.RELEASE


def next_stage(stage: Stage, end: StageEnd) -> Stage:
    """Return the next stage. A pair that the table lacks goes to the release."""
    return TRANSITIONS.get((stage, end), LAST)


def rows() -> list[tuple[str, str, str]]:
    """Return the table for a person: stage, its end, the next stage."""
    return [(stage.value, end.value, then.value) for (stage, end), then in TRANSITIONS.items()]
