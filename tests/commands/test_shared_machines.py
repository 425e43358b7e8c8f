"""A machine that several runners enter, each with an empty home folder: found, taken by one, replaced, ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cvl_ci.commands.reap.waiting import free_machines
from cvl_ci.commands.run import run as running
from cvl_ci.errors import EngineError
from cvl_ci.model.lease_name import LABEL_DEADLINE, LABEL_FINGERPRINT, LABEL_REUSER, LABEL_SHARED, LABEL_USE
from cvl_ci.model.location import Location
from cvl_ci.model.outcome import Ending, Outcome
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.resource import Resource
from cvl_ci.model.reuse import IfBusy, UseMark, UseState
from cvl_ci.model.secret import Secret
from cvl_ci.ports import LeaseRecord
from cvl_ci.result.benchmark import leg_file
from cvl_ci.result.matrix.spend import spend
from cvl_ci.result.summary import to_json
from cvl_ci.result.text import accounted_for
from tests.commands.test_reuse import PLAN, with_reuse
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

SECRET = Secret("a secret of the repository, 32 characters")
SHARED = with_reuse(secret=SECRET)


@dataclass
class Runners:
    """Runners of one repository. Each has records, locks and an engine of its own, and all have the same cloud."""

    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)
    engines: list[FakeEngine] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    leases: list[str] = field(default_factory=list)
    recorded: list[str] = field(default_factory=list)
    """The mark in the record of each of these leases, at the moment at which post gets its name."""
    records: list[FakeRecords] = field(default_factory=list)
    known: list[LeaseRecord] = field(default_factory=list)
    """Records of earlier runs in the home folder of the next runner."""
    locks: FakeKeyLocks = field(default_factory=FakeKeyLocks)

    def __post_init__(self) -> None:
        self.cloud = FakeCloud(self.clock)

    def run(
        self,
        plan: RunPlan = SHARED,
        *,
        at: Callable[[str], None] = lambda step: None,
        repository: str = "a/b",
        **engine: object,
    ) -> Outcome:
        number = len(self.engines)
        self.engines.append(FakeEngine(self.cloud, at=at, **engine))  # type: ignore[arg-type]
        home, reporter = self.folder / f"home-{number}", FakeReporter()
        home.mkdir()
        self.records.append(FakeRecords(home, kept={one.name: one for one in self.known}))

        def note(lease: str) -> None:
            record = self.records[-1].read(lease)
            self.leases.append(lease)
            self.recorded.append(record.labels.get(LABEL_USE, "") if record else "")

        ports = running.RunPorts(
            clouds=FakeClouds(self.engines[-1]),
            records=self.records[-1],
            staging=FakeStaging(home),
            reporter=reporter,
            prices=FakePrices(),
            clock=self.clock,
            locks=self.locks,
            note_lease=note,
        )
        owner = Owner(repository=repository, run=str(number + 1))
        try:
            return running.run(plan, owner=owner, outputs=home / "out", ports=ports)
        finally:
            self.told += reporter.said

    def was_warm(self) -> bool:
        return bool(self.engines[-1].entered) and bool(self.engines[-1].submitted)

    def machine(self) -> Resource:
        (name,) = self.cloud.running()
        return self.cloud.machines[name]

    def relabel(self, **labels: str) -> None:
        machine = self.machine()
        self.cloud.machines[machine.id] = replace(machine, labels={**machine.labels, **labels})

    def mark(self, state: UseState, number: int) -> str:
        return str(UseMark(state=state, number=number, since=self.clock.now()))


@pytest.fixture
def runners(tmp_path: Path) -> Runners:
    return Runners(tmp_path)


def test_a_runner_with_an_empty_home_enters_the_machine_of_another(runners: Runners) -> None:
    first = runners.run()
    assert accounted_for(first) and runners.machine().labels[LABEL_SHARED] == "true"
    runners.clock.sleep(240)
    second = runners.run()
    assert runners.was_warm() and len(runners.cloud.machines) == 1
    assert second.machines.cluster == first.machines.cluster
    assert second.machines.use is not None and second.machines.use.number == 2
    assert runners.engines[-1].adopted == [first.machines.cluster]
    assert runners.leases[-1] == first.machines.cluster, "post must know whose machine it may have to end"
    machine = runners.machine()
    assert machine.labels[LABEL_USE].startswith("idle-2-")
    assert runners.cloud.uses[first.machines.cluster] == "idle-2"
    assert int(machine.labels[LABEL_DEADLINE]) > runners.clock.now()


def test_a_third_one_goes_on_and_the_deadline_never_passes_max_age(runners: Runners) -> None:
    plan = with_reuse(secret=SECRET, max_age_minutes=60)
    runners.run(plan)
    born = runners.machine().created_at or 0.0
    for number in (2, 3):
        runners.clock.sleep(300)
        runners.run(plan)
        assert runners.was_warm() and runners.machine().labels[LABEL_USE].startswith(f"idle-{number}-")
        assert int(runners.machine().labels[LABEL_DEADLINE]) <= born + 60 * 60
    runners.clock.time = born + 20 * 60
    runners.cloud.label([runners.machine()], {LABEL_DEADLINE: str(int(runners.clock.now() + 300))})
    runners.run(plan)
    assert not runners.was_warm() and len(runners.cloud.running()) == 1, "too old for a job of 30 minutes"
    assert any("older than max_age" in line for line in runners.told)


@pytest.mark.parametrize(
    "other",
    [
        with_reuse(secret=Secret("another secret of the repository, 1")),
        replace(SHARED, work=replace(SHARED.work, setup_commands=("pip install y",))),
        PLAN,
    ],
    ids=["secret", "setup", "without a secret"],
)
def test_one_that_does_not_fit_is_replaced_with_proof_before_another_is_requested(
    runners: Runners, other: RunPlan
) -> None:
    runners.run(other)
    old, seen = runners.machine().id, list[bool]()
    runners.clock.sleep(60)

    def at(step: str) -> None:
        if step == "launch":
            seen.append(old in runners.cloud.running())

    outcome = runners.run(at=at)
    assert (outcome.ending, runners.was_warm()) == (Ending.SUCCEEDED, False)
    if other is PLAN:  # only its own home folder knows it, and it ends itself
        assert old in runners.cloud.running()
    else:
        assert seen == [False] and runners.machine().id != old


def test_one_of_another_repository_is_left_alone(runners: Runners) -> None:
    runners.run(repository="a/c")
    runners.run()
    assert not runners.was_warm() and len(runners.cloud.running()) == 2
    assert len({runners.cloud.machines[name].labels[LABEL_REUSER] for name in runners.cloud.running()}) == 2


def test_one_that_does_not_answer_is_left_alone_until_nobody_can_have_it(runners: Runners) -> None:
    """Another run may have taken it since the list: then the machine lets nobody else in."""
    runners.run()
    old = runners.machine().id
    outcome = runners.run(unreachable=True)
    assert outcome.ending is Ending.SUCCEEDED
    (told,) = [line for line in runners.told if "is left alone" in line]
    assert "entered: The machine does not answer." in told and "it ends itself by 2" in told
    assert old in runners.cloud.running()
    runners.cloud.uses.clear()
    runners.clock.sleep(900 + 300)
    runners.run(unreachable=True)
    assert old not in runners.cloud.running(), "long after its deadline it is a machine of nobody"


def test_one_past_its_deadline_is_asked_too_since_another_run_may_have_just_taken_it(runners: Runners) -> None:
    first = runners.run()
    old = runners.machine().id
    runners.cloud.uses[first.machines.cluster] = "busy-2-other"
    runners.relabel(**{LABEL_DEADLINE: str(int(runners.clock.now()) - 1)})
    runners.run(with_reuse(secret=SECRET, if_busy=IfBusy.NEW))
    assert old in runners.cloud.running()


def test_of_two_that_wait_post_knows_the_one_that_is_entered(runners: Runners) -> None:
    """The other one ends meanwhile. A stop in the middle of that ends the one that is entered."""
    runners.run()
    (older,) = runners.cloud.running()
    runners.cloud.hidden[older] = 2
    runners.run()
    (newer,) = set(runners.cloud.running()) - {older}
    seen: list[str] = []

    def at(step: str) -> None:
        if step == "down" and not seen:
            seen.append(runners.leases[-1])
            raise KeyboardInterrupt

    outcome = runners.run(at=at)
    entered = runners.cloud.machines[newer].labels["cvl-ci-lease"]
    assert seen == [entered] and runners.leases[-1] == entered
    assert outcome.ending is Ending.CANCELLED and accounted_for(outcome)
    assert outcome.machines.cluster == entered and newer not in runners.cloud.running()


def test_post_can_read_whose_machine_it_is_before_the_run_touches_it(runners: Runners) -> None:
    runners.run()
    runners.run()
    assert runners.was_warm() and runners.recorded[-1].startswith("busy-2-")
    runners.relabel(**{LABEL_FINGERPRINT: "another"})
    runners.run()
    assert not runners.was_warm() and runners.recorded[-2].startswith("busy-3-"), "the machine that it ended"


@pytest.mark.parametrize("is_taken", [False, True])
@pytest.mark.parametrize("stop", [KeyboardInterrupt(), EngineError("the list is incomplete")])
def test_a_stop_after_the_offer_ends_it_only_if_no_other_run_has_it(
    runners: Runners, stop: BaseException, is_taken: bool
) -> None:
    label, stops = runners.cloud.label, [stop]

    def label_and_stop(resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        label(resources, labels)
        if labels.get(LABEL_USE, "").startswith("idle") and stops:
            if is_taken:
                runners.cloud.uses.update(dict.fromkeys(runners.cloud.uses, "busy-2-other"))
            raise stops.pop()

    runners.cloud.label = label_and_stop  # type: ignore[method-assign]
    outcome = runners.run()
    assert accounted_for(outcome)
    assert len(runners.cloud.running()) == is_taken
    assert is_taken == any("so this run does not end it" in text for text in outcome.warnings)
    assert outcome.release is not None and outcome.release.gone is not is_taken


def test_a_stop_before_the_label_ends_it_without_a_word_of_the_machine(runners: Runners) -> None:
    """The label still says that this run uses it, so no other run takes it. The machine may be the reason."""

    def at(step: str) -> None:
        if step == "keep":
            runners.engines[-1].unreachable = True
            raise EngineError("The machine does not answer.")

    outcome = runners.run(at=at)
    assert outcome.release is not None and outcome.release.gone and runners.cloud.running() == []


def test_one_of_the_key_in_another_place_is_left_to_the_run_that_may_use_it(runners: Runners) -> None:
    """The list of the plan's places lacks it, and that is no sign of its end."""
    runners.run()
    (old,) = runners.cloud.running()
    record = next(runners.records[-1].all())
    elsewhere = replace(
        SHARED, machines=replace(SHARED.machines, locations=(Location(cloud="aws", region="eu-west-1"),))
    )
    runners.known = [record]
    runners.run(elsewhere)
    assert old in runners.cloud.running()


