"""The promise, step by step on a cloud in a dict: whatever happens, the release asks the provider until 0 are left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.errors import EngineError
from cvl_ci.lease import POST_SECONDS, Lease, sweep
from cvl_ci.model.launch import Attempt
from cvl_ci.model.location import Location
from cvl_ci.model.owner import Owner
from cvl_ci.ports import InventoryResult, LeaseRecord, Resource, ResourceKind
from tests.support.fakes import FakeClock, FakeCloud, FakeEngine, FakeRecords

OWNER = Owner(repository="zhaomei/models", run="17345678901", attempt="2", job="gpu", step="run", leg="aws-L4")
ATTEMPT = Attempt(
    cloud="aws", region="us-east-1", zone="us-east-1a", instance_type="m6i.large", spot=False, hourly_usd=0.1
)


class House:
    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.cloud = FakeCloud(self.clock)
        self.engine = FakeEngine(self.cloud)
        self.records = FakeRecords(folder)
        self.said: list[str] = []

    def lease(self, record: LeaseRecord | None = None) -> Lease:
        deadline = self.clock.now() + 3600
        return Lease(
            record
            or LeaseRecord(
                name=OWNER.name,
                labels=OWNER.labels(deadline=deadline),
                deadline=deadline,
                locations=(Location(cloud="aws"),),
                taken_at=self.clock.now(),
            ),
            machines=self.engine,
            inventory=self.cloud,
            records=self.records,
            clock=self.clock,
            say=self.said.append,
        )

    def asked(self, lease: Lease) -> None:
        lease.record_attempt(ATTEMPT, location=Location(cloud="aws", region="us-east-1"))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_the_same_owner_gives_the_same_name_and_any_other_fact_another_name() -> None:
    again = Owner(repository="zhaomei/models", run="17345678901", attempt="2", job="gpu", step="run", leg="aws-L4")
    other = Owner(repository="zhaomei/models", run="17345678901", attempt="3", job="gpu", step="run", leg="aws-L4")
    assert again.name == OWNER.name
    assert other.name != OWNER.name
    assert "17345678901" in OWNER.name


@pytest.mark.parametrize("run", ["17345678901", "ab12", "Weird/Run:é", "9" * 40])
def test_a_name_fits_every_cloud(run: str) -> None:
    name = Owner(repository="a/b", run=run).name
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,24}[a-z0-9]", name)


@pytest.mark.parametrize("repository", ["Zhao.Mei/Models", "/home/anna/Ünï", "", "x" * 100])
def test_labels_are_valid_on_every_cloud(repository: str) -> None:
    for key, value in Owner(repository=repository, run="1").labels(deadline=1.9e9).items():
        assert re.fullmatch(r"[a-z]([a-z0-9_-]{0,62})?", key)
        assert re.fullmatch(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?", value)


def test_a_lease_is_written_down_before_anything_is_asked_for(house: House) -> None:
    house.lease().acquire()
    assert house.records.read(OWNER.name) is not None
    assert house.cloud.asked == 0


def test_where_to_look_is_written_down_before_the_provider_is_asked(house: House) -> None:
    lease = house.lease()
    lease.acquire()
    house.asked(lease)
    kept = house.records.read(OWNER.name)
    assert kept is not None and kept.regions == ("aws/us-east-1",)


def test_a_release_revokes_first_so_that_a_main_that_lives_on_can_launch_nothing(house: House) -> None:
    lease = house.lease()
    lease.acquire()
    house.asked(lease)
    house.engine.at = lambda step: None if house.records.fence(OWNER.name).exists() else pytest.fail("not revoked")
    lease.release()
    assert house.records.fence(OWNER.name).exists()


def test_a_release_ends_the_machine_and_says_whom_it_asked(house: House) -> None:
    lease = house.lease()
    lease.acquire()
    house.asked(lease)
    house.cloud.create(lease=OWNER.name, region="us-east-1")
    release = lease.release()
    assert release.gone
    assert [(request.provider, request.region, request.leftovers) for request in release.asked] == [
        ("aws", "us-east-1", ())
    ]
    assert house.cloud.running() == []
    kept = house.records.read(OWNER.name)
    assert kept is not None and kept.released_at == release.at


def test_nothing_asked_for_needs_no_proof(house: House) -> None:
    lease = house.lease()
    lease.acquire()
    release = lease.release()
    assert release.gone and not release.needed
    assert house.cloud.asked == 0


def test_a_machine_that_shows_up_late_is_waited_for(house: House) -> None:
    """EC2 is eventually consistent: the first looks may not show what was just asked for."""
    lease = house.lease()
    lease.acquire()
    house.asked(lease)
    house.engine.down_fails = True
    house.cloud.create(lease=OWNER.name, region="us-east-1", eventually=3)
    assert lease.release().gone
    assert house.cloud.running() == []


class SlowCloud(FakeCloud):
    """Takes an order at once and needs its time to carry it out, as resource groups do."""

    ordered_at = float("inf")
    end_seconds = 400.0
    patience_seconds = 600.0

    def remove(self, resources: Sequence[Resource]) -> None:
        if resources:
            self.ordered_at = min(self.ordered_at, self.clock.now())

    def find(self, *, lease: str | None, locations: Sequence[Location]) -> InventoryResult:
        if self.clock.now() - self.ordered_at > self.end_seconds:
            super().remove(list(self.machines.values()))
        result = super().find(lease=lease, locations=locations)
        return InventoryResult(resources=result.read()[0], asked=result.asked, patience_seconds=self.patience_seconds)


@pytest.mark.parametrize(("hurried", "gone"), [(False, True), (True, False)])
def test_a_slow_provider_is_waited_for_and_a_hurried_post_says_in_time_that_there_is_no_proof(
    house: House, hurried: bool, gone: bool
) -> None:
    house.cloud = SlowCloud(house.clock)
    house.engine.cloud = house.cloud
    lease = house.lease()
    lease.acquire()
    house.asked(lease)
    house.cloud.create(lease=OWNER.name, region="us-east-1")
    start = house.clock.now()
    assert lease.release(maybe_created=True, hurried=hurried).gone is gone
    assert house.clock.now() - start < (600 if gone else 250)


@pytest.mark.parametrize(("patience", "gone"), [(600.0, True), (0.0, False)])
def test_post_waits_for_a_slow_kind_as_long_as_github_gives_it_time(house: House, patience: float, gone: bool) -> None:
    """A security group ends after its machine: AWS answers DependencyViolation for a minute or more."""
    slow = SlowCloud(house.clock)
    slow.end_seconds, slow.patience_seconds = POST_SECONDS - 25, patience
    house.cloud = house.engine.cloud = slow
    lease = house.lease()
    lease.acquire()
    house.asked(lease)
    house.cloud.create(lease=OWNER.name, region="us-east-1")
    start = house.clock.now()
    assert lease.release(maybe_created=True, hurried=True).gone is gone
    assert house.clock.now() - start <= POST_SECONDS + 1


@pytest.mark.parametrize("patience", [0.0, 600.0])
@pytest.mark.parametrize("down", [0.0, 120.0, 300.0])
def test_the_time_of_skypilots_own_down_is_part_of_post_s_whole_time(
    house: House, patience: float, down: float
) -> None:
    slow = SlowCloud(house.clock)
    slow.end_seconds, slow.patience_seconds = float("inf"), patience
    house.cloud = house.engine.cloud = slow
    house.engine.at = lambda step: house.clock.sleep(down) if step == "down" else None
    lease = house.lease()
    lease.acquire()
    house.asked(lease)
    house.cloud.create(lease=OWNER.name, region="us-east-1")
    start = house.clock.now()
    release = lease.release(maybe_created=True, hurried=True)
    assert not release.gone and release.asked
    assert house.clock.now() - start <= max(POST_SECONDS, down) + 1


def test_a_refused_removal_is_tried_again(house: House) -> None:
    lease = house.lease()
    lease.acquire()
    house.asked(lease)
    house.engine.down_fails = True
    house.cloud.refuse_removals = 4
    house.cloud.create(lease=OWNER.name, region="us-east-1")
    assert lease.release().gone
    assert house.cloud.running() == []


def test_skypilots_broken_database_does_not_keep_the_machine_alive(house: House) -> None:
    lease = house.lease()
    lease.acquire()
    house.asked(lease)
    house.engine.down_fails = True
    house.cloud.create(lease=OWNER.name, region="us-east-1")
    assert lease.release().gone
    assert any("database is corrupted" in text for text in house.said)


def test_a_provider_that_does_not_answer_is_no_proof(house: House) -> None:
    lease = house.lease()
    lease.acquire()
    house.asked(lease)
    house.cloud.silent = True
    release = lease.release()
    assert not release.gone
    kept = house.records.read(OWNER.name)
    assert kept is not None and kept.released_at is None


def test_somebody_elses_machine_is_left_alone(house: House) -> None:
    theirs = house.cloud.create(lease="cvl-another-lease", region="us-east-1")
    lease = house.lease()
    lease.acquire()
    house.asked(lease)
    house.cloud.create(lease=OWNER.name, region="us-east-1")
    assert lease.release().gone
    assert house.cloud.running() == [theirs]


def test_a_second_release_finds_nothing_and_succeeds(house: House) -> None:
    lease = house.lease()
    lease.acquire()
    house.asked(lease)
    house.cloud.create(lease=OWNER.name, region="us-east-1")
    assert lease.release().gone
    assert lease.release().gone


def test_a_later_process_releases_from_the_record_alone(house: House) -> None:
    first = house.lease()
    first.acquire()
    house.asked(first)
    house.cloud.create(lease=OWNER.name, region="us-east-1")
    record = house.records.read(OWNER.name)
    assert record is not None
    assert house.lease(record).release(maybe_created=True).gone
    assert house.cloud.running() == []


def test_a_disk_that_is_full_by_then_does_not_lose_the_proof(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = house.lease()
    lease.acquire()
    house.asked(lease)
    house.cloud.create(lease=OWNER.name, region="us-east-1")

    def full(record: LeaseRecord) -> None:
        raise EngineError("No space left on device.")

    monkeypatch.setattr(house.records, "write", full)
    assert lease.release().gone
    assert any("No space left" in text for text in house.said)


class ReplicatingCloud(FakeCloud):
    """A controller that lives replaces each machine that ends, and one more comes up seconds after its own end."""

    late: str = ""

    def create_controller(self, lease: str) -> None:
        name = self.create(lease=lease, region="us-east-1")
        self.machines[name] = replace(self.machines[name], kind=ResourceKind.SERVICE_CONTROLLER)

    def remove(self, resources: Sequence[Resource]) -> None:
        controlled = any(self.machines[name].kind is ResourceKind.SERVICE_CONTROLLER for name in self.running())
        super().remove(resources)
        for resource in resources:
            lease = resource.labels["cvl-ci-lease"]
            if resource.kind is ResourceKind.SERVICE_CONTROLLER:
                self.late = self.create(lease=lease, region="us-east-1", eventually=3)
            elif controlled:
                self.create(lease=lease, region="us-east-1")


def test_a_controller_goes_before_its_replicas_and_the_machine_that_it_last_asked_for_goes_too(house: House) -> None:
    house.cloud = cloud = ReplicatingCloud(house.clock)
    house.engine.cloud = cloud
    house.engine.down_fails = True
    lease = house.lease()
    lease.acquire()
    house.asked(lease)
    house.clock.sleep(3600)
    replicas = [cloud.create(lease=OWNER.name, region="us-east-1") for _ in range(2)]
    cloud.create_controller(OWNER.name)
    assert lease.release().gone
    assert cloud.running() == []
    assert len(cloud.machines) == len(replicas) + 2, "a replica was replaced, so the controller lived too long"


@pytest.mark.parametrize("by_sweep", [False, True])
def test_a_bucket_that_is_meant_to_stay_does_and_delays_no_proof(house: House, by_sweep: bool) -> None:
    name = house.cloud.create(lease=OWNER.name, region="us-east-1")
    house.cloud.machines[name] = bucket = replace(house.cloud.machines[name], kind=ResourceKind.BUCKET, stays=True)
    house.cloud.create(lease=OWNER.name, region="us-east-1")
    house.engine.down_fails = True
    lease = house.lease()
    lease.acquire()
    house.asked(lease)
    start = house.clock.now()
    if by_sweep:
        results = list(house.cloud.machines.values())
        locations = [Location(cloud="aws")]
        after = sweep(results, inventory=house.cloud, locations=locations, clock=house.clock, say=house.said.append)
        assert after.read() == ((), ())
    else:
        assert lease.release().gone
    assert house.cloud.machines[name] == bucket
    assert house.cloud.running() == [name]
    assert house.clock.now() - start < 30


def test_a_launch_cut_off_before_it_was_heard_is_looked_for_all_the_same(house: House) -> None:
    """The worker asks, and a signal comes before we have read that it does. EC2 shows the machine a moment later."""
    lease = house.lease()
    lease.acquire()
    house.engine.cut_off = True
    house.cloud.create(lease=OWNER.name, region="us-east-1", eventually=3)
    release = lease.release()
    assert release.gone and release.needed and release.asked
    assert house.cloud.running() == []


class LaggingCloud(FakeCloud):
    """Its list misses every machine for some looks, although the machines were requested long ago."""

    missing: int = 0

    def find(self, *, lease: str | None, locations: Sequence[Location]) -> InventoryResult:
        self.hidden = dict.fromkeys(self.hidden, 1 if self.missing > 0 else 0)
        self.missing -= 1
        return super().find(lease=lease, locations=locations)


def test_lost_machines_that_one_answer_misses_are_still_removed_before_new_ones_come(house: House) -> None:
    house.cloud = cloud = LaggingCloud(house.clock)
    house.engine.cloud = cloud
    house.engine.down_fails = True
    lease = house.lease()
    lease.acquire()
    house.asked(lease)
    cloud.create(lease=OWNER.name, region="us-east-1")
    house.clock.sleep(3600)
    cloud.missing = 3
    assert lease.clear().gone
    assert cloud.running() == []


def test_a_machine_that_only_the_first_answer_showed_is_in_the_memory(house: House) -> None:
    """A provider without a memory of ended machines: what it showed before the removal is all that is known."""
    house.cloud.remembers = False
    lease = house.lease()
    lease.acquire()
    house.asked(lease)
    name = house.cloud.create(lease=OWNER.name, region="us-east-1")
    release = lease.release()
    assert release.gone and release.memory is not None
    assert [life.id for life in release.memory.lives] == [name]
