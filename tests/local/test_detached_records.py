"""The facts of a detached run come back from their record, and from no other text."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from cvl_ci.local.lease_records import UNREADABLE, as_text, from_text
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.detached import Detached
from cvl_ci.model.launch import Attempt, Launch, Spending
from cvl_ci.model.limits import IdlePolicy, Limits
from cvl_ci.model.location import Location
from cvl_ci.model.month import MonthBudget
from cvl_ci.model.work_identity import WorkIdentity
from cvl_ci.ports import LeaseRecord

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


RECORD = LeaseRecord(
    name="cvl-1-0a1b2c3d",
    labels={"cvl-ci-lease": "cvl-1-0a1b2c3d"},
    deadline=20.0,
    locations=(Location(cloud="aws", region="us-east-1"),),
    taken_at=8.5,
    detached=DETACHED,
)


def data_of(record: LeaseRecord = RECORD) -> Any:
    return json.loads(as_text(record))


def read(data: Any) -> LeaseRecord:
    return from_text(RECORD.name, json.dumps(data))


def test_the_facts_come_back_as_they_were() -> None:
    assert from_text(RECORD.name, as_text(RECORD)) == RECORD


def test_half_a_gpu_stays_half_a_gpu() -> None:
    half = replace(RECORD, detached=replace(DETACHED, launch=replace(LAUNCH, accelerators={"L4": 0.5, "T4": 1})))
    assert read(data_of(half)) == half
    assert data_of(read(data_of(half)))["detached"]["launch"]["accelerators"] == {"L4": 0.5, "T4": 1}


def test_the_budget_of_a_month_stays_with_its_run() -> None:
    month = MonthBudget(limit_usd=100.0, month="2026-11", branch="history")
    saved = read(data_of(replace(RECORD, detached=replace(DETACHED, limits=Limits(month=month)))))
    assert saved.detached is not None
    assert saved.detached.limits == Limits()


def test_a_field_that_an_earlier_version_did_not_write_has_its_default() -> None:
    """Its machine still runs. `copied_bytes` of an attempt is such a field, and so is the next one."""
    data = data_of()
    for attempt in data["detached"]["spending"]["attempts"]:
        del attempt["copied_bytes"]
    for name in ("buckets", "knows_buckets", "checkpoints", "is_cancelled"):
        del data[name]
    del data["detached"]["limits"]["idle"]["is_neutral"]
    idle = IdlePolicy(min_percent=10)
    expected = replace(RECORD, detached=replace(DETACHED, limits=replace(DETACHED.limits, idle=idle)))
    assert read(data) == expected


def test_a_field_of_a_later_version_is_left_out() -> None:
    data = data_of()
    for place in (data, data["detached"], data["detached"]["launch"], data["locations"][0]):
        place["later"] = {"at": 1.8e18, "of": [None]}
    assert read(data) == RECORD


def test_many_bytes_of_checkpoints_are_no_reason_to_lose_a_record() -> None:
    attempts = tuple(replace(one, copied_bytes=1 << 40) for one in DETACHED.spending.attempts)
    large = replace(RECORD, detached=replace(DETACHED, spending=replace(DETACHED.spending, attempts=attempts)))
    assert read(data_of(large)) == large


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["detached"].pop("place"),
        lambda data: data["detached"]["place"].update(bucket=7),
        lambda data: data["detached"]["launch"].update(hourly_usd="0"),
        lambda data: data["detached"]["launch"].update(hourly_usd=-1),
        lambda data: data["detached"]["launch"].update(hourly_usd=float("nan")),
        lambda data: data["detached"]["launch"].update(created_at=1e11),
        lambda data: data["detached"]["launch"].update(spot=1),
        lambda data: data["detached"]["launch"].update(accelerators=[]),
        lambda data: data["detached"]["launch"].update(accelerators={"L4": float("inf")}),
        lambda data: data["detached"]["spending"].update(attempts=[{}]),
        lambda data: data["detached"]["spending"].update(attempts=data["detached"]["spending"]["attempts"] * 1000),
        lambda data: data["detached"]["limits"].update(max_runtime_minutes=True),
        lambda data: data["detached"]["limits"].update(max_runtime_minutes=10**400),
        lambda data: data["detached"]["limits"]["idle"].update(min_percent="10"),
        lambda data: data["detached"]["limits"].update(idle={}),
        lambda data: data["detached"].update(workflow=[]),
        lambda data: data["detached"].update(began_at=None),
        lambda data: data["detached"].update(title=7),
        lambda data: data["locations"][0].update(cloud=["aws"]),
        lambda data: data["locations"][0].update(region=5),
        lambda data: data.update(labels={"cvl-ci-lease": {}}),
        lambda data: data.update(is_cancelled="no"),
    ],
    ids=range(22),
)
def test_another_text_is_refused(change: Any) -> None:
    data = data_of()
    change(data)
    with pytest.raises(UNREADABLE):
        read(data)
