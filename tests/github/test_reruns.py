"""Of which attempt a leg's summary tells, and whether it still counts: a table of what people run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from cvl_ci.errors import CvlError
from cvl_ci.github.api import Repository
from cvl_ci.github.artifacts import reruns
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.matrix.report import report
from tests.github.api import URL, WITHOUT_PAUSES, Api
from tests.github.repository_store import Store
from tests.result.benchmark.legs import leg

RUN = "https://git.example.com/cvl/ci/actions/runs/7"


@pytest.fixture
def api() -> Iterator[Api]:
    with Api().serving() as api:
        yield api


def repository() -> Repository:
    return Repository(api=URL, token="secret-token", name="cvl/ci", backoff=WITHOUT_PAUSES)


def told(name: str, *, attempt: int = 1, **more: Any) -> Leg:
    """A summary of an attempt; `check_run` and `job` as the action writes them."""
    known = {"leg": name, "cluster": f"cvl-{name}-{attempt}", "run_url": f"{RUN}/attempts/{attempt}"}
    return leg(**{**known, **more})


def counted(legs: Sequence[Leg], *, attempt: int = 2) -> reruns.Checked:
    return reruns.checked(legs, attempt=attempt, jobs=lambda: reruns.list_jobs(repository(), 7))


@dataclass(frozen=True, kw_only=True)
class Case:
    """`jobs`: what GitHub lists. It returns the number of the job that wrote the summary of attempt 1.

    `why`: a part of the reason; empty: the summary counts."""

    jobs: Callable[[Store], int]
    why: str = ""


def all_again(store: Store) -> int:
    number = store.job("digits", attempt=1)
    store.job("digits", attempt=2)
    return number


def others_again(store: Store) -> int:
    """GitHub lists a job that did not run again with a new number and its old start."""
    number = store.job("digits", attempt=1)
    store.job("other", attempt=1)
    store.job("digits", attempt=2, began=1)
    store.job("other", attempt=2)
    return number


def others_again_and_left_out(store: Store) -> int:
    number = store.job("digits", attempt=1)
    store.job("other", attempt=2)
    return number


def skipped(store: Store) -> int:
    """The matrix failed in attempt 2, so the legs' job was never divided into legs."""
    number = store.job("digits", attempt=1)
    store.job("legs", attempt=2)
    return number


def ran_again_twice(store: Store) -> int:
    number = store.job("digits", attempt=1)
    store.job("digits", attempt=2)
    store.job("digits", attempt=3)
    return number


def ran_again_in_between(store: Store) -> int:
    """Attempt 2 ran it, attempt 3 ran another job alone: its last run is still that of attempt 2."""
    number = store.job("digits", attempt=1)
    store.job("digits", attempt=2)
    store.job("digits", attempt=3, began=2)
    return number


def namesake_again(store: Store) -> int:
    """Two jobs of one name. The other one ran again."""
    number = store.job("gpu", attempt=1, runner="a")
    store.job("gpu", attempt=1, runner="b")
    store.job("gpu", attempt=2, began=1, runner="a")
    store.job("gpu", attempt=2, runner="b")
    return number


def this_of_two_namesakes(store: Store) -> int:
    store.job("gpu", attempt=1, runner="b")
    number = store.job("gpu", attempt=1, runner="a")
    store.job("gpu", attempt=2, began=1, runner="b")
    store.job("gpu", attempt=2, runner="a")
    return number


