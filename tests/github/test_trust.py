"""A stranger's code spends nothing by accident, and runs with our secrets only as the very commit that was reviewed."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

from cvl_ci.errors import UntrustedCode
from cvl_ci.github.event import Event
from cvl_ci.github.trust import EVENTS, FORK, Code, Policy, decide, require_committed
from tests.github.test_webhooks import EXAMPLES

SHA = "a" * 40
OURS, THEIRS = {"full_name": "cvl/ci"}, {"full_name": "mallory/ci"}


BASE, OTHER = "c" * 40, "b" * 40


def request(name: str, *, repository: dict[str, str] | None = THEIRS, actor: str = "") -> Event:
    pull = {"number": 5, "head": {"repo": repository, "sha": SHA}, "base": {"repo": OURS}}
    run = {"head_sha": SHA, "head_repository": repository}
    return Event(name=name, payload={"pull_request": pull, "workflow_run": run, "repository": OURS}, actor=actor)


def go(event: Event, **changed: Any) -> Policy:
    """`head`: of the checkout."""
    values: dict[str, Any] = {"fork": "plan", "allowed_sha": "", "github_sha": BASE, "on_sandbox": False, **changed}
    head, there = values.pop("head", SHA), values.pop("has_credentials", False)
    files: list[str] = values.pop("changed", [])
    return decide(event, head=lambda: head, changed=lambda: files, has_credentials=lambda: there, **values)[0]


@pytest.mark.parametrize("name", ["pull_request_target", "workflow_run"])
@pytest.mark.parametrize("fork", FORK)
@pytest.mark.parametrize("sha", ["", OTHER, SHA[:7]])
@pytest.mark.parametrize("on_sandbox", [True, False])
def test_with_our_secrets_a_fork_is_refused_whatever_else_is_said(
    name: str, fork: str, sha: str, on_sandbox: bool
) -> None:
    with pytest.raises(UntrustedCode):
        go(request(name), fork=fork, allowed_sha=sha, on_sandbox=on_sandbox, has_credentials=True)


@pytest.mark.parametrize("name", ["pull_request_target", "workflow_run"])
def test_the_reviewed_commit_runs_and_our_own_needs_no_review(name: str) -> None:
    assert go(request(name), allowed_sha=SHA) is Policy.RUN
    assert go(request(name, repository=OURS)) is Policy.RUN
    with pytest.raises(UntrustedCode):
        go(request(name, repository=None))


@pytest.mark.parametrize("name", ["pull_request_target", "workflow_run"])
@pytest.mark.parametrize("head", [OTHER, BASE, "", SHA[:7]])
def test_the_reviewed_commit_has_to_be_what_is_checked_out(name: str, head: str) -> None:
    with pytest.raises(UntrustedCode) as refused:
        go(request(name), allowed_sha=SHA, head=head)
    assert f"{head or 'no commit that git knows'} is checked out" in str(refused.value)


def test_what_is_checked_out_is_not_asked_where_it_does_not_matter() -> None:
    def asked() -> str:
        raise AssertionError("git was asked")

    for event in (Event(name="push", payload={}), request("pull_request"), request("pull_request", repository=OURS)):
        decide(
            event,
            fork="plan",
            allowed_sha="",
            github_sha=BASE,
            head=asked,
            changed=asked,
            has_credentials=lambda: bool(asked()),
            on_sandbox=False,
        )


def a_comment(association: str, *, on_a_request: bool = True) -> Event:
    issue = {"number": 5, **({"pull_request": {"url": "x"}} if on_a_request else {})}
    payload = {"issue": issue, "comment": {"author_association": association}, "repository": OURS}
    return Event(name="issue_comment", payload=payload)


MEMBERS = ["OWNER", "MEMBER", "COLLABORATOR"]
STRANGERS = ["CONTRIBUTOR", "FIRST_TIMER", "FIRST_TIME_CONTRIBUTOR", "MANNEQUIN", "NONE", "", "owner"]


@pytest.mark.parametrize("association", STRANGERS)
@pytest.mark.parametrize("on_a_request", [True, False])
@pytest.mark.parametrize("changed", [{"head": BASE}, {"head": SHA, "allowed_sha": SHA}, {"fork": "run"}])
def test_a_stranger_s_comment_starts_nothing(association: str, on_a_request: bool, changed: dict[str, str]) -> None:
    with pytest.raises(UntrustedCode):
        go(a_comment(association, on_a_request=on_a_request), **changed)


@pytest.mark.parametrize("association", [*MEMBERS, *STRANGERS])
@pytest.mark.parametrize(
    ("name", "text"),
    [("pull_request_review", "review"), ("pull_request_review_comment", "comment"), ("discussion_comment", "comment")],
)
def test_reviews_and_other_comments_of_strangers_start_nothing_either(name: str, text: str, association: str) -> None:
    ours = request(name, repository=OURS)
    event = Event(name=name, payload={**ours.payload, text: {"author_association": association}})
    if association in MEMBERS:
        assert go(event, head=BASE) is Policy.RUN
    else:
        with pytest.raises(UntrustedCode):
            go(event, head=BASE, fork="run", has_credentials=True)


def test_a_review_of_a_fork_s_request_gets_a_plan_as_the_request_does() -> None:
    for name in ("pull_request_review", "pull_request_review_comment"):
        assert go(request(name)) is Policy.PLAN


@pytest.mark.parametrize("association", MEMBERS)
def test_a_member_s_comment_runs_our_own_code_or_a_reviewed_commit(association: str) -> None:
    event = a_comment(association)
    assert go(event, head=BASE) is Policy.RUN
    assert go(event, head=SHA, allowed_sha=f" {SHA.upper()} ") is Policy.RUN


@pytest.mark.parametrize("changed", [{}, {"allowed_sha": OTHER}, {"allowed_sha": SHA[:7]}, {"head": ""}])
@pytest.mark.parametrize("extra", [{"fork": "run"}, {"fork": "sandbox"}, {"on_sandbox": True}, {"github_sha": ""}])
def test_a_member_s_comment_runs_no_code_that_nobody_reviewed(
    changed: dict[str, str], extra: dict[str, str | bool]
) -> None:
    with pytest.raises(UntrustedCode):
        go(a_comment("OWNER"), **changed, **extra)


def test_a_fork_goes_the_way_the_input_says_even_where_credentials_lie_about() -> None:
    for there in (True, False):
        ways = {fork: go(request("pull_request"), fork=fork, has_credentials=there) for fork in FORK if fork != "fail"}
        assert ways == {"plan": Policy.PLAN, "sandbox": Policy.SANDBOX, "run": Policy.RUN}
        with pytest.raises(UntrustedCode):
            go(request("pull_request"), fork="fail", has_credentials=there)


def test_dependabot_runs_with_credentials_of_its_own_and_else_plans() -> None:
    event = request("pull_request", repository=OURS, actor="dependabot[bot]")
    assert go(event) is Policy.PLAN
    assert go(event, has_credentials=True) is Policy.RUN


def test_our_own_code_and_the_sandbox_are_asked_nothing() -> None:
    assert go(request("pull_request", repository=OURS)) is Policy.RUN
    assert go(request("pull_request"), on_sandbox=True) is Policy.RUN
    assert go(Event(name="push", payload={})) is Policy.RUN


def test_a_fork_on_the_sandbox_is_told_why() -> None:
    event = request("pull_request")
    way, why = decide(
        event,
        fork="sandbox",
        allowed_sha="",
        github_sha=BASE,
        head=lambda: SHA,
        changed=list,
        has_credentials=lambda: False,
        on_sandbox=False,
    )
    assert way is Policy.SANDBOX
    assert "from a fork" in why
    assert "sandbox" in why


# ---- every event that there is ---------------------------------------------------------------------------------------


def workflow_events() -> set[str]:
    """All that a workflow may name, by the schema of its file."""
    text = resources.files("check_jsonschema").joinpath("builtin_schemas/vendor/github-workflows.json").read_text()
    schema = json.loads(text)
    listing = schema["properties"]["on"]["oneOf"][2]["properties"]
    return {*schema["definitions"]["event"]["enum"], *listing}


def test_each_event_that_can_start_a_workflow_is_decided_and_only_four_run_whatever_is_checked_out() -> None:
    assert workflow_events() - EVENTS.keys() == set()
    free = {name for name, code in EVENTS.items() if code is Code.OURS}
    assert free == {"push", "schedule", "workflow_dispatch", "merge_group"}
    assert len(workflow_events()) > 30


def unknown(name: str) -> Event:
    """Of our own repository, by a member: nothing but the event's name speaks against it."""
    ours = request(name, repository=OURS).payload
    values = {"author_association": "OWNER"}
    return Event(name=name, payload={**ours, "comment": values, "review": values})


