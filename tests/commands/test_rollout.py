"""Two rollouts of one environment at the same time, without a concurrency group: one service stays."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.commands.deploy import environment
from cvl_ci.commands.deploy.rollout import Rollout, RolloutPorts, roll_out, take_down
from cvl_ci.commands.reap.down import DownPorts
from cvl_ci.errors import EngineError, NotProvedGone
from cvl_ci.model.lease_name import CLUSTER_TAG, LABEL_KEPT, LABEL_RUN, is_of_replica
from cvl_ci.model.location import REPLICATED, Location
from cvl_ci.model.owner import Owner
from cvl_ci.model.release import ProviderCheck
from cvl_ci.ports import InventoryResult, Resource, ResourceKind
from tests.commands.test_deploy import STEPS
from tests.commands.test_previews import World
from tests.github.api import Api
from tests.support.fakes import FakeClouds, FakeEngine, FakeRecords, FakeReporter

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
        environment.Occupant(
            lease=one.name, run=(int(one.run), 1) if one.run.isdecimal() else None, is_kept=True, is_ready=True
        )
        for one in owners
    ]
    decisions = [environment.settle(occupants, one) for one in owners]
    ends = {name for decision in decisions for name in decision.end_after}
    assert len(ends) == 1, "both decide alike"
    assert sum(decision.newer is not None for decision in decisions) == 1
    on_its_way = [replace(one, is_kept=False, is_ready=False) for one in occupants]
    assert environment.settle(on_its_way, owners[0]) == environment.Decision(), "its own run decides later"


SERVER = (Location(cloud=REPLICATED),)
OWN = Owner(repository="cvl/ci", run="7", environment=PLACE)


def replicas_of(run: str, *, state: str) -> tuple[Owner, Resource]:
    """Return a service as its server shows it: its task has all labels from its birth, also that of a kept one."""
    owner = Owner(repository="cvl/ci", run=run, environment=PLACE)
    labels = {**owner.labels(deadline=99.0), LABEL_KEPT: "99"}
    kind = ResourceKind.SERVICE_CONTROLLER
    return owner, Resource(provider=REPLICATED, region="", kind=kind, id=owner.name, state=state, labels=labels)


def occupants_of(world: World, *resources: Resource) -> tuple[environment.Occupant, ...]:
    check = ProviderCheck(provider=REPLICATED, region="sky.example", kinds=("services",))
    answer = InventoryResult(resources=resources, asked=[check])
    world.cloud.find = lambda **_: answer  # type: ignore[method-assign]
    return environment.find(OWN, locations=SERVER, clouds=FakeClouds(FakeEngine(world.cloud))).leases


@pytest.mark.parametrize("state", ["controller_init", "replica_init", "no_replica", "failed", "ready"])
def test_an_older_service_of_replicas_stays_until_the_new_one_answers(world: World, state: str) -> None:
    """It may have lost all its replicas for a while: the server does not tell whether it ever answered."""
    older, service = replicas_of("6", state=state)
    decision = environment.decide(occupants_of(world, service), OWN)
    assert (decision.end_first, decision.end_after) == ((), (older.name,))


@pytest.mark.parametrize(("state", "stays"), [("replica_init", True), ("failed", True), ("ready", False)])
def test_a_service_ends_for_a_newer_one_only_if_that_answers(world: World, state: str, stays: bool) -> None:
    newer, service = replicas_of("8", state=state)
    decision = environment.settle(occupants_of(world, service), OWN)
    assert decision.end_after == (() if stays else (OWN.name,))
    assert (decision.newer is None) == stays
    of_newer = environment.settle(occupants_of(world, replicas_of("7", state=state)[1]), newer)
    assert of_newer.end_after == (OWN.name,), "the later run ends the earlier one as soon as it answers itself"


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ("cvl-7-0123abcd-1-0badcafe", True),
        ("cvl-7-0123abcd-150-0badcafe-head", True),
        ("cvl-7-0123abcd-0badcafe", False),
        ("cvl-7-0123abcd-0badcafe-head", False),
        ("cvl-7-0123abcd-12345678", False),
        ("cvl-7-0123abcde-1-0badcafe", False),
        ("", False),
    ],
)
def test_the_cluster_of_a_replica_has_a_number(cluster: str, expected: bool) -> None:
    assert is_of_replica(cluster, "cvl-7-0123abcd") is expected


def test_replicas_of_a_server_that_was_not_asked_stop_a_rollout_and_are_no_proof(world: World) -> None:
    older, service = replicas_of("6", state="running")
    tags = {**service.labels, CLUSTER_TAG: f"{older.name}-1-0badcafe"}
    world.cloud.create(lease=older.name, region="us-east-1", labels=tags)
    single = Owner(repository="cvl/ci", run="5", environment=PLACE)
    world.cloud.create(lease=single.name, region="us-east-1", labels={**single.labels(deadline=99.0), LABEL_KEPT: "99"})
    clouds, records = FakeClouds(FakeEngine(world.cloud)), FakeRecords(world.folder)
    down = DownPorts(clouds=clouds, records=records, reporter=FakeReporter(), clock=world.clock)
    never = RolloutPorts(down=down, pulls=None, run=lambda _: pytest.fail("it started"), keeps=lambda *_: None)
    places = (Location(cloud="aws"),)
    with pytest.raises(EngineError, match="several replicas") as refused:
        roll_out(OWN, commit="", locations=places, ports=never)
    assert "Nothing was started" in str(refused.value) and "`down: true`" in str(refused.value)
    noted: list[str] = []
    with pytest.raises(NotProvedGone, match=older.name) as unproved:
        take_down(OWN, locations=places, ports=down, note=noted.extend)
    assert "no address of that server" in str(unproved.value)
    assert noted == [single.name], "its own machines end all the same"
    assert [world.cloud.machines[name].labels["cvl-ci-lease"] for name in world.cloud.running()] == [older.name]


@pytest.mark.parametrize("places", [SERVER, (*SERVER, Location(cloud="aws")), (Location(cloud="aws"),)])
def test_a_place_that_does_not_answer_starts_nothing_and_says_what_to_leave_out(
    world: World, places: tuple[Location, ...]
) -> None:
    world.cloud.silent = True
    with pytest.raises(EngineError, match="did not answer which services") as silent:
        environment.find(OWN, locations=places, clouds=FakeClouds(FakeEngine(world.cloud)))
    assert ("leave them out: the API server needs" in str(silent.value)) == (len(places) == 2)
