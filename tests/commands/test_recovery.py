"""Recovery, against the fakes: machines that are taken away by a schedule, and the same run on new ones."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cvl_ci.commands.run import run as running
from cvl_ci.commands.run.recovery import ATTEMPT_VARIABLE, MOST_REPLACEMENTS, TASK_VARIABLE
from cvl_ci.errors import BudgetError, CapacityError, EngineError
from cvl_ci.lease import Lease
from cvl_ci.model.budget import Fleet
from cvl_ci.model.checkpoint_plan import CheckpointPlan, StoredCheckpoint
from cvl_ci.model.fitness import Fitness, GpuState, MachineState
from cvl_ci.model.launch import Attempt, Launch
from cvl_ci.model.ledger import CostKind
from cvl_ci.model.limits import Limits
from cvl_ci.model.location import Location
from cvl_ci.model.loss import LossKind, Lost
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.outcome import Ending, FetchedFile, Outcome, Phase
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import MachinePlan, RunPlan, VariablePlan, WorkPlan
from cvl_ci.model.resource_request import Spot
from cvl_ci.ports import (
    AttemptFailed,
    Attempting,
    Began,
    CheckpointBytes,
    Fetched,
    InventoryResult,
    JobEnd,
    LaunchRequest,
    Resource,
    Watch,
)
from tests.support.fakes import (
    FakeClock,
    FakeCloud,
    FakeClouds,
    FakeEngine,
    FakePrices,
    FakeRecords,
    FakeReporter,
    FakeStaging,
    Killed,
)

OWNER = Owner(repository="a/b", run="1")
BOOT_SECONDS = 60.0
JOB_SECONDS = 300.0
PROBE_SECONDS = 10.0
HOURLY_USD = 0.1
STATE = MachineState(fitness=Fitness.BROKEN, findings=("GPU 0: it fell off the bus",), gpus=(GpuState(uuid="GPU-1"),))
UNFIT_NODE = NodeEnd(rank=0, exit_code=75, phase="preflight", state=STATE)


def plan(*, recoveries: int = 3, limits: Limits | None = None, nodes: int = 1) -> RunPlan:
    return RunPlan(
        title="train",
        work=WorkPlan(run_commands=("python train.py",)),
        variables=VariablePlan(env={"MINE": "1"}),
        machines=MachinePlan(
            locations=(Location(cloud="aws"),), spot=Spot.ALWAYS, recoveries=recoveries, num_nodes=nodes
        ),
        limits=limits or Limits(max_runtime_minutes=30),
    )


class Watched(FakeCloud):
    """A provider that remembers when each machine ended, and takes machines away."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.ended: dict[str, float] = {}
        self.is_out_of_reach = False
        """Whether the run is killed: it asks nothing and removes nothing any more."""

    def find(self, *, lease: str | None, locations: Sequence[Location]) -> InventoryResult:
        if self.is_out_of_reach:
            raise Killed
        return super().find(lease=lease, locations=locations)

    def preempt(self, names: Sequence[str]) -> None:
        for name in names:
            self.machines[name] = replace(self.machines[name], state="terminated")
            self.ended[name] = self.clock.now()

    def remove(self, resources: Sequence[Resource]) -> None:
        super().remove(resources)
        for resource in resources:
            self.ended.setdefault(resource.id, self.clock.now())

    def generations(self) -> list[tuple[float, float]]:
        """Return the life of each launch's machines: from the first one's start to the last one's end."""
        starts = {name: machine.created_at or 0.0 for name, machine in self.machines.items()}
        return [
            (start, max(self.ended[name] for name in names))
            for start, names in (
                (start, [name for name in starts if starts[name] == start]) for start in sorted(set(starts.values()))
            )
        ]


