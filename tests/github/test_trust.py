"""A stranger's code spends nothing by accident, and runs with our secrets only as the very commit that was reviewed."""

from __future__ import annotations

from typing import Any

import pytest

from cvl_ci.errors import UntrustedCode
from cvl_ci.github.event import Event
from cvl_ci.github.trust import FORK, Road, road

SHA = "a" * 40
OURS, THEIRS = {"full_name": "cvl/ci"}, {"full_name": "mallory/ci"}


def request(name: str, *, repository: dict[str, str] | None = THEIRS, actor: str = "") -> Event:
    pull = {"number": 5, "head": {"repo": repository, "sha": SHA}, "base": {"repo": OURS}}
    run = {"head_sha": SHA, "head_repository": repository}
    return Event(name=name, payload={"pull_request": pull, "workflow_run": run, "repository": OURS}, actor=actor)


def go(event: Event, **changed: Any) -> Road:
    asked = {"fork": "plan", "allowed_sha": "", "has_credentials": False, "on_sandbox": False, **changed}
    return road(event, **asked)[0]


@pytest.mark.parametrize("name", ["pull_request_target", "workflow_run"])
@pytest.mark.parametrize("fork", FORK)
@pytest.mark.parametrize("sha", ["", "b" * 40, SHA[:7]])
@pytest.mark.parametrize("on_sandbox", [True, False])
def test_with_our_secrets_a_fork_is_refused_whatever_else_is_said(
    name: str, fork: str, sha: str, on_sandbox: bool
) -> None:
    with pytest.raises(UntrustedCode):
        go(request(name), fork=fork, allowed_sha=sha, on_sandbox=on_sandbox, has_credentials=True)


@pytest.mark.parametrize("name", ["pull_request_target", "workflow_run"])
def test_the_reviewed_commit_runs_and_our_own_needs_no_review(name: str) -> None:
    assert go(request(name), allowed_sha=SHA) is Road.RUN
    assert go(request(name, repository=OURS)) is Road.RUN
    with pytest.raises(UntrustedCode):
        go(request(name, repository=None))


def test_a_fork_goes_the_way_the_input_says_even_where_credentials_lie_about() -> None:
    for there in (True, False):
        ways = {fork: go(request("pull_request"), fork=fork, has_credentials=there) for fork in FORK if fork != "fail"}
        assert ways == {"plan": Road.PLAN, "sandbox": Road.SANDBOX, "run": Road.RUN}
        with pytest.raises(UntrustedCode):
            go(request("pull_request"), fork="fail", has_credentials=there)


def test_dependabot_runs_with_credentials_of_its_own_and_else_plans() -> None:
    event = request("pull_request", repository=OURS, actor="dependabot[bot]")
    assert go(event) is Road.PLAN
    assert go(event, has_credentials=True) is Road.RUN


def test_our_own_code_and_the_sandbox_are_asked_nothing() -> None:
    assert go(request("pull_request", repository=OURS)) is Road.RUN
    assert go(request("pull_request"), on_sandbox=True) is Road.RUN
    assert go(Event(name="push", payload={})) is Road.RUN
