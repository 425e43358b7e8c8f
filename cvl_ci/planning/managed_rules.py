"""Name the inputs that a managed job of a SkyPilot API server refuses, and tell what it cannot promise. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cvl_ci.errors import InputProblem
from cvl_ci.inputs.reader import Inputs
from cvl_ci.model.location import SANDBOX
from cvl_ci.model.plan import RunPlan
from cvl_ci.planning import storage_rules

CLOUD = "aws"
"""SkyPilot gives machines of AWS alone a role for the bucket, and boto3."""
NO_PROMISE = (
    "SkyPilot's controller, and not cvl-ci, launches and ends the machine of a managed job. "
    "No timer starts at its boot, and no figure here includes the controller's own cost."
)
_UNFIT = {
    "detach": "it leaves its run alone with the job anyway",
    "keep_on_failure": "the controller ends the machine",
    "idle_minutes_to_autostop": "the controller ends the machine",
    "ssh_public_key": "no person uses its machine",
    "reuse": "each managed job has a machine of its own",
    "repeat": "it has one trial",
    "compare": "it has one trial",
}
"""Inputs that need a machine of cvl-ci's own, or a process until the end of the job."""


def without_recovery(plan: RunPlan) -> RunPlan:
    """Return the plan with the limits of the promise, and without a number of recoveries: the controller has none."""
    texts = [NO_PROMISE]
    if plan.machines.recoveries:
        texts.append(
            "SkyPilot's controller recovers a managed job after each loss of its machine, until the run's deadline. "
            "Words of the task about recovery have no other effect."
        )
    machines = replace(plan.machines, recoveries=0)
    return replace(plan, machines=machines, warnings=(*plan.warnings, *texts))


def mistakes(inputs: Inputs, plan: RunPlan, *, through_server: bool) -> list[InputProblem]:
    """Return the inputs that cannot work together, before any cost."""
    name, wrong = inputs.spelling.of, list[InputProblem]()
    if inputs.keep.detach_to is None:
        problem = f"needs {name('detach_to')}: the bucket in which the machine stores the results"
        wrong.append(inputs.mistake("managed", "true", problem))
    if not through_server:
        problem = (
            "needs a SkyPilot API server, whose controller runs the job. Give `skypilot_api_server_endpoint` and its "
            "token; at a terminal, set SKYPILOT_API_SERVER_ENDPOINT and SKYPILOT_SERVICE_ACCOUNT_TOKEN"
        )
        wrong.append(inputs.mistake("managed", "true", problem))
    for field, why in _UNFIT.items():
        if inputs.value(field) not in (None, False, 0, 1) or (field == "detach" and inputs.keep.detach):
            wrong.append(inputs.mistake("managed", "true", f"cannot be combined with {name(field)}: {why}"))
    if inputs.machine.recover is not None:
        problem = (
            f"cannot be combined with {name('recover')}: until the deadline, the controller recovers after each loss"
        )
        wrong.append(inputs.mistake("managed", "true", problem))
    if inputs.keep.down is False:
        problem = f"cannot be combined with `{name('down')} false`: the controller ends the machine"
        wrong.append(inputs.mistake("managed", "true", problem))
    return wrong + [inputs.mistake("managed", "true", problem) for problem in _of_machines(plan, name("num_nodes"))]


def _of_machines(plan: RunPlan, num_nodes: str) -> Iterator[str]:
    if plan.machines.num_nodes > 1:
        yield f"works only with one machine yet, and {num_nodes} is {plan.machines.num_nodes}"
    if storage_rules.makes_buckets(plan):
        yield "cannot be combined with buckets that the run makes: no process is there that could remove them"
    own = [one.location for one in plan.machines.needs.alternatives if one.location]
    named = own or list(plan.machines.locations)
    foreign = list(dict.fromkeys(one.cloud for one in named if one.cloud != CLOUD))
    if SANDBOX in foreign:
        yield "cannot be combined with the sandbox, which no API server knows"
    if clouds := [cloud for cloud in foreign if cloud != SANDBOX]:
        yield f"works only with machines of AWS: those of {', '.join(clouds)} have no access to the bucket"
    if not named:
        yield "needs the cloud aws by name: machines of other clouds have no access to the bucket"