@dataclass
class Preempting(FakeEngine):
    """`schedule`: after how many seconds of the job each launch loses its machines; then the job is undisturbed.

    `full`: the zones that refuse at each launch. `kind`: of the loss. `silently`: nodes that are lost of several.
    `broken`: the numbers of the launches with a machine that a probe finds broken.
    """

    schedule: Sequence[float] = ()
    full: Sequence[Sequence[str]] = ()
    kind: LossKind = LossKind.PREEMPTED
    taken: int | None = None
    broken: Sequence[int] = ()
    takes_unreachable: bool = False
    copied_bytes: int = 0
    requests: list[LaunchRequest] = field(default_factory=list)
    zones: tuple[str, ...] = ("us-east-1a", "us-east-1b")

    def launch(self, request: LaunchRequest, *, watch: Watch) -> Launch:
        assert self.cloud.running() == [], "two generations of machines at once"
        assert not request.fence.exists()
        self.requests.append(request)
        self.at("launch")
        number, now = len(self.requests), self.cloud.clock.now()
        avoided = {attempt.zone for attempt in request.avoid}
        full = self.full[number - 1] if number <= len(self.full) else ()
        for zone in self.zones:
            if zone in avoided:
                continue
            attempt = Attempt(
                cloud="aws",
                region="us-east-1",
                zone=zone,
                instance_type="m6i.large",
                spot=True,
                hourly_usd=self.hourly_usd,
                requested_at=now,
            )
            watch(Attempting(attempt=attempt))
            self.at("asked")
            if zone in full:
                watch(AttemptFailed(attempt=replace(attempt, error="InsufficientInstanceCapacity", ended_at=now)))
                continue
            for _ in range(request.plan.machines.num_nodes):
                self.cloud.create(lease=request.cluster, region="us-east-1")
            self.at("created")
            self.cloud.clock.sleep(BOOT_SECONDS)
            return Launch(
                cluster=request.cluster,
                cloud="aws",
                region="us-east-1",
                zone=zone,
                instance_type="m6i.large",
                accelerators={},
                spot=self.kind is not LossKind.NODE_LOST,
                num_nodes=request.plan.machines.num_nodes,
                hourly_usd=self.hourly_usd,
                created_at=now,
            )
        raise CapacityError("No machine was available: every place refused.")

    def follow(self, *, watch: Watch, until: float) -> JobEnd:
        self.at("follow")
        number = len(self.requests)
        if number in self.broken:
            self.cloud.clock.sleep(PROBE_SECONDS)
            others = range(1, self.requests[-1].plan.machines.num_nodes)
            nodes = (UNFIT_NODE, *(NodeEnd(rank=rank, exit_code=137) for rank in others))
            return JobEnd(nodes=nodes, unfit="GPU 0: it fell off the bus")
        watch(Began(phase=Phase.RUNNING))
        watch(CheckpointBytes(count=self.copied_bytes))
        limit = self.requests[-1].plan.limits.max_runtime_minutes * 60
        lost_after = self.schedule[number - 1] if number <= len(self.schedule) else float("inf")
        seconds = min(JOB_SECONDS, lost_after, limit, until - self.cloud.clock.now())
        self.cloud.clock.sleep(seconds)
        if seconds == lost_after:
            assert isinstance(self.cloud, Watched)
            if self.kind is not LossKind.UNREACHABLE or self.takes_unreachable:
                self.cloud.preempt(self.cloud.running()[: self.taken])
            return JobEnd(lost=Lost(kind=self.kind, why="the provider shows 0 of its 1 nodes"))
        ranks = range(self.requests[-1].plan.machines.num_nodes)
        timed_out = seconds < JOB_SECONDS
        code = None if timed_out else 0
        return JobEnd(nodes=tuple(NodeEnd(rank=rank, exit_code=code, timed_out=timed_out) for rank in ranks))

    def down(self, cluster: str) -> None:
        self.at("down")
        assert isinstance(self.cloud, Watched)
        self.cloud.remove([self.cloud.machines[name] for name in self.cloud.running()])


class House:
    def __init__(self, folder: Path, **engine: object) -> None:
        self.clock = FakeClock()
        self.cloud = Watched(self.clock)
        self.engine = Preempting(self.cloud, **engine)  # type: ignore[arg-type]
        self.reporter = FakeReporter()
        self.records = FakeRecords(folder)
        self.folder = folder

    def run(self, run_plan: RunPlan) -> Outcome:
        ports = running.RunPorts(
            clouds=FakeClouds(self.engine),
            records=self.records,
            staging=FakeStaging(self.folder),
            reporter=self.reporter,
            prices=FakePrices(),
            clock=self.clock,
        )
        return running.run(run_plan, owner=OWNER, outputs=self.folder / "out", ports=ports)

    def assert_clean(self) -> None:
        assert self.cloud.running() == []
        for (_, end), (start, _) in itertools.pairwise(self.cloud.generations()):
            assert end <= start, "two generations of machines at once"


