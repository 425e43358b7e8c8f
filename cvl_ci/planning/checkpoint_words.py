"""Read the inputs about checkpoints into a plan, and name those that cannot work together. Pure."""

from __future__ import annotations

from cvl_ci.errors import InputProblem
from cvl_ci.inputs.reader import Inputs
from cvl_ci.model.checkpoint_plan import EVERY_SECONDS, KEEP, CheckpointPlan, Resume
from cvl_ci.model.location import SANDBOX
from cvl_ci.model.plan import RunPlan

CLOUDS = frozenset({"aws", SANDBOX})
"""SkyPilot gives machines of AWS alone a role for the bucket, and boto3."""
_OF_A_PLACE = ("checkpoint_every", "checkpoint_keep", "resume")


def checkpoint_plan(inputs: Inputs) -> CheckpointPlan:
    words = inputs.checkpoints
    return CheckpointPlan(
        globs=words.checkpoints,
        place=words.checkpoint_to,
        every_seconds=words.checkpoint_every or EVERY_SECONDS,
        keep=words.checkpoint_keep or KEEP,
        resume=words.resume or Resume.RUN,
    )


def mistakes(inputs: Inputs, plan: RunPlan) -> list[InputProblem]:
    """Return the inputs that cannot work together, before any cost."""
    place, name = inputs.checkpoints.checkpoint_to, inputs.spelling.of
    if place is None:
        return [
            inputs.mistake(field, getattr(value, "value", value), f"goes with {name('checkpoint_to')}")
            for field in _OF_A_PLACE
            if (value := getattr(inputs.checkpoints, field)) is not None
        ]
    wrong = []
    if not plan.checkpoints.globs:
        problem = f"needs {name('checkpoints')}, which names the files or folders to store"
        wrong.append(inputs.mistake("checkpoint_to", place, problem))
    if plan.trials.has_samples or inputs.trials.compare:
        problem = f"goes without {name('repeat')} and {name('compare')}: each turn begins with fresh files"
        wrong.append(inputs.mistake("checkpoint_to", place, problem))
    named = (*plan.machines.locations, *(one.location for one in plan.machines.needs.alternatives if one.location))
    for cloud in dict.fromkeys(one.cloud for one in named if one.cloud not in CLOUDS):
        problem = f"goes with machines of AWS: those of {cloud} have no access to the bucket"
        wrong.append(inputs.mistake("checkpoint_to", place, problem))
    return wrong
