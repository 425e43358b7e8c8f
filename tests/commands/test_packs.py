"""Legs of a matrix that share a machine: which ones, in which queue, for how long, and at which price."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands import matrix as matrices
from cvl_ci.commands import packs
from cvl_ci.commands.matrix import Matrix, MatrixRequest, as_json, as_text, build
from cvl_ci.commands.packs import MatrixLeg
from cvl_ci.errors import RequestError
from cvl_ci.inputs.matrix_inputs import MatrixInputs
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.model.queue import Queue
from cvl_ci.planning.queue_file import read
from tests.support.field import plant

PRICES = CataloguePrices()


def built(folder: Path, *, repeat: int = 1, inputs: Mapping[str, object] | None = None, **axes: Any) -> Matrix:
    request = MatrixRequest(axes=MatrixInputs(pack=True, **axes), inputs=inputs or {}, repeat=repeat)
    return build(request, checkout=open_checkout(folder), prices=PRICES)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "field")


def queues(matrix: Matrix) -> list[Queue]:
    """Return the queues as the action reads them."""
    made = []
    for entry in json.loads(as_json(matrix))["include"]:
        queue, mistakes = read(json.loads(entry["queue"]))
        assert queue is not None, mistakes
        made.append(queue)
    return made


def test_legs_of_one_machine_are_one_queue_and_another_machine_is_another(root: Path) -> None:
    matrix = built(
        root, examples=("usual-example",), presets=("train", "batch"), clouds=("aws",), gpus=("L4:1", "T4:1")
    )
    first, second = queues(matrix)
    assert [job.leg for job in first.jobs] == ["usual-example train aws L4:1", "usual-example batch aws L4:1"]
    assert [job.leg for job in second.jobs] == ["usual-example train aws T4:1", "usual-example batch aws T4:1"]
    for job in (*first.jobs, *second.jobs):
        assert (job.machine, job.clean, job.needs) == ("pack", True, ())
    assert [job.request["preset"] for job in first.jobs] == ["train", "batch"]
    assert float(str(first.jobs[0].request["max_cost"])) > 0, "each leg is held to its own price"
    assert list(matrix.expected("warn").legs) == [leg.name for leg in matrix.legs], "the report's legs"


def test_the_plan_tells_machines_prices_and_times(root: Path) -> None:
    matrix = built(
        root, examples=("usual-example",), presets=("train", "batch"), clouds=("aws",), gpus=("L4:1", "T4:1")
    )
    *machines, title = as_text(matrix)
    assert title == f"4 legs on 2 machines, at most ${matrix.max_usd:.2f} together."
    assert machines[0].startswith("machine 1: 2 legs in turn, $")
    assert ", ".join(f"usual-example {preset} aws L4:1" for preset in ("train", "batch")) in machines[0]
    entries = json.loads(as_json(matrix))["include"]
    assert sum(float(entry["max_usd"]) for entry in entries) == pytest.approx(matrix.max_usd, abs=0.01)
    one = matrix.packs[0]
    assert entries[0]["minutes"] == f"{sum(leg.minutes for leg in one.legs):.0f}"
    assert [entry["legs"] for entry in entries] == ["2", "2"]


def test_a_repeated_leg_has_its_turns_on_one_machine(root: Path) -> None:
    [queue] = queues(built(root, examples=("plain",), clouds=("aws",), gpus=("T4:1",), repeat=3))
    assert [job.leg for job in queue.jobs] == [f"plain train aws T4:1 {turn}/3" for turn in (1, 2, 3)]
    assert [job.id for job in queue.jobs] == [f"{turn}-plain-train-aws-T4-1-{turn}-3" for turn in (1, 2, 3)]


def test_github_counts_machines_and_not_the_legs_on_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrices, "MOST_LEGS", 2)
    axes = MatrixInputs(examples=("plain",), clouds=("aws",), gpus=("T4:1",))
    shared = build(MatrixRequest(axes=replace(axes, pack=True), repeat=3), checkout=open_checkout(root), prices=PRICES)
    assert len(shared.legs) == 3
    with pytest.raises(RequestError, match="3 entries"):
        build(MatrixRequest(axes=axes, repeat=3), checkout=open_checkout(root), prices=PRICES)


def leg(name: str, *, machine: str = "a", minutes: float = 100.0) -> MatrixLeg:
    return MatrixLeg(name=name, inputs={}, hourly_usd=1.0, max_usd=2.0, minutes=minutes, machine=machine)


def test_a_pack_ends_before_github_ends_its_job() -> None:
    names = [[one.name for one in pack.legs] for pack in packs.pack([leg(name) for name in "abcde"])]
    assert names == [["a", "b", "c"], ["d", "e"]]
    alone = packs.pack([leg("long", minutes=500.0), leg("a"), leg("b")])
    assert [[one.name for one in pack.legs] for pack in alone] == [["long"], ["a", "b"]]


def test_a_leg_that_needs_its_own_machine_shares_none() -> None:
    made = packs.pack([leg("a"), leg("stores", machine=""), leg("b"), leg("stores too", machine="")])
    assert [[one.name for one in pack.legs] for pack in made] == [["a", "b"], ["stores"], ["stores too"]]
    [job] = json.loads(made[1].queue)["jobs"]
    assert "machine" not in job and "clean" not in job


def test_without_pack_nothing_changes(root: Path) -> None:
    matrix = build(MatrixRequest(axes=MatrixInputs(examples=("plain",))), checkout=open_checkout(root), prices=PRICES)
    assert matrix.packs == () and "queue" not in json.loads(as_json(matrix))["include"][0]
