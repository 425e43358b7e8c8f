"""YAML of any kind is read or refused in one clear sentence, in no more time than its size deserves."""

from __future__ import annotations

import pytest

from cvl_ci.planning import safe_yaml
from cvl_ci.planning.safe_yaml import Unreadable


def test_dates_stay_text() -> None:
    assert safe_yaml.load_mapping(b"a: 2026-05-21\nb: 2026-05-21T10:00:00Z\n") == {
        "a": "2026-05-21",
        "b": "2026-05-21T10:00:00Z",
    }


def bomb(levels: int, width: int) -> bytes:
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (bomb(10, 10), "aliases"),
        (b"a: " + b"[" * 200 + b"]" * 200, "deep"),
        (b"[" * 100_000, "deep"),
        (b"a: [" + b"1," * 30_000 + b"]", "values"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not text"),
        (b"\x00\x01\x02", "not text"),
        (b"a: \x07", "not text"),
        (b"a: b: c", "line 1"),
        (b"a: *nowhere", "undefined alias"),
        (b"- a\n- b\n", "not a mapping"),
        (b"", "not a mapping"),
        (b"just text", "not a mapping"),
        (b"a: 1\n---\nb: 2\n", "several YAML documents"),
        (b"a: !!python/object/apply:os.system ['true']", "not YAML"),
        (b"#" * (1024 * 1024 + 1), "larger than 1 MiB"),
        (b"a: " + b"9" * 5000, "more than 300 characters"),
        (b"a: 0x" + b"f" * 5000, "more than 300 characters"),
        (b"a: 1" + b":59" * 300_000, "more than 300 characters"),
        (b"a: 1" + b":59" * 300_000 + b".5", "more than 300 characters"),
        (b"? 0x" + b"f" * 5000 + b"\n: a", "more than 300 characters"),
    ],
)
def test_what_is_no_yaml_that_anybody_writes_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why) as error:
        safe_yaml.load_mapping(content)
    assert "\n" not in str(error.value)


def test_a_few_anchors_are_no_crime() -> None:
    assert safe_yaml.load_mapping(b"a: &a {x: 1}\nb: *a\nc:\n  <<: *a\n  y: 2\n")["c"] == {"x": 1, "y": 2}


def test_ordinary_numbers_are_numbers() -> None:
    read = safe_yaml.load(b"[1, -2, 0x1f, 0o17, 1_000, 1:30, 2.5, 1e3, 1.0e+3, .inf, 0b11]")
    assert read == [1, -2, 31, "0o17", 1000, 90, 2.5, "1e3", 1000.0, float("inf"), 3]
