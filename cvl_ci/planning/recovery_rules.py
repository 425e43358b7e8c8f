"""Read how often a task wants to be recovered, in SkyPilot's words (`job_recovery`) and in dstack's (`retry`). Pure.

SkyPilot's managed jobs recover as often as necessary (sky/jobs/recovery_strategy.py). A run has an end, so it recovers
DEFAULT times. dstack: docs/reference/dstack.yml/task, `retry`: `true`, or `on_events` and `duration`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.resource_request import Spot

DEFAULT = 3
KEY = "job_recovery"
"""SkyPilot's schema refuses the older name, `spot_recovery`."""
INTERRUPTION = "interruption"
EVENTS = ("no-capacity", INTERRUPTION, "error")
RETRY_KEYS = ("on_events", "duration")
_OF_ERRORS = ("max_restarts_on_errors", "recover_on_exit_codes")


@dataclass(frozen=True, kw_only=True)
class RecoveryRequest:
    """The values of a task: `retry` next to `resources`, and `job_recovery` in them; None without one."""

    retry: object = None
    job_recovery: object = None


def recoveries(request: object) -> int:
    """Return the number of recoveries that a task asks for. Raise Wrong for a `retry` that dstack does not know."""
    if not isinstance(request, RecoveryRequest):
        raise TypeError(f"{request!r} is not a RecoveryRequest")
    events = _events(request.retry)
    return DEFAULT if INTERRUPTION in events or request.job_recovery is not None else 0


def with_recovery(plan: RunPlan) -> RunPlan:
    """Return the plan of a job whose checkpoints are stored during it: on spot machines it recovers."""
    if plan.machines.spot is Spot.NEVER or plan.machines.recoveries or not plan.checkpoints.is_stored:
        return plan
    return replace(plan, machines=replace(plan.machines, recoveries=DEFAULT))


def warnings(request: RecoveryRequest) -> tuple[str, ...]:
    """Return the words that have no effect here, with reasons."""
    recovery = request.job_recovery if isinstance(request.job_recovery, Mapping) else {}
    retry = request.retry if isinstance(request.retry, Mapping) else {}
    events = retry.get("on_events")
    without_effect = [f"job_recovery.{key}" for key in _OF_ERRORS if recovery.get(key)]
    if isinstance(events, list):
        without_effect += [f"retry.on_events {event}" for event in EVENTS if event in events and event != INTERRUPTION]
    lines = [f"{name} is not used: a run starts again only if its machine was lost." for name in without_effect]
    if retry.get("duration") is not None:
        lines.append("retry.duration is not used: max_runtime and max_cost bound the run with all recoveries.")
    return tuple(lines)


def _events(retry: object) -> tuple[str, ...]:
    if retry is None or retry is False:
        return ()
    if retry is True:
        return EVENTS
    if not isinstance(retry, Mapping):
        raise Wrong("is neither true nor a mapping with on_events", display=repr(retry))
    for key in retry:
        if key not in RETRY_KEYS:
            raise Wrong(f"has the unknown key {key!r}", near=RETRY_KEYS, display=repr(dict(retry)))
    events = retry.get("on_events")
    if events is None:
        return EVENTS
    if not isinstance(events, list) or any(event not in EVENTS for event in events):
        raise Wrong("has on_events that are not a list of dstack's events", near=EVENTS, display=repr(events))
    return tuple(events)
