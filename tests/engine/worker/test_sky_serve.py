"""The worker's verbs about services of replicas, on answers of a server in a dict. tests/e2e has the real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cvl_ci.backoff import Pace

LEASE = "cvl-1a-0123abcd"
LABELS = {"cvl-ci-lease": LEASE, "cvl-ci-deadline": "99", "team": "vision"}
TASK = f"resources:\n  labels: {LABELS}\nsecrets: {{HF_TOKEN: hf_0123}}\n"


class Server:
    """The answers of a server. `living`: the clusters that its records show alive. `ended`: the others in them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from cvl_ci.engine.worker import (  # they load SkyPilot, for seconds
            controller_answers,
            server_records,
            sky_serve,
            sky_server,
        )

        self.verbs: Any = sky_serve
        self.services: Any = []
        self.requests: list[Any] = []
        self.living: list[str] = []
        self.ended: list[str] = []
        self.questions = 0
        self.did: list[Any] = []
        self.on_down: Callable[[], None] = lambda: None
        serve_sdk = SimpleNamespace(status=self._status, down=self._down, up=lambda _, name: self.did.append(name))
        sdk = SimpleNamespace(
            get=lambda answer: answer,
            api_status=lambda **_: self.requests,
            api_cancel=lambda ids, **_: self.did.extend(ids),
            down=self._down_cluster,
            status=lambda _names: self.did.append("status"),
            validate=lambda _dag: self.did.append("validate"),
            stream_and_get=lambda answer: answer,
        )
        for module in (sky_serve, sky_server, controller_answers):
            monkeypatch.setattr(module, "sdk", sdk)
        monkeypatch.setattr(sky_serve, "serve_sdk", serve_sdk)
        for pace in ("DOWN", "REGISTER"):
            monkeypatch.setattr(sky_serve, pace, Pace(every_seconds=0.0, within_seconds=0.2))
        monkeypatch.setattr(self.verbs.server_common, "get_server_url", lambda: "https://sky.example.com:46580")
        monkeypatch.setattr(server_records, "living", self._living)
        monkeypatch.setattr(server_records, "are_known", self._are_known)
        monkeypatch.setattr(server_records, "recorded_of", lambda names, *_, **__: [{"name": name} for name in names])

    def exists(self, cluster: str | None = LEASE) -> list[tuple[str, str]]:
        return [(one["kind"], one["state"]) for one in self.verbs.exists(lambda *_: None, cluster=cluster)]

    def down(self) -> bool:
        return bool(self.verbs.down(lambda *_: None, cluster=LEASE))

    def _status(self, _names: list[str] | None) -> Any:
        if isinstance(self.services, Exception):
            raise self.services
        return self.services

    def _down(self, names: list[str], *, purge: bool = False) -> None:
        self.did.append(("forget" if purge else "end", *names))
        self.services = [] if purge else self.services
        self.on_down()

    def _down_cluster(self, name: str) -> None:
        self.did.append(name)
        self.living.remove(name)

    def _living(self, names: list[str], *, days: int) -> list[str]:
        return [name for name in names if name in self.living]

    def _are_known(self, names: list[str], *, days: int) -> bool:
        self.questions += 1
        return any(name in (*self.living, *self.ended) for name in names)


def service(status: str = "READY", *, name: str = LEASE, endpoint: str = "http://localhost:30001") -> dict[str, Any]:
    from sky.serve.serve_state import ReplicaStatus, ServiceStatus

    replica = {"replica_id": 1, "status": ReplicaStatus.READY, "version": 2}
    facts = {"name": name, "status": ServiceStatus(status), "version": 2, "endpoint": endpoint, "yaml_content": TASK}
    return {**facts, "replica_info": [replica, {**replica, "replica_id": 2, "status": ReplicaStatus.STARTING}]}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


def test_a_service_is_checked_and_recorded_before_its_request(server: Server, tmp_path: Path) -> None:
    def send(kind: str, **_: Any) -> None:
        server.did.append(kind)

    words = {"cluster": LEASE, "fence": str(tmp_path / "fence"), "deadline": 9.0}
    service = {"readiness_probe": "/", "replicas": 1}
    task = {"run": "true", "resources": {"cpus": "2+", "ports": 8080}, "service": service}
    assert server.verbs.launch(send, task=task, **words)["deadline"] == 9.0
    assert server.did == ["status", "validate", "attempting", LEASE]
    server.did.clear()
    with pytest.raises(Exception, match=r"[Ss]ervice"):
        server.verbs.launch(send, task={"run": "true"}, **words)
    assert server.did == ["status"]


@pytest.mark.parametrize("status", ["CONTROLLER_INIT", "READY", "FAILED", "SHUTTING_DOWN", "FAILED_CLEANUP"])
def test_a_service_in_any_state_is_left_and_another_one_is_not(server: Server, status: str) -> None:
    server.services = [service(status), service(name="cvl-1a-0123abcde")]
    assert server.exists() == [("service", status.lower())]


def test_a_machine_that_the_server_has_not_ended_is_left_after_its_service(server: Server) -> None:
    server.living = [f"{LEASE}-2"]
    assert server.exists() == [("cluster", "alive")]
    server.living = []
    assert server.exists() == []


def test_an_answer_without_a_list_proves_nothing(server: Server) -> None:
    server.services = {}
    with pytest.raises(TypeError, match="not a list"):
        server.exists()


def test_a_server_that_never_had_a_controller_has_no_service_and_one_that_rests_is_no_answer(server: Server) -> None:
    from sky import exceptions
    from sky.utils.status_lib import ClusterStatus

    server.services = exceptions.ClusterNotUpError("No live services.")
    assert server.exists() == []
    server.services = exceptions.ClusterNotUpError("stopped", cluster_status=ClusterStatus.STOPPED)
    with pytest.raises(exceptions.ClusterNotUpError):
        server.exists()
    assert server.exists(None) == [], "a controller rests without services alone"


