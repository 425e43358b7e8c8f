"""Build the outcome of a run from its state: its ending, its cost, its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cvl_ci.commands.run import spending, trials
from cvl_ci.commands.run.state import RunState
from cvl_ci.model.outcome import FileResult, MachineResult, Measurements, Outcome, Phase, Timing
from cvl_ci.result import verdict
from cvl_ci.result.benchmark import files as metric_files
from cvl_ci.result.benchmark.readings import Readings
from cvl_ci.result.text import left_behind


def judge_so_far(state: RunState) -> verdict.Judgement:
    """Judge by the facts so far. It is also called before the end, about a machine that may be kept."""
    return verdict.judge(
        plan=state.plan,
        launch=state.launch,
        nodes=state.job.nodes if state.job else None,
        lost=state.job.lost if state.job else None,
        unfit=state.job.unfit if state.job else "",
        release=state.release,
        failure=state.failure,
        cancelled=state.cancelled,
        attempts=state.attempts,
        ran_seconds=state.phases.get(Phase.SETUP.value, 0.0) + state.phases.get(Phase.RUNNING.value, 0.0),
    )


def outcome(state: RunState) -> Outcome:
    judgement = judge_so_far(state)
    measured, unread = _metrics(state.outputs, [file.path for file in state.fetched.files])
    pairing = None
    if state.plan.trials.has_samples:
        sides, unread = trials.sides(state, _metrics)
        measured, pairing = trials.head(sides), trials.paired_comparison(state, sides)
        judgement = (
            trials.regressed(judgement, pairing) if pairing and state.plan.trials.fail_on_regression else judgement
        )
    warnings = [*state.plan.warnings, *state.quote.warnings, *state.warnings, *unread]
    warnings += spending.warnings(state)
    if state.job:
        warnings += [*state.job.warnings, *filter(None, [left_behind(state.job.nodes)])]
    warnings += state.fetched.warnings
    if state.fetched.problem:
        warnings.append(state.fetched.problem)
    return Outcome(
        ending=judgement.ending,
        reason=judgement.reason,
        exit_code=judgement.exit_code,
        advice=judgement.advice,
        work=state.plan.identity,
        machines=MachineResult(
            cluster=state.owner.name,
            launch=state.launch,
            attempts=tuple(state.attempts),
            nodes=state.job.nodes if state.job else (),
            states_after=state.fetched.states_after,
        ),
        timing=Timing(phases=dict(state.phases), duration_seconds=state.tools.clock.monotonic() - state.started),
        cost=spending.cost(state),
        files=FileResult(
            fetched=state.fetched.files,
            refused=state.fetched.refused,
            directory=str(state.outputs) if state.fetched.files else "",
        ),
        measurements=Measurements(metrics=measured.metrics, samples=measured.samples, comparison=pairing),
        release=state.release,
        warnings=tuple(warnings),
    )


def _metrics(outputs: Path, paths: Sequence[str]) -> tuple[Readings, list[str]]:
    """Return the metrics, and a line on each file that looked like metrics and could not be read."""

    def opened(path: str) -> bytes:
        with (outputs / path).open("rb") as file:
            return file.read(metric_files.LARGEST_BYTES + 1)

    try:
        readings, troubles = metric_files.read_all(paths, opened)
    except Exception as error:  # noqa: BLE001  a job wrote the files, and its own end stands
        readings, troubles = Readings(), [f"The metrics could not be read ({type(error).__name__})"]
    return readings, [f"{trouble}: it gives no metrics." for trouble in troubles[:5]]
