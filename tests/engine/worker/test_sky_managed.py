"""The worker's verbs about managed jobs, on answers of a server in a dict. tests/e2e has the real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cvl_ci.backoff import Pace

LEASE = "cvl-1a-0123abcd"


class Server:
    """The answers of a server. `ends`: of the launches of each cluster that it has on record."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from cvl_ci.engine.worker import (  # they load SkyPilot, for seconds
            controller_answers,
            server_records,
            sky_managed,
            sky_server,
        )

        self.verbs: Any = sky_managed
        self.jobs: Any = []
        self.requests: list[Any] = []
        self.ends: dict[str, list[float | None]] = {}
        self.cancelled: list[Any] = []
        self.on_cancel: Callable[[], None] = lambda: None
        self.events: list[str] = []
        jobs_sdk = SimpleNamespace(queue_v2=self._queue, cancel=self._cancel, launch=self._launch)
        sdk = SimpleNamespace(
            get=lambda answer: answer,
            api_status=lambda **_: self.requests,
            api_cancel=lambda ids, **_: self.cancelled.extend(ids),
            down=self.cancelled.append,
            status=lambda _names: self.events.append("status"),
            validate=lambda _dag: self.events.append("validate"),
            stream_and_get=lambda answer: answer,
        )
        for module in (sky_managed, sky_server, controller_answers):
            monkeypatch.setattr(module, "sdk", sdk)
        monkeypatch.setattr(sky_managed, "jobs_sdk", jobs_sdk)
        monkeypatch.setattr(sky_managed, "CANCEL", Pace(every_seconds=0.0, within_seconds=100.0))
        monkeypatch.setattr(server_records, "ends", lambda name, *, days: self.ends.get(name, []))

    def launch(self, fence: Path) -> dict[str, Any]:
        def send(kind: str, **_: Any) -> None:
            self.events.append(kind)

        task = {"run": "true", "resources": {"cpus": "2+"}}
        answer: dict[str, Any] = self.verbs.launch(send, task=task, cluster=LEASE, fence=str(fence), deadline=9.0)
        return answer

    def exists(self) -> list[tuple[str, str]]:
        return [(one["kind"], one["state"]) for one in self.verbs.exists(lambda *_: None, cluster=LEASE)]

    def down(self) -> bool:
        return bool(self.verbs.down(lambda *_: None, cluster=LEASE))

    def _queue(self, **_: Any) -> Any:
        if isinstance(self.jobs, Exception):
            raise self.jobs
        return self.jobs if isinstance(self.jobs, dict) else (self.jobs, len(self.jobs), {}, len(self.jobs))

    def _launch(self, _task: Any, *, name: str, job_group: None) -> Any:
        self.events.append(f"launch {name}")
        return [7], None

    def _cancel(self, *, job_ids: list[int]) -> None:
        self.cancelled += job_ids
        self.on_cancel()


def job(status: str, schedule: str | None = "ALIVE", *, number: int = 7, name: str = LEASE) -> Any:
    from sky.jobs.state import ManagedJobStatus

    labels = {"cvl-ci-lease": name, "team": "vision"}
    values = {"job_id": number, "job_name": name, "schedule_state": schedule, "labels": labels}
    return SimpleNamespace(**values, status=ManagedJobStatus(status))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


def test_a_job_is_checked_and_recorded_before_its_request_and_a_revoked_lease_sends_none(
    server: Server, tmp_path: Path
) -> None:
    launched = server.launch(tmp_path / "fence")
    assert (launched["job_id"], launched["cloud"], launched["deadline"]) == (7, "any", 9.0)
    assert server.events == ["status", "validate", "attempting", f"launch {LEASE}"]
    (tmp_path / "fence").touch()
    with pytest.raises(server.verbs.sky_server.provision_hooks.Fenced):
        server.launch(tmp_path / "fence")
    assert server.events[4:] == ["status", "validate"]