def test_a_program_that_ends_leaves_it_since_its_own_records_tell_nothing_of_other_computers(runners: Runners) -> None:
    name, told = runners.run().machines.cluster, list[str]()
    with free_machines({name: 1}, records=runners.records[-1], locks=FakeKeyLocks(), say=told.append) as free:
        assert free == []
    assert f"cvl-ci down {name}" in told[0]


def test_while_another_runner_uses_it_a_run_waits_and_then_enters_it(runners: Runners) -> None:
    first = runners.run()
    runners.relabel(**{LABEL_USE: runners.mark(UseState.BUSY, 2)})
    runners.cloud.uses[first.machines.cluster] = "busy-2-other"
    began = runners.clock.now()
    slept = runners.clock.sleep

    def sleep(seconds: float) -> None:
        """Sleep. The other run ends after five minutes, as its labels and the machine tell."""
        slept(seconds)
        if runners.clock.now() - began > 300 and runners.cloud.uses[first.machines.cluster] == "busy-2-other":
            runners.cloud.uses[first.machines.cluster] = "idle-2"
            runners.relabel(**{LABEL_USE: runners.mark(UseState.IDLE, 2)})

    runners.clock.sleep = sleep  # type: ignore[method-assign]
    runners.relabel(**{LABEL_DEADLINE: str(int(began + 3000))})
    second = runners.run()
    assert runners.was_warm() and second.machines.use is not None and second.machines.use.number == 3
    assert second.timing.phases["waiting"] > 290, "the wait has its own entry"
    assert second.cost is not None
    assert min(entry.start for entry in second.cost.ledger.entries) >= began + 300, "and costs this run nothing"