def test_a_run_that_is_preempted_twice_ends_green_on_the_third_machine(tmp_path: Path) -> None:
    house = House(tmp_path, schedule=(100.0, 200.0))
    outcome = house.run(plan())
    house.assert_clean()
    assert (outcome.ending, outcome.exit_code) == (Ending.SUCCEEDED, 0)
    numbers = [request.plan.variables.env[ATTEMPT_VARIABLE] for request in house.engine.requests]
    assert numbers == ["1", "2", "3"]
    assert {request.plan.variables.env[TASK_VARIABLE] for request in house.engine.requests} == {f"cvl-ci-{OWNER.name}"}
    assert all(request.plan.variables.env["MINE"] == "1" for request in house.engine.requests)
    first, second = outcome.machines.recoveries
    assert (first.number, first.ran_seconds, second.number, second.ran_seconds) == (1, 100.0, 2, 200.0)
    assert first.pause_seconds is not None and BOOT_SECONDS <= first.pause_seconds < BOOT_SECONDS + 30
    assert any("starts recovery 1 of 3" in text for text in house.reporter.notices)
    assert outcome.timing.phases["running"] == 100 + 200 + JOB_SECONDS
    assert outcome.release is not None and outcome.release.gone


def test_countdown_deadline_and_budget_are_never_set_again(tmp_path: Path) -> None:
    house = House(tmp_path, schedule=(100.0, 200.0))
    house.run(plan(limits=Limits(max_runtime_minutes=30, max_cost_usd=1.0)))
    limits = [request.plan.limits.max_runtime_minutes for request in house.engine.requests]
    assert limits == pytest.approx([30, 30 - 100 / 60, 30 - 300 / 60])
    assert len({request.deadline for request in house.engine.requests}) == 1
    spent = [request.spent_usd for request in house.engine.requests]
    assert spent[0] == 0.0 and spent[0] < spent[1] < spent[2]


def test_the_cost_is_that_of_every_machine_that_lived(tmp_path: Path) -> None:
    house = House(tmp_path, schedule=(100.0, 200.0))
    outcome = house.run(plan())
    lives = house.cloud.generations()
    fleet = Fleet(cloud="aws", hourly_usd=HOURLY_USD, disk_gb=100)
    meter = [fleet.cost_usd(seconds=end - start, at=end) for start, end in lives]
    assert outcome.cost is not None and outcome.cost.usd == pytest.approx(sum(meter), rel=0.01)
    assert [one.usd for one in outcome.machines.recoveries] == pytest.approx(meter[:2], rel=0.02)


def test_new_machines_that_end_undated_before_their_launch_does_cost_their_own_time(tmp_path: Path) -> None:
    house = House(tmp_path, schedule=(100.0,), hourly_usd=1.0)

    def at(step: str) -> None:
        if step == "created" and len(house.engine.requests) == 2:
            [name] = house.cloud.running()
            house.clock.sleep(600)
            house.cloud.preempt([name])
            house.cloud.end(name)
            house.cloud.undated.add(name)
            raise EngineError("The launch expired.")

    house.engine.at = at
    outcome = house.run(plan())
    house.assert_clean()
    assert outcome.cost is not None
    seconds = [entry.seconds for entry in outcome.cost.ledger.entries if entry.attempt == 2]
    assert seconds and min(seconds) >= 600


