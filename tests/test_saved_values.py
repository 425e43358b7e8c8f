"""Each record comes back as it was written, and a hostile document gives a valid record or an error that is caught."""

from __future__ import annotations

import copy
import enum
import functools
import json
import random
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from cvl_ci import saved_values
from cvl_ci.commands.queue.queue_record import QueueRecord
from cvl_ci.errors import CvlError
from cvl_ci.local.lease_records import UNREADABLE, as_text, from_text
from cvl_ci.model.launch import Attempt
from cvl_ci.model.queue import JobRecord
from cvl_ci.ports import LeaseRecord

TEXTS = ("", "a", "aws", "us-east-1", "ü 漢 🙂", 'quote " and \\', "\x1b[31m", "line\nline", "\ud800", "null", "1")
HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3.5, -0.5, 1e11, 1e300, 10**30, 10**400, float("nan"), float("inf")),
    *("", "x", "3", "\ud800", "\x1b[31m", [], {}, [1], ["x"], {"a": 1}, {"\ud800": "x"}, [[[[[[[[]]]]]]]]),
)


@functools.cache
def hints_of(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def some(kind: Any, rng: random.Random) -> Any:
    """Return a random value of a type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return some(rng.choice(arguments), rng)
    if origin is tuple:
        return tuple(some(arguments[0], rng) for _ in range(rng.randrange(4)))
    if origin is not None and issubclass(origin, Mapping):
        return {rng.choice(TEXTS[1:8]): some(arguments[1], rng) for _ in range(rng.randrange(4))}
    if is_dataclass(kind) and isinstance(kind, type):
        hints = hints_of(kind)
        return kind(**{field.name: some(hints[field.name], rng) for field in fields(kind)})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return rng.choice(list(kind))
    simple: Mapping[Any, Callable[[], object]] = {
        str: lambda: rng.choice(TEXTS),
        bool: lambda: rng.random() < 0.5,
        int: lambda: rng.choice((0, 1, 16, 1 << 40, saved_values.LARGEST_COUNT - 1)),
        float: lambda: rng.choice((0.0, 3.0, 0.1, rng.random(), 1_790_000_000.123, saved_values.LARGEST - 1)),
        type(None): lambda: None,
    }
    return simple[kind]()


def is_of(value: Any, kind: Any) -> bool:
    """Return whether a value and all its parts have their declared types."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(is_of(value, one) for one in arguments)
    if origin is tuple:
        return type(value) is tuple and all(is_of(one, arguments[0]) for one in value)
    if origin is not None and issubclass(origin, Mapping):
        return type(value) is dict and all(type(key) is str and is_of(one, arguments[1]) for key, one in value.items())
    if is_dataclass(kind) and isinstance(kind, type):
        hints = hints_of(kind)
        return type(value) is kind and all(is_of(getattr(value, one.name), hints[one.name]) for one in fields(kind))
    if isinstance(value, float) and not abs(value) < saved_values.LARGEST:
        return False
    return type(value) is kind


def lease(rng: random.Random) -> LeaseRecord:
    """Return a record as one is written: without the budget of a month, which is of the run alone."""
    record: LeaseRecord = replace(some(LeaseRecord, rng), name="cvl-1")
    if record.detached:
        limits = replace(record.detached.limits, month=None)
        record = replace(record, detached=replace(record.detached, limits=limits))
    return record


def hostile(document: Any, rng: random.Random) -> Any:
    """Return a document with one or two values that are lost, or that are others."""
    document = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 2))):
        place, key = rng.choice(list(_places(document)))
        if isinstance(place, dict) and rng.random() < 0.3:
            place.pop(key)
        else:
            place[key] = copy.deepcopy(rng.choice(HOSTILE))
    return document


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    entries = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    for key, one in entries:
        yield value, key
        yield from _places(one)