def refuses(event: Event, **changed: Any) -> bool:
    try:
        go(event, **changed)
    except UntrustedCode:
        return True
    return False


@pytest.mark.parametrize("name", [*sorted(EVENTS), "invented_tomorrow", "", "Push", "pull_request_invented"])
def test_a_commit_that_nobody_knows_runs_only_by_the_four_and_by_a_pull_request_of_ours(name: str) -> None:
    free = EVENTS.get(name) in {Code.OURS, Code.PROPOSED}
    for extra in ({}, {"fork": "run"}, {"on_sandbox": True}, {"has_credentials": True}, {"allowed_sha": SHA}):
        assert refuses(unknown(name), head=OTHER, **extra) is not free
    assert not refuses(unknown(name), head=OTHER, allowed_sha=OTHER)
    of_theirs = EVENTS.get(name, Code.ANY) is Code.ANY
    assert refuses(unknown(name), head=BASE) is of_theirs, "GITHUB_SHA may be anybody's there"
    assert refuses(unknown(name), head="") is not free


@pytest.mark.parametrize("name", [*sorted(EVENTS), "invented_tomorrow"])
def test_a_patch_over_a_known_commit_runs_only_where_any_commit_does(name: str) -> None:
    free = EVENTS.get(name) in {Code.OURS, Code.PROPOSED}
    for extra in ({}, {"fork": "run"}, {"on_sandbox": True}, {"has_credentials": True}):
        known: dict[str, Any] = {"head": SHA, "allowed_sha": SHA, **extra}
        assert not refuses(unknown(name), **known)
        assert refuses(unknown(name), changed=["train.py"], **known) is not free
    if EVENTS.get(name) is Code.NAMED:
        assert refuses(request(name), head=SHA, allowed_sha=SHA, changed=["train.py"])
    sent = ["a\n::error::b", *"cdefgh"]
    if free:
        require_committed(unknown(name), lambda: sent)
        return
    with pytest.raises(UntrustedCode) as refused:
        require_committed(unknown(name), lambda: sent)
    assert "a\\n::error::b, c, d, e, f and 2 more" in str(refused.value)


@pytest.mark.peers
def test_no_event_of_github_s_own_examples_is_undecided(official: None) -> None:
    """What is not in the table starts no workflow by the schema, and runs nothing unreviewed."""
    names = {event["name"] for file in EXAMPLES.glob("*/index.json") for event in json.loads(file.read_text())}
    assert len(names) > 50
    for name in names:
        assert name in EVENTS or name not in workflow_events()
        assert (not refuses(unknown(name), head=OTHER)) is (EVENTS.get(name) in {Code.OURS, Code.PROPOSED}), name
