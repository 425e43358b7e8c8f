"""Read the inputs of a detached run into a plan, and name those that cannot work together. Pure."""

from __future__ import annotations

from dataclasses import replace

from cvl_ci.errors import InputProblem
from cvl_ci.inputs.reader import Inputs, Spelling
from cvl_ci.model.detached import DetachPlan
from cvl_ci.model.location import SANDBOX
from cvl_ci.model.plan import RunPlan
from cvl_ci.planning import managed_rules, storage_rules

CLOUDS = frozenset({"aws", SANDBOX})
"""SkyPilot gives machines of AWS alone a role for the bucket, and boto3."""
_ATTACHED = {
    "keep_on_failure": "no person waits for its machine",
    "recover": "no process is there that could replace its machines",
    "repeat": "it has one trial",
    "compare": "it has one trial",
}
"""Inputs that need a process until the end of the job, or files that the machine does not store."""


def detach_plan(inputs: Inputs) -> DetachPlan:
    keep = inputs.keep
    is_alone = keep.detach or keep.managed
    return DetachPlan(place=keep.detach_to if is_alone else None, is_managed=bool(keep.managed))


def without_recovery(plan: RunPlan) -> RunPlan:
    """Return the plan without recoveries if it is detached, with a warning that says so."""
    if plan.detach.is_managed:
        return managed_rules.without_recovery(plan)
    if plan.detach.place is None or not plan.machines.recoveries:
        return plan
    warning = (
        "A detached run does not recover: if the provider takes its machine away, it ends as preempted. "
        "Its checkpoints stay, and `resume: latest` goes on from them."
    )
    machines = replace(plan.machines, recoveries=0)
    return replace(plan, machines=machines, warnings=(*plan.warnings, warning))


def mistakes(inputs: Inputs, plan: RunPlan, *, through_server: bool) -> list[InputProblem]:
    """Return the inputs that cannot work together, before any cost."""
    name, place = inputs.spelling.of, inputs.keep.detach_to
    if inputs.keep.managed:
        return managed_rules.mistakes(inputs, plan, through_server=through_server)
    if not inputs.keep.detach:
        problem = f"works only with {name('detach')} or {name('managed')}"
        return [] if place is None else [inputs.mistake("detach_to", place, problem)]
    wrong = []
    if place is None:
        problem = f"needs {name('detach_to')}: the bucket in which the machine stores the results"
        wrong.append(inputs.mistake("detach", "true", problem))
    if inputs.spelling is Spelling.INPUT and any(place.cloud == SANDBOX for place in plan.machines.locations):
        problem = "works only with a real cloud: a sandbox's machines end with the runner"
        wrong.append(inputs.mistake("detach", "true", problem))
    wrong += [
        inputs.mistake("detach", "true", f"cannot be combined with {name(field)}: {why}")
        for field, why in _ATTACHED.items()
        if inputs.value(field) not in (None, 0, 1)
    ]
    if inputs.keep.down is False:
        problem = f"cannot be combined with `{name('down')} false`: the machine ends itself"
        wrong.append(inputs.mistake("detach", "true", problem))
    if plan.machines.num_nodes > 1:
        problem = f"works only with one machine yet, and {name('num_nodes')} is {plan.machines.num_nodes}"
        wrong.append(inputs.mistake("detach", "true", problem))
    if storage_rules.makes_buckets(plan):
        problem = "cannot be combined with buckets that the run makes: no process is there that could remove them"
        wrong.append(inputs.mistake("detach", "true", problem))
    if through_server:
        problem = "cannot be combined with a SkyPilot API server, which cannot keep a machine for a job without its run"
        wrong.append(inputs.mistake("detach", "true", problem))
    named = (*plan.machines.locations, *(one.location for one in plan.machines.needs.alternatives if one.location))
    for cloud in dict.fromkeys(one.cloud for one in named if one.cloud not in CLOUDS):
        problem = f"works only with machines of AWS: those of {cloud} have no access to the bucket"
        wrong.append(inputs.mistake("detach", "true", problem))
    return wrong
