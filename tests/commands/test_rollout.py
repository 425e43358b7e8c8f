"""Two rollouts of one environment at the same time, without a concurrency group: one service stays."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvl_ci.commands.deploy import environment
from cvl_ci.commands.deploy.rollout import Rollout
from cvl_ci.model.lease_name import LABEL_RUN
from cvl_ci.model.owner import Owner
from tests.commands.test_deploy import STEPS
from tests.commands.test_previews import World
from tests.github.api import Api

PLACE = "main"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Api().serving() as api:
        yield World(api=api, folder=tmp_path, dice=random.Random(1))


def both(world: World, *, step: str, is_later: bool) -> tuple[Rollout, Rollout]:
    """Roll out, and let another run roll out at a step of it. Return both results."""
    others: list[Rollout] = []

    def at(now: str) -> None:
        if now == step and not others:
            world.number -= 0 if is_later else 2
            others.append(world.roll_out("b" * 40, environment=PLACE))

    first = world.roll_out("a" * 40, at=at, environment=PLACE)
    return first, others[0]


def runs(world: World) -> list[str]:
    return [world.cloud.machines[name].labels[LABEL_RUN] for name in world.serving()]


@pytest.mark.parametrize("is_later", [True, False])
@pytest.mark.parametrize("step", STEPS[:-1])
def test_of_two_rollouts_at_the_same_time_the_later_run_s_service_stays(
    world: World, step: str, is_later: bool
) -> None:
    first, other = both(world, step=step, is_later=is_later)
    assert len(world.cloud.running()) == 1 and len(world.serving()) == 1, "one machine is billed, and it serves"
    assert runs(world) == ["102-1" if is_later else "101-1"]
    assert not first.unproved and not other.unproved


def test_a_provider_that_is_silent_then_leaves_the_new_service_and_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.reporter, "show_outcome", lambda _: setattr(world.cloud, "silent", True))
    rolled = world.roll_out("b" * 40, environment=PLACE)
    world.cloud.silent = False
    assert len(world.serving()) == 1 and rolled.outcome is not None and rolled.outcome.exit_code == 0
    assert any("both are billed" in text for text in world.reporter.said)


@pytest.mark.parametrize("facts", [("7", "8"), ("7", "7"), ("person", "else"), ("7", "person")])
def test_of_two_services_exactly_one_stays_whoever_asks(facts: tuple[str, str]) -> None:
    owners = [Owner(repository="cvl/ci", run=run, job=f"job{place}") for place, run in enumerate(facts)]
    occupants = [
        environment.Occupant(lease=one.name, run=(int(one.run), 1) if one.run.isdecimal() else None, is_kept=True)
        for one in owners
    ]
    decisions = [environment.settle(occupants, one) for one in owners]
    ends = {name for decision in decisions for name in decision.end_after}
    assert len(ends) == 1, "both decide alike"
    assert sum(decision.newer is not None for decision in decisions) == 1
    on_its_way = [environment.Occupant(lease=one.lease, run=one.run, is_kept=False) for one in occupants]
    assert environment.settle(on_its_way, owners[0]) == environment.Decision(), "its own run decides later"
