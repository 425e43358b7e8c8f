"""Read the inputs and the words of a task (dstack's `utilization_policy`) about a job that leaves its GPUs alone. Pure.

dstack: docs/reference/dstack.yml/task, `utilization_policy`: `min_gpu_utilization` and `time_window`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from cvl_ci.errors import InputProblem
from cvl_ci.inputs import parsers
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.reader import Inputs
from cvl_ci.model.limits import IDLE_WINDOW_SECONDS, IdlePolicy
from cvl_ci.model.plan import RunPlan

Number = TypeVar("Number", int, float)
KEY = "utilization_policy"
KEYS = ("min_gpu_utilization", "time_window")
NEUTRAL = "neutral"
_OF_A_POLICY = ("time_window", "on_idle")


def of_task(value: object) -> IdlePolicy | None:
    """Return the policy of a task file; None without one. Raise Wrong for words that dstack does not know."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise Wrong("is not a mapping with min_gpu_utilization", display=repr(value))
    for key in value:
        if key not in KEYS:
            raise Wrong(f"has the unknown key {key!r}", near=KEYS, display=repr(dict(value)))
    if value.get(KEYS[0]) is None:
        raise Wrong("has no min_gpu_utilization", display=repr(dict(value)))
    window = value.get(KEYS[1])
    return IdlePolicy(
        min_percent=_part(value, KEYS[0], parsers.percent),
        seconds=IDLE_WINDOW_SECONDS if window is None else _part(value, KEYS[1], parsers.idle_seconds),
    )


def idle_policy(inputs: Inputs, drafted: IdlePolicy | None) -> IdlePolicy | None:
    """Return the policy of the inputs. A task's own policy has the values that the inputs leave out."""
    limits = inputs.limits
    percent = limits.min_gpu_utilization or (drafted.min_percent if drafted else None)
    if percent is None:
        return None
    seconds = limits.time_window or (drafted.seconds if drafted else IDLE_WINDOW_SECONDS)
    return IdlePolicy(min_percent=percent, seconds=seconds, is_neutral=limits.on_idle == NEUTRAL)


def mistakes(inputs: Inputs, plan: RunPlan) -> list[InputProblem]:
    """Return the inputs that cannot work, before any cost."""
    name, policy = inputs.spelling.of, plan.limits.idle
    if policy is None:
        return [
            inputs.mistake(field, value, f"works only with {name(KEYS[0])}")
            for field in _OF_A_POLICY
            if (value := getattr(inputs.limits, field)) is not None
        ]
    problem = ""
    if not plan.machines.needs.accelerators:
        problem = f"needs a GPU: give {name('gpu')}"
    elif policy.seconds >= plan.limits.max_runtime_minutes * 60:
        problem = f"can never end a job before {name('max_runtime')}: give a shorter {name('time_window')}"
    return [inputs.mistake(KEYS[0], policy.min_percent, problem)] if problem else []


def _part(policy: Mapping[str, object], key: str, read: Callable[[object], Number]) -> Number:
    try:
        return read(policy[key])
    except Wrong as wrong:
        raise Wrong(f"has {key} {policy[key]!r}, which {wrong.problem}", display=repr(dict(policy))) from None