def test_a_run_that_does_not_wait_has_a_machine_of_its_own(runners: Runners) -> None:
    first = runners.run()
    runners.relabel(**{LABEL_USE: runners.mark(UseState.BUSY, 2)})
    runners.cloud.uses[first.machines.cluster] = "busy-2-other"
    second = runners.run(with_reuse(secret=SECRET, if_busy=IfBusy.NEW))
    assert second.ending is Ending.SUCCEEDED and second.machines.cluster != first.machines.cluster
    assert len(runners.cloud.running()) == 1, "its own machine ended with its run, and the other one stays"


def test_one_that_cannot_be_entered_leaves_no_trace_in_a_run_that_does_not_wait(runners: Runners) -> None:
    """Its own machine is new, so it is launched and pays from its beginning."""
    runners.run()
    (idle,) = runners.cloud.running()
    busy = runners.cloud.create(
        lease="cvl-9-0badcafe",
        region="us-east-1",
        labels={**runners.cloud.machines[idle].labels, LABEL_USE: runners.mark(UseState.BUSY, 2)},
    )

    def at(step: str) -> None:
        if step == "enter":
            raise EngineError("The machine did not answer.")

    outcome = runners.run(with_reuse(secret=SECRET, if_busy=IfBusy.NEW), at=at)
    assert (outcome.ending, outcome.machines.use) == (Ending.SUCCEEDED, None)
    assert runners.cloud.running() == [busy]


