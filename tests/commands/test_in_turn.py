"""Jobs in turn on one machine of a cloud in a dict: one launch, each job's own end, one bill, and no machine left."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cvl_ci.commands.run import in_turn
from cvl_ci.commands.run.in_turn import MachineEnd, Turn, run_in_turn
from cvl_ci.commands.run.outcome import outcome
from cvl_ci.commands.run.state import RunPorts, RunState
from cvl_ci.errors import BudgetError, CapacityError, EngineError
from cvl_ci.model.launch import Launch
from cvl_ci.model.limits import Limits
from cvl_ci.model.location import Location
from cvl_ci.model.loss import LossKind, Lost
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.outcome import Ending, Outcome
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import MachinePlan, RunPlan, WorkPlan
from cvl_ci.ports import Fetched, JobEnd, JobRequest, LaunchRequest, UnpackStopped, Watch
from cvl_ci.result.benchmark import leg_file
from cvl_ci.result.matrix.spend import spend
from cvl_ci.result.summary import to_json
from cvl_ci.result.text import accounted_for
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

JOBS = ("build", "train", "evaluate")
LIMITS = Limits(max_runtime_minutes=240)


def plan(name: str, *, limits: Limits | None = None) -> RunPlan:
    return RunPlan(
        title=name,
        work=WorkPlan(run_commands=(name,)),
        machines=MachinePlan(locations=(Location(cloud="aws"),)),
        limits=limits or Limits(max_runtime_minutes=30),
    )


@dataclass
class Engine(FakeEngine):
    """An engine whose jobs end by a script: exit codes, or losses. `seconds`: how long each job takes."""

    codes: list[int | Lost] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    launches: int = 0
    lasts: float | None = None
    """Seconds until the end that the machines got."""
    brought: bool = False

    def launch(self, request: LaunchRequest, *, watch: Watch) -> Launch:
        launch = super().launch(request, watch=watch)
        return launch if self.lasts is None else replace(launch, deadline=launch.created_at + self.lasts)

    def follow(self, *, watch: Watch, until: float) -> JobEnd:
        end = super().follow(watch=watch, until=until)
        if self.seconds:
            self.cloud.clock.sleep(self.seconds.pop(0))
        code = self.codes.pop(0) if self.codes else 0
        if isinstance(code, Lost):
            return JobEnd(lost=code)
        return replace(end, nodes=(NodeEnd(rank=0, exit_code=code),))


@dataclass
class Waiting:
    """The jobs after the first. `idle`: seconds before each of them comes."""

    folder: Path
    clock: FakeClock
    names: list[str]
    idle: float = 0.0
    limits: Limits | None = None
    told: list[tuple[str, Outcome]] = field(default_factory=list)
    error: BaseException | None = None
    until: float = 0.0

    def turn(self, name: str) -> Turn:
        return Turn(
            job=name,
            plan=plan(name, limits=self.limits),
            outputs=self.folder / f"out-{name}",
            reporter=FakeReporter(),
        )

    def next(self, *, until: float) -> Turn | None:
        self.clock.sleep(self.idle)
        self.until = until
        if self.error is not None:
            raise self.error
        return self.turn(self.names.pop(0)) if self.names else None

    def finish(self, turn: Turn, result: Outcome) -> None:
        self.told.append((turn.job, result))


@dataclass
class House:
    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.cloud = FakeCloud(self.clock)
        self.engine = Engine(self.cloud)
        self.records = FakeRecords(self.folder)
        self.waiting = Waiting(self.folder, self.clock, [])

    def run(self, names: Sequence[str] = JOBS, limits: Limits = LIMITS) -> MachineEnd:
        self.waiting.names = list(names[1:])
        ports = RunPorts(
            clouds=FakeClouds(self.engine),
            records=self.records,
            staging=FakeStaging(self.folder),
            reporter=FakeReporter(),
            prices=FakePrices(),
            clock=self.clock,
        )
        owner = Owner(repository="a/b", run="1")
        end = run_in_turn(self.waiting.turn(names[0]), self.waiting, owner=owner, limits=limits, ports=ports)
        assert self.cloud.running() == []
        return end

    def usd(self) -> float:
        return self.cloud.meter.usd(self.clock.now())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def costs(end: MachineEnd) -> list[float]:
    return [outcome.cost.usd if outcome.cost else 0.0 for _, outcome in end.outcomes]


def endings(end: MachineEnd) -> list[Ending]:
    return [outcome.ending for _, outcome in end.outcomes]


def test_one_machine_takes_all_jobs_and_each_has_its_own_end(house: House) -> None:
    house.engine.codes = [0, 3, 0]
    end = house.run()
    assert endings(end) == [Ending.SUCCEEDED, Ending.FAILED, Ending.SUCCEEDED]
    assert [outcome.exit_code for _, outcome in end.outcomes] == [0, 3, 0]
    assert len(house.cloud.machines) == 1
    assert [request.plan.title for request in house.engine.submitted] == ["train", "evaluate"]
    assert [job for job, _ in house.waiting.told] == list(JOBS), "each end is told while the machine goes on"
    assert all(not accounted_for(outcome) for _, outcome in house.waiting.told), "no proof before the machine's end"
    assert all(accounted_for(outcome) for _, outcome in end.outcomes)
    assert all(outcome.files.fetched for _, outcome in end.outcomes)
    assert {outcome.machines.cluster for _, outcome in end.outcomes} == {Owner(repository="a/b", run="1").name}


@pytest.mark.parametrize(("seconds", "idle"), [([0, 600, 60], 0.0), ([10, 10, 10], 300.0), ([0, 0, 0], 0.0)])
def test_the_shares_of_the_jobs_add_up_to_the_bill(house: House, seconds: list[float], idle: float) -> None:
    """The provider's own meter gives the bill. Each job pays from the end of the job before to its own end."""
    house.engine.seconds, house.waiting.idle = list(seconds), idle
    end = house.run()
    shares = costs(end)
    assert sum(shares) == pytest.approx(house.usd(), rel=1e-3)
    assert all(share > 0 for share in shares)
    legs = [leg_file.read(json.dumps(to_json(outcome)).encode()) for _, outcome in end.outcomes]
    assert len({leg.machines.cluster for leg in legs}) == 1
    total = spend(legs, since=0.0)
    assert total.runs == len(shares), "a history counts each job"
    assert total.usd == pytest.approx(sum(shares))
    if seconds[1] > 100:
        assert shares[1] > shares[0], "ten minutes cost more than the boot"


