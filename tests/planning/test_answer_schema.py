"""The schema of a service's answers: what it may be, and what an answer that differs is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.planning import answer_schema
from tests import golden

MESSAGES = golden.Messages(__name__)

VERSIONED = {"type": "object", "required": ["version"], "properties": {"version": {"$ref": "#/$defs/one"}}}
VERSIONED["$defs"] = {"one": {"type": "integer", "minimum": 2}}


def test_an_answer_matches_or_one_line_names_the_first_difference() -> None:
    schema = answer_schema.read(json.dumps(VERSIONED).encode())
    assert answer_schema.mismatch(schema, b'{"version": 2}') == ""
    MESSAGES.check("the first difference", answer_schema.mismatch(schema, b'{"version": 1}'))
    assert answer_schema.mismatch(schema, b"[]") == "[] is not of type 'object'"
    assert answer_schema.mismatch(schema, b"{") == "the answer is not JSON"
    long = answer_schema.mismatch(schema, json.dumps("x" * 100_000).encode())
    assert len(long) <= answer_schema.LONGEST_PROBLEM + 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "is not JSON"),
        (b"[1]", "has no keywords"),
        (b'{"type": "strin"}', "is not a JSON Schema: 'strin' is not valid"),
        (b'{"properties": {"a": {"$ref": "https://example.com/a.json"}}}', "loads no other document"),
        (b'{"anyOf": [{"$ref": "file:///etc/passwd"}]}', "loads no other document"),
        (b'{"x": "' + b"x" * answer_schema.LARGEST_BYTES + b'"}', "is larger than 256 KiB"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"properties": {"a": {"pattern": "("}}}', "'(' is not a 'regex'"),
        (b'{"patternProperties": {"[": {}}}', "'[' is not a 'regex'"),
        (b'{"$schema": []}', "its `$schema` is not a text"),
        (b'{"$schema": 3}', "its `$schema` is not a text"),
        (b'{"properties": {"a": {"$ref": "#/$defs/typo"}}}', "refers to #/$defs/typo, which it does not have"),
        (b'{"items": {"$dynamicRef": "#nowhere"}}', "refers to #nowhere, which it does not have"),
        (b'{"$ref": "#"}', "refers to itself without an end"),
        (b'{"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}}', "refers to itself without an end"),
        (b'{"not": {"if": {"$ref": "#"}}}', "refers to itself without an end"),
        (b'{"$id": "https://x.org/a", "items": {"$ref": "#/$defs/b"}}', "refers to #/$defs/b, which it does not have"),
    ],
)
def test_another_file_is_a_mistake_and_no_reference_leads_elsewhere(content: bytes, problem: str) -> None:
    with pytest.raises(Wrong) as wrong:
        answer_schema.read(content)
    assert problem in wrong.value.problem


@pytest.mark.parametrize(
    "schema",
    [
        {"const": {"$ref": "https://example.com"}},
        {"enum": [{"$ref": "x"}]},
        {"$defs": {"a": {"$anchor": "here"}}, "items": {"$ref": "#here"}},
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"a": {}},
            "not": {"$ref": "#/definitions/a"},
        },
        {"properties": {"child": {"$ref": "#"}}},
        {"$defs": {"a": {"$id": "https://x.org/a", "$defs": {"c": {}}, "items": {"$ref": "#/$defs/c"}}}},
        {"$defs": {"tree": {"$dynamicAnchor": "node", "items": {"$dynamicRef": "#node"}}}, "$ref": "#/$defs/tree"},
    ],
)
def test_a_schema_whose_references_lead_somewhere_is_taken(schema: dict[str, Any]) -> None:
    assert answer_schema.read(json.dumps(schema).encode()) == schema


def test_a_schema_that_would_need_endless_time_is_read_at_once() -> None:
    doubled = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}
    schema = {"$defs": {**doubled, "d60": {}}, "$ref": "#/$defs/d0"}
    assert answer_schema.read(json.dumps(schema).encode()) == schema


def test_a_hostile_answer_is_one_short_printable_line_and_never_an_error() -> None:
    number = answer_schema.mismatch({"multipleOf": 0.1}, b"1" + b"0" * 400)
    assert number and "\n" not in number
    name = json.dumps({"\x1b[2J\n" + "x" * 100_000: 1}).encode()
    text = answer_schema.mismatch({"additionalProperties": {"type": "string"}}, name)
    assert len(text) <= answer_schema.LONGEST_PROBLEM + 1 and text.isprintable()


@pytest.mark.parametrize("schema", [{"$ref": "#/$defs/absent"}, {"$ref": "#"}, {"$dynamicRef": "#absent"}])
def test_a_reference_to_nothing_or_to_itself_is_told_and_has_an_end(schema: dict[str, Any]) -> None:
    assert "cannot be applied" in answer_schema.mismatch(schema, b"{}")