def test_of_two_that_see_it_wait_the_machine_lets_one_in(runners: Runners) -> None:
    """The labels still say that it waits, and the machine says that another run has just taken it."""
    first = runners.run()
    runners.cloud.uses[first.machines.cluster] = "busy-2-other"
    second = runners.run(with_reuse(secret=SECRET, if_busy=IfBusy.NEW))
    assert second.ending is Ending.SUCCEEDED and second.machines.cluster != first.machines.cluster
    assert runners.machine().labels["cvl-ci-lease"] == first.machines.cluster
    assert runners.engines[-1].adopted == [], "the key of a machine that another run has stays nowhere"


def test_a_run_that_goes_on_alone_holds_no_key_while_it_launches(runners: Runners) -> None:
    first = runners.run()
    runners.relabel(**{LABEL_USE: runners.mark(UseState.BUSY, 2)})
    runners.cloud.uses[first.machines.cluster] = "busy-2-other"
    held: list[bool] = []

    def at(step: str) -> None:
        if step == "launch":
            held.append(bool(runners.locks.held))

    runners.run(with_reuse(secret=SECRET, if_busy=IfBusy.NEW), at=at)
    assert held == [False], "another run of this computer can have the machine meanwhile"
    runners.relabel(**{LABEL_USE: runners.mark(UseState.IDLE, 2)})
    runners.cloud.uses[first.machines.cluster] = "idle-2"
    runners.run(at=lambda step: held.append(bool(runners.locks.held)) if step == "enter" else None)
    assert held == [False, True] and runners.locks.held == set()


def test_one_whose_run_was_killed_is_waited_for_until_its_deadline_and_its_dollars_are_counted(
    runners: Runners,
) -> None:
    runners.run()

    def at(step: str) -> None:
        runners.cloud.cut_off = runners.cloud.cut_off or step == "ran"
        if runners.cloud.cut_off:
            raise Killed

    with pytest.raises(Killed):
        runners.run(at=at)
    runners.cloud.cut_off = False
    killed = runners.machine()
    assert killed.labels[LABEL_USE].startswith("busy-2-")
    outcome = runners.run()
    assert killed.id not in runners.cloud.running() and len(runners.cloud.running()) == 1
    assert outcome.machines.use is not None and (outcome.machines.use.uncounted_usd or 0) > 0