def test_the_machine_s_deadline_is_that_of_all_jobs_together(house: House) -> None:
    house.run()
    record = next(iter(house.records.kept.values()))
    assert record.deadline - record.taken_at == LIMITS.longest_minutes * 60
    assert house.waiting.until == record.deadline - 300, "the release has its time before the deadline"


def test_a_dearer_machine_than_quoted_takes_jobs_until_its_own_earlier_end(house: House) -> None:
    house.engine.lasts = 1800.0
    end = house.run()
    launch = end.outcomes[0][1].machines.launch
    assert launch is not None and launch.deadline is not None
    assert launch.deadline < next(iter(house.records.kept.values())).deadline
    assert house.waiting.until == launch.deadline - 300
    assert house.engine.followed_until == launch.deadline - 300 + 60, "a further job is followed no longer"


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        (Lost(kind=LossKind.PREEMPTED, why="gone"), Ending.PREEMPTED),
        (Lost(kind=LossKind.NODE_LOST, why="gone"), Ending.PREEMPTED),
    ],
)
def test_a_lost_machine_takes_no_further_job(house: House, code: Lost, ending: Ending) -> None:
    house.engine.codes = [0, code]
    end = house.run()
    assert endings(end) == [Ending.SUCCEEDED, ending]
    assert house.waiting.names == ["evaluate"]
    assert end.release is not None and end.release.gone


@pytest.mark.parametrize("step", ["launch", "asked", "created", "follow", "submit", "fetch", "unpack"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), EngineError("broke"), CapacityError("no machine")])
@pytest.mark.parametrize("number", [1, 2])
def test_no_error_at_any_step_leaves_the_machine(house: House, step: str, error: BaseException, number: int) -> None:
    seen: list[str] = []

    def at(name: str) -> None:
        seen.append(name)
        if name == step and seen.count(step) == number:
            raise error

    house.engine.at = at
    end = house.run()
    assert house.cloud.running() == []
    assert sum(costs(end)) == pytest.approx(house.usd(), abs=2e-3)
    assert all(accounted_for(outcome) for _, outcome in end.outcomes)