CASES = {
    "all jobs again": Case(jobs=all_again, why="its job ran again in attempt 2 and left no summary"),
    "only failed jobs again": Case(jobs=others_again),
    "the list leaves out what did not run": Case(jobs=others_again_and_left_out, why="lists no such job in attempt 2"),
    "skipped this time": Case(jobs=skipped, why="lists no such job in attempt 2"),
    "a namesake ran again": Case(jobs=namesake_again),
    "this of two namesakes ran again": Case(jobs=this_of_two_namesakes, why="ran again in attempt 2"),
    "twice": Case(jobs=ran_again_twice, why="its job ran again in attempt 3"),
    "in between": Case(jobs=ran_again_in_between, why="its job ran again in attempt 2"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_summary_of_an_earlier_attempt_counts_where_its_job_did_not_run_again(api: Api, case: Case) -> None:
    number = case.jobs(api.store)
    result = counted([told("digits", check_run=str(number))], attempt=len(api.store.jobs))
    assert [one.name for one in result.legs] == ([] if case.why else ["digits"])
    assert all(case.why in one.why and one.name == "digits" for one in result.outdated)
    assert len(result.outdated) == bool(case.why)


@pytest.mark.parametrize(
    ("job", "listing", "counts"),
    [
        ("legs (digits, aws)", "legs (digits, aws)", True),
        ("legs (digits, aws)", "nightly / legs (digits, aws)", True),
        ("legs (digits, aws)", "digits", True),
        ("legs (digits, aws)", "Train on a GPU", False),
        ("legs (digits, aws)", "legs (digits, aws), too", False),
        ("", "something", False),
    ],
    ids=["as GitHub names it", "of a called workflow", "named by its leg", "a name of its own", "longer", "no name"],
)
def test_without_a_number_a_job_is_known_by_a_name_that_no_other_has(
    api: Api, job: str, listing: str, counts: bool
) -> None:
    """A runner older than 2025 does not tell a job its number."""
    api.store.job(listing, attempt=1)
    api.store.job(listing, attempt=2, began=1)
    result = counted([told("digits", job=job)])
    assert len(result.legs) == counts
    assert [one.why for one in result.outdated] == (
        [] if counts else ["its only summary is of attempt 1, and no job in GitHub's list is known to be its job"]
    )


def test_a_name_that_two_jobs_have_proves_nothing(api: Api) -> None:
    for attempt in (1, 2):
        api.store.job("gpu", attempt=attempt, began=1, runner="a")
        api.store.job("gpu", attempt=attempt, began=1, runner="b")
    assert len(counted([told("digits", job="gpu")]).outdated) == 1


def test_a_number_that_is_not_in_the_list_is_not_replaced_by_a_name(api: Api) -> None:
    api.store.job("digits", attempt=1)
    api.store.job("digits", attempt=2, began=1)
    assert len(counted([told("digits", check_run="1")]).outdated) == 1


def test_github_is_not_asked_where_every_leg_has_a_summary_of_this_attempt(api: Api) -> None:
    result = counted([told("digits", attempt=2), told("gpt", attempt=2)])
    assert (len(result.legs), result.outdated, api.asked) == (2, (), [])


def test_what_says_that_it_is_of_a_later_attempt_does_not_count(api: Api) -> None:
    api.store.job("digits", attempt=2)
    result = counted([told("digits", attempt=99)])
    assert (result.legs, [one.why for one in result.outdated]) == (
        (), ["its summary names attempt 99, and this is attempt 2"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ((403, {}, '{"message": "Resource not accessible by integration"}'), "actions: read"),
        ((404, {}, '{"message": "Not Found"}'), "actions: read"),
        ((200, {}, "<html>"), "did not answer"),
        ((200, {}, "{}"), "did not answer"),
        ((200, {}, '{"total_count": 1, "jobs": [{"id": 1}]}'), "did not answer"),
        ((302, {"Location": "https://elsewhere.example"}, ""), "did not answer"),
    ],
    ids=["no permission", "not found", "HTML", "no key", "not a job", "redirect"],
)
def test_no_answer_is_told_and_makes_nothing_green(api: Api, fault: Any, text: str) -> None:
    others_again(api.store)
    api.faults["GET /repos/cvl/ci/actions/runs/7/jobs"] = [fault] * 9
    result = counted([told("digits", job="digits"), told("gpt", attempt=2)])
    assert [one.name for one in result.legs] == ["gpt"]
    assert [one.why for one in result.outdated] == [
        "its only summary is of attempt 1, and GitHub does not tell whether its job ran again"
    ]
    assert text in result.warning


def test_a_machine_that_may_be_left_is_never_dropped(api: Api) -> None:
    number = all_again(api.store)
    result = counted([told("digits", check_run=str(number), released={"gone": False})])
    assert (len(result.legs), len(result.outdated)) == (1, 1)


def test_hundreds_of_jobs_come_over_all_pages(api: Api) -> None:
    numbers = [api.store.job(f"leg {number}", attempt=1) for number in range(230)]
    for number in range(230):
        api.store.job(f"leg {number}", attempt=2, began=1 if number != 200 else 2)
    result = counted([told(f"leg {at}", check_run=str(number)) for at, number in enumerate(numbers)])
    assert [one.name for one in result.outdated] == ["leg 200"]


def test_a_list_without_the_key_raises(api: Api) -> None:
    api.faults["GET /repos/cvl/ci/actions/runs/7/jobs"] = [(200, {}, "[]")] * 9
    with pytest.raises(CvlError, match="jobs"):
        reruns.list_jobs(repository(), 7)


def test_of_a_folder_the_last_attempt_of_each_job_counts() -> None:
    legs = [
        told("digits", job="legs (digits)", ending="failed"),
        told("digits", job="legs (digits)", attempt=2),
        told("gpt", job="legs (gpt)"),
        told("", job=""),
    ]
    assert [one.machines.cluster for one in reruns.newest(legs)] == ["cvl-digits-2", "cvl-gpt-1", "cvl--1"]


def test_the_proof_of_post_counts_for_a_cluster_that_main_left(api: Api) -> None:
    """Both are of attempt 1, which ran again: neither says that a machine may remain."""
    number = str(all_again(api.store))
    legs = [told("digits", check_run=number, released={"gone": False}), told("digits", check_run=number)]
    assert counted(legs).legs == ()
    assert counted(legs[:1]).legs == (legs[0],), "without that proof it stays"


def test_the_machine_and_the_money_of_the_first_attempt_stay_although_the_second_is_green(api: Api) -> None:
    """In folders the second attempt's summary replaces the first one's, whose machine nobody has ended."""
    first = told("digits", job="digits", cost_usd=7.0, released={"gone": False}, exit_code=79)
    second = told("digits", job="digits", attempt=2, cost_usd=2.0)
    kept = counted(reruns.newest([first, second]))
    assert [one.machines.cluster for one in kept.legs] == ["cvl-digits-1", "cvl-digits-2"]
    result = report(kept.legs, superseded=reruns.superseded([first, second], kept.legs))
    assert (result.exit_code, result.usd, result.superseded_usd) == (79, 9.0, 0.0)
    proved = told("digits", job="digits", cost_usd=7.0)
    valid = counted(reruns.newest([proved, second])).legs
    assert [one.machines.cluster for one in valid] == ["cvl-digits-2"]
    result = report(valid, superseded=reruns.superseded([proved, second], valid))
    assert (result.exit_code, result.usd, result.superseded_usd) == (0, 9.0, 7.0)