@pytest.mark.parametrize("is_stopped", [False, True])
def test_the_dollars_of_a_killed_run_are_counted_also_where_the_run_goes_on_alone_or_ends(
    runners: Runners, is_stopped: bool
) -> None:
    """Another machine of the key is in use: with `if_busy: new`, the run has a machine of its own."""
    first = runners.run()
    killed = runners.machine()
    runners.relabel(**{LABEL_USE: runners.mark(UseState.BUSY, 2), LABEL_DEADLINE: str(int(runners.clock.now()))})
    runners.clock.sleep(900)
    deadline = str(int(runners.clock.now()) + 3600)
    labels = {**killed.labels, LABEL_USE: runners.mark(UseState.BUSY, 3), LABEL_DEADLINE: deadline}
    busy = runners.cloud.create(lease="cvl-9-00000009", region=killed.region, labels=labels)

    def at(step: str) -> None:
        if is_stopped and step == "launch":
            raise KeyboardInterrupt

    outcome = runners.run(with_reuse(secret=SECRET, if_busy=IfBusy.NEW), at=at)
    assert outcome.ending is (Ending.CANCELLED if is_stopped else Ending.SUCCEEDED)
    assert runners.cloud.running() == [busy] and outcome.machines.cluster != first.machines.cluster
    (warning,) = [text for text in outcome.warnings if "was killed" in text]
    assert "`cvl-ci cost` does" in warning
    own = json.loads(json.dumps(to_json(outcome)))
    assert (own["reuse"]["key"], own["reuse"]["number"]) == ("trainer", 0) and own["reuse"]["uncounted_usd"] > 0
    counted = spend([leg_file.read(json.dumps(own).encode())], since=0.0).usd
    assert counted == pytest.approx((own["cost_usd"] or 0.0) + own["reuse"]["uncounted_usd"]), "so it does"


def test_a_stop_while_an_old_machine_ends_names_its_lease_and_proves_its_end(runners: Runners) -> None:
    first = runners.run()
    runners.relabel(**{LABEL_FINGERPRINT: "another"})

    stops = [KeyboardInterrupt()]

    def stop(step: str) -> None:
        if step == "down" and stops:
            raise stops.pop()

    outcome = runners.run(at=stop)
    assert outcome.ending is Ending.CANCELLED
    assert outcome.machines.cluster == first.machines.cluster
    assert accounted_for(outcome) and runners.cloud.running() == []


@pytest.mark.parametrize("label", ["", "idle", "idle-x-1", "busy-1", "idle-1-99999999999999"])
def test_labels_that_tell_no_use_end_it(runners: Runners, label: str) -> None:
    runners.run()
    old = runners.machine().id
    runners.relabel(**{LABEL_USE: label})
    runners.run()
    assert not runners.was_warm() and old not in runners.cloud.running()


@pytest.mark.parametrize("deadline", ["", "never", "-1", "9" * 400, "²"])
def test_a_deadline_that_is_no_moment_is_read_as_over_or_as_far_away(runners: Runners, deadline: str) -> None:
    runners.run()
    runners.relabel(**{LABEL_DEADLINE: deadline})
    outcome = runners.run()
    assert outcome.ending is Ending.SUCCEEDED and len(runners.cloud.running()) == 1


def test_a_provider_that_does_not_answer_means_a_new_machine_and_a_sentence(runners: Runners) -> None:
    runners.run()

    def at(step: str) -> None:
        runners.cloud.silent = step in {"warm", "staged"}
        if step == "launch":
            runners.cloud.silent = False

    outcome = runners.run(at=at)
    assert any("The provider did not list all machines" in text for text in outcome.warnings), outcome.warnings
    assert not runners.was_warm()
