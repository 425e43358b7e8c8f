"""What GitHub says of a run is believed only when it says "completed": all else leaves the run living."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from cvl_ci.github.runs import WorkflowRuns
from tests.github.api import URL, WITHOUT_PAUSES, Api

RUN = "/repos/cvl/ci/actions/runs/12345678901/attempts/1"
ENDED = {"id": 12345678901, "run_attempt": 1, "status": "completed", "conclusion": "cancelled"}
ENDED_AT = 1_763_999_999.0
ENDED["updated_at"] = "2025-11-24T15:59:59Z"


class ProviderCheck(list[str]):
    """What is said when GitHub was asked for a run; the list holds the words."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = WorkflowRuns(
            api=URL, token="secret-token", repository="cvl/ci", say=self.append, backoff=WITHOUT_PAUSES
        )

    def ended_at(self, run: str = "12345678901", attempt: str = "1") -> float | None:
        return self.runs.ended_at(run, attempt)


def test_a_completed_attempt_ended_when_github_says() -> None:
    with Api(runs={RUN: ENDED}).serving():
        questions = ProviderCheck()
        assert questions.ended_at() == ENDED_AT
    assert questions == []


@pytest.mark.parametrize("status", ["queued", "in_progress", "waiting", "requested", "pending", "action_required", ""])
def test_every_other_status_is_a_living_run(status: str) -> None:
    with Api(runs={RUN: {**ENDED, "status": status, "conclusion": None}}).serving():
        questions = ProviderCheck()
        assert questions.ended_at() is None
    assert questions == []


def test_the_attempt_is_asked_for_and_not_the_run() -> None:
    second = RUN.replace("attempts/1", "attempts/2")
    with Api(runs={RUN: ENDED, second: {**ENDED, "status": "in_progress"}}).serving():
        request = ProviderCheck()
        assert request.ended_at(attempt="1") == ENDED_AT
        assert request.ended_at(attempt="2") is None


BROKEN: list[Any] = [
    (404, {}, '{"message": "Not Found"}'),
    (401, {}, '{"message": "Bad credentials"}'),
    (403, {}, '{"message": "Resource not accessible by integration"}'),
    (200, {"Content-Type": "application/json"}, "[]"),
    (200, {"Content-Type": "application/json"}, '{"status": "completed"}'),
    (200, {"Content-Type": "application/json"}, '{"status": "completed", "updated_at": "yesterday"}'),
    (200, {"Content-Type": "text/html"}, "<html>completed</html>"),
    requests.ConnectionError("reset by peer"),
    requests.Timeout("read timed out"),
]


@pytest.mark.parametrize("fault", BROKEN, ids=str)
def test_no_clear_answer_is_never_an_end_and_is_said_once(fault: Any) -> None:
    with Api(faults={f"GET {RUN}": [fault] * 9}).serving():
        questions = ProviderCheck()
        assert questions.ended_at() is None
        assert questions.ended_at() is None
    assert len(questions) <= 1, "one question a run"
    assert all("living" in text and "secret-token" not in text for text in questions)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_moment_s_failure_is_asked_again(status: int) -> None:
    with Api(runs={RUN: ENDED}, faults={f"GET {RUN}": [(status, {}, "busy")]}).serving():
        assert ProviderCheck().ended_at() == ENDED_AT


def test_a_token_that_may_not_ask_is_told_once_with_what_it_takes() -> None:
    refused: Any = (403, {}, '{"message": "Resource not accessible by integration"}')
    with Api(faults={r"GET /repos/cvl/ci/actions/runs/\d+/attempts/1": [refused] * 9}).serving() as api:
        questions = ProviderCheck()
        assert [questions.ended_at(run) for run in ("1", "2", "3")] == [None, None, None]
        assert len(api.asked) == 1
    assert len(questions) == 1
    assert "actions: read" in questions[0]


def test_a_run_with_many_machines_is_asked_for_once() -> None:
    with Api(runs={RUN: ENDED}).serving() as api:
        request = ProviderCheck()
        for _ in range(50):
            request.ended_at()
        assert api.asked == [f"GET {RUN}"]


@pytest.mark.parametrize(("run", "attempt"), [("../../user", "1"), ("1", "x"), ("", ""), ("1", "1/../2")])
def test_a_label_that_is_no_number_asks_nothing_strange(run: str, attempt: str) -> None:
    with Api().serving() as api:
        assert ProviderCheck().ended_at(run, attempt) is None
        assert api.asked == []
