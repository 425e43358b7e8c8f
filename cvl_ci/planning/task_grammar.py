"""Check a task against a copy of SkyPilot's schema, with every mistake at once. Pure.

skypilot_schema.json is `sky.utils.schemas` of SkyPilot 0.14.1. tests/engine/skypilot_schema.py writes it, because
importing sky takes seconds. SkyPilot ignores unknown keys at some levels; here each of them is a mistake.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import chain, islice
from typing import Any

from cvl_ci.inputs.suggest import similar
from cvl_ci.model.location import SANDBOX

Schema = Mapping[str, Any]
Problems = Iterator[tuple[str, str]]
"""A place (`resources.cpus`), and its mistake, as the end of a sentence whose subject is the file."""

_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "text"),
    "integer": ((int,), "a whole number"),
    "number": ((int, float), "a number"),
    "boolean": ((bool,), "true or false"),
    "object": ((Mapping,), "a mapping"),
    "array": ((list, tuple), "a list"),
    "null": ((type(None),), "empty"),
}
# Keys of a task's volume that the schema of `sky volumes apply` lacks: sky/task.py, resolve_and_validate_volumes.
_VOLUME_KEYS = {"sub_path": {"type": "string"}, "host_path": {"type": "string"}, "mode": {"type": "string"}}
_ALTERNATIVES = ("any_of", "ordered")
MOST_MISTAKES = 40
"""A hostile file could hold thousands, and a person reads a few at a time."""

_SHOWN, _LONGEST = 60, 400
_FEW = 12
"""The number of keys that a message can list."""


@cache
def schemas() -> Mapping[str, Any]:
    """Return the copy of SkyPilot's schemas, by name."""
    text = resources.files("cvl_ci.planning").joinpath("skypilot_schema.json").read_text(encoding="utf-8")
    by_name: Mapping[str, Any] = json.loads(text)
    return by_name


def mistakes(task: Mapping[str, Any]) -> dict[str, str]:
    """Return every mistake by its place in the file; empty when SkyPilot would read this task."""
    parts = (part(task) for part in (_in_task, _in_resources, _in_mounts, _in_volumes, _in_service))
    by_path: dict[str, str] = {}
    for path, problem in islice(chain.from_iterable(parts), MOST_MISTAKES):
        by_path.setdefault(path, _printable(problem))
    return by_path


def _printable(text: str) -> str:
    """Return a message without characters from a foreign file that could harm a log."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 3]}..."


def with_own_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return resources with SkyPilot's aliases (`gpus`) replaced by their real names, `any_of` included."""
    named = _renamed(config)
    for key in _ALTERNATIVES:
        if isinstance(named.get(key), list):
            named[key] = [
                _renamed(alternative) if isinstance(alternative, Mapping) else alternative for alternative in named[key]
            ]
    return named


def _renamed(config: Mapping[str, Any]) -> dict[str, Any]:
    aliases: Mapping[str, str] = schemas()["aliases"]
    return {aliases.get(key, key): value for key, value in config.items() if aliases.get(key) not in config}


def _in_task(task: Mapping[str, Any]) -> Problems:
    # Like Task.from_yaml_config: a variable's value may be a number, and an empty key counts as absent.
    as_read = {key: value for key, value in task.items() if value is not None}
    for key in ("envs", "secrets"):
        if isinstance(as_read.get(key), Mapping):
            named = as_read[key].items()
            as_read[key] = {str(name): None if value is None else str(value) for name, value in named}
    yield from check(as_read, schemas()["task"], "")


def _in_resources(task: Mapping[str, Any]) -> Problems:
    config = task.get("resources")
    if not isinstance(config, Mapping):
        return
    yield from _twice(config, "resources")
    for key in _ALTERNATIVES:
        for number, alternative in enumerate(config[key] if isinstance(config.get(key), list) else ()):
            yield from _twice(alternative, f"resources.{key}[{number}]") if isinstance(alternative, Mapping) else ()
    if config.keys() >= set(_ALTERNATIVES):
        yield "resources.any_of", "has both resources.any_of and resources.ordered: SkyPilot takes one of them"
    yield from check(_as_read(config), schemas()["resources"], "resources")


