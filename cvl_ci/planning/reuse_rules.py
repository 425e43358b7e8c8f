"""Read the inputs about a machine that waits between runs, and name those that cannot work together. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cvl_ci.errors import InputProblem
from cvl_ci.inputs.reader import Inputs, Spelling
from cvl_ci.model.limits import RELEASE_MINUTES
from cvl_ci.model.location import SANDBOX
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.reuse import IDLE_MINUTES, MAX_AGE_MINUTES, IfBusy, ReusePlan

_OF_A_KEY = ("idle", "max_age", "if_busy", "reuse_key")
_SHARED_ON = ("aws", SANDBOX)
"""Clouds whose answer alone lets another computer enter a machine (engine/worker/adoption.py)."""
SHORTEST_IDLE_MINUTES = 1.0
"""SkyPilot counts whole minutes."""


def reuse_plan(inputs: Inputs) -> ReusePlan | None:
    """Return the plan of a machine that waits between runs; None where the user names no key for it."""
    keep = inputs.keep
    if keep.reuse is None:
        return None
    return ReusePlan(
        key=keep.reuse,
        idle_minutes=keep.idle or IDLE_MINUTES,
        max_age_minutes=keep.max_age or MAX_AGE_MINUTES,
        if_busy=keep.if_busy or IfBusy.WAIT,
        secret=keep.reuse_key,
    )


def mistakes(inputs: Inputs, plan: RunPlan, *, through_server: bool) -> list[InputProblem]:
    """Return the inputs that cannot work together, before any cost."""
    reuse, name = plan.machines.reuse, inputs.spelling.of
    if reuse is None:
        return [
            inputs.mistake(field, getattr(value, "value", value), f"works only with {name('reuse')}")
            for field in _OF_A_KEY
            if (value := getattr(inputs.keep, field)) is not None
        ]
    conflicts = (*_conflicts(inputs, plan), *_of_secret(inputs, plan, reuse))
    wrong = [inputs.mistake(field, value, problem) for field, value, problem in conflicts]
    if through_server:
        problem = "cannot be combined with an API server: its clusters have names, and stay as long as you want"
        wrong.append(inputs.mistake("reuse", reuse.key, problem))
    if reuse.idle_minutes < SHORTEST_IDLE_MINUTES:
        wrong.append(inputs.mistake("idle", f"{reuse.idle_minutes:g} minutes", "is less than a minute"))
    least = plan.limits.longest_minutes + reuse.idle_minutes
    if reuse.max_age_minutes < least:
        problem = f"is less than one run and its wait need: {least:g} minutes. Raise it, or lower max_runtime"
        wrong.append(inputs.mistake("max_age", f"{reuse.max_age_minutes:g} minutes", problem))
    return wrong


def _conflicts(inputs: Inputs, plan: RunPlan) -> Iterator[tuple[str, object, str]]:
    """Yield the inputs that a machine of several runs cannot have: name, value, problem."""
    unfit = f"cannot be combined with {inputs.spelling.of('reuse')}"
    keep = inputs.keep
    if keep.keep_on_failure:
        yield "keep_on_failure", keep.keep_on_failure, f"{unfit}: the machine waits after each job"
    if keep.down is False:
        yield "down", "false", f"{unfit}: the machine waits after each job, for idle"
    if keep.idle_minutes_to_autostop is not None:
        yield "idle_minutes_to_autostop", keep.idle_minutes_to_autostop, f"{unfit}: use idle"
    if keep.ssh_public_key is not None:
        yield "ssh_public_key", "(a public key)", f"{unfit}: the next run would share the machine with a person"
    if keep.detach:
        yield "detach", "true", f"{unfit}: the next run could not tell when its job is over"
    if inputs.trials.compare:
        yield "compare", inputs.trials.compare, f"{unfit}: both sides need a machine in the same state"
    if plan.machines.recoveries:
        yield "recover", plan.machines.recoveries, f"{unfit}: the next run takes a new machine after a loss"
    if plan.checkpoints.is_stored:
        yield "checkpoint_to", plan.checkpoints.place_text, f"{unfit}: its program belongs to one job"
    yield from _storage(plan, unfit=unfit)


def _of_secret(inputs: Inputs, plan: RunPlan, reuse: ReusePlan) -> Iterator[tuple[str, object, str]]:
    """Yield the inputs that a machine of several computers cannot have, or needs."""
    if reuse.secret is None:
        if inputs.spelling is Spelling.INPUT and not any(input_problem_of_secret(one) for one in inputs.mistakes):
            problem = "needs reuse_key, a secret of the repository: the next run is on another runner"
            yield "reuse", reuse.key, problem
        return
    unfit = f"cannot be combined with {inputs.spelling.of('reuse_key')}"
    if plan.work.image:
        yield "image", plan.work.image, f"{unfit}: another computer cannot enter its container"
    places = [str(place) for place in plan.machines.locations if place.cloud not in _SHARED_ON]
    if places or not plan.machines.locations:
        yield "cloud", ", ".join(places) or "any", f"{unfit}: name aws, where other computers find the machine"


def input_problem_of_secret(problem: InputProblem) -> bool:
    """Return whether a mistake is about reuse_key, so that its absence does not count too."""
    return problem.field == "reuse_key"


def _storage(plan: RunPlan, *, unfit: str) -> Iterator[tuple[str, object, str]]:
    remote = [mount.target for mount in plan.files.mounts if not mount.is_local or mount.needs_bucket]
    if remote or plan.work.task_extra.get("file_mounts"):
        yield "mounts", ", ".join(remote) or "file_mounts", f"{unfit}: only a copy of a local folder does"
    if own := plan.work.task_extra.get("volumes"):
        yield (
            "volumes",
            ", ".join(map(str, own)) if isinstance(own, Mapping) else str(own),
            f"{unfit}: its files are not this machine's alone",
        )


def needed_seconds(plan: RunPlan) -> float:
    """Return how long a live machine must still be allowed to live for a run: its job, and the release."""
    return (plan.limits.max_runtime_minutes + RELEASE_MINUTES) * 60
