"""Conclude how a run ended and what caused it. Pure.

A remote failure is never green. A failure of cvl-ci is never a red test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cvl_ci.errors import BudgetError, CapacityError, CvlError, EngineError
from cvl_ci.model.launch import Attempt, Launch
from cvl_ci.model.limits import IdlePolicy
from cvl_ci.model.loss import LossKind, Lost
from cvl_ci.model.node_end import CHECKPOINTS, IDLE, RESULTS, NodeEnd
from cvl_ci.model.outcome import EXIT_CODES, EXIT_NOT_PROVED_GONE, Ending
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.release import Release
from cvl_ci.result.units import dollars, duration

ECHO_SECONDS = 3.0
MOUNT_ADVICE = (
    "The job did not cause this. Its log names the cause. Look at the bucket and its rights, then run it again."
)
NEVER_BEGAN_ADVICE = (
    "Nothing of the job or of its setup ran, so this says nothing about the code: run it again. If it happens twice, "
    "choose a machine with more CPUs or memory."
)
KILLED = 137
"""The shell's number for SIGKILL: the process was killed before it could give a reason."""


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """The end of a run: `advice` says what to do next; empty: nothing."""

    ending: Ending
    reason: str
    exit_code: int
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class Past:
    """What a run used before its latest machines: dollars, seconds since its first request, and lost or broken ones."""

    spent_usd: float = 0.0
    seconds: float = 0.0
    losses: int = 0


NO_PAST = Past()


def conclude(
    *,
    plan: RunPlan,
    launch: Launch | None,
    nodes: Sequence[NodeEnd] | None,
    lost: Lost | None,
    release: Release | None,
    failure: CvlError | None,
    cancelled: bool,
    attempts: Sequence[Attempt],
    ran_seconds: float,
    unfit: str = "",
    failed_mount: str = "",
    never_began: str = "",
    past: Past = NO_PAST,
) -> Conclusion:
    """Return the ending, the reason and the exit code of a run.

    `unfit`: why a machine was broken before the job began. `failed_mount`: why a mount failed. `never_began`: why no
    node began the job. `nodes` None: no job was submitted. `ran_seconds`: setup and run together.
    """
    if cancelled:
        conclusion = _of(Ending.CANCELLED, "Cancelled before it was over.")
    elif lost is not None:
        conclusion = _lost(plan, launch, lost, ran_seconds, failure, past=past)
    elif unfit:
        conclusion = _unfit(unfit, failure)
    elif failed_mount and failure is None:
        conclusion = _of(Ending.STORAGE_FAILED, failed_mount, advice=MOUNT_ADVICE)
    elif failure is not None:
        conclusion = _failed(failure, attempts)
    elif never_began or nodes is None:
        conclusion = Conclusion(
            ending=Ending.NEVER_STARTED,
            reason=never_began or "The job never began.",
            exit_code=EngineError.exit_code,
            advice=NEVER_BEGAN_ADVICE if never_began else "",
        )
    else:
        conclusion = _job(plan, launch, nodes, ran_seconds, past)
    if release is not None and not release.gone and release.kept is None:
        return Conclusion(
            ending=conclusion.ending, reason=conclusion.reason, exit_code=EXIT_NOT_PROVED_GONE, advice=conclusion.advice
        )
    return conclusion


def _job(plan: RunPlan, launch: Launch | None, nodes: Sequence[NodeEnd], ran_seconds: float, past: Past) -> Conclusion:
    if any(node.timed_out for node in nodes):
        return _out_of_time(plan, launch, ran_seconds, past)
    idle = [node for node in nodes if node.phase == IDLE and node.exit_code == EXIT_CODES[Ending.IDLE]]
    if idle and plan.limits.idle is not None:
        return _idle(plan.limits.idle, idle[0], count=len(nodes))
    first = _first_failure(nodes)
    if first is None and len(nodes) < (of := max(1, launch.num_nodes if launch else 1)):
        return _of(
            Ending.PREEMPTED,
            f"Only {len(nodes)} of {of} nodes reported how the job ended.",
            advice="The job did not cause this: run it again.",
        )
    if first is None:
        return _of(Ending.SUCCEEDED, "The job succeeded.")
    rank = f" on rank {first.rank} of {len(nodes)}" if len(nodes) > 1 else ""
    what = "setup" if first.phase == "setup" else "job"
    if first.phase == CHECKPOINTS:
        reason = f"The job{rank} did not begin, because its checkpoints could not be read."
        advice = "Run it again when the bucket answers, with `resume: latest`. The end of its log has the reason."
        return _of(Ending.STORAGE_FAILED, reason, advice=advice)
    if first.phase == RESULTS and plan.detach.place is not None:
        reason = f"The job did not begin, because its machine could not store results in {plan.detach.place}."
        advice = (
            f"Look at the name of the bucket {plan.detach.place.bucket}, and give the machines' role s3:PutObject on "
            "it. The end of the log has the answer of S3."
        )
        return _of(Ending.STORAGE_FAILED, reason, advice=advice)
    if first.exit_code is None:
        return Conclusion(
            ending=Ending.FAILED,
            reason=f"The {what}{rank} was killed before it could give a reason, which is usually out of memory.",
            exit_code=KILLED,
            advice="Ask for more memory (`memory`), or make it smaller. The end of its log may name the cause.",
        )
    return Conclusion(
        ending=Ending.FAILED,
        reason=f"The {what}{rank} exited with code {first.exit_code}.",
        exit_code=first.exit_code,
        advice="The job itself failed. The end of its log names the cause.",
    )


