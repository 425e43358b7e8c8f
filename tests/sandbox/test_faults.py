"""Faults travel as JSON, and what cannot be understood is named."""

from __future__ import annotations

import json

import pytest

from cvl_ci.sandbox import BucketFault, Faults, Throttle
from cvl_ci.sandbox.faults import touches


def test_faults_come_back_from_json_as_they_went() -> None:
    faults = Faults(
        no_capacity=("us-east-1a", "us-west-2"),
        no_spot_capacity=("us-east-1",),
        throttle=(Throttle(action="RunInstances", probability=0.25, region="us-east-1"), Throttle(action="*")),
        api_down="503",
        slow_boot_seconds=7.5,
        never_ssh=("us-east-1",),
        broken_gpus=("us-west-2a",),
        lost_answers=("RunInstances",),
        terminate_fails=("us-west-2",),
        expired_keys=("AKIA0",),
        buckets=(BucketFault(kind="cut", bucket="models", method="GET", times=3), BucketFault(kind="denied")),
    )
    assert Faults.from_json(json.loads(json.dumps(faults.to_json()))) == faults


def test_no_faults_are_false_and_any_fault_is_true() -> None:
    assert not Faults()
    assert Faults(slow_boot_seconds=1)


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"no_capicity": []}, "no such fault: no_capicity"),
        ({"no_capacity": "us-east-1"}, "'us-east-1' is not a list"),
        ({"api_down": "maybe"}, "'maybe' is neither"),
        ({"slow_boot_seconds": -1}, "not a number of at least 0"),
        ({"slow_boot_seconds": float("nan")}, "not a number of at least 0"),
        ({"throttle": [{"probability": 1}]}, "is not like"),
        ({"buckets": [{"kind": "gone"}]}, "is not like"),
        ({"buckets": [{"kind": "cut", "times": -1}]}, "not a number of at least 0"),
        ({"throttle": [{"action": "*", "probability": 2}]}, "more than 1"),
        ({"buckett": [], "x": 1}, r"no such fault: buckett \(did you mean buckets\?\), x \(known: no_capacity, "),
        (
            {"throttle": [{"action": "*", "probabilty": 0.5, "regions": "us-east-1"}]},
            r"throttle: no such key: probabilty \(did you mean probability\?\), regions \(did you mean region\?\)",
        ),
        (
            {"buckets": [{"kind": "cut", "time": 3}]},
            r"buckets: no such key: time \(did you mean times\?\) \(known: kind, bucket, key, method, times",
        ),
        ({"buckets": [{"kind": "cut", "object": "x"}]}, r"buckets: no such key: object \(known: "),
    ],
)
def test_what_is_no_fault_is_named(document: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Faults.from_json(document)


def test_a_region_means_all_its_zones_and_a_zone_itself_alone() -> None:
    assert touches(("us-east-1",), region="us-east-1", zone="us-east-1b")
    assert touches(("us-east-1b",), region="us-east-1", zone="us-east-1b")
    assert not touches(("us-east-1a",), region="us-east-1", zone="us-east-1b")
    assert not touches(("us-east-1",), region="us-east-10", zone="us-east-10a")
