"""The baseline of a run, as tables: which commit, which machines, which of many runs, and why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from cvl_ci.model.outcome import Ending
from cvl_ci.result.benchmark.baseline import MOST_RUNS, alike, choose
from cvl_ci.result.benchmark.leg import Leg, LegKey, LegMachines, LegSource

BASE, PARENT, OTHER = "b" * 40, "a" * 40, "d" * 40
KEY = LegKey(example="digits", preset="train", accelerator="L4:1", cloud="aws", instance_type="g6.xlarge", nodes=1)
KNOWN = replace(KEY, driver="550", image="torch")
UNTOLD = "not say on which instance type and how many nodes it ran: not compared"


def run(
    name: str = "one", *, key: LegKey = KEY, commit: str = BASE, at: float = 0.0, ending: Ending = Ending.SUCCEEDED
) -> Leg:
    source, machines = LegSource(commit=commit, at=at), LegMachines(cluster=name)
    return Leg(key=key, ending=ending, reason="", exit_code=0, source=source, machines=machines)


def names(legs: Sequence[Leg]) -> list[str]:
    return [leg.machines.cluster for leg in legs]


@pytest.mark.parametrize(
    ("runs", "commits", "expected"),
    [
        pytest.param([run("p", commit=PARENT), run("b")], [BASE, PARENT], (["b"], BASE, 0), id="the base"),
        pytest.param([run("p", commit=PARENT)], [BASE, PARENT], (["p"], PARENT, 1), id="its nearest ancestor"),
        pytest.param([run("o", commit=OTHER), run("p", commit=PARENT)], [], (["o", "p"], "", 0), id="all runs"),
        pytest.param([run("b", at=1), run("a", at=1), run("c", at=0)], [BASE], (["c", "a", "b"], BASE, 0), id="order"),
        pytest.param(
            [run("failed", ending=Ending.FAILED), run("p", commit=PARENT)],
            [BASE, PARENT],
            (["p"], PARENT, 1),
            id="a failed run of the base",
        ),
        pytest.param(
            [run("other", key=replace(KEY, cloud="gcp")), run("p", commit=PARENT)],
            [BASE, PARENT],
            (["p"], PARENT, 1),
            id="other machines of the base",
        ),
    ],
)
def test_choice(runs: Sequence[Leg], commits: Sequence[str], expected: tuple[list[str], str, int]) -> None:
    baseline = choose(KEY, commits=commits, runs_before=runs)
    assert (names(baseline.legs), baseline.commit, baseline.distance, baseline.reason) == (*expected, "")


@pytest.mark.parametrize("commits", [[BASE], []], ids=["of the base", "of all runs"])
def test_only_the_latest_runs_count(commits: Sequence[str]) -> None:
    runs = [run(f"{at:03}", at=at) for at in range(MOST_RUNS + 1)]
    baseline = choose(KEY, commits=commits, runs_before=[*reversed(runs)])
    assert names(baseline.legs) == names(runs[1:])


@pytest.mark.parametrize(
    ("runs", "commits", "key", "reason"),
    [
        pytest.param([], [BASE], KEY, "no run of the base is known", id="no run"),
        pytest.param([], [], KEY, "no run of the base is known", id="no run and no commit"),
        pytest.param(
            [run(commit=OTHER)],
            [BASE, PARENT],
            KEY,
            "no run of the base or its 1 nearest ancestors is known",
            id="another branch",
        ),
        pytest.param([run(ending=Ending.FAILED)], [BASE], KEY, "no run of the base is known", id="a failed run"),
        pytest.param(
            [run(key=replace(KEY, preset="eval"))], [BASE], KEY, "no run of the base is known", id="other work"
        ),
        pytest.param([run()], [BASE], replace(KEY, nodes=0), f"this run does {UNTOLD}", id="unknown machine"),
        pytest.param(
            [run(key=replace(KEY, instance_type=""))], [BASE], KEY, f"the base does {UNTOLD}", id="unknown base"
        ),
        pytest.param(
            [run(key=replace(KEY, cloud="gcp", spot=True))],
            [BASE],
            KEY,
            "the base ran on gcp L4:1 g6.xlarge spot, this on aws L4:1 g6.xlarge: not compared, because they differ in "
            "cloud and spot",
            id="other machines",
        ),
        pytest.param(
            [run(key=replace(KEY, cloud=cloud)) for cloud in ("gcp", "azure", "lambda", "runpod")],
            [],
            KEY,
            "the base ran on azure L4:1 g6.xlarge, gcp L4:1 g6.xlarge, lambda L4:1 g6.xlarge and others, this on aws "
            "L4:1 g6.xlarge: not compared, because they differ in cloud",
            id="many other machines",
        ),
    ],
)
def test_no_baseline(runs: Sequence[Leg], commits: Sequence[str], key: LegKey, reason: str) -> None:
    baseline = choose(key, commits=commits, runs_before=runs)
    assert (baseline.legs, baseline.reason) == ((), reason)


@pytest.mark.parametrize(
    ("other", "part"),
    [
        pytest.param(replace(KNOWN, cloud="gcp"), "cloud", id="cloud"),
        pytest.param(replace(KNOWN, accelerator="A10G:1"), "accelerator", id="accelerator"),
        pytest.param(replace(KNOWN, spot=True), "spot", id="spot"),
        pytest.param(replace(KNOWN, warm=True), "warm machine", id="warm"),
        pytest.param(replace(KNOWN, instance_type="g6.2xlarge"), "instance type", id="instance type"),
        pytest.param(replace(KNOWN, nodes=4), "number of nodes", id="nodes"),
        pytest.param(replace(KNOWN, driver="570"), "driver", id="driver"),
        pytest.param(replace(KNOWN, image="other"), "image", id="image"),
    ],
)
def test_a_difference_of_machines_has_its_name(other: LegKey, part: str) -> None:
    assert not alike(KNOWN, other)
    reason = choose(KNOWN, commits=[BASE], runs_before=[run(key=other)]).reason
    assert reason.endswith(f"not compared, because they differ in {part}")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        pytest.param(KNOWN, KNOWN, True, id="the same"),
        pytest.param(KNOWN, KEY, True, id="unknown driver and image"),
        pytest.param(KEY, replace(KEY, example="other"), False, id="another example"),
        pytest.param(KEY, replace(KEY, preset="eval"), False, id="another preset"),
        pytest.param(KEY, replace(KEY, instance_type=""), False, id="unknown instance type"),
        pytest.param(replace(KEY, nodes=0), KEY, False, id="unknown number of nodes"),
    ],
)
def test_alike(one: LegKey, other: LegKey, expected: bool) -> None:
    assert (alike(one, other), alike(other, one)) == (expected, expected)
