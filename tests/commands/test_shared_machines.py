"""A machine that several runners enter, each with an empty home folder: found, taken by one, replaced, ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cvl_ci.commands.run import run as running
from cvl_ci.model.lease_name import LABEL_DEADLINE, LABEL_FINGERPRINT, LABEL_REUSER, LABEL_SHARED, LABEL_USE
from cvl_ci.model.outcome import Ending, Outcome
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.resource import Resource
from cvl_ci.model.reuse import IfBusy, UseMark, UseState
from cvl_ci.model.secret import Secret
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
        tools = running.RunPorts(
            clouds=FakeClouds(self.engines[-1]),
            records=FakeRecords(home),
            staging=FakeStaging(home),
            reporter=reporter,
            prices=FakePrices(),
            clock=self.clock,
            locks=FakeKeyLocks(),
            note_lease=self.leases.append,
        )
        owner = Owner(repository=repository, run=str(number + 1))
        try:
            return running.run(plan, owner=owner, outputs=home / "out", tools=tools)
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


def test_one_that_does_not_answer_is_ended_with_proof(runners: Runners) -> None:
    runners.run()
    old = runners.machine().id
    outcome = runners.run(unreachable=True, ends=())
    assert any("it cannot be entered: The machine does not answer." in line for line in runners.told)
    assert old not in runners.cloud.running()
    assert outcome.machines.cluster != runners.cloud.machines[old].labels["cvl-ci-lease"]


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


def test_of_two_that_see_it_wait_the_machine_lets_one_in(runners: Runners) -> None:
    """The labels still say that it waits, and the machine says that another run has just taken it."""
    first = runners.run()
    runners.cloud.uses[first.machines.cluster] = "busy-2-other"
    second = runners.run(with_reuse(secret=SECRET, if_busy=IfBusy.NEW))
    assert second.ending is Ending.SUCCEEDED and second.machines.cluster != first.machines.cluster
    assert runners.machine().labels["cvl-ci-lease"] == first.machines.cluster


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
