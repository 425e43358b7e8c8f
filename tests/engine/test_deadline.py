"""max_cost as a moment: it comes nearer with a dearer machine, on the machine, in its labels and for who watches it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.engine import deadline as deadlines
from cvl_ci.engine import session
from cvl_ci.engine.deadline import Deadline
from cvl_ci.engine.jobs import SkyPilotJobs
from cvl_ci.engine.machines import SkyPilotMachines
from cvl_ci.engine.process import Expired
from cvl_ci.engine.session import Session
from cvl_ci.engine.worker import user_data
from cvl_ci.errors import BudgetError, EngineError
from cvl_ci.model.budget import Budget
from cvl_ci.model.limits import Limits
from cvl_ci.model.location import Location
from cvl_ci.model.plan import MachinePlan, RunPlan, WorkPlan
from cvl_ci.ports import AttemptFailed, LaunchRequest, Progress
from tests.support.fakes import FakeClock


def test_a_dearer_machine_has_less_time_and_a_cheaper_one_no_more_than_the_run() -> None:
    deadline = Deadline(3600.0, budget=Budget(max_usd=0.5), now=lambda: 600.0)
    deadline.set_price(2.0, cloud="lambda")
    assert deadline.at == 600 + 900 - 150, "Lambda has no timer at boot"
    deadline.note_failure(0)
    deadline.set_price(0.1, cloud="lambda")
    assert deadline.at == 3600, "the dear one that said no has cost nothing"


def test_disk_and_address_of_every_machine_are_in_the_deadline() -> None:
    deadline = Deadline(1e12, budget=Budget(max_usd=1.0), nodes=2, disk_gb=16_384, now=lambda: 0.0)
    deadline.set_price(2.0, cloud="aws")
    hourly = 2 * (2.0 + (16_384 * 0.08 + 6.22) / (31 * 24) + 0.005)
    assert deadline.at == pytest.approx(3600 / hourly, abs=1)


def test_machines_that_came_up_and_failed_leave_less_money_for_the_next() -> None:
    clock = FakeClock(time=0.0)
    deadline = Deadline(1e12, budget=Budget(max_usd=1.0), nodes=2, now=clock.now)
    deadline.set_price(3.6, cloud="lambda")
    clock.sleep(300)
    deadline.note_failure(2)
    assert deadline.spent_usd == pytest.approx(0.6)
    deadline.set_price(3.6, cloud="lambda")
    assert deadline.at == pytest.approx(300 + 200 - 20 - 150), "whole minutes, as Lambda bills them"
    clock.sleep(180)
    deadline.note_failure(2)
    deadline.set_price(3.6, cloud="aws")
    assert not deadline.is_affordable and deadline.at == clock.now(), "AWS bills 60 s, and 5 s are paid for"


def test_the_money_crosses_to_the_worker_as_plain_values() -> None:
    budget = Budget(max_usd=1.0, spent_usd=0.4)
    here = Deadline(1e12, budget=budget, nodes=2, disk_gb=100, now=lambda: 0.0)
    there = deadlines.of(1e12, json.loads(json.dumps(here.money)))
    assert there.money == here.money == {"max_usd": 1.0, "spent_usd": 0.4, "nodes": 2, "disk_gb": 100}


def test_without_a_budget_or_a_price_the_run_s_deadline_holds() -> None:
    for max_usd, hourly in ((None, 99.0), (0.5, 0.0)):
        deadline = Deadline(3600.0, budget=Budget(max_usd=max_usd), now=lambda: 0.0)
        deadline.set_price(hourly, cloud="aws")
        assert deadline.at == 3600


def test_the_label_says_what_the_timer_says_and_the_others_stay() -> None:
    tags = [{"Key": "cvl-ci-deadline", "Value": "1800000000"}, {"Key": "cvl-ci-lease", "Value": "cvl-1"}]
    theirs = {"TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")]}
    armed = user_data.armed(theirs, deadline=1_700_000_000.5)
    for each in armed["TagSpecifications"]:
        assert {tag["Key"]: tag["Value"] for tag in each["Tags"]} == {
            "cvl-ci-deadline": "1700000000",
            "cvl-ci-lease": "cvl-1",
        }
    assert tags[0]["Value"] == "1800000000", "what SkyPilot holds is not changed under its hands"


class StandIn:
    """A worker that answers from a script; an Expired among the answers is raised when its time is over."""

    answers: Mapping[str, Any] = {}
    during: Callable[..., None] = lambda *_: None
    calls: list[tuple[str, dict[str, Any]]] = []  # noqa: RUF012

    def __init__(self, *, environment: Mapping[str, str]) -> None:
        self.alive = True
        self.busy = False

    def call(self, verb: str, *, until: Callable[[], float] | None = None, **request: Any) -> Any:
        StandIn.calls.append((verb, {**request, "until": until}))
        StandIn.during(request)
        answer = self.answers.get(verb)
        if isinstance(answer, type) and issubclass(answer, Exception):
            raise answer
        return answer

    def kill(self) -> None:
        self.alive = False


ATTEMPT = {
    "cloud": "aws",
    "region": "us-east-1",
    "zone": "us-east-1a",
    "instance_type": "m6i.large",
    "spot": False,
    "hourly_usd": 0.2,
    "accelerators": {},
}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def machines(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> SkyPilotMachines:
    monkeypatch.setattr(session, "Worker", StandIn)
    monkeypatch.setattr(StandIn, "calls", [])
    monkeypatch.setattr(StandIn, "during", lambda *_: None)
    launched = {**ATTEMPT, "job_id": 1, "num_nodes": 2, "deadline": clock.now() + 600}
    monkeypatch.setattr(StandIn, "answers", {"launch": launched})
    return SkyPilotMachines(Session(environment={}, clock=clock))


def request(clock: FakeClock, limits: Limits) -> LaunchRequest:
    return LaunchRequest(
        plan=RunPlan(
            title="t",
            work=WorkPlan(run_commands=("x",)),
            machines=MachinePlan(locations=(Location(cloud="aws"),), num_nodes=2),
            limits=limits,
        ),
        cluster="cvl-1-abc",
        labels={},
        staged=Path("/tmp"),
        deadline=clock.now() + 3600,
        fence=Path("/nowhere"),
    )


def ignored(_: object) -> None:
    pass


def test_the_worker_gets_the_money_less_what_earlier_machines_cost(
    machines: SkyPilotMachines, clock: FakeClock
) -> None:
    launch = machines.launch(request(clock, Limits(max_cost_usd=0.5)), watch=ignored)
    assert launch.deadline == StandIn.answers["launch"]["deadline"], "the end that the machines got, and not the latest"
    machines.launch(replace(request(clock, Limits(max_cost_usd=0.5)), spent_usd=0.2), watch=ignored)
    machines.launch(request(clock, Limits()), watch=ignored)
    money = [(asked["money"]["max_usd"], asked["money"]["spent_usd"]) for _, asked in StandIn.calls]
    assert money == [(0.5, 0.0), (0.5, 0.2), (None, 0.0)]


def test_an_attempt_tells_how_many_machines_came_up_and_a_place_too_dear_is_no_attempt(
    machines: SkyPilotMachines, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[object] = []

    def during(asked: dict[str, Any]) -> None:
        asked["on_event"]({"kind": "attempting", "attempt": ATTEMPT})
        clock.sleep(360)
        asked["on_event"]({"kind": "attempt_failed", "attempt": ATTEMPT, "text": "no ssh", "machines": 2})
        asked["on_event"]({"kind": "too_dear", "attempt": {**ATTEMPT, "zone": "us-east-1b"}, "text": "too dear"})

    monkeypatch.setattr(StandIn, "during", during)
    machines.launch(request(clock, Limits(max_cost_usd=0.5)), watch=events.append)
    _, failed, left_out = events
    assert isinstance(failed, AttemptFailed) and (failed.attempt.machines, failed.attempt.error) == (2, "no ssh")
    assert left_out == Progress(text="aws/us-east-1b is left out: too dear")
    assert machines._end.spent_usd == pytest.approx(2 * (0.2 + 0.0245) * 0.1, rel=0.05)


def test_a_worker_started_anew_renews_to_the_nearer_deadline(machines: SkyPilotMachines, clock: FakeClock) -> None:
    machines.launch(request(clock, Limits(max_cost_usd=0.5)), watch=ignored)
    assert machines._session._worker is not None
    machines._session._worker.alive = False  # type: ignore[misc]
    machines._session.worker()
    verb, asked = StandIn.calls[-1]
    assert (verb, asked["deadline"]) == ("beat", clock.now() + 600)


@pytest.mark.parametrize(
    "given_up",
    [
        # 0.08 buys 10.7 minutes of 2 machines at 0.2 with their disks and addresses: 5.7 and the release's 5.
        (0.08, BudgetError, 5.7 * 60),
        (None, EngineError, 15 * 60),
    ],
)
def test_a_launch_is_given_up_when_its_money_or_its_patience_is(
    machines: SkyPilotMachines,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    given_up: tuple[float | None, type[Exception], float],
) -> None:
    max_cost, error, seconds = given_up
    limits: list[float] = []

    def during(asked: dict[str, Any]) -> None:
        asked["on_event"]({"kind": "attempting", "attempt": ATTEMPT})
        limits.append(StandIn.calls[-1][1]["until"]() - time.monotonic())
        if error is EngineError:  # all its patience was used up
            machines._patience -= 15 * 60

    monkeypatch.setattr(StandIn, "during", during)
    monkeypatch.setattr(StandIn, "answers", {"launch": Expired})
    with pytest.raises(error):
        machines.launch(request(clock, Limits(max_cost_usd=max_cost)), watch=ignored)
    assert limits == [pytest.approx(seconds, abs=60)]


def test_a_launch_whose_lease_was_ended_elsewhere_is_given_up_at_once(
    machines: SkyPilotMachines, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As after a container was frozen, and post came and went: its machine will never answer."""
    limits: list[float] = []
    fenced = replace(request(clock, Limits()), fence=tmp_path / "revoked")

    def during(_: dict[str, Any]) -> None:
        until = StandIn.calls[-1][1]["until"]
        limits.append(until())
        fenced.fence.touch()
        limits.append(until())

    monkeypatch.setattr(StandIn, "during", during)
    monkeypatch.setattr(StandIn, "answers", {"launch": Expired})
    with pytest.raises(EngineError, match="ended by another process"):
        machines.launch(fenced, watch=ignored)
    assert limits == [pytest.approx(time.monotonic() + 15 * 60, abs=60), -math.inf]