def _in_service(task: Mapping[str, Any]) -> Problems:
    section = task.get("service")
    if isinstance(section, Mapping):
        yield from check(section, schemas()["service"], "service")


def _as_read(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return resources in SkyPilot's own words. A run also accepts `'true'` and the sandbox."""
    as_read = _in_own_words({key: value for key, value in with_own_names(config).items() if value is not None})
    for key in _ALTERNATIVES:
        if isinstance(as_read.get(key), list):
            as_read[key] = [_in_own_words(one) if isinstance(one, Mapping) else one for one in as_read[key]]
    return as_read


def _in_own_words(config: Mapping[str, Any]) -> dict[str, Any]:
    as_read = dict(config)
    if str(as_read.get("use_spot")).lower() in {"true", "false"}:
        as_read["use_spot"] = str(as_read["use_spot"]).lower() == "true"
    for key in ("infra", "cloud"):
        if isinstance(as_read.get(key), str):
            as_read[key] = re.sub(rf"^{SANDBOX}(?=/|$)", "aws", as_read[key])
    return as_read


def _twice(config: Mapping[str, Any], path: str) -> Problems:
    for alias, name in schemas()["aliases"].items():
        if alias in config and name in config:
            yield f"{path}.{alias}", f"has both {path}.{alias} and {path}.{name}, which mean the same: give one of them"


def _in_mounts(task: Mapping[str, Any]) -> Problems:
    mounts = task.get("file_mounts")
    for target, source in mounts.items() if isinstance(mounts, Mapping) else ():
        path = f"file_mounts.{target}"
        if isinstance(source, Mapping):
            as_read = {key: value for key, value in source.items() if value is not None}
            yield from check(as_read, schemas()["storage"], path)
        elif not isinstance(source, str):
            yield path, _sentence(path, source, "is not text or a mapping")


def _in_volumes(task: Mapping[str, Any]) -> Problems:
    volumes = task.get("volumes")
    volume = schemas()["volume"]
    schema = {**volume, "required": [], "properties": {**volume["properties"], **_VOLUME_KEYS}}
    for target, source in volumes.items() if isinstance(volumes, Mapping) else ():
        path = f"volumes.{target}"
        if isinstance(source, Mapping):
            yield from check(source, schema, path)
            if not source.keys() & {"size", "name", "host_path"}:
                yield path, f"has {path} without a name, a size or a host_path"
        elif not isinstance(source, str):
            yield path, _sentence(path, source, "is not text or a mapping")


def check(value: object, schema: Schema, path: str) -> Problems:
    """Yield every way in which a value breaks a schema."""
    for rule in ("anyOf", "oneOf"):
        if rule in schema:
            yield from _one_of(value, schema[rule], path)
    if not _fits(value, schema):
        yield path, _sentence(path, value, f"is not {' or '.join(dict.fromkeys(_kinds(schema)))}")
    elif isinstance(value, Mapping):
        yield from _in_mapping(value, schema, path)
    elif isinstance(value, (list, tuple)):
        yield from _in_list(value, schema, path)
    elif isinstance(value, str):
        yield from ((path, _sentence(path, value, wrong, close)) for wrong, close in _wrong_text(value, schema))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from ((path, _sentence(path, value, wrong)) for wrong in _wrong_number(value, schema))


def _one_of(value: object, alternatives: Sequence[Schema], path: str) -> Problems:
    """Yield nothing if one alternative fits; else the mistakes by the first alternative of the value's own type."""
    results = [list(check(value, alternative, path)) for alternative in alternatives]
    if not all(results):
        return
    alike = [result for alternative, result in zip(alternatives, results, strict=True) if _fits(value, alternative)]
    if alike:
        yield from alike[0]
        return
    kinds = dict.fromkeys(kind for alternative in alternatives for kind in _kinds(alternative))
    yield path, _sentence(path, value, f"is not {' or '.join(kinds)}")


def _names(schema: Schema) -> list[str]:
    named = schema.get("type", [])
    return [named] if isinstance(named, str) else list(named)


def _kinds(schema: Schema) -> Iterator[str]:
    yield from (_TYPES[name][1] for name in _names(schema))
    for alternative in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _kinds(alternative)


def _fits(value: object, schema: Schema) -> bool:
    """Return whether the value has one of the types that the schema allows at all."""
    alternatives = (*schema.get("anyOf", ()), *schema.get("oneOf", ()))
    if alternatives and "type" not in schema:
        return any(_fits(value, alternative) for alternative in alternatives)
    names = _names(schema)
    return not names or any(_is(value, name) for name in names)


def _is(value: object, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name][0])


