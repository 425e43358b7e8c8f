"""Answers that are checked in a process of its own: it ends, and what it could not check is no match."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from cvl_ci.local import answer_check
from tests import golden

MESSAGES = golden.Messages(__name__)


def mismatch(
    schema: Mapping[str, object], bodies: list[bytes], *, seconds: float = 60.0, memory_bytes: int = 1 << 30
) -> str:
    return answer_check.mismatch(schema, bodies, environment={}, seconds=seconds, memory_bytes=memory_bytes)


def test_the_first_answer_that_differs_is_told() -> None:
    schema = {"properties": {"version": {"minimum": 2}}}
    assert mismatch(schema, [b'{"version": 2}', b'{"version": 3}']) == ""
    MESSAGES.check("the first difference", mismatch(schema, [b'{"version": 2}', b'{"version": 1}']))
    assert mismatch({"type": "string"}, ['"caf\u00e9 \u2713"'.encode()]) == ""


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        ({"pattern": "^(a+)+$"}, b'"' + b"a" * 40 + b'!"'),
        ({"uniqueItems": True}, json.dumps([{"a": number} for number in range(100_000)]).encode()),
    ],
)
def test_a_check_that_would_not_end_is_no_match(schema: dict[str, object], body: bytes) -> None:
    MESSAGES.check("out of time", mismatch(schema, [body], seconds=1.0))


def test_a_check_that_needs_more_memory_is_no_match() -> None:
    wide = {"anyOf": [{"items": {"type": "string"}}, {"items": {"type": "object"}}]}
    body = b"[" + b"1," * 50_000 + b"1]"
    assert "checked" in mismatch(wide, [body], memory_bytes=150 << 20)


def test_a_module_of_a_person_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "resource.py").write_text("raise SystemExit(5)")
    monkeypatch.chdir(tmp_path)
    assert mismatch({"type": "object"}, [b"{}"]) == ""


@pytest.mark.parametrize("program", ["pass", "print()", "print('{}')", "print('[1]')"])
def test_an_end_without_a_result_is_no_match(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(answer_check, "_AS_ISOLATED", ("-c", program))
    assert "gave no result" in mismatch({}, [b"{}"])


def test_a_check_that_fails_otherwise_is_no_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_check, "_AS_ISOLATED", ("-c", "raise SystemExit(3)"))
    assert "(status 3)" in mismatch({}, [b"{}"])