def test_a_launch_whose_machines_are_gone_is_given_up_at_once(
    machines: SkyPilotMachines, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []

    def during(asked: dict[str, Any]) -> None:
        asked["on_event"]({"kind": "attempting", "attempt": ATTEMPT})
        if not limits:
            asked["on_event"]({"kind": "nodes_lost", "alive": 0, "of": 1})
        limits.append(StandIn.calls[-1][1]["until"]())

    monkeypatch.setattr(StandIn, "during", during)
    answers = dict(StandIn.answers)
    monkeypatch.setattr(StandIn, "answers", {"launch": Expired})
    with pytest.raises(EngineError, match="no longer shows all machines"):
        machines.launch(request(clock, Limits()), watch=ignored)
    monkeypatch.setattr(StandIn, "answers", answers)
    machines.launch(request(clock, Limits()), watch=ignored)
    assert limits == [-math.inf, pytest.approx(time.monotonic() + 15 * 60, abs=60)], "the next launch has all its time"


def test_a_fetch_that_would_outlast_the_machine_is_a_problem_and_no_hang(
    machines: SkyPilotMachines, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machines.launch(request(clock, Limits(max_cost_usd=0.5)), watch=ignored)
    monkeypatch.setattr(StandIn, "answers", {"ask_nodes": [], "bring": Expired})
    jobs = SkyPilotJobs(machines._session)
    jobs.fetch(globs=())
    fetched = jobs.unpack(into=tmp_path / "out")
    assert fetched.files == () and fetched.problem is not None and "time or money was over" in fetched.problem
    assert StandIn.calls[-1][1]["until"]() - time.monotonic() == pytest.approx(600 - 30, abs=29)


def test_keeping_that_takes_too_long_is_an_error_and_leaves_nobody_at_it(
    machines: SkyPilotMachines, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.launch(request(clock, Limits()), watch=ignored)
    monkeypatch.setattr(StandIn, "answers", {"keep": Expired})
    with pytest.raises(EngineError, match="did not take its new end"):
        machines.keep("cvl-1-abc", until=clock.now() + 600, public_key=None)
    monkeypatch.setattr(StandIn, "answers", {"keep": ["ssh ubuntu@192.0.2.1"]})
    assert machines.keep("cvl-1-abc", until=clock.now() + 600, public_key="k") == ("ssh ubuntu@192.0.2.1",)
    _, asked = StandIn.calls[-1]
    assert (asked["deadline"], asked["public_key"]) == (clock.now() + 600, "k")


def test_a_worker_that_dies_during_a_launch_may_have_asked_for_a_machine(
    machines: SkyPilotMachines, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release then waits until the provider has settled: one early empty answer is not proof."""

    class Died(Exception):
        pass

    def die(_: object) -> None:
        machines._session._worker.alive = False  # type: ignore[union-attr, misc]

    monkeypatch.setattr(StandIn, "during", die)
    monkeypatch.setattr(StandIn, "answers", {"launch": Died})
    with pytest.raises(Died):
        machines.launch(request(clock, Limits()), watch=ignored)
    assert machines.stop()


def test_a_worker_that_dies_before_a_launch_asked_for_nothing(machines: SkyPilotMachines) -> None:
    assert not machines.stop()
