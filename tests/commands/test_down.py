"""`down --all` looks at who was silent: what no provider said is never "nothing is left"."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from cvl_ci.commands.reap import down, down_text
from cvl_ci.commands.reap.down import Downed, DownPorts
from cvl_ci.errors import EngineError, RequestError
from cvl_ci.model.location import Location
from cvl_ci.model.release import ProviderCheck, Release
from cvl_ci.ports import Cloud, InventoryResult, LeaseRecord, Resource, ResourceKind
from tests.support.fakes import FakeClock, FakeCloud, FakeEngine, FakeRecords, FakeReporter

AWS, GCP = Location(cloud="aws"), Location(cloud="gcp")
REFUSED = ProviderCheck(provider="aws", region="us-east-1", kinds=("instances",), error="AuthFailure: not validated")
CLEAN = ProviderCheck(provider="aws", region="us-east-1", kinds=("instances",))


class Nothing:
    """Records of no lease, and a workflow that is told nothing."""

    def all(self) -> list[Any]:
        return []

    def show(self, text: str) -> None: ...

    def notice(self, text: str) -> None: ...

    warning = notice


@dataclass
class Opened:
    found: InventoryResult

    @property
    def inventory(self) -> Opened:
        return self

    def find(self, *, lease: str | None, locations: Sequence[Location]) -> InventoryResult:
        return self.found


@dataclass
class Played:
    """Cloud → its answer; an exception is raised where it is opened."""

    answers: dict[str, InventoryResult | Exception] = field(default_factory=dict)

    @contextmanager
    def open(self, locations: Sequence[Location], **_: Any) -> Iterator[Opened]:
        answer = self.answers[locations[0].cloud]
        if isinstance(answer, Exception):
            raise answer
        yield Opened(answer)


def everything(**answers: InventoryResult | Exception) -> tuple[Downed, str]:
    locations = [Location(cloud=cloud) for cloud in answers]
    ports = DownPorts(
        clouds=cast("Any", Played(answers)),
        records=cast("Any", Nothing()),
        reporter=cast("Any", Nothing()),
        clock=FakeClock(),
    )
    downed = down.down([], everything=True, locations=locations, user_id="u", ports=ports)
    return downed, "\n".join(down_text.lines(downed, locations=locations))


def test_a_provider_that_answers_and_shows_nothing_is_proof() -> None:
    downed, text = everything(aws=InventoryResult(asked=[CLEAN]))
    assert downed.proved
    assert "cvl-ci has nothing left" in text
    assert "aws" in text


@pytest.mark.parametrize(
    "silence",
    [
        InventoryResult(asked=[REFUSED]),
        InventoryResult(asked=[CLEAN, REFUSED]),
        InventoryResult(unproved=["aws"]),
        InventoryResult(asked=[CLEAN], unproved=["aws"]),
        InventoryResult(),
        EngineError("The AWS client is not installed."),
    ],
)
def test_whoever_was_silent_proves_nothing(silence: InventoryResult | Exception) -> None:
    downed, text = everything(aws=silence)
    assert not downed.proved
    assert "nothing left" not in text
    assert "INCOMPLETE ANSWER" in text
    assert "billed" in text


def test_one_cloud_s_silence_hides_no_other_s_machines() -> None:
    pod = Resource(provider="gcp", region="r", kind=ResourceKind.MACHINE, id="ours", state="RUNNING", labels={})
    downed, text = everything(aws=EngineError("no client"), gcp=InventoryResult(resources=[pod], asked=[CLEAN]))
    assert [one.id for one in downed.unlabelled] == ["ours"]
    assert "named like ours" in text
    assert "no client" in text


def test_nobody_asked_is_said_and_nothing_claimed() -> None:
    downed, text = everything()
    assert downed.proved
    assert "cvl-ci asked no cloud" in text
    assert "nothing left" not in text


@pytest.mark.parametrize(
    "found",
    [
        InventoryResult(),
        InventoryResult(asked=[REFUSED]),
        InventoryResult(unproved=["x"]),
        InventoryResult(asked=[CLEAN, REFUSED]),
    ],
)
def test_findings_are_never_read_without_the_silence(found: InventoryResult) -> None:
    resources, silent = found.read()
    assert (resources, bool(silent)) == ((), True)
    assert bool(found.only([]).read()[1])
    with pytest.raises(AttributeError):
        found.resources  # type: ignore[attr-defined]  # noqa: B018


def record(**changed: Any) -> LeaseRecord:
    values = {"name": "cvl-7-0badcafe", "labels": {}, "deadline": 0.0, "locations": (GCP,), "taken_at": 0.0}
    return LeaseRecord(**{**values, **changed})


def test_a_machine_whose_lease_was_called_released_is_ended_when_a_provider_shows_it() -> None:
    released = {"cvl-7-0badcafe": record(released_at=1.0)}
    shown = Resource(
        kind=ResourceKind.MACHINE,
        id="i-1",
        region="us-east-1",
        provider="aws",
        state="running",
        labels={"cvl-ci-lease": "cvl-7-0badcafe"},
    )
    open_records = {name: one for name, one in released.items() if one.released_at is None}
    [found] = down._unknown([(AWS, shown)], open_records, FakeClock())
    assert (found.name, found.locations) == ("cvl-7-0badcafe", (AWS,))


def test_a_place_that_a_person_names_is_asked_as_well_as_those_of_the_record() -> None:
    known = {"cvl-7-0badcafe": record(regions=("gcp/us-central1",))}
    asked = down._known_or_new("cvl-7-0badcafe", known, [AWS], FakeClock())
    assert asked.locations == (AWS, GCP, Location(cloud="gcp", region="us-central1"))
    assert asked.regions == ()


LEASES = ("cvl-3-c", "cvl-1-a", "cvl-2-b")


class Together:
    """Clouds with one machine of each lease. `at_once`: so many leases must be open before one of them goes on."""

    def __init__(self, *, at_once: int = 1, faults: Mapping[int, Exception] | None = None) -> None:
        self.cloud, self.faults = FakeCloud(clock=FakeClock()), faults or {}
        self.opened, self.open_now, self.most = 0, 0, 0
        self._lock, self._all_open = threading.Lock(), threading.Barrier(at_once)
        for name in LEASES:
            self.cloud.create(lease=name, region="us-east-1")

    @contextmanager
    def open(self, locations: Sequence[Location], **_: Any) -> Iterator[Cloud]:
        with self._lock:
            number = self.opened
            self.opened, self.open_now = number + 1, self.open_now + 1
            self.most = max(self.most, self.open_now)
        self._all_open.wait(timeout=30)
        if number in self.faults:
            raise self.faults[number]
        engine = FakeEngine(self.cloud)
        yield Cloud(machines=engine, jobs=engine, inventory=self.cloud)
        with self._lock:
            self.open_now -= 1


def ended(clouds: Together, folder: Path, *, place: Location = AWS) -> tuple[dict[str, Release], FakeReporter]:
    said = FakeReporter()
    ports = DownPorts(clouds=clouds, records=FakeRecords(folder), reporter=said, clock=clouds.cloud.clock)
    records = {name: down.unrecorded(name, [place], ports.clock) for name in LEASES}
    return down.end_all(records, user_id="u", ports=ports, hurried=True), said


def test_several_leases_end_at_the_same_time_and_keep_their_order(tmp_path: Path) -> None:
    releases, _ = ended(Together(at_once=3), tmp_path)
    assert tuple(releases) == LEASES
    assert all(release.gone for release in releases.values())


@pytest.mark.parametrize("fault", [EngineError("The AWS client is not installed."), KeyError("odd")])
def test_a_fault_at_one_lease_is_its_missing_proof_and_drops_no_other(tmp_path: Path, fault: Exception) -> None:
    clouds = Together(at_once=3, faults={0: fault})
    releases, said = ended(clouds, tmp_path)
    unproved = [name for name, release in releases.items() if not release.gone]
    assert len(unproved) == 1
    assert tuple(releases) == LEASES
    assert releases[unproved[0]].unproved == ("aws",)
    assert any("is not proved gone" in text for text in said.said)
    downed = Downed(releases=releases, silent=(), unlabelled=())
    assert not downed.proved
    assert f"{unproved[0]}: NOT PROVED GONE" in "\n".join(down_text.lines(downed, locations=()))


def test_a_single_lease_raises_its_error(tmp_path: Path) -> None:
    clouds = Together(faults={0: EngineError("no client")})
    ports = DownPorts(clouds=clouds, records=FakeRecords(tmp_path), reporter=FakeReporter(), clock=clouds.cloud.clock)
    record = down.unrecorded(LEASES[0], [AWS], ports.clock)
    with pytest.raises(EngineError, match="no client"):
        down.end_all({record.name: record}, user_id="u", ports=ports, hurried=True)


def test_leases_of_a_sandbox_end_one_after_the_other(tmp_path: Path) -> None:
    """Its first user stops it, if nobody else uses it: two at the same time would leave it up."""
    clouds = Together()
    releases, _ = ended(clouds, tmp_path, place=Location(cloud="sandbox"))
    assert all(release.gone for release in releases.values())
    assert clouds.most == 1


@dataclass
class SlowCloud(FakeCloud):
    """Its machines need 400 seconds to end, and it asks for patience."""

    def remove(self, resources: Sequence[Resource]) -> None: ...

    def find(self, *, lease: str | None, locations: Sequence[Location]) -> InventoryResult:
        if self.clock.now() - FakeClock().now() > 400:
            super().remove([self.machines[name] for name in self.running()])
        found = super().find(lease=lease, locations=locations)
        return InventoryResult(resources=found.read()[0], asked=found.asked, patience_seconds=600.0)


@pytest.mark.parametrize("hurried", [True, False])
def test_down_waits_for_a_slow_provider_and_post_does_not(tmp_path: Path, *, hurried: bool) -> None:
    clouds = Together()
    clouds.cloud = SlowCloud(clock=FakeClock())
    clouds.cloud.create(lease=LEASES[0], region="us-east-1")
    ports = DownPorts(clouds=clouds, records=FakeRecords(tmp_path), reporter=FakeReporter(), clock=clouds.cloud.clock)
    if hurried:
        record = down.unrecorded(LEASES[0], [AWS], ports.clock)
        [release] = down.end_all({record.name: record}, user_id="u", ports=ports, hurried=True).values()
    else:
        [release] = down.down(
            [LEASES[0]], everything=False, locations=[AWS], user_id="u", ports=ports
        ).releases.values()
    assert release.gone is not hurried


OPEN = ("cvl-train-0badcafe", "cvl-serve-1badcafe")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("nope", ()),
        ("cvl-1-nothere", ()),
        ("cvl-train-ffffffff", ()),
        ("cvl-train-0badcafd", ("cvl-train-0badcafe",)),
        ("train-0bad", ("cvl-train-0badcafe",)),
        ("cvl-srve-1badcafe", ("cvl-serve-1badcafe",)),
    ],
)
def test_an_unknown_name_is_answered_with_near_leases_alone(name: str, near: tuple[str, ...], tmp_path: Path) -> None:
    """`down` destroys: any two leases look alike, and a proposal may be copied without a thought."""
    records = FakeRecords(tmp_path)
    for one in (*OPEN, "cvl-ended-2badcafe"):
        records.write(record(name=one, released_at=1.0 if "ended" in one else None))
    ports = DownPorts(
        clouds=cast("Any", Played({})), records=records, reporter=cast("Any", Nothing()), clock=FakeClock()
    )
    with pytest.raises(RequestError) as caught:
        down.down([name, "other"], everything=False, locations=[], user_id="u", ports=ports)
    first, second = caught.value.mistakes
    assert first.near == near
    listing = "open leases: cvl-serve-1badcafe, cvl-train-0badcafe"
    assert (listing in first.problem) is (not near)
    assert listing in second.problem and "ended" not in second.problem