@pytest.mark.parametrize(("what", "ending"), [("money", Ending.OVER_BUDGET), ("deadline", Ending.PREEMPTED)])
def test_a_rerun_that_is_cut_before_max_runtime_is_no_red_test(
    what: str, ending: Ending, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first machine took money or time, so that less is left for the second than max_runtime allows."""
    monkeypatch.setattr(f"{__name__}.JOB_SECONDS", 1000.0)
    house = House(tmp_path, schedule=(250.0,), hourly_usd=1.0)

    def at(step: str) -> None:
        if step == "launch" and len(house.engine.requests) == 2:
            house.engine.hourly_usd = 0.6
            house.clock.sleep(300 if what == "deadline" else 0)

    house.engine.at = at
    max_usd = 0.194 if what == "money" else None
    outcome = house.run(plan(limits=Limits(max_runtime_minutes=12, provisioning_minutes=1, max_cost_usd=max_usd)))
    house.assert_clean()
    assert len(house.engine.requests) == 2
    assert outcome.ending is ending, outcome.reason
    assert ("machines were lost or broken once" in outcome.reason) is (what == "deadline")


def test_a_refused_place_is_not_asked_again_nor_one_that_lost_its_machine_twice(tmp_path: Path) -> None:
    house = House(tmp_path, schedule=(10.0, 10.0, 10.0), full=(("us-east-1a",),))
    house.engine.zones = ("us-east-1a", "us-east-1b", "us-east-1c")
    outcome = house.run(plan())
    asked = [(attempt.zone, attempt.machines) for attempt in outcome.machines.attempts]
    assert asked == [("us-east-1a", 0), ("us-east-1b", 1), ("us-east-1b", 1), ("us-east-1c", 1), ("us-east-1c", 0)]
    assert outcome.ending is Ending.SUCCEEDED


def test_no_capacity_after_a_preemption_ends_75_and_names_both(tmp_path: Path) -> None:
    full = ("us-east-1a", "us-east-1b")
    house = House(tmp_path, schedule=(100.0,), full=((), full))
    outcome = house.run(plan())
    house.assert_clean()
    assert (outcome.ending, outcome.exit_code) == (Ending.PREEMPTED, 75)
    assert "taken away" in outcome.reason and "No machine was available" in outcome.reason
    assert outcome.cost is not None and outcome.cost.usd > 0
    assert outcome.machines.recoveries[0].resumed_at is None


@pytest.mark.parametrize("recoveries", [0, 1, 2])
def test_after_the_last_recovery_a_loss_ends_the_run(tmp_path: Path, recoveries: int) -> None:
    house = House(tmp_path, schedule=(10.0,) * 5)
    outcome = house.run(plan(recoveries=recoveries))
    house.assert_clean()
    assert (outcome.ending, outcome.exit_code) == (Ending.PREEMPTED, 75)
    assert len(house.engine.requests) == recoveries + 1
    assert (ATTEMPT_VARIABLE in house.engine.requests[0].plan.variables.env) == (recoveries > 0)


@pytest.mark.parametrize(
    ("kind", "launches"),
    [
        (LossKind.PREEMPTED, 2),
        (LossKind.NODE_LOST, 2),
        (LossKind.UNREACHABLE, 1),
        (LossKind.ENDED_ITSELF, 1),
    ],
)
def test_only_a_loss_that_the_provider_shows_is_recovered(tmp_path: Path, kind: LossKind, launches: int) -> None:
    house = House(tmp_path, schedule=(10.0,), kind=kind)
    house.run(plan())
    house.assert_clean()
    assert len(house.engine.requests) == launches


@pytest.mark.parametrize(("silent", "launches"), [(False, 2), (True, 1)])
def test_machines_that_do_not_answer_are_lost_only_if_the_provider_says_so(
    tmp_path: Path, silent: bool, launches: int
) -> None:
    """SkyPilot may have forgotten the cluster by then, so that the engine itself cannot tell."""
    house = House(tmp_path, schedule=(10.0,), kind=LossKind.UNREACHABLE, takes_unreachable=True)

    def at(step: str) -> None:
        house.cloud.silent = silent and step == "follow"

    house.engine.at = at
    outcome = house.run(plan())
    house.assert_clean()
    assert len(house.engine.requests) == launches
    assert outcome.ending is (Ending.PREEMPTED if silent else Ending.SUCCEEDED)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    ("happens", "ending"),
    [("taken", Ending.SUCCEEDED), ("stays", None), ("at once", None), ("never came", None), ("forgotten", None)],
)
def test_machines_that_are_taken_before_they_have_the_job_are_a_loss_only_if_the_provider_says_so(
    tmp_path: Path, number: int, happens: str, ending: Ending | None
) -> None:
    house = House(tmp_path, schedule=(10.0,) if number == 2 else ())

    def at(step: str) -> None:
        if step == ("asked" if happens == "never came" else "created") and len(house.engine.requests) == number:
            house.clock.sleep(0.0 if happens == "at once" else 40.0)
            house.cloud.remembers = happens != "forgotten"
            if happens != "stays":
                house.cloud.preempt(house.cloud.running())
            raise EngineError("SkyPilot failed: no route to host.")

    house.engine.at = at
    outcome = house.run(plan())
    house.assert_clean()
    failed = Ending.PREEMPTED if number == 2 else Ending.NEVER_STARTED
    assert outcome.ending is (ending or failed), outcome.reason
    assert len(house.engine.requests) == number + (happens == "taken")
    losses = [one.lost.kind for one in outcome.machines.recoveries]
    assert losses == [LossKind.PREEMPTED] * (number if happens == "taken" else number - 1)
    if happens in {"taken", "stays"}:  # one of no time costs its minimum, one without dates at most its time
        fleet = Fleet(cloud="aws", hourly_usd=HOURLY_USD, disk_gb=100)
        meter = sum(fleet.cost_usd(seconds=end - start, at=end) for start, end in house.cloud.generations())
        assert outcome.cost is not None and outcome.cost.usd == pytest.approx(meter, rel=0.01)


def test_a_first_machine_that_is_taken_before_it_has_the_job_ends_75_without_a_recovery(tmp_path: Path) -> None:
    house = House(tmp_path)

    def at(step: str) -> None:
        if step == "created":
            house.clock.sleep(40.0)
            house.cloud.preempt(house.cloud.running())
            raise EngineError("SkyPilot failed: no route to host.")

    house.engine.at = at
    outcome = house.run(plan(recoveries=0))
    house.assert_clean()
    assert (outcome.ending, outcome.exit_code) == (Ending.PREEMPTED, 75)
    assert "taken away" in outcome.reason


@pytest.mark.parametrize("taken", [1, 2])
def test_one_or_both_lost_nodes_of_two_restart_both(tmp_path: Path, taken: int) -> None:
    house = House(tmp_path, schedule=(10.0,), taken=taken)
    outcome = house.run(plan(nodes=2))
    house.assert_clean()
    assert outcome.ending is Ending.SUCCEEDED and len(outcome.machines.nodes) == 2
    assert len(house.cloud.machines) == 4


def test_machines_whose_end_is_not_proved_get_no_successor(tmp_path: Path) -> None:
    house = House(tmp_path, schedule=(10.0,))

    def silent(step: str) -> None:
        house.cloud.silent = step == "down"

    house.engine.at = silent
    outcome = house.run(plan())
    assert len(house.engine.requests) == 1
    assert outcome.exit_code == 79
    assert any("asked for no other machines" in text for text in outcome.warnings)


@pytest.mark.parametrize("what", ["time", "deadline", "money"])
def test_without_time_or_money_there_is_no_recovery(tmp_path: Path, what: str) -> None:
    limits = {
        "time": Limits(max_runtime_minutes=2.5),
        "deadline": Limits(max_runtime_minutes=3, provisioning_minutes=0.5),
        "money": Limits(max_runtime_minutes=30, max_cost_usd=0.13),
    }[what]
    house = House(tmp_path, schedule=(110.0 if what == "time" else 130.0,), hourly_usd=1.0)
    outcome = house.run(plan(limits=limits))
    house.assert_clean()
    assert len(house.engine.requests) == 1
    assert outcome.ending in {Ending.PREEMPTED, Ending.OVER_BUDGET, Ending.TIMED_OUT}


def test_money_that_ends_during_the_recovery_is_the_budget_s_end(tmp_path: Path) -> None:
    house = House(tmp_path, schedule=(10.0,))

    def at(step: str) -> None:
        if step == "launch" and len(house.engine.requests) == 2:
            raise BudgetError("max_cost was used up.")

    house.engine.at = at
    outcome = house.run(plan(limits=Limits(max_runtime_minutes=30, max_cost_usd=1.0)))
    house.assert_clean()
    assert (outcome.ending, outcome.exit_code) == (Ending.OVER_BUDGET, 78)


@pytest.mark.parametrize("step", ["down", "launch", "asked", "created", "follow"])
@pytest.mark.parametrize("error", [Killed, KeyboardInterrupt, EngineError("SkyPilot failed.")])
def test_a_recovery_cut_off_at_any_step_leaves_nothing(
    tmp_path: Path, step: str, error: type[BaseException] | BaseException
) -> None:
    """As by SIGKILL, a person or a fault. After a SIGKILL, post has the record alone."""
    house = House(tmp_path, schedule=(10.0,))
    passed: list[str] = []

    def at(name: str) -> None:
        if house.cloud.is_out_of_reach:
            raise Killed
        passed.append(name)
        first_recovery = len(house.cloud.ended) > 0 and passed.count(name) == (1 if step == "down" else 2)
        if name == step and first_recovery:
            house.cloud.is_out_of_reach = error is Killed
            raise error

    house.engine.at = at
    try:
        outcome = house.run(plan())
        assert outcome.release is not None and outcome.release.gone
    except Killed:
        record = house.records.read(OWNER.name)
        assert record is not None and record.released_at is None
        house.engine.at = lambda _: None
        house.cloud.is_out_of_reach = False
        lease = Lease(
            record,
            machines=house.engine,
            inventory=house.cloud,
            records=house.records,
            clock=house.clock,
            say=print,
        )
        assert lease.release(maybe_created=True).gone
    house.assert_clean()


@pytest.mark.parametrize("seed", range(300))
def test_any_schedule_of_losses_and_refusals_keeps_every_promise(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    zones = ("us-east-1a", "us-east-1b")
    nodes = chance.choice((1, 1, 2))
    house = House(
        tmp_path,
        schedule=[chance.choice((chance.uniform(1, 400), 1e9)) for _ in range(chance.randrange(6))],
        full=[[zone for zone in zones if chance.random() < 0.15] for _ in range(6)],
        kind=chance.choice((*[LossKind.PREEMPTED] * 3, LossKind.NODE_LOST)),
        taken=chance.choice((None, 1)),
        broken=[number for number in range(1, 7) if chance.random() < 0.1],
    )
    recoveries = chance.randrange(5)
    limits = Limits(max_runtime_minutes=chance.uniform(6, 30), max_cost_usd=chance.choice((None, 0.08, 1.0)))
    outcome = house.run(plan(recoveries=recoveries, limits=limits, nodes=nodes))
    house.assert_clean()
    assert outcome.release is not None and outcome.release.gone
    assert len(house.engine.requests) <= recoveries + 1 + MOST_REPLACEMENTS
    broken = [one.place for one in outcome.machines.recoveries if one.lost.kind is LossKind.UNFIT]
    assert len(broken) == len(set(broken)) <= MOST_REPLACEMENTS, "a place with a broken machine was asked again"
    assert len({request.deadline for request in house.engine.requests}) <= 1
    assert outcome.timing.phases.get("running", 0.0) <= limits.max_runtime_minutes * 60 + 1
    assert all(end <= house.engine.requests[0].deadline + 60 for _, end in house.cloud.generations())
    refused = [attempt.zone for attempt in outcome.machines.attempts if attempt.error and not attempt.machines]
    assert len(refused) == len(set(refused)), "a refused place was asked again"
    lost = [one for one in outcome.machines.recoveries if one.resumed_at is not None]
    assert len(lost) == len(outcome.machines.recoveries) or outcome.ending is not Ending.SUCCEEDED
    if outcome.ending is Ending.SUCCEEDED:
        assert house.cloud.generations()[-1][1] - house.cloud.generations()[-1][0] >= JOB_SECONDS


@pytest.mark.parametrize("copied", [StoredCheckpoint(name="last.ckpt", step=4, at=0.0), None])
def test_a_loss_tells_the_age_of_the_checkpoint_on_this_computer(
    tmp_path: Path, copied: StoredCheckpoint | None
) -> None:
    """Its bytes are traffic of the run."""
    house = House(tmp_path)
    engine = house.engine

    def newest() -> StoredCheckpoint | None:
        return copied and replace(copied, at=house.cloud.ended[min(house.cloud.ended)] - 20)

    engine.newest_checkpoint = newest  # type: ignore[method-assign]
    engine.copied_bytes = 25_000_000_000
    engine.schedule = (100.0,)
    stored = CheckpointPlan(globs=("last.ckpt",), on_runner=True)
    outcome = house.run(replace(plan(), checkpoints=stored))
    house.assert_clean()
    assert outcome.ending is Ending.SUCCEEDED, outcome.reason
    [recovery] = outcome.machines.recoveries
    assert recovery.checkpoint == ("last.ckpt" if copied else "")
    assert recovery.repeated_seconds == pytest.approx(20 if copied else recovery.ran_seconds, abs=3)
    assert outcome.cost is not None
    entries = [one for one in outcome.cost.ledger.of_kind(CostKind.TRAFFIC) if one.item == "copied checkpoints"]
    assert [entry.attempt for entry in entries] == [1, 2]
    assert sum(entry.usd or 0.0 for entry in entries) == pytest.approx(50 * 0.09, rel=0.02)


def test_a_run_that_ends_without_capacity_names_the_checkpoint_that_it_kept(tmp_path: Path) -> None:
    house = House(tmp_path)
    engine = house.engine
    engine.schedule, engine.full = (100.0,), ((), ("us-east-1a", "us-east-1b"))
    file = FetchedFile(path="last.ckpt", bytes=3)
    engine.unpack = lambda **_: Fetched(files=(file,), is_copy=True, is_whole_copy=True)  # type: ignore[method-assign]
    outcome = house.run(replace(plan(), checkpoints=CheckpointPlan(globs=("last.ckpt",), on_runner=True)))
    house.assert_clean()
    assert (outcome.ending, outcome.exit_code) == (Ending.PREEMPTED, 75)
    assert outcome.files.fetched == (file,), "the action uploads it as the checkpoint artifact"
    assert f"Its newest checkpoint is in {outcome.files.directory}." in outcome.advice
