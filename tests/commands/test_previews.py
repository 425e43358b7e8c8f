"""Previews of a pull request, in many seeded trials: lost close events, a failing GitHub, and lost runners.

A trial plays the life of one pull request: its rollouts, its close, and a sweep every five minutes. The cloud is a
dict. GitHub is the double that its own description holds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from cvl_ci.commands.deploy import environment
from cvl_ci.commands.deploy.rollout import Rollout, RolloutPorts, roll_out, take_down
from cvl_ci.commands.reap.down import DownPorts
from cvl_ci.commands.reap.reap import Reaped, ReapPorts, reap
from cvl_ci.commands.run import run as running
from cvl_ci.errors import RequestError
from cvl_ci.github.pull_requests import PullRequestStates
from cvl_ci.model.lease_name import (
    LABEL_ENVIRONMENT,
    LABEL_KEPT,
    LABEL_LEASE,
    environment_label,
    preview_environment,
)
from cvl_ci.model.location import Location
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.outcome import Outcome
from cvl_ci.model.owner import Owner
from tests.commands.test_deploy import PLAN, SERVICE, STEPS, TOKEN
from tests.github.api import URL, WITHOUT_PAUSES, Api
from tests.support.cases import generated
from tests.support.fake_services import FakeServices
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

AWS = (Location(cloud="aws"),)
ASKED = "GET /repos/cvl/ci/pulls/5"
TICK = 300.0
"""Seconds between two sweeps: the shortest schedule that GitHub has."""
HEARTBEAT = 600.0
"""Seconds after which a machine ends itself without its runner."""
TTL = 4 * 3600.0
TRIALS = generated(200)


@dataclass
class Runs:
    """GitHub's word about lost runs: it counts them as completed a while later."""

    ended: dict[str, float] = field(default_factory=dict)

    def ended_at(self, run: str, attempt: str) -> float | None:
        return self.ended.get(run)


