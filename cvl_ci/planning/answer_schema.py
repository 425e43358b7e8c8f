"""Check a service's answers against a JSON Schema of its example."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.planning import graph

LARGEST_BYTES = 256 << 10
LONGEST_PROBLEM = 160
_VALUES = ("const", "enum", "default", "examples")
_REFERENCES = ("$ref", "$dynamicRef")
_ONE_SCHEMA, _SCHEMAS = ("not", "if", "then", "else"), ("allOf", "anyOf", "oneOf")
"""Keywords whose schemas apply to the same value as the schema around them."""


def read(content: bytes) -> Mapping[str, object]:
    """Return the schema. Raise Wrong for anything that is not a JSON Schema, or that refers to another document."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    if len(content) > LARGEST_BYTES:
        raise Wrong(f"is larger than {LARGEST_BYTES >> 10} KiB")
    try:
        schema = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Wrong(f"is not JSON: {str(error)[:100]}") from None
    if not isinstance(schema, Mapping):
        raise Wrong("is not a JSON Schema: it has no keywords")
    if not isinstance(schema.get("$schema", ""), str):
        raise Wrong("is not a JSON Schema: its `$schema` is not a text")
    try:
        validator_for(schema).check_schema(schema)
    except (SchemaError, RecursionError) as error:
        raise Wrong(f"is not a JSON Schema: {getattr(error, 'message', 'it is too deep')[:LONGEST_PROBLEM]}") from None
    if remote := sorted(one for one in _references(schema) if not one.startswith("#")):
        raise Wrong(f"refers to {remote[0][:80]}, and cvl-ci loads no other document")
    if problem := _reference_problem(schema):
        raise Wrong(problem)
    return schema


def mismatch(schema: Mapping[str, object], body: bytes) -> str:
    """Return how an answer differs from the schema, in one line; empty: it matches."""
    from jsonschema.exceptions import best_match
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return "the answer is not JSON"
    # An empty registry: no reference leads to a request.
    validator = validator_for(schema)(schema, registry=Registry())
    try:
        error = best_match(validator.iter_errors(document))
    except (Unresolvable, RecursionError):
        return "the schema cannot be applied: a reference in it leads nowhere, or to itself"
    except Exception as failure:  # noqa: BLE001  a server chose the answer, such as a number of 400 digits
        return f"the answer cannot be checked ({type(failure).__name__})"
    if error is None:
        return ""
    place = "".join(f"/{part}" for part in error.absolute_path)
    return _shortened(f"{place}: {error.message}" if place else error.message)


def _reference_problem(schema: Mapping[str, Any]) -> str:
    """Return why a reference of the schema cannot be followed; empty: all can.

    A subschema with an `$id` moves the start of its references. Then only their use shows it.
    """
    from referencing import Registry
    from referencing.exceptions import NoSuchResource, Unresolvable
    from referencing.jsonschema import DRAFT202012, specification_with

    references, has_inner_id = _references(schema), any("$id" in node for node in _nodes(schema) if node is not schema)
    specification = specification_with(schema.get("$schema", ""), default=DRAFT202012)
    resolver = Registry().with_resource("", specification.create_resource(schema)).resolver()
    for reference in sorted(references) if not has_inner_id else ():
        try:
            resolver.lookup(reference)
        except (Unresolvable, NoSuchResource):
            return f"refers to {reference[:80]}, which it does not have"
    if not has_inner_id and _is_endless(schema, lambda reference: resolver.lookup(reference).contents):
        return "refers to itself without an end"
    return ""


def _is_endless(schema: Mapping[str, Any], resolve: Callable[[str], Any]) -> bool:
    """Return whether a reference leads back to its own schema for the same value. It evaluates nothing."""
    needs: dict[str, list[str]] = {}
    for node in _nodes(schema):
        same_value = [node[key] for key in _ONE_SCHEMA if key in node]
        same_value += [one for key in _SCHEMAS if isinstance(node.get(key), list) for one in node[key]]
        same_value += [resolve(node[key]) for key in _REFERENCES if isinstance(node.get(key), str)]
        needs[str(id(node))] = [str(id(one)) for one in same_value if isinstance(one, Mapping)]
    return bool(graph.cycle(needs))


def _shortened(text: str) -> str:
    """Return one printable line: the answer's own words and names are in it."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: LONGEST_PROBLEM + 1])
    return line if len(line) <= LONGEST_PROBLEM else f"{line[:LONGEST_PROBLEM]}…"


def _references(schema: Any) -> set[str]:
    """Return each `$ref` of the schema. The depth of the document is that of JSON's own reader."""
    return {node[key] for node in _nodes(schema) for key in _REFERENCES if isinstance(node.get(key), str)}


def _nodes(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield each mapping of the schema, but for those that are values of an answer."""
    rest = [schema]
    while rest:
        node = rest.pop()
        if isinstance(node, Mapping):
            yield node
            rest += [value for key, value in node.items() if key not in _VALUES]
        elif isinstance(node, list):
            rest += node
