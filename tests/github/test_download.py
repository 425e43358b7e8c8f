"""What the legs of a run left, out of artifacts that anybody in that run may have written."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests

from cvl_ci.errors import CvlError
from cvl_ci.github.api import Repository
from cvl_ci.github.artifacts import unzip
from cvl_ci.github.artifacts.download import LARGEST_ARCHIVE, ArtifactReader
from cvl_ci.github.artifacts.http import BACKOFF, Http
from tests.github.api import URL, Api
from tests.github.repository_store import Store, zipped
from tests.result.benchmark.legs import summary
from tests.support.fakes import FakeClock


@pytest.fixture
def api() -> Iterator[Api]:
    with Api().serving() as api:
        yield api


@pytest.fixture
def store(api: Api) -> Store:
    return api.store


@pytest.fixture
def reader() -> ArtifactReader:
    return open_reader()


def open_reader() -> ArtifactReader:
    repository = Repository(api=URL, token="secret-token", name="cvl/ci")
    backoff = replace(BACKOFF, sleep=FakeClock(0.0).sleep)
    return ArtifactReader(
        repository, http=Http(environ={}, backoff=backoff, connections=4), api=URL, token="secret-token"
    )


def cost(**changed: Any) -> dict[str, str]:
    known = summary(**changed)
    return {f"{known['cluster']}.json": json.dumps(known)}


def attempt(number: int) -> str:
    return f"https://github.com/o/r/actions/runs/7/attempts/{number}"


def test_each_leg_s_cost_becomes_a_leg_and_other_artifacts_are_left_alone(store: Store, reader: ArtifactReader) -> None:
    store.artifact(7, "cvl-legs-aws-cost", cost(cluster="cvl-1", leg="digits aws"))
    store.artifact(7, "cvl-legs-gcp-cost", cost(cluster="cvl-2", leg="digits gcp"))
    store.artifact(7, "cvl-legs-gcp-log", {"cvl-2.log": "hello"})
    store.artifact(7, "cvl-legs-gcp", {"metrics.json": "{}"})
    store.artifact(8, "cvl-legs-gcp-cost", cost(cluster="cvl-3"))
    result = reader.of_run(7)
    assert [(leg.machines.cluster, leg.name) for leg in result.legs] == [
        ("cvl-1", "digits aws"),
        ("cvl-2", "digits gcp"),
    ]
    assert result.troubles == ()
    assert len(store.shown) == 2


def test_our_token_is_never_shown_to_where_the_zips_lie(store: Store, reader: ArtifactReader) -> None:
    store.artifact(7, "cvl-legs-aws-cost", cost())
    reader.of_run(7)
    [headers] = store.shown
    assert "Authorization" not in headers
    assert "secret-token" not in str(headers)


def test_hundreds_of_legs_come_over_all_pages(store: Store, reader: ArtifactReader, api: Api) -> None:
    for number in range(230):
        store.artifact(7, f"cvl-legs-{number}-cost", cost(cluster=f"cvl-{number:03}", leg=f"leg {number}"))
    assert [leg.machines.cluster for leg in reader.of_run(7).legs] == [f"cvl-{number:03}" for number in range(230)]
    assert api.asked.count("GET /repos/cvl/ci/actions/runs/7/artifacts") == 3


def test_a_leg_that_was_run_again_counts_by_its_last_attempt_and_others_stay(
    store: Store, reader: ArtifactReader
) -> None:
    failed = {"ending": "failed", "exit_code": 7, "leg": "digits aws", "run_url": attempt(1)}
    store.artifact(7, "cvl-legs-aws-cost", cost(cluster="cvl-1", **failed))
    store.artifact(7, "cvl-legs-gcp-cost", cost(cluster="cvl-2", leg="digits gcp", run_url=attempt(1)))
    store.artifact(7, "cvl-legs-aws-attempt2-cost", cost(cluster="cvl-3", leg="digits aws", run_url=attempt(2)))
    store.artifact(7, "cvl-legs-aws-attempt2-cost-2", cost(cluster="cvl-3", leg="digits aws", run_url=attempt(2)))
    result = reader.of_run(7)
    assert sorted(leg.machines.cluster for leg in result.legs) == ["cvl-2", "cvl-3", "cvl-3"], "main's word, and post's"


def test_a_name_that_was_cut_still_tells_its_attempts_apart(store: Store, reader: ArtifactReader) -> None:
    store.artifact(7, "cvl-legs-a_b-0a1b2c3d-cost", cost(cluster="cvl-1", leg="a/b", run_url=attempt(1)))
    store.artifact(7, "cvl-legs-a_b-attempt2-4e5f6071-cost", cost(cluster="cvl-2", leg="a/b", run_url=attempt(2)))
    assert [leg.machines.cluster for leg in reader.of_run(7).legs] == ["cvl-2"]


def test_a_summary_in_two_steps_artifacts_is_named(store: Store, reader: ArtifactReader) -> None:
    store.artifact(7, "cvl-legs-aws-cost", cost(cluster="cvl-1"))
    store.artifact(7, "cvl-legs-aws-cost-2", cost(cluster="cvl-1"))
    store.artifact(7, "copy-cost", cost(cluster="cvl-1"))
    store.artifact(7, "cvl-legs-gcp-cost", cost(cluster="cvl-2"))
    result = reader.of_run(7)
    assert (len(result.legs), result.copies) == (4, ("cvl-1: cvl-legs-aws-cost, copy-cost",))


def test_what_is_past_its_retention_is_counted_and_not_asked_for(store: Store, reader: ArtifactReader) -> None:
    store.artifact(7, "cvl-legs-aws-cost", cost(), expired=True)
    store.artifact(7, "cvl-legs-gcp-cost", cost(cluster="cvl-2"))
    result = reader.of_run(7)
    assert ([leg.machines.cluster for leg in result.legs], result.expired, result.troubles) == (["cvl-2"], 1, ())


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ((410, {}, '{"message": "Artifact has expired"}'), "its retention is over"),
        ((404, {}, '{"message": "Not Found"}'), "answer 404"),
        (requests.ConnectionError("reset"), "failed 5 times"),
    ],
    ids=["expired just now", "gone", "never answers"],
)
def test_one_that_cannot_be_had_is_named_and_the_others_count(store: Store, api: Api, fault: Any, text: str) -> None:
    first = store.artifact(7, "cvl-legs-aws-cost", cost())
    store.artifact(7, "cvl-legs-gcp-cost", cost(cluster="cvl-2"))
    api.faults[f"GET /repos/cvl/ci/actions/artifacts/{first}/zip"] = [fault] * 9
    result = open_reader().of_run(7)
    assert [leg.machines.cluster for leg in result.legs] == ["cvl-2"]
    [trouble] = result.troubles
    assert trouble.startswith("cvl-legs-aws-cost")
    assert text in trouble
    assert "sig=" not in trouble


def test_a_token_that_may_not_list_is_told_which_permission_it_takes(api: Api, reader: ArtifactReader) -> None:
    api.faults["GET /repos/cvl/ci/actions/runs/7/artifacts"] = [(403, {}, '{"message": "not by integration"}')]
    with pytest.raises(CvlError, match="403") as error:
        reader.of_run(7)
    assert "actions: read" in error.value.next_step


# ---- archives that mean harm -----------------------------------------------------------------------------------------


def bomb() -> bytes:
    return zipped({"a.json": b" " * (20 << 20)})


def many_bombs() -> bytes:
    content = b" " * (8 << 20)
    return zipped({f"{number:03}.json": content for number in range(40)})


def odd(*, method: int = zipfile.ZIP_LZMA) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as archive:
        archive.writestr("a.json", b"{}")
    return held.getvalue()


def encrypted() -> bytes:
    archive = bytearray(zipped({"a.json": b"{}"}))
    archive[6] |= 1
    archive[archive.index(b"PK\x01\x02") + 8] |= 1
    return bytes(archive)


def torn() -> bytes:
    whole = zipped({"a.json": json.dumps(summary())})
    at = whole.index(b"a.json") + 10
    return whole[:at] + bytes(40) + whole[at + 40 :]


@pytest.mark.parametrize(
    ("archive", "text"),
    [
        (b"", "is damaged"),
        (b"PK\x05\x06" + bytes(10), "is damaged"),
        (random.Random(3).randbytes(5_000), "is damaged"),
        (torn, "is damaged"),
        (bomb, "a file of more than 8 MiB"),
        (many_bombs, "unpacks to more than 256 MiB"),
        (odd(), "packed as no client"),
        (odd(method=zipfile.ZIP_BZIP2), "packed as no client"),
        (encrypted(), "packed as no client"),
        (zipped({"a.json": "{" * 100_000}), "is not JSON"),
        (zipped({"a.json": '{"ending": "wonderful"}'}), "has an unknown ending"),
        (lambda: zipped({f"{number}.json": "{}" for number in range(3_000)}), "more than 2,000 files"),
    ],
    ids=["empty", "cut", "noise", "torn", "bomb", "bombs", "lzma", "bzip2", "encrypted", "deep", "no summary", "many"],
)
def test_a_hostile_archive_is_named_and_harms_no_other(
    store: Store, reader: ArtifactReader, archive: bytes | Callable[[], bytes], text: str
) -> None:
    """The large ones are made when they are needed, and not in each process that only lists the tests."""
    store.artifact(7, "evil-cost", archive if isinstance(archive, bytes) else archive())
    store.artifact(7, "cvl-legs-gcp-cost", cost(cluster="cvl-2"))
    result = reader.of_run(7)
    assert [leg.machines.cluster for leg in result.legs] == ["cvl-2"]
    assert any(trouble.startswith("evil-cost") and text in trouble for trouble in result.troubles), result.troubles


def test_a_name_that_leads_elsewhere_is_no_path(store: Store, reader: ArtifactReader) -> None:
    store.artifact(7, "evil-cost", {"../../../etc/passwd.json": json.dumps(summary(cluster="cvl-9"))})
    result = reader.of_run(7)
    assert result.legs == ()
    assert "another name than the run" in result.troubles[0]


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({}, "holds no summary"),
        ({"readme.txt": "x"}, "holds no summary"),
        ({"other.json": json.dumps(summary())}, "another name than the run"),
        ({"deeper/cvl-1-00000001.json": json.dumps(summary())}, "another name than the run"),
        ({"cvl-1-00000001.json": json.dumps({**summary(), "schema": None})}, "has no `schema`"),
    ],
    ids=["nothing", "no JSON", "other name", "deeper", "no marker"],
)
def test_a_cost_without_a_summary_is_a_leg_whose_end_is_unknown(
    store: Store, reader: ArtifactReader, files: dict[str, str], text: str
) -> None:
    store.artifact(7, "cvl-legs-aws-cost", files)
    result = reader.of_run(7)
    assert result.legs == ()
    assert [trouble for trouble in result.troubles if text in trouble], result.troubles


def test_a_report_s_lines_are_read_from_its_own_file_alone(store: Store, reader: ArtifactReader) -> None:
    line = json.dumps(summary())
    store.artifact(7, "cvl-report", {"legs.jsonl": line, "outputs/legs.jsonl": line, "mine.jsonl": line})
    assert len(reader.lines(reader.artifacts(7)).legs) == 1


def test_what_says_that_it_is_huge_is_not_asked_for(store: Store, reader: ArtifactReader) -> None:
    store.artifact(7, "evil-cost", cost())
    store.artifacts[7][0]["size_in_bytes"] = LARGEST_ARCHIVE + 1
    result = reader.of_run(7)
    assert (result.legs, store.shown) == ((), [])
    assert "more than any summary" in result.troubles[0]


def test_what_is_longer_than_it_said_is_not_read_to_its_end(
    store: Store, reader: ArtifactReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvl_ci.github.artifacts.download.LARGEST_ARCHIVE", 1 << 20)
    number = store.artifact(7, "evil-cost", cost())
    store.archives[number] = random.Random(1).randbytes(3 << 20)
    result = reader.of_run(7)
    assert result.legs == ()
    assert "longer than 1 MiB" in result.troubles[0]


def test_names_of_artifacts_cannot_speak_to_a_terminal(store: Store, reader: ArtifactReader) -> None:
    store.artifact(7, "\x1b[31m::error::x-cost", b"")
    assert not any("\x1b" in trouble for trouble in reader.of_run(7).troubles)


def test_no_archive_of_noise_makes_the_reader_stumble() -> None:
    dice = random.Random(11)
    whole = zipped({"a.json": json.dumps(summary()), "b.json": "[]"})
    for _ in range(400):
        archive = bytearray(whole)
        for _ in range(dice.randrange(1, 12)):
            archive[dice.randrange(len(archive))] = dice.randrange(256)
        lines: list[str] = []
        list(unzip.files(bytes(archive), endings=(".json",), largest=1 << 20, say=lines.append))