@dataclass
class World:
    """One pull request, its workflow runs, and the machines. `bursts`: GitHub fails up to three times in a row."""

    api: Api
    folder: Path
    dice: random.Random
    bursts: bool = False
    clock: FakeClock = field(default_factory=FakeClock)
    number: int = 100
    closed_at: float | None = None
    is_silent: bool = False
    ends: dict[str, float] = field(default_factory=dict)
    runs: Runs = field(default_factory=Runs)
    said: list[str] = field(default_factory=list)
    reporter: FakeReporter = field(default_factory=FakeReporter)

    def __post_init__(self) -> None:
        self.cloud = FakeCloud(self.clock)
        self.api.store.requests[5] = {"sha": "0" * 40, "state": "open", "closed_at": None}

    def pulls(self) -> PullRequestStates:
        if self.is_silent:
            self.api.faults[ASKED] = [(503, {}, "")] * 99
        else:
            self.api.faults[ASKED] = [(502, {}, "")] * (self.dice.randrange(4) if self.bursts else 0)
        return PullRequestStates(
            api=URL, token="secret-token", repository="cvl/ci", say=self.said.append, backoff=WITHOUT_PAUSES
        )

    def push(self) -> str:
        self.api.store.requests[5]["sha"] = f"{self.number:040d}"
        return f"{self.number:040d}"

    def close(self) -> None:
        self.closed_at = self.clock.now()
        moment = datetime.fromtimestamp(self.closed_at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.api.store.requests[5] |= {"state": "closed", "closed_at": moment}

    def roll_out(
        self,
        commit: str,
        *,
        at: Callable[[str], None] = lambda _: None,
        is_healthy: bool = True,
        ttl: float = TTL,
        environment: str = "pr-5",
        announce: Callable[[Outcome, Sequence[str]], None] = lambda *_: None,
    ) -> Rollout:
        """Run the workflow of a push on a runner of its own."""
        self.number += 1
        folder = self.folder / str(self.number)
        folder.mkdir()
        engine = FakeEngine(self.cloud, at=at, ends=(NodeEnd(rank=0, exit_code=None),))
        records, reporter = FakeRecords(folder), self.reporter
        plan = replace(PLAN, service=replace(SERVICE, ttl_minutes=ttl / 60))

        def run(owner: Owner) -> Outcome:
            ready_at = self.clock.now() + 100 if is_healthy else None
            ports = running.RunPorts(
                clouds=FakeClouds(engine),
                records=records,
                staging=FakeStaging(folder),
                reporter=reporter,
                prices=FakePrices(),
                clock=self.clock,
                services=FakeServices(self.clock, digest=SERVICE.token_digest, ready_at=ready_at),
                token=TOKEN,
            )
            return running.run(plan, owner=owner, outputs=folder / "out", ports=ports)

        down = DownPorts(clouds=FakeClouds(engine), records=records, reporter=reporter, clock=self.clock)
        ports = RolloutPorts(down=down, pulls=self.pulls(), run=run, keeps=lambda *_: None, announce=announce)
        before = set(self.cloud.machines)
        try:
            owner = replace(self.owner(), environment=environment)
            return roll_out(owner, commit=commit, locations=AWS, ports=ports)
        except Killed:  # the runner is gone: no post, and the machine hears nothing any more
            self.cloud.cut_off = False
            for name in set(self.cloud.machines) - before:
                self.ends[name] = self.clock.now() + HEARTBEAT
            self.runs.ended[str(self.number)] = self.clock.now() + HEARTBEAT
            raise

    def owner(self) -> Owner:
        return Owner(repository="cvl/ci", run=str(self.number), environment=preview_environment(5))

    def take_down(self) -> None:
        self.number += 1
        records = FakeRecords(self.folder)
        clouds = FakeClouds(FakeEngine(self.cloud))
        ports = DownPorts(clouds=clouds, records=records, reporter=FakeReporter(), clock=self.clock)
        assert take_down(self.owner(), locations=AWS, ports=ports, note=lambda _: None).gone

    def sweep(self) -> Reaped:
        return reap(
            AWS,
            owner="cvl/ci",
            repository="cvl/ci",
            named=False,
            grace=600.0,
            dry_run=False,
            user_id="0badcafe",
            ports=ReapPorts(
                clouds=FakeClouds(FakeEngine(self.cloud)),
                prices=FakePrices(),
                reporter=FakeReporter(),
                clock=self.clock,
                runs=self.runs,
                pulls=self.pulls(),
            ),
        )

    def wait(self, until: float) -> None:
        """Let the machines' own ends come, and a sweep every five minutes at a minute of its own."""
        while self.clock.now() < until:
            next_sweep = (self.clock.now() // TICK + 1) * TICK
            self.clock.time = min(until, next_sweep)
            self.end_themselves()
            if self.clock.now() == next_sweep:
                self.sweep()

    def end_themselves(self) -> None:
        for name in self.cloud.running():
            kept = self.cloud.machines[name].labels.get(LABEL_KEPT)
            if self.clock.now() >= (float(kept) if kept else self.ends.get(name, float("inf"))):
                self.cloud.end(name)

    def serving(self) -> list[str]:
        return [name for name in self.cloud.running() if LABEL_KEPT in self.cloud.machines[name].labels]


@pytest.fixture
def api() -> Iterator[Api]:
    with Api().serving() as api:
        yield api


@pytest.fixture
def world(api: Api, tmp_path: Path) -> World:
    return World(api=api, folder=tmp_path, dice=random.Random(1))


def close_in_a_rollout(world: World, *, is_lost: bool) -> None:
    """Close the pull request at some step of a rollout. `is_lost`: the runner is lost at the next step."""
    closed_at_step, commit = world.dice.choice(STEPS[:-1]), world.push()

    def close_at(step: str) -> None:
        if step == closed_at_step and world.closed_at is None:
            world.close()
        elif world.closed_at is not None and is_lost:
            world.cloud.cut_off = True
            raise Killed

    with suppress(Killed):
        world.roll_out(commit, at=close_at)


def trial(world: World, *, event_is_lost: bool, runner_is_lost: bool) -> bool:
    """Play one life. Return whether the pull request was closed in the middle of a rollout."""
    dice, serves = world.dice, False
    for _ in range(dice.randrange(1, 4)):
        before = set(world.serving())
        is_healthy, lost_at = dice.random() < 0.8, dice.choice(STEPS) if runner_is_lost and dice.random() < 0.5 else ""
        commit, swept_at = world.push(), dice.choice(STEPS)

        def at(step: str, lost_at: str = lost_at, swept_at: str = swept_at) -> None:
            if step == swept_at:
                world.sweep()
            if step == lost_at:
                world.cloud.cut_off = True
                raise Killed

        with suppress(Killed):
            rolled = world.roll_out(commit, at=at, is_healthy=is_healthy)
            serves = serves or (rolled.outcome is not None and rolled.outcome.exit_code == 0)
        assert not serves or world.serving(), "an open preview never stands without a service"
        assert is_healthy or not before or before <= set(world.serving()), "a failed push leaves the old service"
        world.wait(world.clock.now() + dice.uniform(60, 3600))
        assert not serves or world.serving(), "no sweep ends a service whose request is open"
    in_the_middle = dice.random() < 0.3
    if in_the_middle:
        close_in_a_rollout(world, is_lost=runner_is_lost and dice.random() < 0.5)
    if world.closed_at is None:
        world.close()
    if not event_is_lost:
        world.clock.sleep(dice.uniform(5, 120))
        world.take_down()
    assert world.closed_at is not None
    world.wait(world.closed_at + 600)
    return in_the_middle


@pytest.mark.timeout(600)  # fifty lives: half a minute of a processor, and many times that on a busy machine
@pytest.mark.parametrize("quarter", range(4))
def test_no_preview_outlives_its_request_by_ten_minutes_and_none_ends_before(
    api: Api, tmp_path: Path, quarter: int
) -> None:
    """One quarter each: lost close events; those with a failing GitHub; lost runners; all of it."""
    middle = 0
    for seed in range(TRIALS // 4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        world = World(api=api, folder=folder, dice=random.Random(1_000 * quarter + seed), bursts=quarter in {1, 3})
        middle += trial(world, event_is_lost=quarter != 2, runner_is_lost=quarter in {2, 3})
        assert world.cloud.running() == [], f"seed {seed} of quarter {quarter}"
        assert not any("could not say" in text for text in world.said), "a burst of failures is asked again"
    assert middle > TRIALS // 40


def test_a_silent_github_never_closes_and_the_ttl_ends_it(world: World) -> None:
    assert world.roll_out(world.push()).outcome is not None
    world.close()
    world.is_silent = True
    world.wait(world.clock.now() + TTL - 900)
    assert len(world.serving()) == 1, "no answer is not closed"
    world.wait(world.clock.now() + 900)
    assert world.cloud.running() == []
    assert any("It counts as open" in text for text in world.said)


def test_a_push_renews_the_deadline_and_a_late_older_run_starts_nothing(world: World) -> None:
    old_commit = world.push()
    first = world.roll_out(old_commit, ttl=3600)
    assert first.outcome is not None and first.outcome.release is not None and first.outcome.release.kept is not None
    world.wait(world.clock.now() + 3000)
    second = world.roll_out(world.push(), ttl=3600)
    assert second.outcome is not None and second.outcome.release is not None and second.outcome.release.kept is not None
    assert second.outcome.release.kept.until > first.outcome.release.kept.until + 2900
    [machine] = world.serving()
    late = world.roll_out(old_commit)
    assert late.outcome is None and "has a newer commit" in late.skipped
    assert world.serving() == [machine]


@pytest.mark.parametrize("step", ["created", "ready", "keep"])
def test_a_request_that_closes_during_a_rollout_has_no_service_after_it(world: World, step: str) -> None:
    world.roll_out(world.push())

    def close_at(now: str) -> None:
        if now == step and world.closed_at is None:
            world.close()

    rolled = world.roll_out(world.push(), at=close_at)
    assert rolled.outcome is None and "was closed meanwhile" in rolled.skipped and not rolled.unproved
    assert world.cloud.running() == [], "neither the new one nor the one that it would have replaced"
    again = world.roll_out(f"{world.number - 1:040d}")
    assert again.outcome is None and again.skipped == "The pull request of pr-5 is closed."


def test_two_jobs_of_one_run_need_environments_of_their_own(world: World) -> None:
    world.roll_out(world.push())
    occupants = environment.find(
        replace(world.owner(), job="other"), locations=AWS, clouds=FakeClouds(FakeEngine(world.cloud))
    )
    with pytest.raises(RequestError, match="another job or step of this run"):
        environment.decide(occupants.leases, replace(world.owner(), job="other"))


def test_another_repository_s_preview_of_the_same_number_is_not_touched(world: World) -> None:
    world.roll_out(world.push())
    [name] = world.serving()
    labels = {**world.cloud.machines[name].labels, "cvl-ci-owner": "other-ci", LABEL_LEASE: "cvl-1-0a1b2c3d"}
    world.cloud.machines[name] = replace(world.cloud.machines[name], labels=labels)
    world.close()
    world.take_down()
    world.wait(world.clock.now() + 1200)
    assert world.serving() == [name]
    assert world.cloud.machines[name].labels[LABEL_ENVIRONMENT] == "pr-5"


def test_the_close_of_a_request_leaves_a_branch_of_its_name_alone(world: World) -> None:
    world.close()
    branch = environment_label("pr-5-hotfix")
    rolled = world.roll_out(world.push(), environment=branch)
    assert rolled.outcome is not None and not rolled.skipped
    [name] = world.serving()
    world.wait(world.clock.now() + 1200)
    assert world.serving() == [name]
    assert world.cloud.machines[name].labels[LABEL_ENVIRONMENT] == branch
