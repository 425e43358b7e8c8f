"""A queue is read as a whole: jobs by id or number, defaults, and every mistake at once."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft7Validator

from cvl_ci.errors import InputProblem
from cvl_ci.model.queue import Queue, Retry, RetryCause
from cvl_ci.planning import queue_schema
from cvl_ci.planning.queue_file import read


def queue(document: object, **overrides: object) -> Queue:
    result, mistakes = read(document, overrides=overrides)
    assert result is not None, mistakes
    return result


def wrong(document: object) -> dict[str, InputProblem]:
    result, mistakes = read(document)
    assert result is None
    return {mistake.field: mistake for mistake in mistakes}


def test_the_seeds_list_of_jobs() -> None:
    result = queue([{"command": "python preprocess.py"}, {"command": "python train.py", "depends_on": 0}])
    first, second = result.jobs
    assert (first.id, first.needs, second.id, second.needs) == ("0", (), "1", ("0",))
    assert second.request == {"command": "python train.py"}


FULL = {
    "max_parallel": 2,
    "budget": 12.5,
    "defaults": {"cloud": "aws", "gpu": "L4:1", "use_spot": True},
    "jobs": [
        {"id": "prep", "command": "make data", "gpu": "none"},
        {
            "id": "train",
            "example": "x",
            "preset": "train",
            "inputs": {"from": "prep"},
            "retry": {"on": ["capacity", "preempted"], "limit": 2},
            "soft_fail": True,
            "concurrency_group": "gpu",
            "spot": "fallback",
        },
        {"id": "report", "command": "make report", "needs": ["prep", "train"], "allow_dependency_failure": True},
    ],
}


def test_a_file_with_everything() -> None:
    result = queue(FULL)
    prep, train, report = result.jobs
    assert (result.max_parallel, result.budget) == (2, 12.5)
    assert prep.request == {"cloud": "aws", "gpu": "none", "spot": True, "command": "make data"}
    assert (train.request["spot"], train.request["preset"]) == ("fallback", "train")
    assert (train.needs, train.inputs_from) == (("prep",), ("prep",))
    assert train.retry == Retry(on=frozenset(RetryCause), limit=2)
    assert (train.soft_fail, train.concurrency_group) == (True, "gpu")
    assert (report.needs, report.allow_dependency_failure) == (("prep", "train"), True)


def test_the_options_of_a_command_line_win() -> None:
    assert {job.request["cloud"] for job in queue(FULL, cloud="sandbox").jobs} == {"sandbox"}


WRONG: list[tuple[str, object, str]] = [
    ("queue", 3, "neither a mapping"),
    ("jobs", {}, "not a list of at least one"),
    ("jobs", {"jobs": []}, "not a list of at least one"),
    ("jobz", {"jobz": [], "jobs": [{"command": "x"}]}, "not a key"),
    ("jobs[0]", {"jobs": ["x"]}, "not a mapping"),
    ("jobs[0].id", {"jobs": [{"id": "a b", "command": "x"}]}, "not an id"),
    ("jobs[0].id", {"jobs": [{"id": "queue.json", "command": "x"}]}, "a file of the queue"),
    ("jobs[1].id", {"jobs": [{"id": "a", "command": "x"}, {"id": "a.log", "command": "x"}]}, "a file of the queue"),
    ("jobs[1].id", {"jobs": [{"id": "a"}, {"id": "a"}]}, "another job"),
    ("jobs[0].comand", {"jobs": [{"comand": "x"}]}, "not a key"),
    ("jobs[0].needs", {"jobs": [{"id": "a", "needs": ["trian"]}, {"id": "train"}]}, "not a job"),
    ("jobs[0].needs", {"jobs": [{"needs": 1}]}, "not a job"),
    ("jobs[0].needs", {"jobs": [{"needs": True}]}, "not a job"),
    ("jobs[0].depends_on", {"jobs": [{"id": "a", "needs": "b", "depends_on": "b"}, {"id": "b"}]}, "another name"),
    ("jobs[0].inputs.form", {"jobs": [{"inputs": {"form": "x"}}]}, "not a key"),
    ("jobs[0].retry.on", {"jobs": [{"retry": {"on": "failure"}}]}, "none of"),
    ("jobs[0].retry.limit", {"jobs": [{"retry": {"limit": 0}}]}, "whole number"),
    ("jobs[0].retry.limit", {"jobs": [{"retry": {"limit": 1.5}}]}, "whole number"),
    ("jobs[0].soft_fail", {"jobs": [{"soft_fail": "yes"}]}, "neither true nor false"),
    ("jobs[0].concurrency_group", {"jobs": [{"concurrency_group": ""}]}, "not a name"),
    ("max_parallel", {"max_parallel": 0, "jobs": [{}]}, "whole number"),
    ("budget", {"budget": "ten", "jobs": [{}]}, "number"),
    ("budget", {"budget": -1, "jobs": [{}]}, "number"),
    ("defaults", {"defaults": [], "jobs": [{}]}, "not a mapping"),
    ("defaults.needs", {"defaults": {"needs": "a"}, "jobs": [{}]}, "not a key"),
]


@pytest.mark.parametrize(("field", "document", "problem"), WRONG)
def test_each_mistake_is_named(field: str, document: object, problem: str) -> None:
    assert problem in wrong(document)[field].problem


def test_an_id_is_one_line() -> None:
    """The folder of a job has its name."""
    assert set(wrong({"jobs": [{"id": "a\n", "machine": "b\n"}]})) == {"jobs[0].id", "jobs[0].machine"}


def test_a_near_word_is_named() -> None:
    assert wrong({"jobs": [{"id": "a", "needs": ["trian"]}, {"id": "train"}]})["jobs[0].needs"].near == ("train",)


def test_all_mistakes_come_together() -> None:
    document = {"budget": "x", "jobs": [{"soft_fail": 1, "needs": "b"}, {"id": "a", "retry": {"on": "x"}}]}
    assert set(wrong(document)) == {"budget", "jobs[0].soft_fail", "jobs[0].needs", "jobs[1].retry.on"}


def test_a_cycle_is_refused_by_its_names() -> None:
    document = {"jobs": [{"id": "a", "needs": "c"}, {"id": "b", "needs": "a"}, {"id": "c", "inputs": {"from": "b"}}]}
    assert wrong(document)["needs"].value == "a → c → b → a"
    assert wrong([{"needs": 0}])["needs"].value == "0 → 0"


def test_more_jobs_than_anybody_writes_are_refused() -> None:
    assert "more than 500" in wrong([{"command": "x"}] * 501)["jobs"].problem


UNSEEN = {"jobs[1].id", "jobs[0].needs", "jobs[0].depends_on"}
"""Mistakes between several keys or jobs, which no schema shows."""


@pytest.mark.parametrize(("field", "document", "problem"), WRONG)
def test_the_schema_refuses_what_the_reader_refuses(field: str, document: Any, problem: str) -> None:
    is_valid = Draft7Validator(dict(queue_schema.SCHEMA)).is_valid(document)
    assert not is_valid or field in UNSEEN


def test_the_schema_takes_what_the_reader_takes() -> None:
    Draft7Validator.check_schema(dict(queue_schema.SCHEMA))
    assert Draft7Validator(dict(queue_schema.SCHEMA)).is_valid(FULL)
