"""A drill credits the line that caught it, calls in the next one only when one failed, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from cvl_ci.commands.drill import drill as drilling
from cvl_ci.commands.drill import text as drill_text
from cvl_ci.commands.drill.ports import DrillPorts
from cvl_ci.errors import EngineError, NotProvedGone, RequestError
from cvl_ci.inputs import drill_inputs
from cvl_ci.inputs.verb_inputs import of_drill
from cvl_ci.model.location import SANDBOX, Location
from cvl_ci.model.outcome import Phase
from cvl_ci.ports import InventoryResult
from cvl_ci.result.receipt import Receipt, table
from tests import golden
from tests.support.fakes import FakeClock, FakeCloud, FakeClouds, FakeEngine

MESSAGES = golden.Messages(__name__)

PLACE = Location(cloud=SANDBOX)
LEASE = "cvl-7-0badcafe"


class TimedCloud(FakeCloud):
    """What is to happen by itself happens in time."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.later: list[tuple[float, Callable[[], None]]] = []

    def after(self, seconds: float, happens: Callable[[], None]) -> None:
        self.later.append((self.clock.now() + seconds, happens))

    def find(self, *, lease: str | None, locations: Sequence[Location]) -> InventoryResult:
        self.pass_time()
        return super().find(lease=lease, locations=locations)

    def pass_time(self) -> None:
        for due, happens in [each for each in self.later if each[0] <= self.clock.now()]:
            self.later.remove((due, happens))
            happens()

    def end_all(self) -> None:
        self.remove([self.machines[name] for name in self.running()])


@dataclass
class FakeRun:
    """A process: `does` is its whole work, done `takes` seconds after it is stopped (a run) or started (others)."""

    cloud: TimedCloud
    takes: float = 5.0
    does: Callable[[], None] = lambda: None
    lease: str = LEASE
    has_requested: bool = True
    phase: Phase | None = Phase.RUNNING
    comes_to_phase: bool = True
    lines: list[str] = field(default_factory=lambda: ["[0:09] the job failed"])
    ended: int | None = None
    happened: list[str] = field(default_factory=list)

    def wait_for_phase(self, phase: Phase, *, within: float) -> bool:
        return self.comes_to_phase

    def wait_until(self, condition: Callable[[], bool], within: float) -> bool:
        return condition()

    def send(self, number: int) -> None:
        self.happened.append(f"signal {number}")
        self.work()

    def work(self) -> None:
        def done() -> None:
            if self.ended is None:
                self.does()
                self.ended = 130

        self.cloud.after(self.takes, done)

    def kill(self) -> None:
        self.happened.append("killed")
        self.ended = 137

    def kill_all(self) -> None:
        self.happened.append("lost")
        self.ended = 137

    def wait(self, *, within: float) -> int | None:
        if self.ended is None:
            self.cloud.clock.sleep(within)
            self.cloud.pass_time()
        return self.ended

    def close(self) -> None:
        self.ended = 137 if self.ended is None else self.ended


@dataclass
class FakeLauncher:
    """`typed` does what is in `answers`, by its first word."""

    cloud: TimedCloud
    run: FakeRun
    answers: dict[str, Callable[[], None]]
    started: list[tuple[Sequence[str], str]] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)
    machine_ends_after: float | None = None
    outages: list[str] = field(default_factory=list)

    def start(self, options: Sequence[str], *, task: str) -> FakeRun:
        self.started.append((options, task))
        self.cloud.create(lease=LEASE, region="us-east-1")
        if self.machine_ends_after is not None:
            self.cloud.after(self.machine_ends_after, self.cloud.end_all)
        return self.run

    def type(self, words: Sequence[str]) -> FakeRun:
        self.typed.append(" ".join(words))
        typed = FakeRun(self.cloud, does=self.answers.get(words[0], lambda: None))
        typed.work()
        return typed

    @contextmanager
    def outage(self, kill: str) -> Iterator[None]:
        self.outages.append(kill)
        self.run.work()
        self.cloud.silent = True
        yield
        self.cloud.silent = False


