"""A run that runs more than once: medians with all samples beside them, and what got worse than its base fails it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.outcome import Ending, FetchedFile, Outcome
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import PairedBase, RunPlan
from cvl_ci.planning.trials import order
from cvl_ci.ports import Fetched
from cvl_ci.result.report import Link, comment, job_summary, marker
from cvl_ci.result.summary import lines, to_json
from cvl_ci.result.text import headline
from tests import golden
from tests.commands.test_run import PLAN, House
from tests.support.fakes import FakeEngine

MESSAGES = golden.Messages(__name__)

AGAINST = PairedBase(ref="main", commit="c" * 40, directory=".", setup_commands=(), run_commands=("bash train.sh",))
BOTH = replace(PLAN, trials=replace(PLAN.trials, repeat=5, base=AGAINST))
NOISE = (1.0, 1.01, 0.99, 1.005, 0.995)


class Measuring(FakeEngine):
    """Brings back a metrics.json for each trial."""

    wrote: Mapping[str, object] = {}

    def unpack(self, *, into: Path, within: float = math.inf) -> Fetched:
        for trial, said in self.wrote.items():
            (into / trial / "outputs").mkdir(parents=True)
            (into / trial / "outputs" / "metrics.json").write_text(json.dumps(said))
        paths = [f"{trial}/outputs/metrics.json" for trial in self.wrote]
        return Fetched(files=tuple(FetchedFile(path=path, bytes=1) for path in paths))


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    house.engine = Measuring(house.cloud)
    return house


def ran(house: House, plan: RunPlan, *, factor: float = 1.0, **ended: object) -> Outcome:
    """The head takes `factor` as long as its base, and is as accurate."""
    trials = order(plan, seed=Owner(repository="a/b", run="1").name)
    took = {trial.name: NOISE[trial.number - 1] * (1.0 if trial.side == "base" else factor) for trial in trials}
    assert isinstance(house.engine, Measuring)
    house.engine.wrote = {
        name: {"latency_ms": seconds * 800, "accuracy": 0.9, "model": "ridge"} for name, seconds in took.items()
    }
    end = NodeEnd(rank=0, exit_code=0, trials=tuple(took.items()))
    house.engine.ends = (replace(end, **ended),)  # type: ignore[arg-type]
    return house.run(plan)


def told(house: House, plan: RunPlan, head: Mapping[str, object], base: Mapping[str, object]) -> Outcome:
    """Each side measures the same in all of its trials."""
    trials = order(plan, seed=Owner(repository="a/b", run="1").name)
    assert isinstance(house.engine, Measuring)
    house.engine.wrote = {trial.name: base if trial.side == "base" else head for trial in trials}
    took = tuple((trial.name, NOISE[trial.number - 1]) for trial in trials)
    house.engine.ends = (NodeEnd(rank=0, exit_code=0, trials=took),)
    return house.run(plan)


def verdicts(outcome: Outcome) -> dict[str, str]:
    assert outcome.measurements.comparison is not None
    return {change.metric: change.verdict for change in outcome.measurements.comparison.changes}


def test_of_repeated_runs_the_median_is_the_metric_and_all_samples_are_kept(house: House) -> None:
    outcome = ran(house, replace(PLAN, trials=replace(PLAN.trials, repeat=5)))
    assert outcome.measurements.metrics == {"latency_ms": 800.0, "accuracy": 0.9, "model": "ridge", "time.trial": 1.0}
    assert outcome.measurements.samples["latency_ms"] == tuple(800 * one for one in NOISE)
    assert outcome.measurements.samples["time.trial"] == NOISE
    assert outcome.measurements.comparison is None


def test_a_fifth_slower_is_worse_and_fails_only_when_asked(house: House, tmp_path: Path) -> None:
    outcome = ran(house, BOTH, factor=1.2)
    assert (outcome.ending, outcome.exit_code) == (Ending.SUCCEEDED, 0)
    assert verdicts(outcome) == {"time.trial": "worse", "latency_ms": "worse", "accuracy": "same"}
    (tmp_path / "again").mkdir()
    again = House(tmp_path / "again")
    again.engine = Measuring(again.cloud)
    strict = ran(again, replace(BOTH, trials=replace(BOTH.trials, fail_on_regression=True)), factor=1.2)
    assert (strict.ending, strict.exit_code) == (Ending.FAILED, 1)
    MESSAGES.check("worse than the base", strict.reason)
    assert headline(strict).startswith("Worse than its base: ")


def test_nothing_changed_fails_nothing(house: House) -> None:
    outcome = ran(house, replace(BOTH, trials=replace(BOTH.trials, fail_on_regression=True)))
    assert (outcome.ending, outcome.exit_code) == (Ending.SUCCEEDED, 0)
    assert set(verdicts(outcome).values()) == {"same"}


def test_the_repository_s_own_word_counts(house: House) -> None:
    rules = b"metrics: {latency_ms: {tolerance: 50%}, time.trial: ignore}"
    outcome = ran(house, replace(BOTH, trials=replace(BOTH.trials, rules=rules, fail_on_regression=True)), factor=1.2)
    assert outcome.exit_code == 0
    assert verdicts(outcome) == {"time.trial": "unsure", "latency_ms": "same", "accuracy": "same"}


def test_a_base_that_failed_is_no_baseline_and_says_so(house: House) -> None:
    outcome = ran(
        house, replace(BOTH, trials=replace(BOTH.trials, fail_on_regression=True)), factor=9, base_exit_code=3
    )
    assert outcome.exit_code == 0
    assert outcome.measurements.comparison is not None
    MESSAGES.check("a base that failed", outcome.measurements.comparison.reason)


def test_a_trial_the_machine_does_not_tell_of_measured_nothing(house: House) -> None:
    outcome = ran(house, BOTH, trials=())
    assert (outcome.measurements.metrics, outcome.measurements.samples) == ({}, {})
    assert (
        outcome.measurements.comparison is not None
        and outcome.measurements.comparison.reason == "not both sides finished"
    )


def test_a_job_that_failed_keeps_its_own_code(house: House) -> None:
    outcome = ran(house, replace(BOTH, trials=replace(BOTH.trials, fail_on_regression=True)), factor=2, exit_code=7)
    assert (outcome.ending, outcome.exit_code) == (Ending.FAILED, 7)
    assert headline(outcome).startswith("The job failed with exit code 7: ")


def test_the_verdict_is_in_summary_comment_and_json_and_names_are_inert(house: House) -> None:
    outcome = ran(house, BOTH, factor=1.2)
    assert outcome.measurements.comparison is not None
    hostile = replace(outcome.measurements.comparison.changes[0], metric="</details>`` @all \x1b[2J|")
    outcome = replace(
        outcome,
        measurements=replace(
            outcome.measurements,
            comparison=replace(
                outcome.measurements.comparison, changes=(hostile, *outcome.measurements.comparison.changes[1:])
            ),
        ),
    )
    text = "\n".join(lines(outcome, width=200))
    assert "latency_ms +20.0 % worse (between" in text
    MESSAGES.check("in turn with the base", golden.line(text, "in turn with main").partition(", in this order")[0])
    assert "\x1b" not in text
    page = job_summary(outcome)
    assert "**worse** `latency_ms +20.0 % worse" in page
    said = comment(outcome, marker=marker("x"), run=Link(text="run", url="https://example.com"))
    assert "**worse** `latency_ms +20.0 % worse" in said
    assert "Compared on the same machine (4)" in said
    for spot in (page, said):
        assert "``` </details>`` @all" in spot, "in a span that nothing in it ends"
    data = to_json(outcome)
    assert json.loads(json.dumps(data, allow_nan=False))["comparison"]["changes"][1]["verdict"] == "worse"


def test_what_is_lost_or_no_number_any_more_is_worse_and_fails(house: House) -> None:
    fine = {"loss": 0.5, "accuracy": 0.9, "passed": True, "errors": 0, "widgets": 3}
    lost = {"loss": float("nan"), "passed": False, "errors": 37}
    outcome = told(house, replace(BOTH, trials=replace(BOTH.trials, fail_on_regression=True)), lost, fine)
    assert (outcome.ending, outcome.exit_code) == (Ending.FAILED, 1)
    worse = dict.fromkeys(("loss", "accuracy", "passed", "errors"), "worse")
    assert verdicts(outcome) == {"time.trial": "same", **worse, "widgets": "changed"}
    page = job_summary(outcome)
    for line in ("**worse** `accuracy worse (it is gone)`", "**worse** `passed worse (true became false)`"):
        assert line in page
    MESSAGES.check("a lost metric", golden.line(page, "**changed**"))
    json.dumps(to_json(outcome), allow_nan=False)


def test_a_fifth_slower_in_four_of_four_is_not_called_fine(house: House) -> None:
    outcome = ran(house, replace(BOTH, trials=replace(BOTH.trials, repeat=4)), factor=1.23)
    assert verdicts(outcome) == {"time.trial": "unsure", "latency_ms": "unsure", "accuracy": "same"}
    page = job_summary(outcome)
    assert "nothing is worse" not in page
    cannot = "`latency_ms +23.0 % unsure (4 against 4"
    assert "samples cannot tell: repeat it)`" in page
    assert f"cannot be judged: {cannot}" in page
    said = comment(outcome, marker=marker("x"), run=Link(text="run", url="https://example.com"))
    assert f"cannot be judged: {cannot}" in said
    assert cannot.strip("`") in "\n".join(lines(outcome, width=200))


def test_what_repeats_in_every_digit_fails_by_four(house: House) -> None:
    slow = told(
        house,
        replace(BOTH, trials=replace(BOTH.trials, repeat=4, fail_on_regression=True)),
        {"latency_ms": 123},
        {"latency_ms": 100},
    )
    assert (slow.exit_code, verdicts(slow)["latency_ms"]) == (1, "worse")
