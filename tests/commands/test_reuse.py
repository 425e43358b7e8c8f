"""A machine that waits between runs, on a cloud in a dict: found, entered, replaced, waited for, clean, and ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cvl_ci.commands.reap import reap as reaping
from cvl_ci.commands.reap.reap import ReapPorts
from cvl_ci.commands.run import run as running
from cvl_ci.errors import EngineError
from cvl_ci.model.lease_name import LABEL_DEADLINE, LABEL_KEPT, LABEL_OWNER, LABEL_REUSE, LABEL_USE
from cvl_ci.model.ledger import CostKind
from cvl_ci.model.limits import Limits
from cvl_ci.model.location import Location
from cvl_ci.model.loss import LossKind, Lost
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.outcome import Ending, Outcome
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import MachinePlan, RunPlan, WorkPlan
from cvl_ci.model.resource import Resource
from cvl_ci.model.resource_request import ResourceRequest
from cvl_ci.model.reuse import IfBusy, ReusePlan, UseMark, UseState
from cvl_ci.result import spent
from cvl_ci.result.benchmark import leg_file
from cvl_ci.result.matrix.spend import spend
from cvl_ci.result.summary import to_json
from cvl_ci.result.text import accounted_for, released
from tests.support.fakes import (
    FakeClock,
    FakeCloud,
    FakeClouds,
    FakeEngine,
    FakeKeyLocks,
    FakePrices,
    FakeRecords,
    FakeReporter,
    FakeStaging,
    Killed,
)

REUSE = ReusePlan(key="trainer", idle_minutes=10, max_age_minutes=240)
PLAN = RunPlan(
    title="train",
    work=WorkPlan(run_commands=("python train.py",), setup_commands=("pip install x",)),
    machines=MachinePlan(locations=(Location(cloud="aws"),), reuse=REUSE),
    limits=Limits(max_runtime_minutes=30, keep_minutes=10, keeps_after_success=True),
)


def with_reuse(**changed: object) -> RunPlan:
    """Return the plan with another wish for its machine."""
    return replace(PLAN, machines=replace(PLAN.machines, reuse=replace(REUSE, **changed)))  # type: ignore[arg-type]


@dataclass
class House:
    """Processes of one computer, one after the other: each with an engine of its own."""

    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    locks: FakeKeyLocks = field(default_factory=FakeKeyLocks)
    engines: list[FakeEngine] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cloud = FakeCloud(self.clock)
        self.records = FakeRecords(self.folder)

    def run(
        self,
        plan: RunPlan = PLAN,
        *,
        at: Callable[[str], None] = lambda step: None,
        repository: str = "a/b",
        **engine: object,
    ) -> Outcome:
        self.engines.append(FakeEngine(self.cloud, at=at, **engine))  # type: ignore[arg-type]
        number, reporter = len(self.engines), FakeReporter()
        ports = running.RunPorts(
            clouds=FakeClouds(self.engines[-1]),
            records=self.records,
            staging=FakeStaging(self.folder),
            reporter=reporter,
            prices=FakePrices(),
            clock=self.clock,
            locks=self.locks,
        )
        try:
            return running.run(
                plan,
                owner=Owner(repository=repository, run=str(number)),
                outputs=self.folder / f"out-{number}",
                ports=ports,
            )
        finally:
            self.told += reporter.said

    def is_warm(self) -> bool:
        """Return whether the latest run entered a machine, and launched none."""
        return bool(self.engines[-1].entered) and bool(self.engines[-1].submitted)

    def machine(self) -> Resource:
        """Return the one machine that runs."""
        (name,) = self.cloud.running()
        return self.cloud.machines[name]

    def mark(self) -> UseMark:
        mark = UseMark.parse(self.machine().labels[LABEL_USE])
        assert mark is not None
        return mark


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_the_machine_waits_clean_and_labelled_after_its_job(house: House) -> None:
    steps: list[str] = []
    outcome = house.run(at=steps.append)
    assert (outcome.ending, outcome.exit_code) == (Ending.SUCCEEDED, 0)
    assert accounted_for(outcome)
    assert steps.index("fetch") < steps.index("clean") < steps.index("keep")
    labels = house.machine().labels
    until = int(labels[LABEL_DEADLINE])
    assert labels[LABEL_KEPT] == str(until)
    assert house.clock.now() + 590 < until <= house.clock.now() + 600
    assert labels[LABEL_REUSE] == "trainer"
    assert (house.mark().state, house.mark().number) == (UseState.IDLE, 1)
    assert "for the next run of reuse trainer" in released(outcome)[0]
    assert not any("ssh " in line for line in released(outcome)), "the next run would share it with a person"
    assert house.locks.held == set()


def test_the_next_run_enters_it_and_launches_nothing(house: House) -> None:
    first = house.run()
    house.clock.sleep(240)
    second = house.run()
    assert house.is_warm() and len(house.cloud.machines) == 1
    assert second.machines.cluster == first.machines.cluster
    assert second.machines.use is not None
    assert second.machines.use.number == 2
    assert second.machines.use.idle_seconds == pytest.approx(240, abs=2)
    assert (house.mark().state, house.mark().number) == (UseState.IDLE, 2)
    assert any("which waited 4 min" in line for line in house.told), house.told


@pytest.mark.parametrize("has_price", [True, False])
def test_the_record_of_a_warm_machine_tells_its_cost_from_its_launch_on(house: House, has_price: bool) -> None:
    house.run()
    if not has_price:  # an earlier version launched it
        house.records.prices.clear()
    house.clock.sleep(240)
    house.run()
    assert house.is_warm()
    [recorded] = house.records.prices.values()
    usd = spent.so_far(recorded, until=house.clock.now()).usd
    assert usd == pytest.approx(house.cloud.meter.usd(house.clock.now()), rel=0.02)


def test_its_end_is_renewed_before_the_job_and_after_it(house: House) -> None:
    house.run()
    house.clock.sleep(300)
    ends: list[float] = []

    def at(step: str) -> None:
        if step in {"submit", "close"}:
            ends.append(float(house.machine().labels[LABEL_DEADLINE]) - house.clock.now())

    house.run(at=at)
    assert ends[0] == pytest.approx(300 + 35 * 60, abs=2), "the job with its release, and the way there"
    assert ends[-1] == pytest.approx(600, abs=2)


def test_between_its_renewal_and_the_first_heartbeat_it_lives_no_longer_than_one(house: House) -> None:
    house.run()
    house.run()
    assert house.is_warm()
    assert house.engines[-1].heartbeats == [PLAN.limits.heartbeat_minutes, 0.0], "at the beginning, and for the wait"


def test_no_use_makes_it_older_than_max_age(house: House) -> None:
    plan = with_reuse(max_age_minutes=60)
    house.run(plan)
    born = next(iter(house.records.kept.values())).taken_at
    house.clock.sleep(500)
    house.run(plan)
    assert house.is_warm()
    assert float(house.machine().labels[LABEL_DEADLINE]) <= born + 3600
    house.clock.sleep(560)
    house.run(plan)
    assert house.is_warm()
    house.clock.sleep(400)
    house.run(plan)
    assert not house.is_warm(), "its job could make it too old"
    assert len(house.cloud.running()) == 1
    assert any("could make it older than max_age" in line for line in house.told), house.told


def test_each_second_is_paid_once(house: House) -> None:
    """The bound of the wait is in the run before, so a run pays from its beginning on."""
    first = house.run()
    house.clock.sleep(600 - 60)
    second = house.run()
    assert first.cost is not None and second.cost is not None
    assert first.cost.kept_usd is not None and second.cost.kept_usd is not None
    spent = house.cloud.meter.usd(house.clock.now())
    told = first.cost.usd + second.cost.usd - second.cost.kept_usd
    assert spent <= told * 1.001
    assert told - spent <= first.cost.kept_usd * (90 / 600), "only the part of the wait that was not used"


@pytest.mark.parametrize("is_killed", [False, True])
def test_the_sums_over_time_are_the_bill_of_all_runs_and_waits(house: House, is_killed: bool) -> None:
    """By the summaries of the runs alone. The last machine has its end before it: the one figure that is a bound."""

    def at(step: str) -> None:
        if step == "follow":
            house.clock.sleep(300)

    outcomes = []
    for minutes in (3, 8, 1):
        outcomes.append(house.run(at=at))
        house.clock.sleep(minutes * 60)
    if is_killed:
        (record,) = house.records.all()
        busy = UseMark(state=UseState.BUSY, number=4, since=house.clock.now() - 60)
        house.records.write(replace(record, labels={**record.labels, LABEL_USE: str(busy)}))
        house.clock.sleep(120)
    outcomes.append(house.run(at=at))
    legs = [leg_file.read(json.dumps(to_json(outcome)).encode()) for outcome in outcomes]
    total = spend(legs, since=0.0)
    assert total.runs == 4
    spent = house.cloud.meter.usd(house.clock.now())
    unsettled = total.kept_usd - (outcomes[-1].cost.kept_usd or 0.0) if outcomes[-1].cost else 0.0
    assert total.usd <= spent * 1.01 <= (total.usd + unsettled) * 1.02
    assert (unsettled > 0) is is_killed, "nobody tells how long the machine of the killed run had waited"
    if not is_killed:
        assert total.usd == pytest.approx(spent, rel=0.01)


def test_uses_and_waits_below_a_minute_cost_their_seconds(house: House) -> None:
    """AWS's minimum belongs to the machine's launch alone. Each of the parts is rounded up to a second."""
    outcomes = []
    for seconds in (9, 4, 6, 0):
        outcomes.append(house.run())
        house.clock.sleep(seconds)
    warm = [one.cost.ledger.of_kind(CostKind.MACHINE)[0] for one in outcomes[1:] if one.cost]
    (machine,) = house.cloud.meter.machines.values()
    lived, spent = house.clock.now() - machine.born, house.cloud.meter.usd(house.clock.now())
    assert len(warm) == 3 and lived < 4 * 60, "four minimums would be more than the bill"
    total = spend([leg_file.read(json.dumps(to_json(outcome)).encode()) for outcome in outcomes], since=0.0)
    assert total.usd == pytest.approx(spent, abs=7 * spent / lived)


@pytest.mark.parametrize(
    "changed",
    [
        replace(PLAN, machines=replace(PLAN.machines, needs=ResourceRequest(accelerators={"L4": 1}))),
        replace(PLAN, machines=replace(PLAN.machines, needs=ResourceRequest(disk_gb=300))),
        replace(PLAN, work=replace(PLAN.work, image="x/y:1")),
        replace(PLAN, work=replace(PLAN.work, setup_commands=("pip install y",))),
        replace(PLAN, machines=replace(PLAN.machines, num_nodes=2)),
        replace(PLAN, work=replace(PLAN.work, task_extra={"config": {"docker": {"run_options": ["--gpus=all"]}}})),
    ],
)
def test_another_fingerprint_replaces_it_after_the_old_one_is_proved_gone(house: House, changed: RunPlan) -> None:
    house.run()
    old = house.machine().id
    house.run(changed, at=lambda step: None if step != "launch" else _gone(house, old))
    assert not house.is_warm()
    assert old not in house.cloud.running() and len(house.cloud.running()) == 1


def _gone(house: House, machine: str) -> None:
    assert machine not in house.cloud.running(), "no machine is requested while the old one lives"


def test_other_commands_limits_and_variables_take_the_same_machine(house: House) -> None:
    house.run()
    house.run(
        replace(
            PLAN,
            work=replace(PLAN.work, run_commands=("python test.py",)),
            limits=replace(PLAN.limits, max_runtime_minutes=20, max_cost_usd=5),
        )
    )
    assert house.is_warm()


def test_an_old_machine_that_is_not_proved_gone_stops_the_run_with_79(house: House) -> None:
    house.run()
    house.cloud.refuse_removals = 10_000
    changed = replace(PLAN, work=replace(PLAN.work, setup_commands=()))
    outcome = house.run(changed, down_fails=True)
    assert outcome.exit_code == 79
    assert len(house.cloud.machines) == 1, "no second machine"


def test_one_that_waited_too_long_has_ended_itself(house: House) -> None:
    house.run()
    house.cloud.end(house.machine().id)
    house.clock.sleep(700)
    outcome = house.run()
    assert not house.is_warm() and outcome.exit_code == 0
    assert any("waited too long" in line for line in house.told), house.told


@pytest.mark.parametrize("step", ["keep", "enter"])
def test_one_that_does_not_answer_is_replaced(house: House, step: str) -> None:
    house.run()
    old = house.machine().id

    def at(now: str) -> None:
        if now == step and old in house.cloud.running():
            raise EngineError("The machine did not answer.")

    outcome = house.run(at=at)
    assert (outcome.exit_code, house.is_warm()) == (0, False)
    assert old not in house.cloud.running() and len(house.cloud.running()) == 1


@pytest.mark.parametrize("step", ["launch", "follow", "ran", "fetch", "clean"])
def test_one_whose_user_was_killed_takes_no_further_run(house: House, step: str) -> None:
    """Its job may still run, and what it left is not known."""
    house.run()

    def at(now: str) -> None:
        if now == step:
            raise Killed

    if step == "launch":
        house.cloud.end(house.machine().id)
    with pytest.raises(Killed):
        house.run(at=at)
    house.locks.held.clear()  # the kernel does it
    outcome = house.run()
    assert (outcome.exit_code, house.is_warm()) == (0, False)
    assert len(house.cloud.running()) == 1


def test_one_whose_process_ended_without_a_word_is_replaced_and_its_cost_named(house: House) -> None:
    """SIGKILL runs no code: the record still says that a run uses the machine."""
    house.run()
    (record,) = house.records.all()
    busy = UseMark(state=UseState.BUSY, number=2, since=house.clock.now())
    house.records.write(replace(record, labels={**record.labels, LABEL_USE: str(busy)}))
    old = house.machine().id
    house.clock.sleep(240)
    outcome = house.run()
    assert (outcome.exit_code, house.is_warm()) == (0, False)
    assert old not in house.cloud.running() and len(house.cloud.running()) == 1
    assert any(f"the provider shows that machine {record.name} is gone" in line for line in house.told)
    (warning,) = [text for text in outcome.warnings if "was killed" in text]
    assert "the last 4 min" in warning and f"machine {record.name}" in warning
    assert outcome.machines.use is not None and outcome.machines.use.uncounted_usd is not None
    since_kill = house.cloud.meter.machines[old].usd(house.clock.now(), month_hours=house.cloud.meter.month_hours)
    lived = (house.cloud.meter.machines[old].died or 0.0) - house.cloud.meter.machines[old].born
    assert outcome.machines.use.uncounted_usd == pytest.approx(since_kill * 240 / lived, rel=0.01)


def test_one_that_does_not_fit_leaves_no_cost_uncounted(house: House) -> None:
    house.run()
    outcome = house.run(replace(PLAN, work=replace(PLAN.work, setup_commands=())))
    assert not house.is_warm()
    assert not any("was killed" in text for text in outcome.warnings)


def test_one_that_cannot_be_cleaned_is_released_with_proof(house: House) -> None:
    def at(step: str) -> None:
        if step == "clean":
            raise EngineError("a process still uses a GPU")

    outcome = house.run(at=at)
    assert outcome.exit_code == 0
    assert outcome.release is not None and outcome.release.gone
    assert house.cloud.running() == []
    assert any("not clean for another run" in text for text in outcome.warnings)


def test_a_failed_job_leaves_it_to_the_next_run(house: House) -> None:
    assert house.run(ends=(NodeEnd(rank=0, exit_code=7),)).exit_code == 7
    assert house.run().exit_code == 0
    assert house.is_warm()


@pytest.mark.parametrize(
    "engine",
    [
        {"ends": (NodeEnd(rank=0, exit_code=124, timed_out=True),)},
        {"lost": Lost(kind=LossKind.UNREACHABLE, why="it does not answer")},
        {"unfit": "GPU 0: it fell off the bus"},
    ],
    ids=["time limit", "lost", "unfit"],
)
def test_an_end_in_doubt_ends_it(house: House, engine: dict[str, object]) -> None:
    house.run(**engine)  # type: ignore[arg-type]
    assert house.cloud.running() == []
    house.run()
    house.run(**engine)  # type: ignore[arg-type]
    assert house.is_warm() and house.cloud.running() == [], "a warm one too"


@pytest.mark.parametrize("step", ["keep", "enter", "submit", "ran", "fetch", "clean"])
def test_ctrl_c_ends_it_at_any_step(house: House, step: str) -> None:
    house.run()

    def at(now: str) -> None:
        if now == step:
            raise KeyboardInterrupt

    outcome = house.run(at=at)
    assert outcome.ending is Ending.CANCELLED
    assert outcome.release is not None and outcome.release.gone
    assert house.cloud.running() == []
    assert house.locks.held == set()


def test_a_second_run_waits_for_the_first_one(house: House) -> None:
    house.run()
    house.locks.held.add(next(iter(_keys(house))))
    ticks: list[float] = []

    def freed() -> None:
        ticks.append(house.clock.now())
        if len(ticks) == 30:
            house.locks.held.clear()

    house.locks.on_refusal = freed
    outcome = house.run()
    assert outcome.exit_code == 0 and house.is_warm()
    assert sum("run waits for it, and costs nothing" in line for line in house.told) == 1


def test_new_takes_a_machine_of_its_own_that_ends_with_the_run(house: House) -> None:
    house.run()
    waiting = house.machine().id
    house.locks.held |= _keys(house)
    outcome = house.run(with_reuse(if_busy=IfBusy.NEW))
    assert outcome.exit_code == 0 and not house.is_warm()
    assert outcome.release is not None and outcome.release.gone
    assert house.cloud.running() == [waiting], "the busy one is left alone"


def test_the_wait_for_a_lock_has_an_end(house: House) -> None:
    house.run()
    house.locks.held |= _keys(house)
    began = house.clock.now()
    outcome = house.run()
    assert outcome.exit_code == 75 and house.clock.now() - began <= 240 * 60 + 5


def _keys(house: House) -> set[str]:
    """Return the names of the locks that runs of PLAN take."""
    taken: set[str] = set()

    class Recording(FakeKeyLocks):
        def acquire(self, key: str):  # type: ignore[no-untyped-def]
            taken.add(key)
            return super().acquire(key)

    other = House(house.folder / "other")
    other.folder.mkdir(exist_ok=True)
    other.locks = Recording()
    other.run()
    return taken


def test_other_repositories_and_keys_have_machines_of_their_own(house: House) -> None:
    house.run()
    house.run(repository="c/d")
    assert not house.is_warm()
    house.run(with_reuse(key="other"))
    assert not house.is_warm()
    assert len(house.cloud.running()) == 3
    assert {one.labels[LABEL_OWNER] for one in house.cloud.machines.values()} == {"a-b", "c-d"}


@pytest.mark.parametrize(
    ("one", "other"),
    [("acme/model.server", "acme/model-server"), ("/home/me/a/b", "/home/me/a-b"), ("A/b", "a/b")],
)
def test_repositories_with_one_label_have_machines_and_locks_of_their_own(house: House, one: str, other: str) -> None:
    house.run(repository=one)
    waiting = house.machine().id
    house.run(repository=other)
    assert not house.is_warm()
    assert waiting in house.cloud.running() and len(house.cloud.running()) == 2
    assert len({machine.labels[LABEL_OWNER] for machine in house.cloud.machines.values()}) == 1
    house.run(repository=one)
    assert house.is_warm()


def test_reap_leaves_it_until_its_deadline_and_ends_it_after(house: House) -> None:
    house.run()

    class Over:
        def ended_at(self, run: str, attempt: str) -> float | None:
            return house.clock.now() - 60

    def reaped() -> tuple[int, int]:
        result = reaping.reap(
            [Location(cloud="aws")],
            owner="a/b",
            repository="a/b",
            named=False,
            grace=0.0,
            dry_run=False,
            user_id="00000000",
            ports=ReapPorts(
                clouds=FakeClouds(FakeEngine(house.cloud)),
                prices=FakePrices(),
                reporter=FakeReporter(),
                clock=house.clock,
                runs=Over(),
            ),
        )
        return len(result.due), result.living

    assert reaped() == (0, 1), "its run is over, and it is not leaked"
    house.clock.sleep(599)
    assert reaped() == (0, 1)
    house.clock.sleep(2)
    assert reaped() == (1, 0)
    assert house.cloud.running() == []


@pytest.mark.parametrize("text", ["", "idle", "idle-1", "idle-x-1", "busy-1-1-1", "idle-1-1\n", "idle-٣-1", "new-1-1"])
def test_a_mark_of_another_hand_is_no_mark(text: str) -> None:
    assert UseMark.parse(text) is None