@dataclass
class Stage:
    cloud: TimedCloud
    run: FakeRun
    launcher: FakeLauncher
    said: list[str] = field(default_factory=list)

    def drill(self, kill: str, phase: Phase = Phase.RUNNING) -> Receipt:
        ports = DrillPorts(
            clouds=FakeClouds(FakeEngine(self.cloud)),
            launcher=self.launcher,
            clock=self.cloud.clock,
            say=self.said.append,
        )
        self.run.phase = phase if self.run.phase is Phase.RUNNING else self.run.phase
        wanted = [drilling.DrillRequest(phase=phase, kill=kill)]
        (receipt,) = drilling.drill(wanted, location=PLACE, user_id="0badcafe", ports=ports)
        return receipt


@pytest.fixture
def stage() -> Stage:
    """A house in which every line holds."""
    cloud = TimedCloud(FakeClock())
    run = FakeRun(cloud, does=cloud.end_all)
    return Stage(cloud, run, FakeLauncher(cloud, run, {"down": cloud.end_all, "reap": cloud.end_all}))


@pytest.mark.parametrize(
    "kill", [drill_inputs.SIGINT, drill_inputs.SIGTERM, drill_inputs.NETWORK, drill_inputs.CREDENTIALS_EXPIRED]
)
def test_what_main_lives_to_see_is_mains_to_end(stage: Stage, kill: str) -> None:
    receipt = stage.drill(kill)
    assert (receipt.line, receipt.is_gone, drill_text.exit_code([receipt])) == (1, True, 0)
    assert stage.launcher.typed == [], "nobody helped it"
    assert stage.launcher.outages == [
        each for each in (drill_inputs.NETWORK, drill_inputs.CREDENTIALS_EXPIRED) if each == kill
    ]
    assert stage.cloud.running() == []


def test_a_killed_main_is_cleaned_up_after_by_down(stage: Stage) -> None:
    receipt = stage.drill(drill_inputs.SIGKILL)
    assert (receipt.line, receipt.seen_after_kill) == (2, 1)
    assert receipt.seconds is not None
    assert 4 <= receipt.seconds <= 10
    assert (stage.run.happened, stage.launcher.typed) == (["killed"], [f"down {LEASE}"])


def test_when_the_runner_is_lost_nobody_but_the_machine_does_anything(stage: Stage) -> None:
    stage.launcher.machine_ends_after = 90.0
    receipt = stage.drill(drill_inputs.RUNNER_LOST)
    assert (receipt.line, receipt.is_gone) == (3, True)
    assert receipt.seconds is not None
    assert 85 <= receipt.seconds <= 95
    assert stage.launcher.typed == []
    assert stage.run.happened == ["lost"]


def test_the_machines_own_end_is_near_only_where_it_is_what_is_proved(stage: Stage) -> None:
    for kill, minutes in ((drill_inputs.RUNNER_LOST, 3), (drill_inputs.SIGTERM, 20), (drill_inputs.SIGKILL, 20)):
        stage.drill(kill)
        options = list(stage.launcher.started[-1][0])
        assert options[options.index("--heartbeat-minutes") + 1] == str(minutes)


def test_a_line_that_fails_is_named_and_the_next_one_called_in(stage: Stage) -> None:
    stage.run.does = lambda: None  # main ends, its machine does not
    receipt = stage.drill(drill_inputs.SIGTERM)
    assert (receipt.first, receipt.line) == (1, 2)
    assert "which line 1 should have done" in "\n".join(drill_text.lines(receipt))
    assert "not by line 1" in table([receipt], place="sandbox")


def test_a_main_that_hangs_is_lost_before_the_next_line_is_called_in(stage: Stage) -> None:
    stage.run.takes = 1e9
    receipt = stage.drill(drill_inputs.SIGINT)
    assert (receipt.line, stage.run.happened) == (2, ["signal 2", "lost"])