@pytest.mark.parametrize("number", [1, 2])
def test_a_stop_after_the_unpacking_makes_no_success_without_files(
    house: House, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The archives are gone by then."""
    unpack, count = Engine.unpack, 0

    def unpack_once(self: Engine, *, into: Path, within: float = math.inf) -> Fetched:
        fetched, self.brought = unpack(self, into=into, within=within), False
        return fetched

    def stop(state: RunState) -> Outcome:
        nonlocal count
        count += 1
        if count == number:
            raise KeyboardInterrupt
        return outcome(state)

    monkeypatch.setattr(Engine, "unpack", unpack_once)
    monkeypatch.setattr(in_turn, "outcome", stop)
    end = house.run()
    assert endings(end) == [*[Ending.SUCCEEDED] * (number - 1), Ending.CANCELLED]
    assert all(outcome.files.fetched for _, outcome in end.outcomes)


def test_a_stopped_unpacking_ends_the_machine_and_takes_no_further_job(house: House) -> None:
    def at(step: str) -> None:
        if step == "unpack":
            raise UnpackStopped(Fetched())

    house.engine.at = at
    end = house.run()
    assert endings(end) == [Ending.CANCELLED]
    assert (house.waiting.told, house.waiting.names) == ([], ["train", "evaluate"])


def test_an_interrupt_while_the_machine_waits_ends_it_and_changes_no_earlier_end(house: House) -> None:
    house.waiting.error = KeyboardInterrupt()
    end = house.run()
    assert endings(end) == [Ending.SUCCEEDED]
    assert house.waiting.told[0][1].ending is Ending.SUCCEEDED


def test_a_job_s_own_max_cost_limits_its_time(house: House) -> None:
    """The machine has the money of all its jobs. A job gets the time that its own share pays for."""
    house.waiting.limits = Limits(max_runtime_minutes=600, max_cost_usd=0.15)
    house.run(limits=Limits(max_runtime_minutes=2000, max_cost_usd=0.45))
    further = [request.plan.limits.max_runtime_minutes for request in house.engine.submitted]
    assert all(60 < minutes < 90 for minutes in further), "0.15 pays for less than 90 minutes at 0.10 an hour"


def test_money_that_buys_no_run_starts_nothing(house: House) -> None:
    with pytest.raises(BudgetError):
        house.run(limits=Limits(max_cost_usd=0.001))
    assert house.cloud.machines == {}


def test_the_plan_of_a_further_job_goes_to_the_machine_as_it_is(house: House) -> None:
    house.run()
    request: JobRequest = house.engine.submitted[0]
    assert request.plan.work.run_commands == ("train",)
    assert request.plan.limits.max_runtime_minutes == 30


def cleaned(waiting: Waiting) -> None:
    """Let the plan of each job request a clean machine after it."""
    turn = waiting.turn

    def of(name: str) -> Turn:
        made = turn(name)
        return replace(made, plan=replace(made.plan, machines=replace(made.plan.machines, is_cleaned=True)))

    waiting.turn = of  # type: ignore[method-assign]


def test_a_machine_that_is_cleaned_is_clean_before_each_further_job(house: House) -> None:
    steps: list[str] = []
    house.engine.at = steps.append
    house.engine.codes = [3, 0, 0]
    cleaned(house.waiting)
    end = house.run()
    assert [result.exit_code for _, result in end.outcomes] == [3, 0, 0], "a failed job stops no other"
    order = [step for step in steps if step in {"unpack", "clean", "submit"}]
    assert order == ["unpack", "clean", "submit", "unpack", "clean", "submit", "unpack", "clean"]
    assert len({result.machines.cluster for _, result in end.outcomes}) == 1


def test_one_that_cannot_be_cleaned_ends_with_proof_and_its_job_keeps_its_end(house: House) -> None:
    def at(step: str) -> None:
        if step == "clean":
            raise EngineError("a process of its job does not end")

    house.engine.at = at
    cleaned(house.waiting)
    end = house.run()
    [(turn, result)] = end.outcomes
    assert (turn.job, result.ending) == ("build", Ending.SUCCEEDED)
    assert result.release is not None and result.release.gone
    assert any("does not end" in text and "takes it down" in text for text in result.warnings)
    assert house.waiting.told == [], "the machine takes no further job"


def test_a_stop_while_it_is_cleaned_changes_no_end(house: House) -> None:
    def at(step: str) -> None:
        if step == "clean":
            raise KeyboardInterrupt

    house.engine.at = at
    cleaned(house.waiting)
    [(_, result)] = house.run().outcomes
    assert result.ending is Ending.SUCCEEDED and result.release is not None and result.release.gone
