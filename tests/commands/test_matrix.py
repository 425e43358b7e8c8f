"""The matrix names every leg that was asked for, what it may cost, and why any is left out."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands import matrix
from cvl_ci.commands.matrix import Matrix, MatrixRequest, as_json, as_text, build
from cvl_ci.errors import RequestError
from cvl_ci.inputs.matrix_inputs import MatrixInputs
from cvl_ci.local.git.changes import ancestors, changed_paths
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.model.resource_request import Spot
from tests.support.field import plant

PRICES = CataloguePrices()
Build = Callable[..., Matrix]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "field")


@pytest.fixture
def built(root: Path) -> Build:
    of_axes = {each.name for each in fields(MatrixInputs)}

    def build_matrix(**given: Any) -> Matrix:
        axes = {name: given.pop(name) for name in of_axes & given.keys()}
        request = MatrixRequest(axes=MatrixInputs(**axes), **given)
        return build(request, checkout=open_checkout(root), prices=PRICES)

    return build_matrix


def git(root: Path, *words: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(root), *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def names(built: Matrix) -> list[str]:
    return [leg.name for leg in built.legs]


def test_examples_times_presets_times_clouds_times_gpus(built: Build) -> None:
    found = built(examples=("usual-example",), presets=("train", "batch"), clouds=("aws", "gcp"), gpus=("L4:1", "T4:1"))
    assert names(found) == [
        f"usual-example {preset} {cloud} {gpu}"
        for preset in ("train", "batch")
        for cloud in ("aws", "gcp")
        for gpu in ("L4:1", "T4:1")
    ]


def test_a_leg_is_the_action_s_inputs_and_is_held_to_its_price(built: Build) -> None:
    leg = built(examples=("plain",), clouds=("aws",), inputs={"spot": Spot.FALLBACK, "max_runtime": 30.0}).legs[0]
    assert leg.inputs["spot"] == "fallback"
    assert leg.inputs["max_runtime"] == "30"
    assert 0 <= float(leg.inputs["max_cost"]) - leg.max_usd < 0.01
    assert leg.inputs["example"] == "benchmarks/plain"


def test_the_json_is_one_line_that_a_workflow_reads(built: Build) -> None:
    line = as_json(built(examples=("plain",), clouds=("aws",)))
    assert "\n" not in line
    (leg,) = json.loads(line)["include"]
    assert set(leg) == {"name", "example", "preset", "cloud", "max_cost", "hourly_usd", "max_usd"}
    assert all(isinstance(value, str) for value in leg.values())


def test_patterns_take_paths_and_folder_names(built: Build) -> None:
    by_path = names(built(examples=("examples/text/*",), presets=("predict",)))
    assert {name.split()[0] for name in by_path} == {"listed", "list-values"}
    assert names(built(examples=("usu*",), presets=("train",))) == ["usual-example train"]


def test_without_presets_the_usual_ones_are_taken(built: Build) -> None:
    assert names(built(examples=("usual-example",))) == ["usual-example train"]


def test_a_preset_that_none_of_them_has_is_a_mistake_with_the_near_ones(built: Build) -> None:
    with pytest.raises(RequestError, match=r"trian.*Did you mean train"):
        built(examples=("usual-example",), presets=("trian",))


def test_an_example_that_is_none_is_a_mistake_with_the_near_ones(built: Build) -> None:
    with pytest.raises(RequestError, match=r"usual-exampel.*Did you mean usual-example"):
        built(examples=("usual-exampel",))


def test_a_wrong_cloud_is_one_mistake_however_many_legs_have_it(built: Build) -> None:
    with pytest.raises(RequestError, match="asw") as refused:
        built(examples=("usual-example", "plain"), clouds=("asw",))
    assert len(refused.value.mistakes) == 1


def test_a_leg_over_its_own_budget_is_left_out_by_name(built: Build) -> None:
    found = built(examples=("plain",), clouds=("aws",), gpus=("T4:1", "H100:8"), inputs={"max_cost": 1.5})
    assert names(found) == ["plain train aws T4:1"]
    assert "H100:8" in found.dropped[0][0]
    assert "too short to boot" in found.dropped[0][1]
    assert as_text(found)[0].startswith("left out: ")


def test_a_gpu_that_a_cloud_does_not_sell_is_left_out_by_name(built: Build) -> None:
    found = built(examples=("plain",), clouds=("aws", "lambda"), gpus=("T4:1",))
    assert [leg.inputs["cloud"] for leg in found.legs] == ["aws"]
    assert "No price is known" in found.dropped[0][1]


def test_legs_beyond_the_budget_of_all_are_left_out_and_cheaper_ones_still_fit(built: Build) -> None:
    legs = built(examples=("plain",), clouds=("aws",), gpus=("L4:1", "H100:8", "T4:1")).legs
    budget = legs[0].max_usd + legs[2].max_usd
    found = built(examples=("plain",), clouds=("aws",), gpus=("L4:1", "H100:8", "T4:1"), budget=budget)
    assert [leg.inputs["gpu"] for leg in found.legs] == ["L4:1", "T4:1"]
    assert found.max_usd <= budget + 1e-9
    assert "of the budget remains" in found.dropped[0][1]


def test_more_than_github_takes_is_a_mistake_that_names_the_shards(
    built: Build, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert matrix.MOST_LEGS == 256
    monkeypatch.setattr(matrix, "MOST_LEGS", 20)
    grow(root, 25)
    with pytest.raises(RequestError, match=r"--shard 1/2 to --shard 2/2"):
        built(examples=("many_*",), clouds=("aws",))
    parts = [built(examples=("many_*",), clouds=("aws",), shard=(n, 2)) for n in (1, 2)]
    together = [name for part in parts for name in names(part)]
    assert len(together) == len({*together}) == 25 == parts[0].in_all


def grow(root: Path, count: int) -> None:
    for at in range(count):
        folder = root / "examples" / f"many_{at:03}"
        folder.mkdir()
        (folder / "example.yaml").write_text(f"name: many-{at:03}\nresources: {{gpu: 0}}\npresets: [train]\n")
        (folder / "train.sh").write_text("echo\n")
    git(root, "add", "-A")


def test_an_example_runs_when_its_files_or_what_all_share_changed(built: Build, root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "--allow-empty", "-qm", "base")
    git(root, "branch", "base")
    (root / "README.md").write_text("New words.\n")
    assert changed_paths(root, since="base") == ["README.md"]
    assert built(changed=changed_paths(root, since="base")).legs == ()
    (root / "examples/vision/usual/train.sh").write_text("echo other\n")
    found = built(changed=changed_paths(root, since="base"))
    assert names(found) == ["usual-example train"]
    assert any("nothing changed" in line for line in as_text(found))
    git(root, "add", "-A")
    git(root, "commit", "--allow-empty", "-qm", "more")
    assert names(built(changed=changed_paths(root, since="base"))) == ["usual-example train"]
    (root / "cvlization/data/new.py").write_text("Y = 1\n")
    assert len(built(changed=changed_paths(root, since="base")).legs) > 3


def test_a_branch_that_went_on_changes_nothing_here(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "--allow-empty", "-qm", "base")
    git(root, "checkout", "-qb", "theirs")
    (root / "theirs.txt").write_text("x")
    git(root, "add", "-A")
    git(root, "commit", "--allow-empty", "-qm", "theirs")
    git(root, "checkout", "-q", "-")
    assert changed_paths(root, since="theirs") == []
    assert list(ancestors(root, of="theirs")) == git(root, "rev-list", "theirs").split()


@pytest.mark.parametrize("ref", ["nowhere", "--output=x", "-h", "HEAD:README.md", ""])
def test_a_ref_that_is_none_is_a_mistake_and_no_option(root: Path, ref: str) -> None:
    with pytest.raises(RequestError, match="is not a commit here"):
        changed_paths(root, since=ref)


def test_a_file_s_odd_name_is_one_path(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "--allow-empty", "-qm", "base")
    (root / 'new\n"file"').write_text("x")
    assert changed_paths(root, since="HEAD") == ['new\n"file"']


def test_a_repeated_leg_is_told_apart_by_its_turn_and_paid_each_time(built: Build) -> None:
    once = built(examples=("plain",), clouds=("aws",)).legs[0]
    found = built(examples=("plain",), clouds=("aws",), repeat=3, budget=2.5 * once.max_usd)
    assert [leg.inputs["turn"] for leg in found.legs] == ["1/3", "2/3"]
    assert len({leg.name for leg in found.legs}) == 2
    assert found.dropped[0][0].endswith("3/3")
