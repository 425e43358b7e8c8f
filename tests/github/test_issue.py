"""One issue for what got worse: opened, kept up to date in place, and closed only when all of it is fine again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from cvl_ci.errors import CvlError
from cvl_ci.github.api import Repository
from cvl_ci.github.pr.issue import IssueChange, IssueFindings, RegressionIssue
from tests.github.api import URL, Api
from tests.github.repository_store import Store

MARKER = "<!-- cvl-ci:0123456789abcdef -->"


@pytest.fixture
def api() -> Iterator[Api]:
    with Api().serving() as api:
        yield api


@pytest.fixture
def store(api: Api) -> Store:
    return api.store


def tell(*, bad: Sequence[str] = (), fine: Sequence[str] = (), body: str = "It got worse.") -> IssueChange:
    issue = RegressionIssue(Repository(api=URL, token="secret-token", name="cvl/ci"), marker=MARKER)
    return issue.tell(
        IssueFindings(bad=bad, fine=fine, title=f"{len(bad)} legs got worse", body=body, recovered="All fine again.")
    )


def test_it_is_opened_once_and_changed_in_place_while_it_lasts(store: Store) -> None:
    first = tell(bad=["aa"], fine=["bb"])
    assert (first.did, first.url) == ("opened", "https://git.example.com/cvl/ci/issues/40")
    assert tell(bad=["aa", "cc"], body="Worse still.").did == "updated"
    [issue] = store.open_issues()
    assert issue["title"] == "2 legs got worse"
    assert issue["body"] == f"{MARKER}<!-- legs:aa cc -->\n\nWorse still."
    assert store.said == []


def test_it_is_closed_with_a_word_when_all_of_it_is_fine(store: Store) -> None:
    tell(bad=["aa"])
    assert tell(fine=["aa", "bb"]).did == "closed"
    assert store.open_issues() == []
    assert store.issues[40]["state_reason"] == "completed"
    assert store.said == [(40, "All fine again.")]


def test_an_issue_that_no_longer_names_its_legs_is_not_closed_by_a_night_that_measured_nothing(
    store: Store,
) -> None:
    tell(bad=["aa"])
    store.issues[40]["body"] = f"{MARKER} edited by hand"
    assert tell().did == "kept open"
    assert tell(fine=["bb"]).did == "kept open"
    assert len(store.open_issues()) == 1


def test_a_leg_that_found_no_machine_is_no_recovery(store: Store, api: Api) -> None:
    tell(bad=["aa", "bb"])
    api.asked.clear()
    assert tell(fine=["aa"]).did == "kept open"
    assert api.writes() == []
    assert tell(bad=["cc"], fine=["aa"]).did == "updated"
    assert "<!-- legs:bb cc -->" in store.issues[40]["body"]
    assert tell(fine=["aa", "bb", "cc"]).did == "closed"


def test_a_clean_night_without_an_issue_writes_nothing(api: Api) -> None:
    assert tell(fine=["aa"]) == IssueChange()
    assert api.writes() == []


def test_after_a_recovery_a_new_one_is_opened(store: Store) -> None:
    tell(bad=["aa"])
    tell(fine=["aa"])
    assert tell(bad=["aa"]).url.endswith("/41")
    assert [issue["number"] for issue in store.open_issues()] == [41]


def test_nobody_else_s_issue_is_ever_touched(store: Store, api: Api) -> None:
    store.issue(f"{MARKER}<!-- legs:aa -->\n\nMine!", author="stranger")
    store.issue(f"What does {MARKER} mean?")
    store.issue(f"{MARKER}<!-- legs:aa -->\n\nx", pull_request=openapi_pull())
    before = {number: dict(issue) for number, issue in store.issues.items()}
    assert tell(fine=["aa"]) == IssueChange()
    assert tell(bad=["aa"]).did == "opened"
    assert {number: dict(store.issues[number]) for number in before} == before


def openapi_pull() -> dict[str, str | None]:
    at = "https://git.example.com/cvl/ci/pull/5"
    return {"url": at, "html_url": at, "diff_url": at, "patch_url": at}


def test_it_is_found_over_all_pages(store: Store) -> None:
    tell(bad=["aa"])
    for _ in range(150):
        store.issue("Something else.")
    assert tell(fine=["aa"]).did == "closed"


def test_what_a_machine_said_in_the_body_names_no_leg(store: Store) -> None:
    tell(bad=["aa"], body="<!-- legs: -->\n<!-- legs:ff -->")
    assert tell(fine=["ff"]).did == "kept open"
    assert tell(fine=["aa"]).did == "closed"


def test_a_token_that_may_not_write_is_told_what_it_takes(api: Api) -> None:
    api.writable = False
    with pytest.raises(CvlError) as error:
        tell(bad=["aa"])
    assert "issues: write" in error.value.next_step


def test_a_person_s_token_finds_the_person_s_issue(store: Store, api: Api) -> None:
    api.me = "anna"
    store.issue(f"{MARKER}<!-- legs:aa -->\n\nx", author="anna")
    assert tell(fine=["aa"]).did == "closed"