def test_the_reaper_is_the_last_line(stage: Stage) -> None:
    del stage.launcher.answers["down"]
    receipt = stage.drill(drill_inputs.SIGKILL)
    assert (receipt.line, drill_text.exit_code([receipt])) == (4, 0)
    assert stage.launcher.typed == [f"down {LEASE}", "reap --cloud sandbox --grace 0"]


def test_a_machine_that_no_line_catches_is_the_loudest(stage: Stage) -> None:
    stage.launcher.answers = {}
    receipt = stage.drill(drill_inputs.SIGKILL)
    assert (receipt.line, receipt.is_gone, drill_text.exit_code([receipt])) == (None, False, 79)
    assert f"`cvl-ci down {LEASE}` ends it" in next(drill_text.lines(receipt))
    assert "| no line |" in table([receipt], place="sandbox")
    assert stage.launcher.typed[-1] == f"down {LEASE}", "and it is tried once more"


def test_a_provider_that_does_not_answer_proves_nothing(stage: Stage) -> None:
    stage.cloud.silent = True
    receipt = stage.drill(drill_inputs.SIGKILL)
    assert (receipt.is_gone, drill_text.exit_code([receipt])) == (False, 79)


def test_none_seen_for_a_moment_is_not_none(stage: Stage) -> None:
    """A machine asked for just before the kill is listed only later."""
    stage.cloud.after(1.0, lambda: stage.cloud.hidden.update({"i-0": 3}))
    stage.launcher.machine_ends_after = 60.0
    receipt = stage.drill(drill_inputs.RUNNER_LOST)
    assert (receipt.seen_after_kill, receipt.line) == (1, 3)
    assert receipt.seconds is not None
    assert receipt.seconds >= 55


def test_a_machine_that_was_ending_already_proves_no_line(stage: Stage) -> None:
    """Its heartbeat was over before the kill: then that it ends says nothing of a runner that is lost."""
    stage.launcher.machine_ends_after = 0.0
    for kill in (drill_inputs.RUNNER_LOST, drill_inputs.SIGKILL):
        receipt = stage.drill(kill)
        assert (receipt.line, drill_text.exit_code([receipt])) == (None, 70)
        assert "ending already" in receipt.problem


@pytest.mark.parametrize("kill", [drill_inputs.SIGTERM, drill_inputs.SIGKILL, drill_inputs.RUNNER_LOST])
def test_a_run_that_went_past_its_phase_proves_nothing_of_that_phase(stage: Stage, kill: str) -> None:
    stage.run.phase = Phase.RELEASING
    receipt = stage.drill(kill)
    assert (receipt.line, drill_text.exit_code([receipt])) == (None, 70)
    assert stage.run.happened == [], "it was not killed"
    assert stage.cloud.running() == []


def test_where_a_run_died_is_by_its_last_word(stage: Stage) -> None:
    """Said just before the kill, and heard after it."""

    def kill_all() -> None:
        stage.run.phase, stage.run.ended = Phase.RELEASING, 137

    stage.run.kill_all = kill_all  # type: ignore[method-assign]
    receipt = stage.drill(drill_inputs.RUNNER_LOST)
    assert (receipt.line, "it had reached releasing when it died" in receipt.problem) == (None, True)
    assert stage.cloud.running() == []


def test_what_main_had_ended_before_it_died_is_not_credited_to_who_came_after(stage: Stage) -> None:
    stage.launcher.machine_ends_after = 0.0
    receipt = stage.drill(drill_inputs.SIGKILL, Phase.RELEASING)
    assert (receipt.seen_after_kill, receipt.line) == (0, 1)


def test_a_run_that_never_comes_to_its_phase_is_not_killed_and_proves_nothing(stage: Stage) -> None:
    stage.run.comes_to_phase = False
    receipt = stage.drill(drill_inputs.SIGTERM)
    assert (receipt.line, receipt.is_gone, drill_text.exit_code([receipt])) == (None, True, 70)
    assert "NOTHING WAS KILLED" in next(drill_text.lines(receipt))
    assert "the job failed" in receipt.problem
    assert stage.run.happened == []
    assert stage.cloud.running() == [], "and what it left is ended all the same"


