"""Which runs are a baseline: those of the base branch, by their commits, and never a stranger's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cvl_ci.errors import CvlError
from cvl_ci.github.api import Repository
from cvl_ci.github.artifacts.baseline_runs import BaselineReader, BaselineRuns
from cvl_ci.result.benchmark import leg_file
from tests.github.api import URL, Api
from tests.github.repository_store import WORKFLOW, Store
from tests.github.test_download import cost, open_reader
from tests.result.benchmark.legs import leg

COMMITS = [f"{number:040x}" for number in range(1, 151)]
"""Nearest first."""


@pytest.fixture
def api() -> Iterator[Api]:
    with Api(store=Store(commits=COMMITS)).serving() as api:
        yield api


@pytest.fixture
def store(api: Api) -> Store:
    return api.store


def reader_of(*, workflow: str = "") -> BaselineReader:
    repository = Repository(api=URL, token="secret-token", name="cvl/ci")
    return BaselineReader(repository, open_reader(), run=900, workflow=workflow, report="cvl-report")


def read(nights: int = 14, *, base: str = COMMITS[0]) -> BaselineRuns:
    runs = reader_of()
    return runs.read(branch="main", commits=runs.commits(base, without=""), nights=nights)


def lines(*clusters: str, **changed: Any) -> dict[str, str]:
    return {
        "legs.jsonl": "".join(f"{leg_file.line(leg(cluster=name, **changed))}\n" for name in clusters),
        "report.html": "",
    }


def test_commits_are_the_base_and_those_before_it(store: Store) -> None:
    assert reader_of().commits(COMMITS[2], without="") == tuple(COMMITS[2:102])
    assert reader_of().commits(COMMITS[0], without=COMMITS[0]) == tuple(COMMITS[1:100])


def test_a_run_that_wrote_a_report_is_read_from_one_artifact(store: Store) -> None:
    store.run(800, COMMITS[0])
    store.artifact(800, "cvl-legs-a-cost", cost(cluster="cvl-a"))
    store.artifact(800, "cvl-report", lines("cvl-a", "cvl-b"))
    result = read()
    assert [one.machines.cluster for one in result.legs] == ["cvl-a", "cvl-b"]
    assert len(store.shown) == 1
    assert result.notes == ()


def test_a_run_whose_report_was_never_written_is_read_from_its_legs(store: Store) -> None:
    store.run(800, COMMITS[0], conclusion="failure")
    store.artifact(800, "cvl-legs-a-cost", cost(cluster="cvl-a"))
    store.artifact(800, "cvl-report-of-something-else", lines("cvl-x"))
    assert [one.machines.cluster for one in read().legs] == ["cvl-a"]


def test_a_stranger_s_run_is_no_baseline_whatever_its_branch_is_called(store: Store) -> None:
    store.run(1, COMMITS[0])
    theirs = {**store.runs.pop()["head_repository"], "full_name": "stranger/ci"}
    store.run(800, COMMITS[0], head_repository=theirs, event="pull_request")
    store.run(801, COMMITS[0], event="pull_request")
    store.run(802, COMMITS[0], branch="topic")
    store.run(900, COMMITS[0])
    for run in (800, 801, 802, 900):
        store.artifact(run, "cvl-report", lines(f"cvl-{run}"))
    result = read()
    assert result.legs == ()
    assert any("never run to its end on main" in text for text in result.notes)


def test_the_latest_nights_and_the_nearest_commit_are_read_and_no_more(store: Store, api: Api) -> None:
    """The pull request left main long ago: its base is far behind the last nights."""
    for number in range(150, 0, -1):
        store.run(number, COMMITS[150 - number])
        store.artifact(number, "cvl-report", lines(f"cvl-{number:03}"))
    result = read(nights=4, base=COMMITS[100])
    assert [one.machines.cluster for one in result.legs] == [
        *(f"cvl-{number:03}" for number in (150, 149, 148, 147)),
        *(f"cvl-{number:03}" for number in (50, 49, 48)),
    ]
    assert result.commits[0] == COMMITS[100]
    assert len([line for line in api.asked if line.endswith("/artifacts")]) == 7


def test_work_that_the_last_runs_did_not_do_is_looked_for_in_those_before_them(store: Store, api: Api) -> None:
    """On a branch where each push runs only what it changed."""
    for number in range(60, 0, -1):
        store.run(number, COMMITS[60 - number])
        example = "rare" if number in {20, 10} else "often"
        store.artifact(number, "cvl-report", lines(f"cvl-{number}", example=example, commit=COMMITS[60 - number]))
    result = reader_of().read(branch="main", commits=COMMITS, nights=4, work={("rare", "train"), ("often", "train")})
    assert [one.machines.cluster for one in result.legs if one.key.example == "rare"] == ["cvl-20"]
    assert len([line for line in api.asked if line.endswith("/artifacts")]) == 41
    lost = reader_of().read(branch="main", commits=COMMITS, nights=4, work={("never", "train")})
    assert len(lost.legs) == 44, "it is not looked for for ever"


def test_what_retention_took_is_counted_and_said(store: Store) -> None:
    for number in (800, 801, 802):
        store.run(number, COMMITS[0])
        store.artifact(number, "cvl-report", lines(f"cvl-{number}"), expired=number != 801)
    result = read()
    assert [one.machines.cluster for one in result.legs] == ["cvl-801"]
    assert result.notes == ("2 of 3 earlier runs on main have no artifacts any more: their retention is over.",)


def test_lines_that_nobody_can_read_are_nobody_s_runs(store: Store) -> None:
    store.run(800, COMMITS[0])
    text = f'{{"ending": \n[]\n{json.dumps({"ending": "x"})}\n{lines("cvl-a")["legs.jsonl"]}\x00'
    store.artifact(800, "cvl-report-attempt2", {"legs.jsonl": text})
    assert [one.machines.cluster for one in read().legs] == ["cvl-a"]


def test_this_run_s_workflow_is_asked_for_and_another_by_its_file(store: Store, api: Api) -> None:
    read()
    assert f"GET /repos/cvl/ci/actions/workflows/{WORKFLOW}/runs" in api.asked
    reader_of(workflow="nightly-benchmark.yml").read(branch="main", commits=(), nights=1)
    assert "GET /repos/cvl/ci/actions/workflows/nightly-benchmark.yml/runs" in api.asked
    assert api.asked.count("GET /repos/cvl/ci/actions/runs/900") == 1


def test_a_token_that_may_not_ask_is_told_what_it_takes(api: Api) -> None:
    api.faults["GET /repos/cvl/ci/commits"] = [(404, {}, '{"message": "Not Found"}')]
    with pytest.raises(CvlError) as error:
        reader_of().commits("main", without="")
    assert "contents: read" in error.value.next_step


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_moment_s_failure_is_asked_again(api: Api, status: int) -> None:
    api.faults["GET /repos/cvl/ci/commits"] = [(status, {}, "busy")]
    assert reader_of().commits(COMMITS[0], without="")[0] == COMMITS[0]


def test_artifacts_that_github_does_not_send_leave_the_baseline_unknown(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate that cannot see its baseline must not pass for one that found nothing worse."""
    store.run(800, COMMITS[0])
    store.artifact(800, "cvl-report", lines("cvl-a"))
    assert not read().unknown
    monkeypatch.setattr(Store, "_archive", lambda *_: (410, {}, '{"message": "Artifact has expired"}'))
    result = read()
    assert result.unknown
    assert result.notes[0] == "GitHub did not send 1 artifacts of earlier runs, so a baseline may be missing."
