"""A whole run on a cloud in a dict: how it ends, what it tells, and that it leaves nothing behind, whatever hits it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.run import run as running
from cvl_ci.commands.run import stages, steps
from cvl_ci.engine.process import WorkerFailed
from cvl_ci.engine.sky_errors import as_cvl_error
from cvl_ci.errors import BudgetError, CapacityError, CvlError, EngineError, RequestError
from cvl_ci.model.launch import Attempt
from cvl_ci.model.lease_name import LABEL_DEADLINE
from cvl_ci.model.limits import Limits
from cvl_ci.model.location import Location
from cvl_ci.model.loss import LossKind, Lost
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.outcome import Ending, FetchedFile, Outcome
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import MachinePlan, RunPlan, WorkPlan
from cvl_ci.model.resource_request import ResourceRequest
from cvl_ci.ports import Fetched, Prices, UnpackStopped
from cvl_ci.result import spent
from cvl_ci.result.benchmark.leg_file import read as read_leg
from cvl_ci.result.matrix.failures import INFRASTRUCTURE, Failure
from cvl_ci.result.matrix.failures import failure as failure_of
from cvl_ci.result.summary import to_json
from tests import golden
from tests.support.fakes import (
    FakeClock,
    FakeCloud,
    FakeClouds,
    FakeEngine,
    FakePrices,
    FakeRecords,
    FakeReporter,
    FakeStaging,
)

MESSAGES = golden.Messages(__name__)

PLAN = RunPlan(
    title="digits train",
    work=WorkPlan(run_commands=("bash train.sh",)),
    machines=MachinePlan(locations=(Location(cloud="aws"),)),
)
STEPS = ("warm", "launch", "asked", "created", "follow", "ran", "fetch", "unpack", "down")


class House:
    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.cloud = FakeCloud(self.clock)
        self.clouds = FakeClouds(FakeEngine(self.cloud))
        self.reporter = FakeReporter()
        self.records = FakeRecords(folder)
        self.folder = folder
        self.prices: Prices = FakePrices()
        self.interruptible: Callable[[], AbstractContextManager[object]] | None = None

    @property
    def engine(self) -> FakeEngine:
        return self.clouds.engine

    @engine.setter
    def engine(self, engine: FakeEngine) -> None:
        self.clouds.engine = engine

    def run(self, plan: RunPlan = PLAN, *, outputs: Path | None = None) -> Outcome:
        ports = running.RunPorts(
            clouds=self.clouds,
            records=self.records,
            staging=FakeStaging(self.folder),
            reporter=self.reporter,
            prices=self.prices,
            clock=self.clock,
            interruptible=self.interruptible,
        )
        owner = Owner(repository="a/b", run="1")
        return running.run(plan, owner=owner, outputs=outputs or self.folder / "out", ports=ports)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_job_that_succeeds_ends_0_with_outputs_metrics_cost_and_proof(house: House) -> None:
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.SUCCEEDED, 0)
    assert [file.path for file in outcome.files.fetched] == ["metrics.json"]
    assert outcome.measurements.metrics == {"accuracy": 0.9}
    assert outcome.release is not None and outcome.release.gone
    assert outcome.cost is not None and outcome.cost.seconds >= 90
    assert outcome.cost.usd == pytest.approx(house.cloud.meter.usd(house.clock.now()), rel=0.001)
    assert house.reporter.remote_lines == ["hello"]
    assert house.reporter.outcome is outcome
    assert house.cloud.running() == []


def test_the_record_has_the_prices_of_the_machines_from_their_request_on(house: House) -> None:
    """A process that is killed at any moment leaves enough to tell the cost so far."""
    house.engine.refusals = (
        Attempt(
            cloud="aws",
            region="us-east-2",
            zone="",
            instance_type="g6.xlarge",
            spot=False,
            hourly_usd=9.0,
            error="InsufficientInstanceCapacity: key AKIA0",
        ),
    )
    seen: list[tuple[float, ...]] = []

    def at(step: str) -> None:
        if step == "created":
            [recorded] = house.records.prices.values()
            seen.append(tuple(one.hourly_usd for one in recorded.attempts))
            house.clock.sleep(1800)

    house.engine.at = at
    house.run()
    assert seen == [(0.1,)], "a refused request costs nothing"
    [recorded] = house.records.prices.values()
    usd = spent.so_far(recorded, until=house.clock.now()).usd
    assert usd == pytest.approx(house.cloud.meter.usd(house.clock.now()), rel=0.02)
    assert "AKIA0" not in str(recorded)


def test_a_run_is_no_notice_of_github_s(house: House) -> None:
    """A matrix of many legs would fill the page with them, and the runner shows ten of a step."""
    house.engine.refusals = (
        Attempt(
            cloud="aws",
            region="us-east-1",
            zone="",
            instance_type="g6.xlarge",
            spot=False,
            hourly_usd=0.8,
            error="InsufficientInstanceCapacity",
        ),
    ) * 12
    house.run()
    assert any(line.startswith("lease ") for line in house.reporter.said)
    assert any(line.startswith("asking ") for line in house.reporter.said)
    assert house.reporter.notices == []


def test_the_phases_add_up_to_the_whole(house: House) -> None:
    outcome = house.run()
    assert list(outcome.timing.phases) == ["staging", "provisioning", "running", "fetching", "releasing"]
    assert sum(outcome.timing.phases.values()) == pytest.approx(outcome.timing.duration_seconds)


def test_the_jobs_own_exit_code_is_ours(house: House) -> None:
    house.engine.ends = (NodeEnd(rank=0, exit_code=7),)
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.FAILED, 7)
    assert "7" in outcome.reason
    assert outcome.files.fetched, "what a failed job wrote comes back too"


def test_one_failing_rank_fails_the_run_with_the_code_of_the_first_to_fail(house: House) -> None:
    house.engine.ends = (
        NodeEnd(rank=0, exit_code=5, ended_at=20.0),
        NodeEnd(rank=1, exit_code=9, ended_at=10.0),
        NodeEnd(rank=2, exit_code=None),
    )
    outcome = house.run()
    assert outcome.exit_code == 9
    assert "rank 1" in outcome.reason


def test_the_echo_of_a_failing_rank_is_not_its_cause(house: House) -> None:
    """Rank 1 exits 7, and rank 0, which loses its peer, ends with a traceback a moment before that is written."""
    house.engine.ends = (
        NodeEnd(rank=0, exit_code=1, ended_at=10.0),
        NodeEnd(rank=1, exit_code=7, ended_at=10.4),
        NodeEnd(rank=2, exit_code=9, ended_at=60.0),
    )
    assert house.run().exit_code == 7


def test_a_rank_that_was_killed_by_itself_is_no_success(house: House) -> None:
    house.engine.ends = (NodeEnd(rank=0, exit_code=0), NodeEnd(rank=1, exit_code=None))
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.FAILED, 137)


def test_a_job_of_which_no_node_told_its_end_is_no_success(house: House) -> None:
    house.engine.ends = ()
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.PREEMPTED, 75)
    MESSAGES.check("no node told its end", outcome.reason)


def test_a_job_at_its_time_limit_ends_124(house: House) -> None:
    house.engine.ends = (NodeEnd(rank=0, exit_code=124, timed_out=True),)
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.TIMED_OUT, 124)


def test_a_job_cut_by_its_budget_says_so_and_not_that_it_timed_out(house: House) -> None:
    house.engine.ends = (NodeEnd(rank=0, exit_code=124, timed_out=True),)
    plan = RunPlan(
        title="t",
        work=WorkPlan(run_commands=("x",)),
        machines=MachinePlan(locations=PLAN.machines.locations),
        limits=Limits(max_cost_usd=0.05),
    )
    outcome = house.run(plan)
    assert (outcome.ending, outcome.exit_code) == (Ending.OVER_BUDGET, 78)


def test_a_job_that_its_budget_did_not_end_timed_out(house: House) -> None:
    """Machines were long in coming, so it ran for less than max_runtime; of its money it had used little."""
    house.engine.ends = (NodeEnd(rank=0, exit_code=124, timed_out=True),)
    assert house.run(replace(PLAN, limits=Limits(max_cost_usd=50.0))).ending is Ending.TIMED_OUT


def test_a_budget_that_ends_while_machines_are_got_ends_over_budget_and_with_proof(house: House) -> None:
    house.engine.failure = BudgetError("max_cost was used up.", next_step="Raise it.")
    outcome = house.run(replace(PLAN, limits=Limits(max_cost_usd=0.05)))
    assert (outcome.ending, outcome.exit_code, outcome.reason) == (
        Ending.OVER_BUDGET,
        78,
        "max_cost was used up.",
    )
    assert outcome.release is not None and outcome.release.gone


@pytest.mark.parametrize(
    ("limits", "nodes", "minutes"),
    [
        (Limits(max_runtime_minutes=60), 1, 15 + 60 + 5),
        (Limits(max_runtime_minutes=60, max_cost_usd=0.05), 1, 30),
        (Limits(max_runtime_minutes=60, max_cost_usd=0.10), 3, 20),
        (Limits(max_runtime_minutes=60, max_cost_usd=9.0), 1, 15 + 60 + 5),
    ],
    ids=["no budget", "a budget", "three machines", "more than it needs"],
)
def test_max_runtime_and_max_cost_are_one_deadline_on_record_and_in_the_labels(
    house: House, limits: Limits, nodes: int, minutes: float
) -> None:
    began = house.clock.now()
    house.engine.ends = tuple(NodeEnd(rank=rank, exit_code=0) for rank in range(nodes))
    house.run(replace(PLAN, limits=limits, machines=replace(PLAN.machines, num_nodes=nodes)))
    (record,) = house.records.kept.values()
    assert record.deadline == pytest.approx(began + minutes * 60)
    assert record.labels[LABEL_DEADLINE] == str(int(record.deadline))


def test_a_budget_that_buys_nothing_is_refused_before_anything_starts(house: House) -> None:
    plan = RunPlan(
        title="t",
        work=WorkPlan(run_commands=("x",)),
        machines=MachinePlan(locations=PLAN.machines.locations),
        limits=Limits(max_cost_usd=0.001),
    )
    with pytest.raises(BudgetError):
        house.run(plan)
    assert house.cloud.machines == {} and house.records.kept == {}


def test_no_capacity_never_started_and_is_not_the_jobs_fault(house: House) -> None:
    house.engine.failure = CapacityError("No machine was available.")
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.NEVER_STARTED, 75)
    assert house.cloud.running() == []


def test_a_machine_that_does_not_exist_is_a_wrong_request_that_names_what_there_is(house: House) -> None:
    house.prices = CataloguePrices()
    text = "Catalog does not contain any instances satisfying the request: 1x AWS({'A100': 1})."
    failure = WorkerFailed(error="ResourcesUnavailableError", text=text)
    house.engine.failure = as_cvl_error(failure, was_requested=False)
    outcome = house.run(replace(PLAN, machines=replace(PLAN.machines, needs=ResourceRequest(accelerators={"A100": 1}))))
    assert (outcome.ending, outcome.exit_code) == (Ending.NEVER_STARTED, 64)
    assert "8 × A100 on aws" in outcome.reason and "1 × A100 on" in outcome.reason
    leg = read_leg(json.dumps(to_json(outcome)).encode())
    assert failure_of(leg) is Failure.REQUEST and Failure.REQUEST not in INFRASTRUCTURE, "red, and not neutral"


@pytest.mark.parametrize("step", ["fetch", "unpack"])
def test_a_failure_beside_a_machine_does_not_say_that_nothing_is_billed(house: House, step: str) -> None:
    def at(now: str) -> None:
        if now == step:
            raise EngineError("It did not answer.")

    house.engine.at = at
    warnings = "\n".join(house.run().warnings)
    assert "It did not answer." in warnings and "billed" not in warnings


def test_a_runtime_that_never_came_up_leaves_no_machine(house: House) -> None:
    house.engine.failure = EngineError("SkyPilot failed.")
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.NEVER_STARTED, 70)
    assert house.cloud.running() == []
    assert outcome.cost is not None and outcome.cost.usd > 0, "the machine was there, so it cost something"


def test_a_lost_machine_is_preempted_and_not_failed(house: House) -> None:
    house.engine.lost = Lost(kind=LossKind.UNREACHABLE, why="it does not answer")
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.PREEMPTED, 75)


@pytest.mark.parametrize(
    ("kind", "ending", "exit_code", "words"),
    [
        (LossKind.PREEMPTED, Ending.PREEMPTED, 75, "spot machine was taken away"),
        (LossKind.NODE_LOST, Ending.PREEMPTED, 75, "machine was lost"),
        (LossKind.UNREACHABLE, Ending.PREEMPTED, 75, "machine was lost"),
        (LossKind.ENDED_ITSELF, Ending.TIMED_OUT, 124, "time limit"),
    ],
)
def test_each_kind_of_loss_has_its_ending(
    house: House, kind: LossKind, ending: Ending, exit_code: int, words: str
) -> None:
    house.engine.lost = Lost(kind=kind, why="the provider shows 0 of its 1 nodes")
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code) == (ending, exit_code)
    assert words in outcome.reason


def test_a_machine_that_is_broken_before_the_job_is_infrastructure_and_nothing_is_fetched_from_it(house: House) -> None:
    house.engine.unfit = "GPU 0: it fell off the bus"
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code, house.engine.brought) == (Ending.UNFIT, 75, False)
    assert len(outcome.machines.attempts) == 3, "two replacements, and then no more"
    assert f"did not begin: {house.engine.unfit}" in outcome.reason
    assert house.cloud.running() == []


def test_an_unproved_release_is_79_whatever_the_job_said(house: House) -> None:
    house.engine.at = lambda step: setattr(house.cloud, "silent", True) if step == "ran" else None
    outcome = house.run()
    assert outcome.ending is Ending.SUCCEEDED
    assert outcome.exit_code == 79


@pytest.mark.parametrize("step", STEPS)
def test_ctrl_c_at_any_step_leaves_no_machine_and_ends_130(house: House, step: str) -> None:
    hit: list[str] = []

    def at(now: str) -> None:
        if now == step and not hit:
            hit.append(now)
            raise KeyboardInterrupt

    house.engine.at = at
    outcome = house.run()
    assert hit, f"{step} was never reached"
    assert (outcome.ending, outcome.exit_code) == (Ending.CANCELLED, 130)
    assert house.cloud.running() == []
    assert outcome.release is None or outcome.release.gone


@pytest.mark.parametrize("step", STEPS)
def test_a_mistake_of_ours_at_any_step_leaves_no_machine(house: House, step: str) -> None:
    def at(now: str) -> None:
        if now == step:
            raise RuntimeError(f"a bug at {now}")

    house.engine.at = at
    if step == "down":
        assert house.run().release is not None, "the proof goes on without SkyPilot"
    elif step in {"fetch", "unpack"}:
        outcome = house.run()
        assert (outcome.ending, outcome.exit_code) == (Ending.SUCCEEDED, 0), "the job's own end stands"
        assert any(f"a bug at {step}" in warning for warning in outcome.warnings)
    else:
        with pytest.raises(RuntimeError):
            house.run()
    assert house.cloud.running() == []


def test_a_second_ctrl_c_while_taking_down_does_not_stop_it(house: House) -> None:
    hits: list[str] = []

    def at(now: str) -> None:
        if now in ("follow", "down") and len(hits) < 2:
            hits.append(now)
            raise KeyboardInterrupt

    house.engine.at = at
    outcome = house.run()
    assert hits == ["follow", "down"]
    assert outcome.exit_code == 130
    assert outcome.release is not None and outcome.release.gone
    assert house.cloud.running() == []


def test_processes_left_behind_are_named_and_what_is_missing_of_the_log_is_said(house: House) -> None:
    house.engine.ends = (
        NodeEnd(rank=0, exit_code=0, left_behind=("sleep", "sleep")),
        NodeEnd(rank=1, exit_code=0, left_behind=("\x1b[2Jpython",)),
    )
    house.engine.warnings = ("About 5 lines of the log are missing.",)
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.SUCCEEDED, 0)
    missing, left = outcome.warnings
    assert missing == "About 5 lines of the log are missing."
    assert "3 processes running in the background" in left and "(sleep, " in left
    assert left.isprintable() and "python)" in left


@pytest.mark.parametrize("twice", [False, True])
def test_ctrl_c_while_the_job_runs_fetches_what_it_wrote_and_a_second_one_does_not_wait(
    house: House, twice: bool
) -> None:
    opened: list[str] = []

    @contextmanager
    def interruptible() -> Iterator[None]:
        opened.append("opened")
        yield

    def at(now: str) -> None:
        if now == "ran" or (now == "fetch" and twice):
            raise KeyboardInterrupt

    house.engine.at = at
    house.interruptible = interruptible
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.CANCELLED, 130)
    assert opened == ["opened"] * 2, "one more Ctrl-C ends the fetch, and one more the unpacking"
    assert house.engine.unpacked_within == steps.STOPPED_UNPACK_SECONDS
    assert [file.path for file in outcome.files.fetched] == ([] if twice else ["metrics.json"])
    assert twice or house.engine.fetched_within == stages.RESCUE_SECONDS
    assert outcome.release is not None and outcome.release.gone
    assert house.cloud.running() == []


@pytest.mark.parametrize("before", [False, True])
def test_ctrl_c_while_outputs_are_unpacked_reports_the_files_that_are_there(house: House, before: bool) -> None:
    """By a person alone: a program that stops a run sends no second signal, and `interruptible` refuses it."""

    def interruptible() -> AbstractContextManager[object]:
        raise KeyboardInterrupt

    def at(now: str) -> None:
        if now == "fetch" and before:
            raise KeyboardInterrupt
        if now == "unpack":
            came = (FetchedFile(path="kept.pt", bytes=1),)
            raise UnpackStopped(Fetched(files=came, problem="Unpacking was stopped. 1 file came; the rest is lost."))

    house.engine.at = at
    house.interruptible = interruptible
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.CANCELLED, 130)
    assert [file.path for file in outcome.files.fetched] == ["kept.pt"]
    assert any("the rest is lost" in warning for warning in outcome.warnings)
    assert house.engine.unpacked_within == (steps.STOPPED_UNPACK_SECONDS if before else math.inf)
    assert outcome.release is not None
    assert outcome.release.gone


def test_a_dearer_machine_than_quoted_ends_sooner(house: House) -> None:
    """The failover led to one at twice the quoted price. Its disk and its address are in max_cost too."""
    plan = RunPlan(
        title="t",
        work=WorkPlan(run_commands=("x",)),
        machines=MachinePlan(locations=PLAN.machines.locations),
        limits=Limits(max_cost_usd=0.05),
    )
    house.engine.hourly_usd = 0.2
    house.run(plan)
    assert house.engine.followed_until is not None
    bought = house.engine.followed_until - FakeClock().now()
    hourly = 0.2 + (100 * 0.08 + 6.22) / (31 * 24) + 0.005
    assert bought == pytest.approx(0.05 / hourly * 3600 - 5 * 60 + stages.LIMIT_GRACE_SECONDS, abs=5)


def test_a_plan_whose_scripts_were_never_seen_is_not_run(house: House) -> None:
    with pytest.raises(RequestError, match=r"train\.sh"):
        house.run(replace(PLAN, work=replace(PLAN.work, missing_scripts=("train.sh",))))
    assert house.cloud.machines == {}


@pytest.mark.parametrize("link", ["cvl-outputs", "cvl-outputs/cvl-1", "cvl-outputs/cvl-1.log"])
def test_a_checkouts_link_where_the_outputs_go_is_refused_before_anything_is_spent(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    Path(link).parent.mkdir(exist_ok=True)
    Path(link).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CvlError, match="is a link to another place") as refused:
        house.run(outputs=Path("cvl-outputs/cvl-1"))
    assert refused.value.exit_code == 64
    assert house.cloud.machines == {}


def test_an_end_that_cannot_be_told_is_the_same_end(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        "\ud800".encode()

    monkeypatch.setattr(house.reporter, "show_outcome", broken)
    assert house.run().exit_code == 0
    assert any("could not be reported completely" in each for each in house.reporter.said)
