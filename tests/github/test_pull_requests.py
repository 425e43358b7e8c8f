"""Whether a pull request is closed, by GitHub's word alone: any other answer leaves it open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cvl_ci.github.pull_requests import PullRequestStates
from cvl_ci.ports.pull_requests import PullRequestState
from tests.github.api import URL, WITHOUT_PAUSES, Api

SHA = "f" * 40


@pytest.fixture
def api() -> Iterator[Api]:
    with Api().serving() as api:
        yield api


def state(said: list[str]) -> PullRequestState | None:
    states = PullRequestStates(
        api=URL, token="secret-token", repository="cvl/ci", say=said.append, backoff=WITHOUT_PAUSES
    )
    return states.state(5)


def test_an_open_one_has_its_newest_commit_and_a_closed_one_its_moment(api: Api) -> None:
    lines: list[str] = []
    api.store.requests[5] = {"sha": SHA, "state": "open", "closed_at": None}
    assert state(lines) == PullRequestState(head_sha=SHA, closed_at=None)
    api.store.requests[5] |= {"state": "closed", "closed_at": "2026-09-21T14:00:00Z"}
    assert state(lines) == PullRequestState(head_sha=SHA, closed_at=1_789_999_200.0)
    assert lines == []


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, ""), (503, "<html>"), (404, '{"message": "Not Found"}'), (403, '{"message": "no"}'), (200, "[]")],
)
def test_any_other_answer_is_not_closed_and_is_told(api: Api, status: int, body: str) -> None:
    lines: list[str] = []
    api.store.requests[5] = {"sha": SHA, "state": "closed", "closed_at": "2026-09-21T14:00:00Z"}
    api.faults["GET /repos/cvl/ci/pulls/5"] = [(status, {}, body)] * 9
    api.wrong = []
    assert state(lines) is None
    assert len(lines) == 1 and "It counts as open" in lines[0]
    assert ("pull-requests: read" in lines[0]) is (status in {403, 404})


def test_a_closed_one_without_a_moment_is_not_closed(api: Api) -> None:
    lines: list[str] = []
    api.store.requests[5] = {"sha": SHA, "state": "closed", "closed_at": None}
    assert state(lines) is None and "closed_at" in lines[0]


def test_a_short_failure_is_asked_again(api: Api) -> None:
    lines: list[str] = []
    api.store.requests[5] = {"sha": SHA, "state": "open", "closed_at": None}
    api.faults["GET /repos/cvl/ci/pulls/5"] = [(502, {}, ""), (500, {}, "")]
    assert state(lines) is not None and lines == []
