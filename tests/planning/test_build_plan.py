"""The plan of inputs and a draft: a table of what an explicit input replaces, and of refused combinations. No file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cvl_ci.inputs.reader import from_keywords
from cvl_ci.model.limits import Limits
from cvl_ci.model.location import Location
from cvl_ci.model.plan import FEWEST_TRIALS, TRIALS, MachinePlan, RunPlan, VariablePlan, WorkPlan
from cvl_ci.model.resource_request import ResourceRequest, Spot
from cvl_ci.planning import build_plan

DRAFT = RunPlan(
    title="x",
    work=WorkPlan(setup_commands=("pip install x",), run_commands=("python x.py",)),
    variables=VariablePlan(env={"A": "draft", "B": "draft"}),
    machines=MachinePlan(
        needs=ResourceRequest(cpus=4, disk_gb=100), num_nodes=2, locations=(Location(cloud="aws"),), spot=Spot.ALWAYS
    ),
)


def planned(draft: RunPlan = DRAFT, **words: object) -> RunPlan:
    inputs = from_keywords({"command": "python x.py", **words}, environment={})
    return build_plan.plan(inputs, draft, gpu=inputs.machine.gpu)


@pytest.mark.parametrize(
    ("words", "read", "value"),
    [
        ({}, lambda plan: plan.work.setup_commands, ("pip install x",)),
        ({"setup": "make"}, lambda plan: plan.work.setup_commands, ("make",)),
        ({}, lambda plan: plan.machines.num_nodes, 2),
        ({"num_nodes": 3}, lambda plan: plan.machines.num_nodes, 3),
        ({}, lambda plan: plan.machines.locations, (Location(cloud="aws"),)),
        ({"cloud": "gcp"}, lambda plan: plan.machines.locations, (Location(cloud="gcp"),)),
        ({}, lambda plan: plan.machines.spot, Spot.ALWAYS),
        ({"spot": "fallback"}, lambda plan: plan.machines.spot, Spot.FALLBACK),
        ({"disk_size": 200}, lambda plan: plan.machines.needs.disk_gb, 200),
        ({}, lambda plan: plan.machines.needs.cpus, 4),
        (
            {"instance_type": "m5.large"},
            lambda plan: (plan.machines.needs.cpus, plan.machines.needs.disk_gb),
            (None, 100),
        ),
        ({"env": {"A": "input"}}, lambda plan: plan.variables.env, {"A": "input", "B": "draft"}),
        ({}, lambda plan: plan.limits.max_runtime_minutes, Limits().max_runtime_minutes),
        ({"max_runtime": "2h"}, lambda plan: plan.limits.max_runtime_minutes, 120.0),
        ({"max_cost": 3}, lambda plan: plan.limits.max_cost_usd, 3.0),
        ({}, lambda plan: (plan.limits.keep_minutes, plan.limits.keeps_after_success), (0, False)),
        (
            {"keep_on_failure": "30"},
            lambda plan: (plan.limits.keep_minutes, plan.limits.keeps_after_success),
            (30, False),
        ),
        (
            {"down": False},
            lambda plan: (plan.limits.keep_minutes, plan.limits.keeps_after_success),
            (build_plan.KEPT_MINUTES, True),
        ),
        ({}, lambda plan: plan.trials.repeat, 1),
        ({"compare": "main"}, lambda plan: plan.trials.repeat, TRIALS),
        ({"compare": "main", "repeat": 2}, lambda plan: plan.trials.repeat, 2),
        ({"num_nodes": 2}, lambda plan: "runpod" in plan.machines.unfit_clouds, True),
    ],
)
def test_an_explicit_input_replaces_the_draft(words: dict[str, Any], read: Any, value: object) -> None:
    assert read(planned(**words)) == value


@pytest.mark.parametrize(
    ("words", "kind", "fields"),
    [
        ({"command": "x"}, "command", []),
        ({"example": "x"}, "example", []),
        ({}, None, ["example"]),
        ({"command": "x", "task": "t.yaml"}, "command", ["task"]),
        ({"example": "x", "command": "y"}, "example", ["command"]),
        ({"command": "x", "preset": "p"}, "command", ["preset"]),
        ({"command": "x", "files": ["a"]}, "command", ["files"]),
        ({"example": "x", "setup": "make"}, "example", ["setup"]),
        ({"example": "x", "workdir": "d"}, "example", ["workdir"]),
    ],
)
def test_one_kind_of_work_is_named_and_each_wrong_pair_is_told(
    words: dict[str, Any], kind: str | None, fields: list[str]
) -> None:
    result, mistakes = build_plan.asked_for(from_keywords(words, environment={}))
    assert (result, [mistake.field for mistake in mistakes]) == (kind, fields)


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ({}, []),
        ({"cloud": "runpod"}, ["num_nodes"]),
        ({"cloud": "kubernetes", "num_nodes": 1}, []),
        ({"cloud": "verda", "num_nodes": 1}, ["cloud"]),
        ({"cloud": "oci", "num_nodes": 1, "image": "docker:x"}, ["image"]),
        ({"compare": "main"}, ["compare"]),
        ({"repeat": 3}, ["repeat"]),
        ({"num_nodes": 1, "fail_on_regression": True}, ["fail_on_regression"]),
        ({"num_nodes": 1, "fail_on_regression": True, "compare": "main", "repeat": FEWEST_TRIALS - 1}, ["repeat"]),
        ({"num_nodes": 1, "fail_on_regression": True, "compare": "main", "repeat": FEWEST_TRIALS}, []),
        ({"num_nodes": 1, "keep_on_failure": "30"}, []),
        ({"down": False, "keep_on_failure": "30"}, ["down"]),
    ],
)
def test_a_plan_that_cannot_run_is_refused_before_any_cost(words: dict[str, Any], fields: list[str]) -> None:
    inputs = from_keywords({"command": "x", **words}, environment={})
    plan = build_plan.plan(inputs, DRAFT, gpu=None)
    assert [mistake.field for mistake in build_plan.impossible(inputs, plan)] == fields


def test_work_that_needs_docker_is_refused_where_machines_have_none() -> None:
    inputs = from_keywords({"command": "x", "cloud": "kubernetes"}, environment={})
    draft = replace(DRAFT, work=replace(DRAFT.work, needs_docker=True))
    [mistake] = build_plan.impossible(inputs, build_plan.plan(inputs, draft, gpu=None))
    assert "no machine with a Docker" in mistake.problem