def _in_mapping(value: Mapping[str, Any], schema: Schema, path: str) -> Problems:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    for key, inner in value.items():
        place = f"{path}.{key}" if path else str(key)
        rules = _rules_of(key, schema)
        if rules is None:
            yield place, _unknown(place, str(key), properties)
        else:
            yield from check(inner, rules, place)
    what = path or "the task"
    yield from ((path, f"has {what} without {name}") for name in schema.get("required", ()) if name not in value)
    if len(value) > schema.get("maxProperties", len(value)):
        yield path, f"has {what} with {len(value)} keys, where SkyPilot takes {schema['maxProperties']}"
    if len(value) < schema.get("minProperties", 0):
        yield path, f"has {what} with nothing in it"
    for inner in schema.get("not", {}).get("anyOf", ()):
        for name in value.keys() & set(inner["required"]):
            yield f"{path}.{name}", f"has the key {f'{path}.{name}'!r}, which SkyPilot sets itself"


def _rules_of(key: object, schema: Schema) -> Schema | None:
    """Return the rule for the value of this key; None if the schema does not know the key."""
    properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    if key in properties:
        return dict(properties[key])
    for pattern, rules in patterns.items():
        if re.search(pattern, str(key)):
            return dict(rules)
    # SkyPilot leaves some lists of keys open by accident: an unknown key is a mistake there too.
    additional = schema.get("additionalProperties", not (properties or patterns))
    return dict(additional) if isinstance(additional, Mapping) else ({} if additional else None)


def _unknown(path: str, key: str, properties: Mapping[str, Schema]) -> str:
    names = [name for name in properties if not name.startswith("_")]
    close = similar(key, names)
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    if not close and 0 < len(names) <= _FEW:
        hint = f" (it knows {', '.join(sorted(names))})"
    return f"has the key {path!r}, which SkyPilot does not know{hint}"


def _in_list(value: Sequence[Any], schema: Schema, path: str) -> Problems:
    for number, item in enumerate(value):
        yield from check(item, schema.get("items", {}), f"{path}[{number}]")
    if len(value) < schema.get("minItems", 0):
        yield path, f"has {path} with nothing in it"
    if len(value) > schema.get("maxItems", len(value)):
        yield path, f"has {path} with {len(value)} entries, where SkyPilot takes {schema['maxItems']}"
    if schema.get("uniqueItems") and len({repr(item) for item in value}) < len(value):
        yield path, f"has {path} with an entry twice"


def _wrong_text(value: str, schema: Schema) -> Iterator[tuple[str, tuple[str, ...]]]:
    for rule in ("case_insensitive_enum", "case_sensitive_enum", "enum"):
        words: Sequence[str] = schema.get(rule, ())
        alike = {word.lower() for word in words} if rule == "case_insensitive_enum" else set(words)
        if words and (value.lower() if rule == "case_insensitive_enum" else value) not in alike:
            yield f"is not one of {', '.join(words)}", similar(value, words)
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield "SkyPilot cannot read", ()
    if len(value) < schema.get("minLength", 0):
        yield "is empty", ()
    if len(value) > schema.get("maxLength", len(value)):
        yield f"is longer than {schema['maxLength']} characters", ()


def _wrong_number(value: float, schema: Schema) -> Iterator[str]:
    if value < schema.get("minimum", value):
        yield f"is less than {schema['minimum']}"
    if value > schema.get("maximum", value):
        yield f"is more than {schema['maximum']}"
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield f"is not more than {schema['exclusiveMinimum']}"


def _sentence(path: str, value: object, wrong: str, close: tuple[str, ...] = ()) -> str:
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    return f"has {path} {_short(value, path)}, which {wrong}{hint}"


def _short(value: object, path: str) -> str:
    """Return the value as a message may show it: a variable's value may be a secret."""
    if path.partition(".")[0] in {"envs", "secrets"}:
        return "***"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
