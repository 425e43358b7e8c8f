"""Which pull request an event is about, read from payloads as GitHub sends them."""

from __future__ import annotations

from typing import Any

import pytest

from cvl_ci.github.event import Event

PR = {"number": 7}
HERE, ELSEWHERE = {"id": 1}, {"id": 2}
INTO_OURS, INTO_ANOTHER = {"number": 7, "base": {"repo": HERE}}, {"number": 8, "base": {"repo": ELSEWHERE}}
QUEUE = "refs/heads/gh-readonly-queue/main/pr-104-929f8209d40f77f4abc622a499c93a83babdbe64"


@pytest.mark.parametrize(
    ("name", "payload", "number"),
    [
        ("pull_request", {"pull_request": PR}, 7),
        ("pull_request_target", {"pull_request": PR}, 7),
        ("pull_request_review", {"pull_request": PR}, 7),
        ("pull_request_review_comment", {"pull_request": PR}, 7),
        ("issue_comment", {"issue": {"number": 7, "pull_request": {"url": "x"}}}, 7),
        ("issue_comment", {"issue": {"number": 7}}, None),
        ("merge_group", {"merge_group": {"head_ref": QUEUE}}, 104),
        ("merge_group", {"merge_group": {"head_ref": "refs/heads/main"}}, None),
        ("workflow_run", {"workflow_run": {"pull_requests": [INTO_OURS]}, "repository": HERE}, 7),
        ("workflow_run", {"workflow_run": {"pull_requests": [INTO_ANOTHER]}, "repository": HERE}, None),
        ("workflow_run", {"workflow_run": {"pull_requests": [INTO_ANOTHER, INTO_OURS]}, "repository": HERE}, 7),
        ("workflow_run", {"workflow_run": {"pull_requests": [PR, "x", None]}}, None),
        ("workflow_run", {"workflow_run": {"pull_requests": []}}, None),
        ("check_run", {"check_run": {"pull_requests": [INTO_OURS]}, "repository": HERE}, 7),
        ("check_run", {"check_run": {}}, None),
        ("push", {}, None),
        ("schedule", {}, None),
        ("pull_request", {}, None),
        ("pull_request", {"pull_request": None}, None),
        ("pull_request", {"pull_request": {"number": "7"}}, None),
    ],
)
def test_the_number_of_the_pull_request(name: str, payload: dict[str, Any], number: int | None) -> None:
    assert Event(name=name, payload=payload).pull_request == number


def test_a_workflow_run_is_about_its_own_commit_and_not_the_branch_s() -> None:
    assert Event(name="workflow_run", payload={"workflow_run": {"head_sha": "abc"}}).sha == "abc"
    assert Event(name="push", payload={"after": "abc"}).sha == ""


@pytest.mark.parametrize(
    ("head", "stranger"),
    [({"full_name": "cvl/ci"}, False), ({"full_name": "mallory/ci"}, True), (None, True)],
)
def test_a_fork_is_told_by_its_repository_even_when_that_is_gone(head: dict[str, str] | None, stranger: bool) -> None:
    request = {"head": {"repo": head}, "base": {"repo": {"full_name": "cvl/ci"}}}
    assert Event(name="pull_request", payload={"pull_request": request}).from_fork is stranger


def test_what_is_no_pull_request_is_no_fork_s() -> None:
    assert not Event(name="push", payload={}).from_fork
