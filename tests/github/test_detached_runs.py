"""The detached runs that wait, out of artifacts that anybody may have uploaded, and the state of their commits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from cvl_ci.errors import CvlError
from cvl_ci.github.api import Repository
from cvl_ci.github.artifacts import detached_runs
from cvl_ci.github.artifacts.detached_runs import WAITING, WaitingRun, WaitingRuns, mark_name, waiting
from cvl_ci.github.commit_status import LONGEST_DESCRIPTION, CommitState, set_status
from tests.github.api import URL, WITHOUT_PAUSES, Api
from tests.github.repository_store import Store
from tests.github.test_download import open_reader

LEASE, COMMIT = "cvl-7-0a1b2c3d", "a" * 40
OWN = {"head_sha": COMMIT, "head_branch": "main", "repository_id": 5, "head_repository_id": 5}
NOW = 1_580_000_000.0  # a day of January 2020, as the artifacts in GitHub's description


@pytest.fixture
def api() -> Iterator[Api]:
    with Api().serving() as api:
        yield api


@pytest.fixture
def store(api: Api) -> Store:
    return api.store


def repository() -> Repository:
    return Repository(api=URL, token="secret-token", name="cvl/ci", backoff=WITHOUT_PAUSES)


def search(*, now: float = NOW) -> tuple[WaitingRuns, list[str]]:
    lines: list[str] = []
    return waiting(repository(), open_reader(), branch="main", now=now, say=lines.append), lines


def waiting_runs() -> tuple[list[WaitingRun], list[str]]:
    result, text = search()
    return list(result.runs), text


def test_a_record_comes_with_the_run_and_the_commit_that_github_names(store: Store) -> None:
    store.artifact(7, f"{WAITING}{LEASE}", {f"{LEASE}.json": "{}"}, workflow_run=OWN)
    store.artifact(7, "another", {"a.json": "{}"}, workflow_run=OWN)
    assert waiting_runs() == ([WaitingRun(lease=LEASE, run="7", commit=COMMIT, text="{}")], [])


def test_a_run_that_was_collected_waits_no_more(store: Store) -> None:
    store.artifact(7, f"{WAITING}{LEASE}", {f"{LEASE}.json": "{}"}, workflow_run=OWN)
    store.artifact(9, mark_name(LEASE), {"x.txt": "{}"}, workflow_run=OWN)
    assert waiting_runs() == ([], [])


@pytest.mark.parametrize(
    ("name", "branch"),
    [(mark_name(LEASE), "a-pull-request"), (f"cvl-ci-collected-{LEASE}-cost", "main")],
    ids=["another branch", "the cost, which comes before the status"],
)
def test_another_artifact_does_not_hide_a_run(store: Store, name: str, branch: str) -> None:
    store.artifact(7, f"{WAITING}{LEASE}", {f"{LEASE}.json": "{}"}, workflow_run=OWN)
    store.artifact(9, name, {"x.txt": "{}"}, workflow_run={**OWN, "head_branch": branch})
    assert [run.lease for run in waiting_runs()[0]] == [LEASE]


def test_a_run_names_no_lease_of_another_run_and_hides_none(store: Store) -> None:
    store.artifact(8, f"{WAITING}{LEASE}", {f"{LEASE}.json": "forged"}, workflow_run=OWN)
    assert waiting_runs() == ([], [])
    store.artifact(7, f"{WAITING}{LEASE}", {f"{LEASE}.json": "true"}, workflow_run=OWN)
    assert [(run.run, run.text) for run in waiting_runs()[0]] == [("7", "true")]


def test_every_artifact_of_one_lease_is_shown_so_that_a_later_one_hides_none(store: Store) -> None:
    for text in ("forged", "true"):
        store.artifact(7, f"{WAITING}{LEASE}", {f"{LEASE}.json": text}, workflow_run=OWN)
    assert [run.text for run in waiting_runs()[0]] == ["forged", "true"]


@pytest.mark.parametrize("name", [f"{WAITING}{LEASE}", mark_name(LEASE)])
def test_an_artifact_of_a_fork_counts_for_nothing(store: Store, name: str) -> None:
    store.artifact(8, name, {f"{LEASE}.json": "forged"}, workflow_run={**OWN, "head_repository_id": 6})
    store.artifact(7, f"{WAITING}{LEASE}", {f"{LEASE}.json": "{}"}, workflow_run=OWN)
    (run,), _ = waiting_runs()
    assert (run.run, run.text) == ("7", "{}")


@pytest.mark.parametrize(
    ("files", "extra"),
    [
        ({"other.json": "{}"}, {}),
        ({f"{LEASE}.json": "x" * (2 << 20)}, {}),
        (b"no zip", {}),
        ({f"{LEASE}.json": "{}"}, {"expired": True}),
        ({f"{LEASE}.json": "{}"}, {"workflow_run": {**OWN, "head_sha": "main"}}),
    ],
    ids=range(5),
)
def test_an_artifact_without_a_record_is_told_and_stops_no_other(
    store: Store, files: Any, extra: dict[str, Any]
) -> None:
    store.artifact(6, f"{WAITING}cvl-6-00000000", {"cvl-6-00000000.json": "{}"}, workflow_run=OWN)
    store.artifact(7, f"{WAITING}{LEASE}", files, **{"workflow_run": OWN, **extra})
    result, lines = search()
    assert [run.lease for run in result.runs] == ["cvl-6-00000000"]
    assert result.unread == (LEASE,)
    assert len(lines) == 1 and LEASE in lines[0]


@pytest.mark.parametrize(("days", "unread"), [(30, (LEASE,)), (32, ())])
def test_nobody_waits_for_a_record_once_its_machine_is_gone_in_any_case(
    store: Store, days: int, unread: tuple[str, ...]
) -> None:
    store.artifact(7, f"{WAITING}{LEASE}", {}, expired=True, workflow_run=OWN)
    created_at = datetime.fromisoformat(store.artifacts[7][0]["created_at"]).timestamp()
    assert search(now=created_at + days * 86_400)[0].unread == unread


def test_a_list_that_is_cut_is_not_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detached_runs, "MOST", 2)
    for _ in range(2):
        store.artifact(7, "another", {}, workflow_run=OWN)
    created_at = datetime.fromisoformat(store.artifacts[7][0]["created_at"]).timestamp()
    assert search(now=created_at)[0].is_whole
    store.artifact(7, "another", {}, workflow_run=OWN)
    assert not search(now=created_at)[0].is_whole
    assert search(now=created_at + 40 * 86_400)[0].is_whole, "the rest is older than any machine"


def test_no_answer_is_not_an_empty_list() -> None:
    refusal = (403, {"Content-Type": "application/json"}, '{"message": "Resource not accessible by integration"}')
    with Api(faults={"GET /repos/cvl/ci/actions/artifacts": [refusal] * 9}).serving(), pytest.raises(CvlError) as no:
        waiting_runs()
    assert "actions: read" in str(no.value)


def test_a_status_is_as_github_s_description_says(store: Store) -> None:
    set_status(
        repository(), commit=COMMIT, context="cvl-ci: it", state=CommitState.PENDING, description="x" * 500, url=URL
    )
    assert store.statuses == [(COMMIT, "cvl-ci: it", "pending", "x" * LONGEST_DESCRIPTION)]


def test_a_missing_right_is_named() -> None:
    with Api(writable=False).serving(), pytest.raises(CvlError) as no:
        set_status(repository(), commit=COMMIT, context="it", state=CommitState.SUCCESS, description="")
    assert "statuses: write" in str(no.value)
