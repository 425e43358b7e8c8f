"""Build the outcome of a run from its state: its ending, its cost, its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cvl_ci.commands.run import detaching, serving, spending, trials
from cvl_ci.commands.run.state import RunState
from cvl_ci.model.loss import ControllerRecoveries
from cvl_ci.model.outcome import Ending, FileResult, MachineResult, Measurements, Outcome, Timing
from cvl_ci.model.reuse import MachineUse
from cvl_ci.result.benchmark import files as benchmark_files
from cvl_ci.result.benchmark.readings import Readings
from cvl_ci.result.conclusion import NO_PAST, Conclusion, Past, conclude
from cvl_ci.result.machine_text import unmeasured_use
from cvl_ci.result.text import left_behind


def conclusion_so_far(state: RunState) -> Conclusion:
    """Judge by the facts so far. It is also called before the end, about a machine that may be kept."""
    return detaching.conclusion(state, of_job=serving.conclusion(state, of_job=_of_job(state)))


def is_fit_for_another(state: RunState) -> bool:
    """Return whether the machine can take a further job: each node reported the end of this one, before any limit."""
    facts = state.facts
    if facts.job is None or facts.failure is not None or facts.cancelled or not facts.came_through:
        return False
    if conclusion_so_far(state).ending not in {Ending.SUCCEEDED, Ending.FAILED}:
        return False
    return all(node.exit_code is not None for node in facts.job.nodes)


def _of_job(state: RunState) -> Conclusion:
    return conclude(
        plan=state.plan,
        launch=state.launches.current,
        nodes=state.facts.job.nodes if state.facts.job else None,
        lost=state.facts.job.lost if state.facts.job else None,
        unfit=state.facts.job.unfit if state.facts.job else "",
        failed_mount=state.facts.job.failed_mount if state.facts.job else "",
        never_began=state.facts.job.never_began if state.facts.job else "",
        release=state.facts.release,
        failure=state.facts.failure,
        cancelled=state.facts.cancelled,
        attempts=state.launches.attempts,
        ran_seconds=state.timeline.ran_seconds,
        past=_past(state),
    )


def _past(state: RunState) -> Past:
    launches = state.launches
    if launches.current is None or not launches.recoveries:
        return NO_PAST
    first = launches.attempts[0].requested_at if launches.attempts else launches.current.created_at
    return Past(
        spent_usd=spending.spent_before(state),
        seconds=max(0.0, launches.current.created_at - first),
        losses=len(launches.recoveries),
    )


def outcome(state: RunState) -> Outcome:
    conclusion = conclusion_so_far(state)
    measured, unread = metrics_of(state.outputs, [file.path for file in state.facts.fetched.files])
    pairing = None
    if state.plan.trials.has_samples:
        sides, unread = trials.sides(state, metrics_of)
        measured, pairing = trials.head(sides), trials.paired_comparison(state, sides)
        conclusion = (
            trials.regressed(conclusion, pairing) if pairing and state.plan.trials.fail_on_regression else conclusion
        )
    warnings = [*state.plan.warnings, *state.quote.warnings, *state.facts.warnings, *unread]
    warnings += spending.warnings(state)
    if state.facts.job:
        warnings += [*state.facts.job.warnings, *filter(None, [left_behind(state.facts.job.nodes)])]
        warnings += unmeasured_use(state.plan.limits.idle, state.facts.job.nodes)
    warnings += state.facts.fetched.warnings
    if state.facts.fetched.problem:
        warnings.append(state.facts.fetched.problem)
    return Outcome(
        ending=conclusion.ending,
        reason=conclusion.reason,
        exit_code=conclusion.exit_code,
        advice=_with_place(conclusion, state),
        work=state.plan.identity,
        machines=MachineResult(
            cluster=state.lease.name if state.lease else state.owner.name,
            launch=state.launches.current,
            attempts=tuple(state.launches.attempts),
            nodes=state.facts.job.nodes if state.facts.job else (),
            recoveries=tuple(state.launches.recoveries),
            controller=ControllerRecoveries() if state.plan.has_controller else None,
            states_after=state.facts.fetched.states_after,
            service=state.service,
            use=_use(state),
        ),
        timing=Timing(
            phases=dict(state.timeline.phases), duration_seconds=state.ports.clock.monotonic() - state.timeline.started
        ),
        cost=spending.cost(state),
        files=FileResult(
            fetched=state.facts.fetched.files,
            refused=state.facts.fetched.refused,
            directory=str(state.outputs) if state.facts.fetched.files else "",
        ),
        measurements=Measurements(metrics=measured.metrics, samples=measured.samples, comparison=pairing),
        release=state.facts.release,
        warnings=tuple(warnings),
    )


def _use(state: RunState) -> MachineUse | None:
    """Return the use of a machine that waits between runs, with the cost that no other run counts.

    The run tells that cost in any case: it may have a machine of its own, or none.
    """
    use, uncounted = state.sharing.use if state.sharing else None, state.facts.uncounted
    return replace(use, uncounted_usd=uncounted.uncounted_usd) if use and uncounted else use or uncounted


def _with_place(conclusion: Conclusion, state: RunState) -> str:
    """Return the advice, with the place of the checkpoints after a run that a later one may go on from."""
    release = state.facts.release
    if state.facts.fetched.is_whole_copy and conclusion.ending is not Ending.SUCCEEDED:
        return "\n".join(filter(None, [conclusion.advice, f"Its newest checkpoint is in {state.outputs}."]))
    staying = release.checkpoints if release else None
    has_none = staying is not None and staying.stored is not None and staying.stored.newest is None
    if staying is None or has_none or conclusion.ending is Ending.SUCCEEDED:
        return conclusion.advice
    goes_on = f"Its checkpoints are in {staying.place}: `resume: latest` goes on from the last one."
    return "\n".join(filter(None, [conclusion.advice, goes_on]))


def metrics_of(outputs: Path, paths: Sequence[str]) -> tuple[Readings, list[str]]:
    """Return the metrics, and a line on each file that looked like metrics and could not be read."""

    def opened(path: str) -> bytes:
        with (outputs / path).open("rb") as file:
            return file.read(benchmark_files.LARGEST_BYTES + 1)

    try:
        readings, troubles = benchmark_files.read_all(paths, opened)
    except Exception as error:  # noqa: BLE001  a job wrote the files, and its own end stands
        readings, troubles = Readings(), [f"The metrics could not be read ({type(error).__name__})"]
    return readings, [f"{trouble}: it gives no metrics." for trouble in troubles[:5]]
