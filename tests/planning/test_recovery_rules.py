"""A task's wish for recovery, in the words of SkyPilot and of dstack."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.checkpoint_plan import CheckpointPlan
from cvl_ci.model.plan import MachinePlan, RunPlan
from cvl_ci.model.resource_request import Spot
from cvl_ci.planning import task_file
from cvl_ci.planning.recovery_rules import with_recovery


def read(**keys: Any) -> task_file.TaskFile:
    content = yaml.safe_dump({"run": "python train.py", "resources": {"infra": "aws", "use_spot": True}, **keys})
    return task_file.read(content.encode(), known_gpus=("L4",))


@pytest.mark.parametrize(
    ("keys", "recoveries", "without_effect"),
    [
        ({}, 0, ()),
        ({"retry": True}, 3, ()),
        ({"retry": False}, 0, ()),
        ({"retry": {"on_events": ["interruption"]}}, 3, ()),
        ({"retry": {"on_events": ["no-capacity"]}}, 0, ("no-capacity",)),
        ({"retry": {"on_events": ["interruption", "error"], "duration": "1h"}}, 3, ("error", "duration")),
        ({"resources": {"infra": "aws", "job_recovery": "EAGER_NEXT_REGION"}}, 3, ()),
        ({"resources": {"infra": "aws", "job_recovery": {"strategy": "FAILOVER"}}}, 3, ()),
        (
            {"resources": {"infra": "aws", "job_recovery": {"strategy": "FAILOVER", "max_restarts_on_errors": 3}}},
            3,
            ("max_restarts_on_errors",),
        ),
        ({"resources": {"any_of": [{"infra": "aws", "job_recovery": "FAILOVER"}, {"infra": "gcp"}]}}, 3, ()),
    ],
)
def test_the_words_of_skypilot_and_dstack_ask_for_recovery(
    keys: dict[str, Any], recoveries: int, without_effect: tuple[str, ...]
) -> None:
    task = read(**keys)
    assert task.wrong == ()
    assert task.machines.recoveries == recoveries
    lines = [line for line in task.warnings if "retry" in line or "job_recovery" in line]
    assert len(lines) == len(without_effect)
    assert all(word in line for word, line in zip(without_effect, lines, strict=True))


@pytest.mark.parametrize(
    ("retry", "words"),
    [
        ("often", "neither true nor a mapping"),
        ({"on_event": ["interruption"]}, "unknown key"),
        ({"on_events": ["preemption"]}, "dstack's events"),
        ({"on_events": "interruption"}, "dstack's events"),
    ],
)
def test_an_unknown_retry_is_a_mistake_with_the_right_words_near_it(retry: object, words: str) -> None:
    [mistake] = read(retry=retry).wrong
    assert mistake.startswith("has retry") and words in mistake


@pytest.mark.parametrize(
    ("spot", "before", "after"), [(Spot.NEVER, 0, 0), (Spot.ALWAYS, 0, 3), (Spot.FALLBACK, 0, 3), (Spot.ALWAYS, 5, 5)]
)
def test_checkpoints_on_spot_ask_for_recovery(spot: Spot, before: int, after: int) -> None:
    plan = RunPlan(title="t", machines=MachinePlan(spot=spot, recoveries=before))
    stored = replace(plan, checkpoints=CheckpointPlan(place=BucketAddress(bucket="b")))
    assert with_recovery(stored).machines.recoveries == after
    assert with_recovery(plan).machines.recoveries == before, "without a place, the job starts from its beginning"
