"""The notice that the provider takes a machine away, in each provider's documented form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from cvl_ci.engine.machine.checkpoints import notice
from tests.test_bounded import MIB, of, serving

NOW = 1_505_722_800.0  # 2017-09-18T08:20:00Z
AWS = '{"action": "terminate", "time": "2017-09-18T08:22:00Z"}'
AZURE = {
    "DocumentIncarnation": 2,
    "Events": [
        {
            "EventId": "C7061BAC-AFDC-4513-B24B-AA5F13A16123",
            "EventStatus": "Scheduled",
            "EventType": "Preempt",
            "ResourceType": "VirtualMachine",
            "Resources": ["WestNO_0"],
            "NotBefore": "Mon, 18 Sep 2017 08:20:25 GMT",
        }
    ],
}


def asked(cloud: str, answer: str | None, *, token: str | None = "t") -> tuple[float | None, list[Mapping[str, str]]]:
    headers: list[Mapping[str, str]] = []

    def get(url: str, given: Mapping[str, str], method: str = "GET") -> str | None:
        headers.append(given)
        return token if method == "PUT" else answer

    return notice.seconds_left(cloud, now=NOW, get=get), headers


def test_each_provider_s_notice_is_understood() -> None:
    left, headers = asked("aws", AWS)
    assert (left, headers[1]) == (120.0, {"X-aws-ec2-metadata-token": "t"})
    assert asked("gcp", "TRUE\n") == (30.0, [{"Metadata-Flavor": "Google"}])
    assert asked("azure", json.dumps(AZURE)) == (25.0, [{"Metadata": "true"}])


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure", "lambda"])
@pytest.mark.parametrize(
    "answer", [None, "", "FALSE", "{", "[]", "null", '{"Events": 7}', '{"Events": [7]}', "[" * 10**5]
)
def test_no_notice_and_no_answer_end_nothing(cloud: str, answer: str | None) -> None:
    assert asked(cloud, answer)[0] is None


def test_an_event_of_another_kind_is_no_notice() -> None:
    other: dict[str, Any] = {**AZURE["Events"][0], "EventType": "Reboot"}  # type: ignore[index]
    assert asked("azure", json.dumps({"Events": [other]}))[0] is None
    assert asked("aws", '{"action": "rebalance"}')[0] is None
    assert asked("aws", AWS, token=None)[0] is None


@pytest.mark.parametrize(
    ("moment", "left"), [("2017-09-18T08:19:00Z", 0.0), ("2099-01-01T00:00:00Z", 120.0), ("x", 120.0)]
)
def test_a_wrong_clock_gives_at_most_the_provider_s_term(moment: str, left: float) -> None:
    assert asked("aws", json.dumps({"action": "stop", "time": moment}))[0] == left


def test_the_service_s_answer_is_bounded_and_no_redirect_is_followed() -> None:
    with serving(of(b"TRUE" * MIB)) as (address, _):
        assert len(notice.ask(address, {}) or "") == notice.MOST_BYTES
    with (
        serving(of(b"TRUE")) as (elsewhere, followed),
        serving(of(b"", status=302, Location=elsewhere)) as (address, _),
    ):
        assert notice.ask(address, {}) is None
    assert followed == []
    with serving(of(b"", status=404)) as (address, _):
        assert notice.ask(address, {}) is None
