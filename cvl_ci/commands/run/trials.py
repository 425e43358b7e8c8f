"""Combine the trials of a run on one machine: each side's metrics, and the comparison of the two sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cvl_ci.commands.run.state import RunState
from cvl_ci.model.outcome import Ending
from cvl_ci.model.paired_comparison import PairedComparison
from cvl_ci.planning.trials import ALONE, BASE, HEAD, NAME
from cvl_ci.result.benchmark import comparison, rules
from cvl_ci.result.benchmark.readings import Readings
from cvl_ci.result.benchmark.trials import together, trial
from cvl_ci.result.conclusion import Conclusion
from cvl_ci.result.text import change

EXIT_REGRESSION = 1

Read = Callable[[Path, Sequence[str]], tuple[Readings, list[str]]]
"""Reader of files below a folder. It returns their metrics, and the problems of unreadable files."""


def sides(state: RunState, read: Read) -> tuple[Mapping[str, Sequence[Readings]], list[str]]:
    """Return the trials of each side. An unfinished trial has no measurement: the machine does not report it."""
    files: dict[str, list[str]] = {}
    for file in state.facts.fetched.files:
        name, _, path = file.path.partition("/")
        if NAME.fullmatch(name):
            files.setdefault(name, []).append(path)
    took = dict(state.facts.job.nodes[0].trials) if state.facts.job and state.facts.job.nodes else {}
    troubles: list[str] = []
    by_side: dict[str, list[Readings]] = {}
    for name, ran in took.items():
        measured, unread = read(state.outputs / name, files.get(name, ()))
        troubles += unread
        by_side.setdefault(name.partition("-")[0], []).append(trial(measured, seconds=ran))
    return by_side, list(dict.fromkeys(troubles))[:5]


def head(by_side: Mapping[str, Sequence[Readings]]) -> Readings:
    return together(by_side.get(HEAD) or by_side.get(ALONE) or ())


def paired_comparison(state: RunState, by_side: Mapping[str, Sequence[Readings]]) -> PairedComparison | None:
    against = state.plan.trials.base
    if against is None:
        return None
    ends = state.facts.job.nodes if state.facts.job else ()
    pairing = PairedComparison(
        ref=against.ref, commit=against.commit, order=tuple(name for end in ends for name, _ in end.trials)
    )
    failed = next((end.base_exit_code for end in ends if end.base_exit_code is not None), None)
    if failed is not None:
        return replace(pairing, reason=f"{against.ref} itself failed there, with exit code {failed}")
    if HEAD not in by_side or BASE not in by_side:
        return replace(pairing, reason="not both sides finished")
    changes = comparison.compare_trials(by_side[HEAD], by_side[BASE], rules=rules.read(state.plan.trials.rules))
    return replace(pairing, changes=changes, reason="" if changes else "they have no metric in common to compare")


def regressed(conclusion: Conclusion, pairing: PairedComparison) -> Conclusion:
    """Fail a run that became worse, if it succeeded otherwise."""
    if conclusion.ending is not Ending.SUCCEEDED or not pairing.worse or conclusion.exit_code:
        return conclusion
    metrics = "; ".join(change(one) for one in pairing.worse[:5])
    return Conclusion(
        ending=Ending.FAILED,
        reason=f"Worse than {pairing.ref} on the same machine: {metrics}.",
        exit_code=EXIT_REGRESSION,
        advice="The job itself succeeded. `fail_on_regression` makes this a failure; cvl-ci.yml sets the tolerance.",
    )
