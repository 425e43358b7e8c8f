"""Whatever is done to a file on its way, it is read or refused: no other error gets out."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress

import pytest

from cvl_ci.errors import RequestError
from cvl_ci.result.benchmark import files, leg_file, rules
from tests.result.benchmark.legs import summary
from tests.result.benchmark.test_files import JUNIT

JUNK = [
    *(piece.encode() for piece in ("{", "}", "[", "]", '"', ",", ":", "<", ">", "&x;", "-1", "%", "NaN", "null", "[]")),
    *(b"1e999", b"\x00", b"\xff", b"\\ud800", b"\n", b"\r", b"\x1b[2J", b"9" * 400, "\u2028".encode()),
]


def metrics(name: str) -> Callable[[bytes], object]:
    return lambda content: json.dumps(files.read(name, content).metrics, allow_nan=False).encode()


def kept(content: bytes) -> object:
    """A leg that was read is the same when it is read again from its line of history."""
    found = leg_file.read(content)
    again = leg_file.read(leg_file.line(found).encode())
    assert (again.key, again.measurements) == (found.key, found.measurements)
    return again


EACH = 400
"""Damaged files of each kind."""
BENCHMARK = json.dumps({"machine_info": {}, "benchmarks": [{"name": "x", "stats": {"median": 1, "data": [1, 2]}}]})
KINDS: dict[str, tuple[Callable[[bytes], object], str]] = {
    "json": (metrics("metrics.json"), '{"a": {"b": [1, 2, null]}, "n": NaN, "x": 1e308, "y": -Infinity, "s": "t"}'),
    "lines": (metrics("metrics.jsonl"), '{"a": 1}\n{"a": 2, "b": "c"}\n'),
    "csv": (metrics("metrics.csv"), "model,score\na,1\nb,2\n"),
    "junit": (metrics("junit.xml"), JUNIT),
    "benchmark": (metrics("benchmark.json"), BENCHMARK),
    "leg": (kept, json.dumps(summary())),
    "rules": (rules.read, "tolerance: 5%\nmetrics:\n  a: {direction: lower, tolerance: 1%}\n  b: {target: 3}\n"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_is_read_or_refused(kind: str) -> None:
    read, seed = KINDS[kind]
    dice = random.Random(kind)
    taken = 0
    for _ in range(EACH):
        content = bytearray(seed.encode())
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(content) + 1)
            content[at : at + dice.choice([0, 0, 1, 12])] = dice.choice([*JUNK, b""])
        with suppress(ValueError, RequestError):
            read(bytes(content))
            taken += 1
    assert 0 < taken < EACH
