"""The ending and the exit code of a run: a table of job ends, losses, errors, limits and proofs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from cvl_ci.errors import BudgetError, CapacityError, CredentialsError, CvlError
from cvl_ci.model.launch import Attempt, Launch
from cvl_ci.model.limits import IdlePolicy, Limits
from cvl_ci.model.loss import LossKind, Lost
from cvl_ci.model.node_end import CHECKPOINTS, IDLE, NodeEnd
from cvl_ci.model.outcome import Ending
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.release import KeptMachines, Release
from cvl_ci.result.conclusion import KILLED, NO_PAST, Conclusion, Past, conclude

GONE, NOT_GONE = Release(gone=True, at=1.0), Release(gone=False, at=1.0)
KEPT = replace(NOT_GONE, kept=KeptMachines(until=9.0))
ATTEMPT = Attempt(cloud="aws", region="us-east-1", zone=None, instance_type="g6.xlarge", spot=True, hourly_usd=1.0)
LAUNCH = Launch(
    cluster="cvl-1",
    cloud="aws",
    region="us-east-1",
    zone=None,
    instance_type="g6.xlarge",
    accelerators={"L4": 1},
    spot=True,
    num_nodes=1,
    hourly_usd=1.0,
    created_at=0.0,
)
IDLE_AFTER_A_MINUTE = Limits(idle=IdlePolicy(min_percent=10, seconds=60))
NEUTRAL = Limits(idle=IdlePolicy(min_percent=10, seconds=60, is_neutral=True))
USUAL = Limits()
HALF_AN_HOUR_PAID = Limits(max_runtime_minutes=60, max_cost_usd=0.5)


@dataclass(frozen=True, kw_only=True)
class Case:
    """The facts of a run, as far as they differ from a job of one node that succeeded and whose machine is gone."""

    nodes: tuple[NodeEnd, ...] | None = (NodeEnd(rank=0, exit_code=0),)
    lost: LossKind | None = None
    release: Release | None = GONE
    failure: CvlError | None = None
    cancelled: bool = False
    ran_minutes: float = 60.0
    unfit: str = ""
    failed_mount: str = ""
    never_began: str = ""
    past: Past = NO_PAST
    limits: Limits = USUAL
    num_nodes: int = 1
    attempts: tuple[Attempt, ...] = ()

    def judged(self) -> Conclusion:
        return conclude(
            plan=RunPlan(title="x", limits=self.limits),
            launch=replace(LAUNCH, num_nodes=self.num_nodes),
            nodes=self.nodes,
            lost=Lost(kind=self.lost, why="no answer") if self.lost else None,
            release=self.release,
            failure=self.failure,
            cancelled=self.cancelled,
            attempts=self.attempts,
            ran_seconds=self.ran_minutes * 60,
            unfit=self.unfit,
            failed_mount=self.failed_mount,
            never_began=self.never_began,
            past=self.past,
        )


def node(code: int | None, *, rank: int = 0, at: float | None = None, phase: str = "running") -> NodeEnd:
    return NodeEnd(rank=rank, exit_code=code, ended_at=at, phase=phase)


OUT_OF_TIME = (NodeEnd(rank=0, exit_code=124, timed_out=True),)
ENDINGS: dict[str, tuple[Case, Ending, int]] = {
    "success": (Case(), Ending.SUCCEEDED, 0),
    "the job's own code": (Case(nodes=(node(3),)), Ending.FAILED, 3),
    "setup failed": (Case(nodes=(node(2, phase="setup"),)), Ending.FAILED, 2),
    "124 of the job itself": (Case(nodes=(node(124),)), Ending.FAILED, 124),
    "killed": (Case(nodes=(node(None),)), Ending.FAILED, KILLED),
    "no job": (Case(nodes=None), Ending.NEVER_STARTED, 70),
    "no node began": (Case(never_began="SkyPilot failed."), Ending.NEVER_STARTED, 70),
    "no node answered": (Case(nodes=()), Ending.PREEMPTED, 75),
    "one node of two answered": (Case(num_nodes=2), Ending.PREEMPTED, 75),
    "one node of two failed": (Case(num_nodes=2, nodes=(node(5, rank=1),)), Ending.FAILED, 5),
    "checkpoints": (Case(nodes=(node(1, phase=CHECKPOINTS),)), Ending.STORAGE_FAILED, 70),
    "a mount": (Case(failed_mount="The mount failed."), Ending.STORAGE_FAILED, 70),
    "a mount and an error": (Case(failed_mount="x", failure=CredentialsError("no")), Ending.NEVER_STARTED, 77),
    "broken": (Case(unfit="a GPU is missing"), Ending.UNFIT, 75),
    "broken, no money": (Case(unfit="a GPU is missing", failure=BudgetError("no")), Ending.OVER_BUDGET, 78),
    "broken, none replaced it": (Case(unfit="no GPU", failure=CapacityError("no")), Ending.UNFIT, 75),
    "no capacity": (Case(failure=CapacityError("no"), attempts=(ATTEMPT,)), Ending.NEVER_STARTED, 75),
    "no credentials": (Case(failure=CredentialsError("no")), Ending.NEVER_STARTED, 77),
    "no money": (Case(failure=BudgetError("no")), Ending.OVER_BUDGET, 78),
    "cancelled": (Case(cancelled=True), Ending.CANCELLED, 130),
    "cancelled after a loss": (Case(cancelled=True, lost=LossKind.PREEMPTED), Ending.CANCELLED, 130),
    "preempted": (Case(lost=LossKind.PREEMPTED), Ending.PREEMPTED, 75),
    "node lost, though a node failed": (Case(lost=LossKind.NODE_LOST, nodes=(node(1),)), Ending.PREEMPTED, 75),
    "unreachable": (Case(lost=LossKind.UNREACHABLE), Ending.PREEMPTED, 75),
    "lost, no money": (Case(lost=LossKind.PREEMPTED, failure=BudgetError("no")), Ending.OVER_BUDGET, 78),
    "lost, none replaced it": (Case(lost=LossKind.PREEMPTED, failure=CapacityError("no")), Ending.PREEMPTED, 75),
    "ended itself": (Case(lost=LossKind.ENDED_ITSELF), Ending.TIMED_OUT, 124),
    "out of time": (Case(nodes=OUT_OF_TIME), Ending.TIMED_OUT, 124),
    "out of money": (Case(nodes=OUT_OF_TIME, limits=HALF_AN_HOUR_PAID, ran_minutes=20), Ending.OVER_BUDGET, 78),
    "out of time with money": (Case(nodes=OUT_OF_TIME, limits=HALF_AN_HOUR_PAID), Ending.TIMED_OUT, 124),
    "out of time with enough money": (
        Case(nodes=OUT_OF_TIME, limits=Limits(max_cost_usd=9.0), ran_minutes=20),
        Ending.TIMED_OUT,
        124,
    ),
    "earlier machines used the money": (
        Case(nodes=OUT_OF_TIME, limits=Limits(max_cost_usd=9.0), ran_minutes=20, past=Past(spent_usd=8.9, losses=1)),
        Ending.OVER_BUDGET,
        78,
    ),
    "earlier machines used the time": (
        Case(nodes=OUT_OF_TIME, ran_minutes=20, past=Past(seconds=3_600, losses=1)),
        Ending.PREEMPTED,
        75,
    ),
    "earlier machines used more time than money": (
        Case(nodes=OUT_OF_TIME, ran_minutes=20, limits=Limits(max_cost_usd=0.9), past=Past(seconds=3_000, losses=1)),
        Ending.PREEMPTED,
        75,
    ),
    "idle": (Case(nodes=(node(124, phase=IDLE),), limits=IDLE_AFTER_A_MINUTE), Ending.IDLE, 124),
    "idle, and neutral": (Case(nodes=(node(124, phase=IDLE),), limits=NEUTRAL), Ending.IDLE, 0),
    "idle without a policy": (Case(nodes=(node(124, phase=IDLE),)), Ending.FAILED, 124),
    "success without a proof": (Case(release=NOT_GONE), Ending.SUCCEEDED, 79),
    "failure without a proof": (Case(nodes=(node(3),), release=NOT_GONE), Ending.FAILED, 79),
    "cancelled without a proof": (Case(cancelled=True, release=NOT_GONE), Ending.CANCELLED, 79),
    "neutral without a proof": (
        Case(nodes=(node(124, phase=IDLE),), limits=NEUTRAL, release=NOT_GONE),
        Ending.IDLE,
        79,
    ),
    "kept for a person": (Case(nodes=(node(3),), release=KEPT), Ending.FAILED, 3),
    "not released yet": (Case(release=None), Ending.SUCCEEDED, 0),
}


@pytest.mark.parametrize(("case", "ending", "exit_code"), ENDINGS.values(), ids=ENDINGS)
def test_each_end_has_its_ending_and_exit_code(case: Case, ending: Ending, exit_code: int) -> None:
    conclusion = case.judged()
    assert (conclusion.ending, conclusion.exit_code) == (ending, exit_code)
    assert conclusion.reason.endswith(".") or case.failure is not None or case.lost is not None


@pytest.mark.parametrize(
    ("nodes", "exit_code"),
    [
        ((node(7, at=10.0), node(1, rank=1, at=9.0)), 7),
        ((node(7, at=20.0), node(1, rank=1, at=9.0)), 1),
        ((node(5, rank=1, at=9.0), node(4, at=10.0)), 5),
        ((node(5, rank=1, at=9.0), node(4, at=9.0)), 4),
        ((node(None), node(3, rank=1, at=9.0)), 3),
        ((node(0), node(None, rank=1)), KILLED),
    ],
    ids=["an echo of 1", "1 long before", "the first", "the lower rank", "a code before none", "killed"],
)
def test_the_node_that_failed_first_gives_the_exit_code(nodes: tuple[NodeEnd, ...], exit_code: int) -> None:
    assert Case(nodes=nodes, num_nodes=2).judged().exit_code == exit_code