def test_a_request_for_the_service_under_way_is_left_and_cancelled_but_no_one_else_s(server: Server) -> None:
    def request(number: str, body: str, name: str = "sky.serve.up") -> Any:
        return SimpleNamespace(name=name, status="PENDING", request_body=body, request_id=number)

    own = f'{{"service_name": "{LEASE}"}}'
    server.requests = [request("own", own), request("other", '{"service_name": "shop"}'), request("hidden", "null")]
    server.requests += [request("next", own, "sky.serve.update"), request("look", own, "sky.serve.status")]
    assert server.exists() == [("launch", "pending")] * 3, "a hidden one may be ours"
    server.down()
    assert server.did == ["own", "next"]


def test_the_service_of_a_cancelled_request_is_ended_too_when_its_controller_registers_it(server: Server) -> None:
    body = f'{{"service_name": "{LEASE}"}}'
    own = SimpleNamespace(name="sky.serve.up", status="RUNNING", request_body=body, request_id="own")
    server.requests, ticks = [own], [0]
    status = server._status

    def later(names: list[str] | None) -> Any:
        ticks[0] += 1
        server.services = [service("CONTROLLER_INIT")] if ticks[0] >= 3 and ("end", LEASE) not in server.did else []
        return status(names)

    server.verbs.serve_sdk.status = later
    assert server.down()
    assert server.did == ["own", ("end", LEASE)]


def test_down_ends_the_service_and_never_its_replicas_before_it(server: Server) -> None:
    server.services, server.living = [service()], [f"{LEASE}-1"]
    assert server.down()
    assert server.did == [("end", LEASE)], "a controller that lives would replace the replica"
    server.did = []

    def end() -> None:
        server.services, server.living = [], []

    server.on_down = end
    assert server.down()
    assert (server.did, server.exists()) == ([("end", LEASE)], [])


def test_what_a_broken_controller_has_left_is_ended_and_then_forgotten(server: Server) -> None:
    server.services, server.living = [service("FAILED_CLEANUP")], [f"{LEASE}-1", f"{LEASE}-3"]
    assert server.down()
    assert server.did == [f"{LEASE}-1", f"{LEASE}-3", ("forget", LEASE)]
    assert server.exists() == []


def test_the_labels_of_a_lease_alone_come_from_the_task(server: Server) -> None:
    server.services = [service()]
    [shown] = server.verbs.exists(lambda *_: None, cluster=None)
    assert (shown["name"], shown["labels"]) == (LEASE, {"cvl-ci-lease": LEASE, "cvl-ci-deadline": "99"})
    assert "hf_0123" not in str(shown)


def test_a_service_is_shown_with_its_replicas_at_the_address_of_its_balancer(server: Server) -> None:
    server.services = [service()]
    shown = server.verbs.look(lambda *_: None, cluster=LEASE)
    assert (shown["state"], shown["version"], shown["endpoint"]) == ("READY", 2, "sky.example.com:30001")
    assert [(one["id"], one["state"]) for one in shown["replicas"]] == [(1, "READY"), (2, "STARTING")]
    server.services = [service(endpoint="http://203.0.113.7:30004")]
    assert server.verbs.look(lambda *_: None, cluster=LEASE)["endpoint"] == "203.0.113.7:30004"


def test_a_replica_of_a_high_number_is_ended_before_its_service_is_forgotten(server: Server) -> None:
    """After its deadline, a service has replacement after replacement. Its controller is gone here."""
    lost = service("CONTROLLER_FAILED")
    lost["replica_info"][0]["replica_id"] = 150
    server.services, server.living = [lost], [f"{LEASE}-2", f"{LEASE}-150"]
    assert server.down()
    assert server.did == [f"{LEASE}-2", f"{LEASE}-150", ("forget", LEASE)]
    assert server.living == []


def replicas(first: int, last: int) -> list[str]:
    return [f"{LEASE}-{number}" for number in range(first, last + 1)]


def test_the_records_are_read_to_the_last_replica(server: Server) -> None:
    """Each replica after the deadline ends within minutes, so a service of days has hundreds of them."""
    server.ended = replicas(1, 250)
    names = [one["name"] for one in server.verbs.recorded(lambda *_: None, cluster=LEASE)]
    assert set(server.ended) <= set(names) and len(names) == 300 == len(set(names))
    server.ended, server.questions = replicas(1, 3), 0
    server.verbs.recorded(lambda *_: None, cluster=LEASE)
    assert server.questions == 1, "an ordinary service costs one more question"


def test_a_living_replica_of_a_high_number_is_left_after_its_service(server: Server) -> None:
    server.ended, server.living = replicas(1, 250), [f"{LEASE}-251"]
    assert server.exists() == [("cluster", "alive")]


@pytest.mark.parametrize("number", [10**12, 10_001])
def test_a_server_that_shows_replicas_without_an_end_proves_nothing(server: Server, number: int) -> None:
    server.verbs.server_records.are_known = lambda *_, **__: True
    with pytest.raises(RuntimeError, match="more than 10000 replicas"):
        server.exists()
    server.verbs.server_records.are_known = lambda *_, **__: False
    endless = service("FAILED_CLEANUP")
    endless["replica_info"][0]["replica_id"] = number
    server.services = [endless]
    with pytest.raises(RuntimeError, match="more than 10000 replicas"):
        server.down()
    assert ("forget", LEASE) not in server.did