def test_in_provisioning_it_dies_once_there_is_a_machine(stage: Stage) -> None:
    stage.cloud.after(0.0, lambda: stage.cloud.hidden.update({"i-0": 2}))
    assert stage.drill(drill_inputs.SIGTERM, Phase.PROVISIONING).seen_after_kill == 1


def test_a_drill_that_a_person_stops_leaves_no_machine(stage: Stage) -> None:
    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    stage.cloud.clock.sleep = stop  # type: ignore[method-assign]
    stage.cloud.asked = 0
    with pytest.raises(KeyboardInterrupt):
        stage.drill(drill_inputs.RUNNER_LOST)
    assert stage.launcher.typed == [f"down {LEASE}"]
    assert stage.run.ended == 137


def test_a_drill_that_fails_says_that_its_machine_is_taken_down(stage: Stage) -> None:
    """It started a machine: the usual "Nothing was started and nothing is billed" would be false."""

    def fail(seconds: float) -> None:
        raise EngineError("The provider's answer could not be read.")

    stage.cloud.clock.sleep = fail  # type: ignore[method-assign]
    with pytest.raises(EngineError) as caught:
        stage.drill(drill_inputs.RUNNER_LOST)
    MESSAGES.check("a failed drill", caught.value.money)


def test_a_stopped_drill_whose_machine_is_not_proved_gone_says_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(seconds: float) -> None:
        monkeypatch.setattr(FakeRun, "wait", lambda self, *, within: 79)
        raise KeyboardInterrupt

    stage.cloud.clock.sleep = stop  # type: ignore[method-assign]
    with pytest.raises(NotProvedGone, match="may still be running and billed") as told:
        stage.drill(drill_inputs.RUNNER_LOST)
    assert f"`cvl-ci down {LEASE}" in told.value.next_step


def test_the_receipt_says_what_was_asked_where_and_when(stage: Stage) -> None:
    text = "\n".join(drill_text.lines(stage.drill(drill_inputs.SIGTERM)))
    assert "SIGTERM while running" in text
    assert "line 1 caught it, main's own lease" in text
    assert "aws us-east-1 shows 0 left (instances)" in text
    assert "the provider was last asked at 20" in text


# ---- what may be asked -----------------------------------------------------------------------------------------------


def wanted(place: Location = PLACE, *, server: str = "", **given: str | bool | None) -> list[drilling.DrillRequest]:
    return drilling.requested_drills(of_drill(given), location=place, server=server)


@pytest.mark.parametrize(
    ("place", "server", "kill", "why"),
    [
        ("sandbox", "", drill_inputs.API_SERVER, "no API server drives a run here"),
        ("aws", "sky.example.org", drill_inputs.API_SERVER, "sky.example.org serves others too"),
        ("aws", "", drill_inputs.NETWORK, "it can cut the sandbox"),
        ("aws", "", drill_inputs.CREDENTIALS_EXPIRED, "cannot let your keys expire"),
    ],
)
def test_a_death_that_cannot_be_had_is_refused_with_why(place: str, server: str, kill: str, why: str) -> None:
    with pytest.raises(RequestError, match=why):
        wanted(Location(cloud=place), server=server, phase="running", kill=kill)


def test_all_is_every_phase_and_every_death_that_can_be_had() -> None:
    on_sandbox, on_aws = wanted(all=True), wanted(Location(cloud="aws"), all=True)
    assert len(on_sandbox) == 5 * 6
    assert len(on_aws) == 5 * 4
    assert {each.kill for each in on_sandbox} - {each.kill for each in on_aws} == {
        drill_inputs.NETWORK,
        drill_inputs.CREDENTIALS_EXPIRED,
    }


def test_what_is_missing_is_told_at_once() -> None:
    with pytest.raises(RequestError) as error:
        drilling.requested_drills(drill_inputs.DrillInputs(), location=None, server="")
    assert [mistake.field for mistake in error.value.mistakes] == ["--cloud", "--phase", "--kill"]
    with pytest.raises(RequestError, match="name no other"):
        wanted(all=True, phase="running")
