"""Classify the end of a leg, and tell whether it says anything about the code: infrastructure does not. Pure."""

from __future__ import annotations

import enum

from cvl_ci.model.outcome import Ending, Outcome
from cvl_ci.result import summary
from cvl_ci.result.benchmark import leg_file
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.provider_limits import is_quota


class Failure(enum.Enum):
    """Kinds of failure, the most important first."""

    MACHINE_LEFT = "a machine may be left"
    TEST = "the job failed"
    TIMEOUT = "timed out"
    BUDGET = "over its budget"
    DEARER = "over its budget on a dearer machine"
    REQUEST = "not understood"
    CANCELLED = "cancelled"
    PREEMPTED = "the machine was taken away"
    CREDENTIALS = "no credentials"
    QUOTA = "no quota"
    CAPACITY = "no capacity"
    ENGINE = "the engine failed"
    UNFIT = "the machine was broken"
    STORAGE = "the storage failed"
    DETACHED = "not collected yet"
    IDLE = "its GPUs were left alone"
    IDLE_NEUTRAL = "its GPUs were left alone, which is neutral"


INFRASTRUCTURE = frozenset(
    {
        Failure.PREEMPTED,
        Failure.CREDENTIALS,
        Failure.QUOTA,
        Failure.CAPACITY,
        Failure.DEARER,
        Failure.ENGINE,
        Failure.CANCELLED,
        Failure.UNFIT,
        Failure.STORAGE,
        Failure.DETACHED,
        Failure.IDLE_NEUTRAL,
    }
)
"""The code did not cause these, and alone they never make a report red."""

WORTH_ANOTHER_TRY = frozenset(
    {Failure.PREEMPTED, Failure.CAPACITY, Failure.DEARER, Failure.ENGINE, Failure.UNFIT, Failure.STORAGE}
)

_BY_ENDING = {
    Ending.FAILED: Failure.TEST,
    Ending.TIMED_OUT: Failure.TIMEOUT,
    Ending.OVER_BUDGET: Failure.BUDGET,
    Ending.PREEMPTED: Failure.PREEMPTED,
    Ending.CANCELLED: Failure.CANCELLED,
    Ending.UNFIT: Failure.UNFIT,
    Ending.STORAGE_FAILED: Failure.STORAGE,
    Ending.DETACHED: Failure.DETACHED,
    Ending.IDLE: Failure.IDLE,
}
_BY_EXIT_CODE = {64: Failure.REQUEST, 77: Failure.CREDENTIALS, 78: Failure.BUDGET, 75: Failure.CAPACITY}


def failure(leg: Leg) -> Failure | None:
    """Return the kind of failure. None: the leg succeeded, and its machine is gone, or a person keeps it."""
    if leg.machines.may_be_left:
        return Failure.MACHINE_LEFT
    if leg.ending is Ending.SUCCEEDED:
        return None
    if leg.ending is Ending.IDLE and not leg.exit_code:
        return Failure.IDLE_NEUTRAL
    if leg.ending is not Ending.NEVER_STARTED:
        kind = _BY_ENDING[leg.ending]
        # Another machine would have been paid for: the lack of capacity ended it, and not the code.
        return Failure.DEARER if kind is Failure.BUDGET and leg.machines.is_dearer else kind
    kind = _BY_EXIT_CODE.get(leg.exit_code, Failure.ENGINE)
    return Failure.QUOTA if kind is Failure.CAPACITY and any(map(is_quota, leg.machines.errors.splitlines())) else kind


def of_outcome(outcome: Outcome) -> Failure | None:
    """Return the kind of failure of a run, by its own summary: a report reads the same one."""
    return failure(leg_file.of_summary(summary.to_json(outcome)))