def _idle(policy: IdlePolicy, node: NodeEnd, *, count: int) -> Conclusion:
    machine = f"machine {node.rank} of {count}" if count > 1 else "the machine"
    conclusion = _of(
        Ending.IDLE,
        f"No GPU of {machine} was {policy.min_percent} % busy for {duration(policy.seconds)}, so cvl-ci ended it.",
        advice="The end of its log shows where it waited. Lower `min_gpu_utilization`, or give a longer `time_window`.",
    )
    return replace(conclusion, exit_code=0) if policy.is_neutral else conclusion


def _first_failure(nodes: Sequence[NodeEnd]) -> NodeEnd | None:
    """Return the node that caused the failure: the first rank that failed.

    A peer loses its connection at the same moment and ends with the interpreter's plain 1. It may even end slightly
    earlier. An exit code that a program chose is more informative.
    """
    failed = [node for node in nodes if node.exit_code]
    if failed:
        first = min(node.ended_at or float("inf") for node in failed)
        echoes = [node for node in failed if (node.ended_at or float("inf")) <= first + ECHO_SECONDS]
        return min(echoes, key=lambda node: (node.exit_code == 1, node.ended_at or float("inf"), node.rank))
    return next((node for node in nodes if node.exit_code is None), None)


def _out_of_time(plan: RunPlan, launch: Launch | None, ran_seconds: float, past: Past) -> Conclusion:
    hourly = launch.hourly_usd * launch.num_nodes if launch else 0.0
    lost = f"machines were lost or broken {'once' if past.losses == 1 else f'{past.losses} times'}"
    is_early = ran_seconds < plan.limits.max_runtime_minutes * 60 - 5
    max_usd = plan.limits.max_cost_usd
    rest = replace(plan.limits, max_cost_usd=None if max_usd is None else max(0.0, max_usd - past.spent_usd))
    if is_early and rest.paid_minutes(hourly_usd=hourly) < plan.limits.longest_minutes - past.seconds / 60:
        return _of(
            Ending.OVER_BUDGET,
            f"The run stopped in order to stay within max_cost ({dollars(plan.limits.max_cost_usd or 0)}).",
            advice="Raise `max_cost`, use spot, or make the job shorter.",
        )
    if is_early and past.losses:
        return _of(
            Ending.PREEMPTED,
            f"The run reached its deadline before max_runtime, because its {lost}.",
            advice="The job did not cause this: run it again, on-demand if the machines were spot.",
        )
    return _of(
        Ending.TIMED_OUT,
        f"The run stopped at its time limit, max_runtime = {plan.limits.max_runtime_minutes:g} minutes."
        + (f" Its {lost} before." if past.losses else ""),
        advice="Raise `max_runtime`, or make the job shorter.",
    )


def _lost(
    plan: RunPlan, launch: Launch | None, lost: Lost, ran_seconds: float, failure: CvlError | None, *, past: Past
) -> Conclusion:
    """Judge a loss. `failure`: the error of a recovery, in which no new machine came to run the job."""
    if isinstance(failure, BudgetError):
        return _of(Ending.OVER_BUDGET, f"{lost.why}. Then: {failure.what}", advice=failure.next_step)
    if lost.kind is LossKind.ENDED_ITSELF:
        return _out_of_time(plan, launch, ran_seconds, past)
    then = f". No machine replaced it: {failure.what}" if failure is not None else ""
    if lost.kind is LossKind.PREEMPTED:
        reason = f"The spot machine was taken away: {lost.why}{then}"
        return _of(Ending.PREEMPTED, reason, advice="Run it again, with `spot: fallback`, or on-demand.")
    reason = f"The machine was lost: {lost.why}{then}"
    return _of(Ending.PREEMPTED, reason, advice="The job did not cause this: run it again.")


def _unfit(unfit: str, failure: CvlError | None) -> Conclusion:
    """Judge machines on which the job did not begin. `failure`: the error of the launch that should replace them."""
    if isinstance(failure, BudgetError):
        return _of(Ending.OVER_BUDGET, f"{unfit}. Then: {failure.what}", advice=failure.next_step)
    then = f" No other machine replaced it: {failure.what}" if failure is not None else ""
    return _of(
        Ending.UNFIT,
        f"The machine is broken, so the job did not begin: {unfit}.{then}",
        advice="The job did not cause this: run it again, or name another place or GPU. "
        "The provider may give the same machine again.",
    )


def _failed(failure: CvlError, attempts: Sequence[Attempt]) -> Conclusion:
    if isinstance(failure, BudgetError):
        return _of(Ending.OVER_BUDGET, failure.what, advice=failure.next_step)
    reason = failure.what
    if isinstance(failure, CapacityError) and attempts:
        places = "1 attempt" if len(attempts) == 1 else f"{len(attempts)} attempts"
        reason = f"No machine was available in {places}: {'; '.join(dict.fromkeys(a.where for a in attempts))}."
    return Conclusion(ending=Ending.NEVER_STARTED, reason=reason, exit_code=failure.exit_code, advice=failure.next_step)


def _of(ending: Ending, reason: str, advice: str = "") -> Conclusion:
    return Conclusion(ending=ending, reason=reason, exit_code=EXIT_CODES[ending], advice=advice)
