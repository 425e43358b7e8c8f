"""`status`: what is open, by records and by the provider's word; it changes nothing, and no silence passes for none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cvl_ci.cli import main
from cvl_ci.commands import status
from cvl_ci.errors import CredentialsError, NotProvedGone, SandboxError
from cvl_ci.model.lease_name import LABEL_DEADLINE, LABEL_KEPT, LABEL_LEASE, LABEL_OWNER, LABEL_RUN, service_labels
from cvl_ci.model.location import MANAGED, REPLICATED, Location
from cvl_ci.ports import Cloud, InventoryResult, LeaseRecord, Resource, Watch
from cvl_ci.result.units import dollars
from cvl_ci.wiring import clouds
from tests.support.fakes import FakeClock, FakeCloud, FakeClouds, FakeEngine, FakePrices, FakeRecords, spending

NAME, OTHER = "cvl-123-0a1b2c3d", "cvl-456-4e5f6a7b"
AWS = Location(cloud="aws", region="us-east-1")
HOUR = 3600.0


class Deaf(FakeCloud):
    """A cloud that only answers questions: whoever would change something there fails."""

    def remove(self, resources: Sequence[Resource]) -> None:
        raise AssertionError("status ends nothing")

    def label(self, resources: Sequence[Resource], labels: object) -> None:
        raise AssertionError("status labels nothing")


@dataclass
class Refusing(FakeClouds):
    """Clouds of which one cannot be opened."""

    refused: str = "gcp"
    free: bool = False

    @contextmanager
    def open(self, locations: Sequence[Location], *, user_id: str, watch: Watch) -> Iterator[Cloud]:
        if locations[0].cloud == self.refused:
            raise CredentialsError("The cloud refused our credentials.")
        with super().open(locations, user_id=user_id, watch=watch) as cloud:
            yield replace(cloud, billed=not self.free)


@dataclass
class Stage:
    folder: Path
    cloud: Deaf = field(default_factory=lambda: Deaf(FakeClock()))
    unread: list[str] = field(default_factory=list)
    free: bool = False

    def __post_init__(self) -> None:
        self.records = FakeRecords(self.folder)
        self.clouds = Refusing(FakeEngine(self.cloud), free=self.free)

    def record(self, name: str = NAME, **changed: object) -> None:
        now = self.cloud.clock.now()
        record = LeaseRecord(
            name=name,
            labels={LABEL_OWNER: "cvl-ci", LABEL_RUN: "123-1"},
            deadline=now + HOUR,
            locations=(Location(cloud="aws"),),
            taken_at=now - 60,
            regions=("aws/us-east-1",),
        )
        self.records.write(replace(record, **changed))  # type: ignore[arg-type]

    def machine(self, name: str = NAME, **labels: str) -> None:
        machine = self.cloud.create(lease=name, region="us-east-1")
        seen = self.cloud.machines[machine]
        hour_ago = self.cloud.clock.now() - HOUR
        self.cloud.machines[machine] = replace(
            seen, labels={**seen.labels, **labels}, instance_type="m6i.large", created_at=hour_ago
        )

    def overview(self, *locations: Location) -> status.Overview:
        self.clouds.free = self.free
        ports = status.StatusPorts(
            clouds=self.clouds, records=self.records, prices=FakePrices(), clock=self.cloud.clock
        )
        return status.build_overview(locations, user_id="0badcafe", unread=self.unread, ports=ports)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def shown(overview: status.Overview) -> str:
    return "\n".join(status.lines(overview))


def test_where_nothing_is_open_one_line_says_so_and_no_cloud_is_asked(stage: Stage) -> None:
    stage.record(released_at=stage.cloud.clock.now())
    overview = stage.overview()
    assert shown(overview) == "No lease is open."
    assert status.verdict(overview) is None
    assert stage.clouds.opened == []


def test_a_record_says_since_when_where_and_until_when(stage: Stage) -> None:
    stage.record()
    text = shown(stage.overview())
    assert f"{NAME}: since 2027-01-15T07:59:00Z, for 1 min" in text
    assert "; in aws/us-east-1; ends by itself at" in text
    assert "in 1 h" in text
    assert "its cost so far is unknown" in text, "an earlier version recorded no price"
    assert "cvl-ci down NAME" in text


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"deadline": 1_800_000_000.0 - 120}, "past its deadline for 2 min"),
        ({"deadline": 0.0}, "no deadline is known"),
        ({"labels": {LABEL_KEPT: "1800003600"}}, "kept, and ends by itself at 2027-01-15T09:00:00Z"),
        ({"regions": ()}, "in aws;"),
        ({"regions": (), "locations": ()}, "in any cloud"),
    ],
)
def test_what_a_record_may_say(stage: Stage, changed: dict[str, object], words: str) -> None:
    stage.record(NAME, **changed)
    assert words in shown(stage.overview())


def test_the_provider_is_asked_for_machines_and_their_cost_where_a_cloud_is_named(stage: Stage) -> None:
    stage.record()
    stage.machine()
    overview = stage.overview(AWS)
    assert "i-0 running m6i.large in aws/us-east-1" in shown(overview)
    assert "$0.105 so far" in shown(overview)
    assert json.loads(status.as_json(overview))["leases"][0]["usd"] == pytest.approx(0.1, abs=0.01)
    assert status.verdict(overview) is None
    assert stage.clouds.opened == [[AWS]]
    assert stage.cloud.running() == ["i-0"]
    assert stage.records.kept[NAME].released_at is None


def test_on_the_sandbox_nothing_has_a_price(stage: Stage) -> None:
    stage.machine()
    stage.free = True
    assert "; not billed; " in shown(stage.overview(AWS))


def requested(stage: Stage, hourly: float, *, minutes: float, billed: bool = True, **changed: object) -> None:
    """Record a machine that was requested so many minutes ago."""
    stage.record(deadline=stage.cloud.clock.now() + HOUR)
    spending_ = spending(hourly, billed=billed)
    at = stage.cloud.clock.now() - minutes * 60
    attempt = replace(spending_.attempts[0], requested_at=at, **changed)  # type: ignore[arg-type]
    stage.records.note_spending(NAME, replace(spending_, attempts=(attempt,)))


def test_the_records_alone_tell_an_estimate_of_the_cost_so_far(stage: Stage) -> None:
    requested(stage, 1.2, minutes=30)
    overview = stage.overview()
    disk_and_address = 0.5 * ((0.08 * 100 + 6.22) / (31 * 24) + 0.005)
    assert f"; about {dollars(0.6 + disk_and_address)} so far, an estimate by its record" in shown(overview)
    [lease] = json.loads(status.as_json(overview))["leases"]
    assert lease["estimated_usd"] == pytest.approx(0.6 + disk_and_address)
    assert (lease["usd"], lease["estimate_is_bound"], lease["billed"]) == (None, False, True)
    assert stage.clouds.opened == []


def test_the_estimate_grows_until_the_deadline_at_most(stage: Stage) -> None:
    requested(stage, 1.2, minutes=30)
    usd = [lease.cost.estimated_usd for lease in stage.overview().leases]
    stage.cloud.clock.sleep(HOUR)
    at_deadline = [lease.cost.estimated_usd for lease in stage.overview().leases]
    stage.cloud.clock.sleep(24 * HOUR)
    assert [lease.cost.estimated_usd for lease in stage.overview().leases] == at_deadline
    assert at_deadline[0] == pytest.approx(3 * (usd[0] or 0.0), rel=0.01)


def test_the_provider_s_answer_replaces_the_estimate(stage: Stage) -> None:
    requested(stage, 1.2, minutes=30)
    stage.machine()
    text = shown(stage.overview(AWS))
    assert "; $0.105 so far" in text
    assert "by its record" not in text


def test_where_the_provider_shows_no_machine_the_estimate_is_a_bound(stage: Stage) -> None:
    requested(stage, 1.2, minutes=30)
    assert re.search(r"; at most \$0\.612\d so far, by its rec", shown(stage.overview(AWS)))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"hourly_usd": 0.0}, "its cost so far is unknown"),
        ({"is_bound": True}, "at most $0.6121 so far, by its record"),
        (
            {"cloud": "azure"},
            "about $0.60 so far, an estimate by its record without disks on azure, addresses on azure",
        ),
    ],
)
def test_a_price_in_the_record_has_its_doubts(stage: Stage, changed: dict[str, object], words: str) -> None:
    requested(stage, 1.2, minutes=30, **changed)  # type: ignore[arg-type]
    assert f"; {words}\n" in shown(stage.overview())


def test_a_recorded_machine_of_the_sandbox_is_not_billed(stage: Stage) -> None:
    requested(stage, 1.2, minutes=30, billed=False)
    overview = stage.overview()
    assert "; not billed\n" in shown(overview)
    [lease] = json.loads(status.as_json(overview))["leases"]
    assert (lease["estimated_usd"], lease["billed"]) == (None, False)


@pytest.mark.parametrize(
    ("cloud", "words"), [(MANAGED, "at most $0.6121 so far, by its record"), (REPLICATED, "its cost so far is unknown")]
)
def test_the_controller_of_a_server_may_take_other_machines_than_the_record_says(
    stage: Stage, cloud: str, words: str
) -> None:
    requested(stage, 1.2, minutes=30)
    stage.records.write(replace(stage.records.kept[NAME], locations=(Location(cloud=cloud),)))
    assert f"; {words}\n" in shown(stage.overview())


def test_a_lease_without_a_request_says_so(stage: Stage) -> None:
    stage.record(regions=())
    assert "; no machine requested so far" in shown(stage.overview())


@pytest.mark.parametrize(
    ("domain", "words"),
    [
        ("", "serves at https://203.0.113.7:8080; in"),
        ("models.example.com", "serves at https://models.example.com:8080 on 203.0.113.7; in"),
    ],
)
def test_a_service_is_shown_with_its_url_and_its_address(stage: Stage, domain: str, words: str) -> None:
    stage.machine(OTHER, **service_labels("203.0.113.7", 8080, is_encrypted=True, domain=domain))
    overview = stage.overview(AWS)
    assert words in shown(overview)
    [lease] = json.loads(status.as_json(overview))["leases"]
    assert lease["service"] == f"https://{domain or '203.0.113.7'}:8080"
    assert lease["service_address"] == "203.0.113.7"


def test_a_lease_without_a_record_is_found_by_its_labels(stage: Stage) -> None:
    stage.machine(OTHER, **{LABEL_OWNER: "them", LABEL_RUN: "456-1", LABEL_DEADLINE: "1800000060"})
    (lease,) = stage.overview(AWS).leases
    assert (lease.name, lease.is_recorded, lease.owner, lease.run) == (OTHER, False, "them", "456-1")
    assert lease.deadline == 1_800_000_060
    text = shown(stage.overview(AWS))
    assert "not recorded here" in text and "(owner them, run 456-1)" in text


def test_a_recorded_lease_that_no_cloud_shows_is_listed_all_the_same(stage: Stage) -> None:
    stage.record()
    overview = stage.overview(AWS)
    assert [lease.name for lease in overview.leases] == [NAME]
    assert "no cloud that answered shows a machine" in shown(overview)


def test_what_only_has_a_name_like_ours_is_named_apart(stage: Stage) -> None:
    stage.machine()
    stage.cloud.machines["i-0"] = replace(stage.cloud.machines["i-0"], labels={})
    overview = stage.overview(AWS)
    assert overview.leases == ()
    assert "without our labels: i-0" in shown(overview)
    assert "No lease is open." not in shown(overview)


@pytest.mark.parametrize("text", ["", "soon", "9" * 400, "²", "-5", "1e400", "٣"])
def test_a_hostile_label_is_no_moment(stage: Stage, text: str) -> None:
    stage.machine(**{LABEL_DEADLINE: text, LABEL_KEPT: text, LABEL_OWNER: "\x1b[31mred\n::error::x"})
    overview = stage.overview(AWS)
    assert overview.leases[0].deadline is None
    assert "\x1b" not in shown(overview)
    assert json.loads(status.as_json(overview))["leases"][0]["deadline"] is None


def test_a_cloud_that_does_not_answer_is_named_and_proves_nothing(stage: Stage) -> None:
    stage.cloud.silent = True
    overview = stage.overview(AWS)
    error = status.verdict(overview)
    assert isinstance(error, NotProvedGone)
    assert "aws us-east-1" in error.what
    assert "No lease is open." not in shown(overview)
    assert json.loads(status.as_json(overview))["silent"] == ["aws us-east-1"]
    assert set(json.loads(status.as_json(overview))["answers"][0]) >= {"provider", "left", "error"}


def test_a_cloud_that_cannot_be_opened_is_named_and_the_next_one_is_still_asked(stage: Stage) -> None:
    stage.machine()
    overview = stage.overview(Location(cloud="gcp"), AWS)
    assert overview.silent == ("gcp",)
    assert "gcp did not answer" in shown(overview)
    assert [lease.name for lease in overview.leases] == [NAME]


def test_a_cloud_that_cannot_be_asked_is_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deaf, "find", lambda *_, **__: InventoryResult(unproved=("scp",)))
    overview = stage.overview(AWS)
    assert "cvl-ci cannot ask scp" in shown(overview)
    assert status.verdict(overview) is not None


def test_a_record_that_cannot_be_read_is_no_closed_lease(stage: Stage) -> None:
    stage.unread.append("The lease record x.json cannot be read.")
    overview = stage.overview()
    error = status.verdict(overview)
    assert error is not None and error.exit_code == 79
    assert "x.json" in str(error)
    assert shown(overview) == ""


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "cvl-ci/leases"


def test_the_command_finds_nothing_and_writes_nothing(leases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["status"]) == 0
    assert capsys.readouterr().out == "No lease is open.\n"
    assert not leases.parent.exists()


def test_the_command_reads_the_records_of_this_computer(leases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cvl_ci.local.lease_records import FileRecords

    record = LeaseRecord(name=NAME, labels={LABEL_LEASE: NAME}, deadline=1e9, locations=(AWS,), taken_at=1e9 - 60)
    FileRecords(leases, warn=lambda _: None).write(record)
    assert main.main(["status", "--json"]) == 0
    (lease,) = json.loads(capsys.readouterr().out)["leases"]
    assert (lease["name"], lease["places"], lease["since"]) == (NAME, ["aws/us-east-1"], 1e9 - 60)
    (leases / f"{OTHER}.json").write_text("{")
    assert main.main(["status"]) == 79
    told = capsys.readouterr()
    assert NAME in told.out
    assert f"{OTHER}.json cannot be read" in told.err


def test_records_that_cannot_be_listed_are_not_none(leases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leases.parent.mkdir(parents=True)
    leases.write_text("no folder")
    assert main.main(["status"]) == 79
    told = capsys.readouterr()
    assert "No lease is open." not in told.out
    assert "cannot be read (Not a directory)" in told.err


@pytest.mark.parametrize(
    ("typed", "named"), [("--cloud asw", "aws"), ("--clud aws", "--cloud"), ("cvl-1-x", "cvl-1-x"), ("--jsn", "--json")]
)
def test_what_is_wrong_is_told_before_a_cloud_is_asked(
    typed: str, named: str, leases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["status", *typed.split()]) == 64
    assert named in capsys.readouterr().err


# ---- the sandbox -----------------------------------------------------------------------------------------------------


class WatchedSandbox:
    """A sandbox of which only questions are allowed. `up`: whether it runs."""

    up = False

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"status calls {name}")

    def status(self) -> object:
        return SimpleNamespace(up=self.up)

    def access(self) -> object:
        raise SandboxError("It went down this very moment.")

    def list_leftovers(self, lease: str | None) -> tuple[str, ...]:
        return ("cvl-ci-sandbox-i-0",)

    def remove_leftovers(self, names: Sequence[str]) -> None:
        raise AssertionError("status ends nothing")


def test_a_sandbox_that_is_down_is_not_brought_up_and_its_leftovers_stay(
    leases: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clouds, "Sandbox", WatchedSandbox)
    assert main.main(["status", "--cloud", "sandbox"]) == 0
    assert "cvl-ci-sandbox-i-0" in capsys.readouterr().out


def test_a_sandbox_that_goes_down_meanwhile_has_given_no_answer(
    leases: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clouds, "Sandbox", WatchedSandbox)
    monkeypatch.setattr(WatchedSandbox, "up", True)
    assert main.main(["status", "--cloud", "sandbox"]) == 79
    told = capsys.readouterr()
    assert "sandbox" in told.err
    assert "No lease is open." not in told.out
