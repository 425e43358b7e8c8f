"""The replicas of a service: each way to ask for them, and the sections that SkyPilot or cvl-ci cannot obey."""

from __future__ import annotations

from typing import Any

import pytest

from cvl_ci.inputs.deploy_inputs import read_replicas
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.replicas import ReplicaPlan
from cvl_ci.model.service import Probe, ServicePlan
from cvl_ci.planning.replicas import read, section_of
from cvl_ci.planning.service import ServerFiles, find_service

SCALED = {"min_replicas": 1, "max_replicas": 4, "target_qps_per_replica": 2.5}


@pytest.mark.parametrize(
    ("section", "number", "least", "most"),
    [
        ({"replicas": 3}, None, 3, 3),
        ({"replicas": 3}, 2, 2, 2),
        (None, 2, 2, 2),
        ({"replica_policy": SCALED}, None, 1, 4),
        ({"replica_policy": {**SCALED, "min_replicas": 0}}, None, 0, 4),
        ({"replica_policy": {**SCALED, "num_overprovision": 2}}, None, 3, 6),
        ({"replica_policy": {"min_replicas": 2}}, None, 2, 2),
        ({"replica_policy": SCALED}, 5, 5, 5),
    ],
)
def test_replicas_are_counted_spare_ones_included(section: Any, number: int | None, least: int, most: int) -> None:
    several = read(section, requested=number)
    assert several is not None
    assert (several.least, several.most, several.most_in_update) == (least, most, 2 * most)


@pytest.mark.parametrize(
    ("section", "number"),
    [
        (None, None),
        ({"readiness_probe": "/"}, None),
        ({"replicas": 1}, None),
        ({"replica_policy": {"min_replicas": 1, "max_replicas": 1}}, None),
        ({"replicas": 5}, 1),
        ({"replica_policy": SCALED, "port": 80}, 1),
    ],
)
def test_one_replica_is_one_machine(section: Any, number: int | None) -> None:
    assert read(section, requested=number) is None


WRONG: list[tuple[Any, str]] = [
    ({"replicas": 2, "replica_policy": SCALED}, "both"),
    ({"replicas": 0}, "whole number"),
    ({"replicas": -1}, "whole number"),
    ({"replicas": True}, "whole number"),
    ({"replicas": "2"}, "whole number"),
    ({"replicas": 2.0}, "whole number"),
    ({"replicas": 10**9}, "whole number"),
    ({"replica_policy": 3}, "not a mapping"),
    ({"replica_policy": {"max_replicas": 3}}, "without min_replicas"),
    ({"replica_policy": {**SCALED, "max_replicas": 0}}, "less than"),
    ({"replica_policy": {"min_replicas": 1, "max_replicas": 4}}, "target_qps_per_replica"),
    ({"replica_policy": {"min_replicas": 1, "target_qps_per_replica": 2}}, "no limit"),
    ({"replica_policy": {**SCALED, "target_qps_per_replica": {"L4": 2}}}, "not a number"),
    ({"replica_policy": {**SCALED, "target_qps_per_replica": float("nan")}}, "not a number"),
    ({"replica_policy": {**SCALED, "target_qps_per_replica": 0}}, "not a number"),
    ({"replica_policy": {**SCALED, "upscale_delay_seconds": -1}}, "not a number"),
    ({"replica_policy": {**SCALED, "spot_placer": "dynamic_fallback"}}, "spot_placer"),
    ({"replica_policy": {**SCALED, "base_ondemand_fallback_replicas": 1}}, "base_ondemand"),
    ({"replica_policy": {"min_replicas": 0, "max_replicas": 0}}, "no replica at all"),
    ({"replicas": 2, "load_balancing_policy": "instance_aware_least_load"}, "least_load or round_robin"),
    ({"replicas": 2, "load_balancing_policy": ["round_robin"]}, "least_load or round_robin"),
    ({"replicas": 2, "tls": {"keyfile": "a", "certfile": "b"}}, "tls"),
    ({"replicas": 2, "pool": {"workers": 3}}, "pool"),
    ({"replicas": 2, 7: 1}, "'7'"),
    ({"tls": {"keyfile": "a", "certfile": "b"}}, "tls"),
    ({"replicas": 1, "pool": {}}, "pool"),
    ({"load_balancing_policy": "instance_aware_least_load"}, "least_load or round_robin"),
]


@pytest.mark.parametrize(("section", "words"), WRONG)
def test_a_section_that_cannot_be_obeyed_is_refused(section: Any, words: str) -> None:
    with pytest.raises(Wrong, match=words):
        read(section)


def test_a_misspelled_key_is_answered_with_the_right_one() -> None:
    with pytest.raises(Wrong) as wrong:
        read({"replica_policy": {"min_replica": 1}})
    assert wrong.value.near == ("min_replicas", "max_replicas")


def test_the_section_has_the_probe_the_port_and_the_user_s_own_policy() -> None:
    probe = Probe(path="/health", initial_delay_seconds=90.5, timeout_seconds=5)
    several = read({"replica_policy": SCALED, "load_balancing_policy": "round_robin"})
    assert section_of(ServicePlan(port=8000, probe=probe, replicas=several)) == {
        "readiness_probe": {"path": "/health", "initial_delay_seconds": 90.5, "timeout_seconds": 5},
        "replica_policy": SCALED,
        "load_balancing_policy": "round_robin",
        "ports": 8000,
    }
    assert section_of(ServicePlan(port=8000))["replicas"] == 1
    one = find_service(ServerFiles(script="", service={"port": 80, "load_balancing_policy": "round_robin"}))
    assert section_of(one)["load_balancing_policy"] == "round_robin"
    assert read({"port": 80, "replicas": 2}) is not None


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "two", "", "101", "9" * 5000, "２"])
def test_only_a_count_of_machines_is_read(text: str) -> None:
    with pytest.raises(Wrong, match="whole number"):
        read_replicas(text)


def test_counts_are_words() -> None:
    assert (read_replicas(" 2 "), str(ReplicaPlan(least=2, most=2)), str(ReplicaPlan(least=0, most=4))) == (
        2,
        "2",
        "0 to 4",
    )
