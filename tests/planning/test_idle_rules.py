"""The end of a job that leaves its GPUs alone: its inputs, dstack's words in a task, and how it is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.commands.plan.quote import quote
from cvl_ci.commands.plan.quote_text import as_text
from cvl_ci.errors import RequestError
from cvl_ci.inputs.reader import from_keywords
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.model.limits import IdlePolicy, Limits
from cvl_ci.model.node_end import IDLE, GpuUse, NodeEnd
from cvl_ci.model.outcome import Ending
from cvl_ci.model.plan import RunPlan
from cvl_ci.planning import task_file
from cvl_ci.result.conclusion import conclude
from cvl_ci.result.machine_text import unmeasured_use
from tests import golden
from tests.support.field import plant

MESSAGES = golden.Messages(__name__)

PRICES = CataloguePrices()
USUAL = {"command": "python train.py", "gpu": "L4", "cloud": "aws"}


def asked(folder: Path, **words: object) -> RunPlan:
    inputs = from_keywords({**USUAL, **words}, environment={})
    return prepare(inputs, checkout=open_checkout(plant(folder / "field")), prices=PRICES)


@pytest.mark.parametrize(
    ("words", "policy"),
    [
        ({}, None),
        ({"min_gpu_utilization": 10}, IdlePolicy(min_percent=10, seconds=900)),
        ({"min_gpu_utilization": "10%", "time_window": "30m"}, IdlePolicy(min_percent=10, seconds=1800)),
        ({"min_gpu_utilization": 5, "on_idle": "neutral"}, IdlePolicy(min_percent=5, is_neutral=True)),
        ({"min_gpu_utilization": 5, "time_window": 2}, IdlePolicy(min_percent=5, seconds=120)),
    ],
)
def test_the_policy_of_the_inputs(tmp_path: Path, words: dict[str, object], policy: IdlePolicy | None) -> None:
    plan = asked(tmp_path, **words)
    assert plan.limits.idle == policy
    assert ("GPU below" in " ".join(as_text(plan, quote(plan, PRICES), PRICES).split())) is (policy is not None)


@pytest.mark.parametrize(
    ("words", "field", "problem"),
    [
        ({"time_window": "15m"}, "time_window", "works only with min_gpu_utilization"),
        ({"on_idle": "neutral"}, "on_idle", "works only with min_gpu_utilization"),
        ({"min_gpu_utilization": 0}, "min_gpu_utilization", "at least 1"),
        ({"min_gpu_utilization": 101}, "min_gpu_utilization", "more than 100"),
        ({"min_gpu_utilization": "some"}, "min_gpu_utilization", ""),
        ({"min_gpu_utilization": 10, "time_window": "10s"}, "time_window", "less than 30 seconds"),
        ({"min_gpu_utilization": 10, "on_idle": "green"}, "on_idle", "none of fail, neutral"),
        ({"min_gpu_utilization": 10, "gpu": "none"}, "min_gpu_utilization", "needs a GPU"),
        ({"min_gpu_utilization": 10, "max_runtime": "10m"}, "min_gpu_utilization", "before max_runtime"),
    ],
)
def test_each_mistake_is_named_before_anything_is_spent(
    tmp_path: Path, words: dict[str, object], field: str, problem: str
) -> None:
    with pytest.raises(RequestError) as refused:
        asked(tmp_path, **words)
    assert any(one.field == field and problem in one.problem for one in refused.value.mistakes)


@pytest.mark.parametrize(
    ("policy", "expected", "mistake"),
    [
        ({"min_gpu_utilization": 10}, IdlePolicy(min_percent=10), ""),
        ({"min_gpu_utilization": 20, "time_window": "1h"}, IdlePolicy(min_percent=20, seconds=3600), ""),
        ("10", None, "not a mapping"),
        ({"time_window": "1h"}, None, "has no min_gpu_utilization"),
        ({"min_gpu_utilisation": 10}, None, "unknown key"),
        ({"min_gpu_utilization": 200}, None, "min_gpu_utilization 200, which is more than 100"),
        ({"min_gpu_utilization": 10, "time_window": "soon"}, None, "time_window 'soon', which"),
    ],
)
def test_the_words_of_dstack_in_a_task(policy: Any, expected: IdlePolicy | None, mistake: str) -> None:
    content = yaml.safe_dump({"run": "x", "resources": {"accelerators": "L4"}, "utilization_policy": policy})
    task = task_file.read(content.encode(), known_gpus=("L4",))
    assert task.idle == expected
    assert [mistake in line for line in task.wrong] == ([True] if mistake else [])


def test_an_input_replaces_the_value_of_the_task(tmp_path: Path) -> None:
    folder = plant(tmp_path / "field")
    (folder / "task.yaml").write_text(
        "resources: {accelerators: L4}\nrun: x\nutilization_policy: {min_gpu_utilization: 20, time_window: 20m}\n"
    )
    inputs = from_keywords({"task": "task.yaml", "cloud": "aws", "min_gpu_utilization": 7}, environment={})
    plan = prepare(inputs, checkout=open_checkout(folder), prices=PRICES)
    assert plan.limits.idle == IdlePolicy(min_percent=7, seconds=1200)


POLICY = IdlePolicy(min_percent=10)


@pytest.mark.parametrize(
    ("policy", "code", "phase", "ending", "exit_code"),
    [
        (POLICY, 124, IDLE, Ending.IDLE, 124),
        (IdlePolicy(min_percent=10, is_neutral=True), 124, IDLE, Ending.IDLE, 0),
        (None, 124, IDLE, Ending.FAILED, 124),
        (POLICY, 3, IDLE, Ending.FAILED, 3),
        (POLICY, 124, "running", Ending.FAILED, 124),
    ],
)
def test_only_a_machine_that_ended_the_job_makes_it_idle(
    policy: IdlePolicy | None, code: int, phase: str, ending: Ending, exit_code: int
) -> None:
    verdict = conclude(
        plan=RunPlan(title="t", limits=Limits(idle=policy)),
        launch=None,
        nodes=[NodeEnd(rank=0, exit_code=137), NodeEnd(rank=1, exit_code=code, phase=phase)],
        lost=None,
        release=None,
        failure=None,
        cancelled=False,
        attempts=(),
        ran_seconds=1.0,
    )
    expected_code = exit_code if ending is Ending.IDLE else verdict.exit_code
    assert (verdict.ending, verdict.exit_code) == (ending, expected_code)
    if ending is Ending.IDLE:
        MESSAGES.check("idle", golden.sentence(verdict.reason, "No GPU of machine"))


def test_a_policy_without_samples_is_told() -> None:
    used = GpuUse(gpus=1, memory_mib=1, memory_total_mib=2, utilization=0.0)
    assert unmeasured_use(POLICY, [NodeEnd(rank=0, exit_code=0, gpu=used)]) == []
    assert unmeasured_use(None, [NodeEnd(rank=0, exit_code=0)]) == []
    assert len(unmeasured_use(POLICY, [NodeEnd(rank=0, exit_code=0)])) == 1
