"""The facts of a detached run come back from their record, and from no other text."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from cvl_ci.local import detached_records
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.detached import Detached
from cvl_ci.model.launch import Attempt, Launch, Spending
from cvl_ci.model.limits import IdlePolicy, Limits
from cvl_ci.model.month import MonthBudget
from cvl_ci.model.work_identity import WorkIdentity

LAUNCH = Launch(
    cluster="cvl-1-0a1b2c3d", cloud="aws", region="us-east-1", zone="us-east-1a", instance_type="g6.xlarge",
    accelerators={"L4": 1}, spot=True, num_nodes=1, hourly_usd=0.24, created_at=10.0, deadline=20.0,
)  # fmt: skip
ATTEMPT = Attempt(
    cloud="aws", region="us-east-1", zone=None, instance_type="g6.xlarge", spot=True, hourly_usd=0.24, requested_at=9.0
)
DETACHED = Detached(
    place=BucketAddress(bucket="results", prefix="ci/cvl-1-0a1b2c3d"),
    title="train",
    work=WorkIdentity(title="train", example="digits"),
    launch=LAUNCH,
    spending=Spending(attempts=(replace(ATTEMPT, error="no capacity", ended_at=9.5), ATTEMPT), disk_gb=100.0),
    limits=Limits(max_cost_usd=2.5, idle=IdlePolicy(min_percent=10, is_neutral=True)),
    directory="examples/x",
    outputs=("out/**", "!*.tmp"),
    began_at=12.5,
    estimated_usd=0.3,
    workflow={"repository": "a/b", "commit": "c" * 40},
)


def test_the_facts_come_back_as_they_were() -> None:
    assert detached_records.from_json(json.loads(json.dumps(detached_records.to_json(DETACHED)))) == DETACHED


def test_the_budget_of_a_month_stays_with_its_run() -> None:
    month = MonthBudget(limit_usd=100.0, month="2026-11", branch="history")
    data = json.loads(json.dumps(detached_records.to_json(replace(DETACHED, limits=Limits(month=month)))))
    assert detached_records.from_json(data).limits.month is None


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("place"),
        lambda data: data["place"].update(bucket=7),
        lambda data: data["launch"].update(hourly_usd="0"),
        lambda data: data["launch"].update(spot=1),
        lambda data: data["launch"].update(accelerators=[]),
        lambda data: data["spending"].update(attempts=[{}]),
        lambda data: data["spending"].update(attempts=[data["spending"]["attempts"][0]] * 2000),
        lambda data: data["limits"].update(max_runtime_minutes=True),
        lambda data: data["limits"]["idle"].update(min_percent="10"),
        lambda data: data["limits"].update(idle={}),
        lambda data: data.update(workflow=[]),
        lambda data: data.update(began_at=None),
    ],
    ids=range(12),
)
def test_another_text_is_refused(change: Any) -> None:
    data = json.loads(json.dumps(detached_records.to_json(DETACHED)))
    change(data)
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        detached_records.from_json(data)