@pytest.mark.parametrize("seed", range(5))
def test_a_lease_record_comes_back_as_it_was_written(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        record = lease(rng)
        assert from_text("cvl-1", as_text(record)) == record


def test_a_queue_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rng = random.Random(1)
    for _ in range(60):
        records: dict[str, JobRecord] = {name: some(JobRecord, rng) for name in ("a", "b", "ü")}
        QueueRecord(tmp_path).write(records)
        assert QueueRecord(tmp_path).read() == records


@pytest.mark.parametrize("seed", range(5))
def test_a_hostile_lease_record_is_refused_or_is_one_of_its_types(seed: int) -> None:
    rng = random.Random(100 + seed)
    verdicts = {True: 0, False: 0}
    for _ in range(200):
        text = json.dumps(hostile(json.loads(as_text(lease(rng))), rng))
        try:
            record = from_text("cvl-1", text)
        except UNREADABLE:
            verdicts[False] += 1
            continue
        verdicts[True] += 1
        assert is_of(record, LeaseRecord), text
        assert from_text("cvl-1", as_text(record)) == record
    assert min(verdicts.values()) > 10


def test_a_hostile_queue_is_refused_or_has_its_types(tmp_path: Path) -> None:
    rng = random.Random(200)
    verdicts = {True: 0, False: 0}
    for _ in range(500):
        QueueRecord(tmp_path).write({name: some(JobRecord, rng) for name in ("a", "b")})
        path = tmp_path / "queue.json"
        path.write_text(json.dumps(hostile(json.loads(path.read_text()), rng)))
        try:
            records = QueueRecord(tmp_path).read()
        except CvlError:
            verdicts[False] += 1
        else:
            assert all(is_of(record, JobRecord) for record in records.values()), path.read_text()
            verdicts[True] += 1
    assert min(verdicts.values()) > 10


@pytest.mark.parametrize(
    "text", ["", "{", '{"name": "cvl-1"', "[]", "null", "NaN", '"x"', "[" * 100_000, '{"a":' * 9999]
)
def test_a_text_that_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UNREADABLE):
        from_text("cvl-1", text)
    (tmp_path / "queue.json").write_text(text)
    with pytest.raises(CvlError, match="cannot be read as the record of a queue"):
        QueueRecord(tmp_path).read()


def test_of_two_equal_keys_the_last_one_counts() -> None:
    text = as_text(lease(random.Random(3))).replace(
        '"name": "cvl-1"', '"name": "cvl-1", "deadline": "x", "deadline": 7'
    )
    assert json.loads(text)["deadline"] == 7
    assert from_text("cvl-1", text).deadline == 7


ATTEMPT = {"cloud": "aws", "region": "r", "zone": None, "instance_type": "t", "spot": True, "hourly_usd": 1}


def test_only_possible_numbers_are_read() -> None:
    assert saved_values.read(Attempt, ATTEMPT).hourly_usd == 1.0
    for number in (float("nan"), float("inf"), -float("inf"), saved_values.LARGEST, 10**30, 10**400):
        with pytest.raises(ValueError, match=r"bounds|out of range"):
            saved_values.read(Attempt, {**ATTEMPT, "hourly_usd": number})
    for number in (1 << 53, -(1 << 53), 10**400):
        with pytest.raises(ValueError, match="bounds"):
            saved_values.read(Attempt, {**ATTEMPT, "machines": number})
    assert saved_values.read(Attempt, {**ATTEMPT, "hourly_usd": -1}).hourly_usd == -1.0
    with pytest.raises(ValueError, match="bounds"):
        saved_values.read(Attempt, {**ATTEMPT, "hourly_usd": -1}, least=0.0)


def test_an_error_names_the_place_and_the_types() -> None:
    with pytest.raises(ValueError, match=r"^Expected `bool`, .* `str` - .*\.spot`$"):
        saved_values.read(Attempt, {**ATTEMPT, "spot": "yes"})
    with pytest.raises(ValueError, match=r"^Object missing required field `cloud`$"):
        saved_values.read(Attempt, {})
