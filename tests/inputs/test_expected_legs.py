"""What a matrix tells the report of its legs is read again as it was meant, or refused."""

from __future__ import annotations

import json

import pytest

from cvl_ci.inputs.expected_legs import FAIL, Expected, as_json, read
from cvl_ci.inputs.parsers import Wrong

FULL = Expected(legs=("a", "b"), dropped=(("c", "too dear"),), on_dropped=FAIL, because="")


@pytest.mark.parametrize("one", [Expected(), FULL, Expected(because="nothing relevant changed")])
def test_it_is_read_as_it_was_written(one: Expected) -> None:
    assert read(as_json(one)) == one


def test_a_plain_matrix_names_its_legs_and_knows_no_reason_for_having_none() -> None:
    assert read('{"include": [{"name": "a"}, {"name": "b"}]}') == Expected(legs=("a", "b"))
    assert read('{"include": []}') == Expected()


def test_a_word_that_is_not_known_is_taken_as_the_strict_one() -> None:
    known = json.loads(as_json(FULL)) | {"on_dropped": "ignore"}
    assert read(json.dumps(known)).fails


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", "1", '{"legs": 3}', '{"include": [3]}', '{"include": {}, "x"', "[" * 10_000]
)
def test_anything_else_is_a_mistake(text: str) -> None:
    with pytest.raises(Wrong, match="expected"):
        read(text)