@pytest.mark.parametrize(
    ("status", "schedule", "is_left"),
    [
        ("RUNNING", "ALIVE", True),
        ("RECOVERING", "ALIVE_WAITING", True),
        ("SUCCEEDED", "ALIVE", True),
        ("SUCCEEDED", None, True),
        ("CANCELLING", "ALIVE", True),
        ("SUCCEEDED", "DONE", False),
        ("FAILED", "DONE", False),
        ("CANCELLED", "DONE", False),
        ("FAILED_CONTROLLER", "DONE", True),
    ],
)
def test_a_job_is_over_once_its_controller_has_cleaned_up(
    server: Server, status: str, schedule: str | None, is_left: bool
) -> None:
    server.jobs = [job(status, schedule), job("RUNNING", name="cvl-1a-0123abcde")]
    assert server.exists() == ([("managed job", status.lower())] if is_left else [])


def test_a_cluster_that_the_server_has_not_ended_is_left_and_one_that_it_ended_is_a_proof(server: Server) -> None:
    server.jobs, server.ends = [job("SUCCEEDED", "DONE")], {f"{LEASE}-7": [10.0, None]}
    assert server.exists() == [("managed job", "succeeded")]
    server.jobs, server.ends = [job("FAILED_CONTROLLER", "DONE")], {f"{LEASE}-7": [10.0, 20.0]}
    assert server.exists() == []


def test_the_recoveries_are_those_of_the_job_alone(server: Server) -> None:
    """SkyPilot's own record has them as `recovery_count`."""
    from sky.schemas.api import responses

    own, other = job("SUCCEEDED", "DONE"), job("RUNNING", name="cvl-1a-0123abcde")
    own.recovery_count, other.recovery_count = 2, 5
    server.jobs = [own, other]
    assert server.verbs.recoveries(lambda *_: None, cluster=LEASE) == [{"count": 2}]
    assert "recovery_count" in responses.ManagedJobRecord.model_fields and "recovery_count" in server.verbs.FIELDS


def test_an_answer_without_a_list_proves_nothing(server: Server) -> None:
    server.jobs = {}
    with pytest.raises(TypeError, match="not a list"):
        server.exists()


def test_a_server_that_never_had_a_controller_has_no_job_and_one_that_rests_is_no_answer(server: Server) -> None:
    from sky import exceptions
    from sky.utils.status_lib import ClusterStatus

    server.jobs = exceptions.ClusterNotUpError("No in-progress managed jobs.")
    assert server.exists() == []
    server.jobs = exceptions.ClusterNotUpError("stopped", cluster_status=ClusterStatus.STOPPED)
    with pytest.raises(exceptions.ClusterNotUpError):
        server.exists()
    assert server.verbs.exists(lambda *_: None, cluster=None) == [], "a controller rests without living jobs alone"


def test_a_request_for_the_job_under_way_is_left_and_cancelled_but_no_one_else_s(server: Server) -> None:
    def request(number: str, body: str) -> Any:
        return SimpleNamespace(name="sky.jobs.launch", status="PENDING", request_body=body, request_id=number)

    server.requests = [request("own", f'{{"name": "{LEASE}"}}'), request("other", '{"name": "train"}')]
    server.requests.append(request("hidden", "null"))
    assert server.exists() == [("launch", "pending"), ("launch", "pending")], "a hidden one may be ours"
    server.down()
    assert server.cancelled == ["own"]


def test_down_cancels_the_job_and_waits_for_its_end(server: Server) -> None:
    server.jobs = [job("RUNNING")]

    def end() -> None:
        server.jobs = [job("CANCELLED", "DONE")]

    server.on_cancel = end
    assert server.down()
    assert server.cancelled == [7]
    assert server.exists() == []


def test_down_ends_the_cluster_that_a_broken_controller_has_left(server: Server) -> None:
    server.jobs, server.ends = [job("FAILED_CONTROLLER", "DONE")], {f"{LEASE}-7": [None]}
    assert not server.down()
    assert server.cancelled == [f"{LEASE}-7"]


def test_the_labels_of_a_lease_alone_come_from_the_server(server: Server) -> None:
    server.jobs = [job("RUNNING")]
    [shown] = server.verbs.exists(lambda *_: None, cluster=None)
    assert (shown["name"], shown["labels"]) == (LEASE, {"cvl-ci-lease": LEASE})
