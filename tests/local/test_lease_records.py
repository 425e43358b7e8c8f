"""A lease record is written before anything is created, survives everything, and never crashes the reader."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from cvl_ci.errors import EngineError
from cvl_ci.local.lease_records import FileRecords
from cvl_ci.model.launch import Attempt, Spending
from cvl_ci.model.location import Location
from cvl_ci.ports import LeaseRecord, Records

RECORD = LeaseRecord(
    name="cvl-3f9a1c-digits",
    labels={"cvl-lease": "3f9a1c"},
    deadline=1_790_003_600.5,
    locations=(Location(cloud="aws", region="us-east-1"), Location(cloud="lambda")),
    taken_at=1_790_000_000.0,
    regions=("aws/us-east-1",),
)


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def records(tmp_path: Path, warnings: list[str]) -> FileRecords:
    return FileRecords(tmp_path / "leases", warn=warnings.append)


def test_they_are_the_port(records: FileRecords) -> None:
    port: Records = records
    assert list(port.all()) == []


def test_a_record_comes_back_as_it_was_written(records: FileRecords) -> None:
    records.write(RECORD)
    assert records.read(RECORD.name) == RECORD
    assert list(records.all()) == [RECORD]


def test_a_record_of_an_earlier_version_still_finds_its_machines(records: FileRecords) -> None:
    records.write(RECORD)
    path = records.fence(RECORD.name).with_suffix(".json")
    text = json.loads(path.read_text())
    text["places"] = text.pop("locations")
    path.write_text(json.dumps(text))
    assert records.read(RECORD.name) == RECORD


PRICED = Spending(
    attempts=(
        Attempt(
            cloud="aws",
            region="us-east-1",
            zone=None,
            instance_type="g6.xlarge",
            spot=True,
            hourly_usd=0.8,
            requested_at=1_790_000_001.5,
        ),
    ),
    nodes=2,
    disk_gb=100.0,
    billed=False,
)


def test_prices_come_back_and_no_change_of_the_record_loses_them(records: FileRecords) -> None:
    records.write(RECORD)
    assert records.spending(RECORD.name) is None, "the record of an earlier version has none"
    records.note_spending(RECORD.name, PRICED)
    records.write(RECORD)
    assert records.spending(RECORD.name) == PRICED
    assert list(records.all()) == [RECORD]
    assert stat.S_IMODE(records.fence(RECORD.name).with_suffix(".price").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "[]", "{", '{"attempts": 1}', '{"attempts": [{}], "nodes": 1}', "\x00\xff"])
def test_prices_that_cannot_be_read_are_unknown(records: FileRecords, warnings: list[str], content: str) -> None:
    records.write(RECORD)
    records.fence(RECORD.name).with_suffix(".price").write_bytes(content.encode("latin-1"))
    assert records.spending(RECORD.name) is None
    assert warnings == []


def test_prices_that_cannot_be_written_end_no_run(
    records: FileRecords, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", no_room)
    records.note_spending(RECORD.name, PRICED)
    assert "no later process can tell the cost" in warnings[0]


def test_what_was_never_written_is_unknown_and_no_warning(records: FileRecords, warnings: list[str]) -> None:
    assert records.read("cvl-never") is None
    assert warnings == []


def test_files_are_for_their_owner_only_whatever_the_umask(records: FileRecords) -> None:
    before = os.umask(0)
    try:
        records.write(RECORD)
        records.revoke(RECORD.name)
    finally:
        os.umask(before)
    directory = records.fence(RECORD.name).parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


def test_the_directory_tells_a_human_what_it_is(records: FileRecords) -> None:
    records.write(RECORD)
    assert "cvl-ci down NAME" in (records.fence("x").parent / "README.txt").read_text()


def test_a_lease_is_fenced_once_revoked_even_twice_and_unwritten(records: FileRecords) -> None:
    assert not records.fence("cvl-a").exists()
    records.revoke("cvl-a")
    records.revoke("cvl-a")
    assert records.fence("cvl-a").exists()
    assert list(records.all()) == []


def test_a_fence_that_cannot_be_written_does_not_stop_a_release(
    records: FileRecords, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", no_room)
    records.revoke("cvl-a")
    assert "its lease has ended" in warnings[0]


def no_room(_: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '"text"',
        '{"name": "cvl-other"}',
        "\x00\xff",
        '{"name": "cvl-bad", "deadline": "x"}',
    ],
)
def test_a_corrupt_record_is_warned_about_and_unknown(records: FileRecords, warnings: list[str], content: str) -> None:
    records.write(RECORD)
    (records.fence("x").parent / "cvl-bad.json").write_bytes(content.encode("latin-1"))
    assert records.read("cvl-bad") is None
    assert "cvl-ci down cvl-bad" in warnings[0]
    assert list(records.all()) == [RECORD]


def test_a_record_that_is_a_directory_is_warned_about_too(records: FileRecords, warnings: list[str]) -> None:
    (records.fence("x").parent / "cvl-bad.json").mkdir(parents=True)
    assert list(records.all()) == []
    assert len(warnings) == 1


@pytest.mark.parametrize("name", ["../etc/passwd", "", "a/b", "A", "a b", ".hidden", "-x", "a\n"])
def test_a_name_cannot_lead_out_of_the_directory(records: FileRecords, name: str) -> None:
    with pytest.raises(EngineError, match="is not a lease's name"):
        records.fence(name)


def test_a_write_that_fails_leaves_the_old_record_and_no_debris(
    records: FileRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.write(RECORD)
    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(EngineError, match="could not be written to") as raised:
        records.write(LeaseRecord(name=RECORD.name, labels={}, deadline=0, locations=(), taken_at=0))
    assert "cvl-ci requests no further machine" in str(raised.value)
    assert records.read(RECORD.name) == RECORD
    assert {path.name for path in records.fence("x").parent.iterdir()} == {"README.txt", f"{RECORD.name}.json"}
