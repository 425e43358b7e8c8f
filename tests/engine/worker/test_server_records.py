"""An API server's records: the machine that it requests under way, and the dates of the machines that it had."""

from __future__ import annotations

import threading
from typing import Any

import pytest

HOUR = 3600
LAUNCHED = [
    {"reason": "Provisioning on AWS in us-east-1", "transitioned_at": 1000},
    {"reason": "Provisioning on AWS in us-west-2", "transitioned_at": 1100},
    {"reason": "Instances launched on AWS in us-west-2", "transitioned_at": 1110},
    {"reason": "Setting up SkyPilot runtime on cluster", "transitioned_at": 1120},
]
MACHINE = {"cloud": "aws", "region": "us-west-2", "instance_type": "m6i.large", "spot": False, "hourly_usd": 0.1}
HISTORY = {
    "name": "cvl-1",
    "cluster_hash": "h",
    "num_nodes": 2,
    "usage_intervals": [(1000, 1000 + HOUR)],
    "resources": MACHINE,
}


def answered(
    monkeypatch: pytest.MonkeyPatch, history: list[dict[str, Any]], events: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    from cvl_ci.engine.worker import server_records  # loads SkyPilot, for seconds

    answers = {"/cost_report": history, "/cluster_events": events}
    monkeypatch.setattr(server_records, "_answer", lambda path, _body: answers[path])
    return server_records.recorded("cvl-1", dict)


def test_the_history_has_the_last_place_from_its_request_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    [machine] = answered(monkeypatch, [HISTORY, {**HISTORY, "name": "cvl-10"}], LAUNCHED)
    dates = {"start": 1105.0, "end": 1000.0 + HOUR, "slack": 5.0}
    assert machine == {**MACHINE, "nodes": 2, "came_up": True, **dates}, "between the events around the request"


def test_the_end_lies_between_the_last_look_of_its_removal_and_the_end_of_the_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end = 1000 + HOUR
    removal = [
        {"reason": "All nodes up; SkyPilot runtime healthy.", "transitioned_at": 1200},
        {"reason": "Cluster was terminated by user ci (request ID: 7).", "transitioned_at": end - 30},
    ]
    [machine] = answered(monkeypatch, [HISTORY], [*LAUNCHED, *removal])
    assert (machine["end"], machine["slack"]) == (end - 15.0, 20.0)
    look = {**removal[0], "transitioned_at": end - 8}
    [machine] = answered(monkeypatch, [HISTORY], [*LAUNCHED, *removal, look])
    assert (machine["end"], machine["slack"]) == (end - 4.0, 9.0)


def test_a_refused_place_came_up_nowhere_and_a_running_machine_has_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    [refused] = answered(monkeypatch, [HISTORY], LAUNCHED[:2])
    assert (refused["came_up"], refused["start"]) == (False, 1100.0)
    [again] = answered(monkeypatch, [HISTORY], [*LAUNCHED, {**LAUNCHED[0], "transitioned_at": 9000}])
    assert (again["came_up"], again["start"]) == (False, 9000.0)
    [running] = answered(monkeypatch, [{**HISTORY, "usage_intervals": [(1000, None)]}], LAUNCHED)
    assert (running["came_up"], running["end"]) == (True, None)


def test_without_a_catalogue_here_the_server_s_own_sum_gives_the_price(monkeypatch: pytest.MonkeyPatch) -> None:
    unpriced = {**HISTORY, "resources": {**MACHINE, "hourly_usd": None}}
    [machine] = answered(monkeypatch, [{**unpriced, "duration": 900, "total_cost": 0.05}], LAUNCHED)
    assert machine["hourly_usd"] == pytest.approx(0.1), "two machines for a quarter of an hour"
    for sums in ({}, {"duration": 0, "total_cost": 0.0}, {"duration": 900, "total_cost": 0.0}):
        [machine] = answered(monkeypatch, [{**unpriced, **sums}], LAUNCHED)
        assert machine["hourly_usd"] is None


@pytest.mark.parametrize("lacks", ["usage_intervals", "resources"])
def test_a_record_without_a_machine_or_dates_tells_nothing(monkeypatch: pytest.MonkeyPatch, lacks: str) -> None:
    assert answered(monkeypatch, [{**HISTORY, lacks: None}], LAUNCHED) == []
    assert answered(monkeypatch, [HISTORY], []) == []


def test_each_line_about_a_place_asks_once_and_an_error_does_not_end_the_asking(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked, count = threading.Semaphore(0), []

    def ask() -> None:
        count.append(1)
        asked.release()
        raise RuntimeError("the server is away")

    from cvl_ci.engine.worker.server_records import LaunchLines

    lines = LaunchLines(ask)
    for place in ("us-east-1 (us-east-1a)", "us-west-2 (us-west-2b)"):
        print("Considered resources (1 node):", file=lines, flush=True)
        print(f"\u2699\ufe0e Launching on AWS {place}.", file=lines, flush=True)
        assert asked.acquire(timeout=60)
    lines.close()
    assert len(count) == 2
    assert capsys.readouterr().out.count("Launching on AWS") == 2


def test_a_cluster_is_known_by_any_record_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from cvl_ci.engine.worker import server_records

    asked: list[Any] = []

    def answer(_path: str, body: Any) -> list[dict[str, Any]]:
        asked.append(body)
        return [HISTORY]

    monkeypatch.setattr(server_records, "_answer", answer)
    assert server_records.are_known(["cvl-2", "cvl-1"], days=31)
    assert not server_records.are_known(["cvl-2", "cvl-3"], days=31), "the server's answer may hold others"
    assert (asked[0].cluster_names, asked[0].days) == (["cvl-2", "cvl-1"], 31)
