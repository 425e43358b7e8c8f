"""Read the inputs about checkpoints into a plan, and name those that cannot work together. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cvl_ci.errors import InputProblem
from cvl_ci.inputs.reader import Inputs
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.checkpoint_plan import EVERY_SECONDS, KEEP, CheckpointPlan, OnRunner, Resume
from cvl_ci.model.location import SANDBOX
from cvl_ci.model.plan import RunPlan

CLOUDS = frozenset({"aws", SANDBOX})
"""SkyPilot gives machines of AWS alone a role for the bucket, and boto3."""
_OF_A_PLACE = ("checkpoint_every", "checkpoint_keep", "resume")


def checkpoint_plan(inputs: Inputs) -> CheckpointPlan:
    words = inputs.checkpoints
    return CheckpointPlan(
        globs=words.checkpoints,
        place=words.checkpoint_to if isinstance(words.checkpoint_to, BucketAddress) else None,
        on_runner=words.checkpoint_to is OnRunner.RUNNER,
        every_seconds=words.checkpoint_every or EVERY_SECONDS,
        keep=words.checkpoint_keep or KEEP,
        resume=words.resume or Resume.RUN,
    )


def unfit_clouds(inputs: Inputs, clouds: Iterable[str]) -> set[str]:
    """Return the clouds whose machines have no access to a bucket of checkpoints; none without a bucket."""
    return set(clouds) - CLOUDS if isinstance(inputs.checkpoints.checkpoint_to, BucketAddress) else set()


def mistakes(inputs: Inputs, plan: RunPlan) -> list[InputProblem]:
    """Return the inputs that cannot work together, before any cost."""
    place, name = inputs.checkpoints.checkpoint_to, inputs.spelling.of
    if place is None:
        return [
            inputs.mistake(field, getattr(value, "value", value), f"works only with {name('checkpoint_to')}")
            for field in _OF_A_PLACE
            if (value := getattr(inputs.checkpoints, field)) is not None
        ]
    wrong = []
    if not plan.checkpoints.globs:
        problem = f"needs {name('checkpoints')}, which names the files or folders to store"
        wrong.append(inputs.mistake("checkpoint_to", place, problem))
    if plan.trials.has_samples or inputs.trials.compare:
        problem = f"cannot be combined with {name('repeat')} and {name('compare')}: each trial begins with fresh files"
        wrong.append(inputs.mistake("checkpoint_to", place, problem))
    if place is OnRunner.RUNNER:
        return [*wrong, *_on_runner(inputs, plan)]
    named = (*plan.machines.locations, *(one.location for one in plan.machines.needs.alternatives if one.location))
    for cloud in dict.fromkeys(one.cloud for one in named if one.cloud not in CLOUDS):
        problem = f"works only with machines of AWS: those of {cloud} have no access to the bucket"
        wrong.append(inputs.mistake("checkpoint_to", place, problem))
    return wrong


def _on_runner(inputs: Inputs, plan: RunPlan) -> list[InputProblem]:
    """Return what only a bucket can do."""
    name, wrong = inputs.spelling.of, []
    if plan.checkpoints.resume is Resume.LATEST:
        problem = f"works only with a bucket in {name('checkpoint_to')}: the runner's copy ends with its run"
        wrong.append(inputs.mistake("resume", Resume.LATEST.value, problem))
    reasons = {
        "works only with one machine: several share no place without a bucket": plan.machines.num_nodes > 1,
        f"cannot be combined with {name('detach')}: then there is no runner": inputs.keep.detach,
    }
    return wrong + [_runner_mistake(inputs, problem) for problem, is_asked in reasons.items() if is_asked]


def mistakes_through_server(inputs: Inputs) -> list[InputProblem]:
    """Return the mistake of checkpoints on the runner of a run through an API server."""
    if inputs.checkpoints.checkpoint_to is not OnRunner.RUNNER:
        return []
    problem = "cannot be combined with a SkyPilot API server, through which no file comes during a job"
    return [_runner_mistake(inputs, problem)]


def _runner_mistake(inputs: Inputs, problem: str) -> InputProblem:
    return inputs.mistake("checkpoint_to", OnRunner.RUNNER.value, problem)
