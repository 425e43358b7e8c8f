"""The schemas are of the readers' own tables: a file that a reader takes validates, one that it refuses does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from cvl_ci.cli import main
from cvl_ci.commands import schema
from cvl_ci.errors import RequestError
from cvl_ci.inputs.command_line import SCHEMA_FILES
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.planning import downloads, example, presets, resources, safe_yaml
from cvl_ci.result.benchmark import rules
from tests.planning import test_downloads, test_presets, test_resources
from tests.result.benchmark import test_rules
from tests.support.field import FIELD

ROOT = Path(__file__).parents[2]
EXAMPLE, RULES, QUEUE = SCHEMA_FILES


def validates(name: str, document: object) -> bool:
    return bool(Draft7Validator(json.loads(schema.as_text(name))).is_valid(document))


def cases(test: Any, at: int = 0) -> list[Any]:
    """Return the parameters with which another test is called."""
    return list(test.pytestmark[at].args[1])


def read_all(document: object) -> None:
    """Read each part of an example. Raise what its reader raises."""
    described = example.read(json.dumps(document).encode(), directory="x", files={"x.sh"})
    resources.request(described.declared)
    downloads.lines(described.resources)
    for name, form in described.presets.items():
        presets.read(name, form, files={"x.sh"})


def of_rules(document: str) -> bool:
    """Return whether the reader takes it."""
    try:
        rules.read(document.encode())
    except RequestError:
        return False
    return True


def test_each_file_has_a_schema_that_is_one_and_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert tuple(schema.SCHEMAS) == SCHEMA_FILES
    for name in SCHEMA_FILES:
        Draft7Validator.check_schema(schema.SCHEMAS[name])
        assert main.main(["schema", name]) == 0
        assert json.loads(capsys.readouterr().out) == schema.SCHEMAS[name]
    assert main.main(["schema", "exmaple.yaml"]) == 64
    assert "Did you mean example.yaml?" in capsys.readouterr().err


def files_of_examples() -> Iterator[str]:
    yield from (name for name in FIELD if name.endswith(EXAMPLE))
    yield from (str(path) for path in sorted((ROOT / "examples").rglob(EXAMPLE)))


@pytest.mark.parametrize("name", [*files_of_examples()])
def test_an_example_in_any_dialect_validates(name: str) -> None:
    content = FIELD[name].encode() if name in FIELD else Path(name).read_bytes()
    assert validates(EXAMPLE, safe_yaml.load_mapping(content))


@pytest.mark.parametrize("said", [said for said, _ in cases(test_resources.test_every_way_to_declare_it)])
def test_each_way_to_declare_a_machine_validates(said: dict[str, Any]) -> None:
    assert validates(EXAMPLE, said)


@pytest.mark.parametrize("form", [said for said, _ in cases(test_presets.test_every_form_is_read)])
def test_each_form_of_a_preset_validates_in_a_mapping_and_in_a_list(form: object) -> None:
    assert validates(EXAMPLE, {"presets": {"train": form}})
    assert validates(EXAMPLE, {"presets": [{"train": form}]})


@pytest.mark.parametrize(
    "document",
    [
        *({"resources": {"downloads": [entry]}} for entry in cases(test_downloads.test_what_cannot_be_fetched_says_why)
          if entry != {"url": "http://x/y", "dest": "models/"}),
        {"resources": {"gpu": "L4:many"}},
        {"resources": {"gpu": "L4:0.5"}},
        {"resources": {"gpu": ["L4", "A10G:x"]}},
        {"resources": {"gpu": {"L4": "x"}}},
        {"presets": {"train": 5}},
        {"presets": {"train": []}},
        {"presets": {"train": {"script": 5}}},
        {"files": 5},
        {"files": ["../x"]},
        {"files": "/etc"},
        {"files": ["a/../../x"]},
        [],
        "text",
    ],
)  # fmt: skip
def test_what_a_reader_refuses_the_schema_refuses(document: Any) -> None:
    with pytest.raises((Wrong, safe_yaml.Unreadable)):
        read_all(document)
    assert not validates(EXAMPLE, document)


@pytest.mark.parametrize(
    "document",
    [
        {"resources": {"vram_gb": "lots"}},
        {"resources": {"gpu": {"count": "x"}}},
        {"resources": {"cpu_cores": -1}},
        {"hardware": {"min_ram_gb": [8]}},
        {"presets": "train"},
    ],
)
def test_a_value_that_a_reader_ignores_is_a_mistake_for_the_schema(document: dict[str, Any]) -> None:
    example.read(json.dumps(document).encode(), directory="x", files=())
    assert not validates(EXAMPLE, document)


def test_an_unknown_key_is_left_alone_as_the_reader_does() -> None:
    assert validates(EXAMPLE, {"verification": {"last": "2026-05-21"}, "resources": {"network": True}})


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{}",
        "metrics: null",
        "tolerance: 5%",
        "tolerance: ' 12.5 % '",
        "tolerance: '0.1'",
        "tolerance: 1",
        "metrics: {a: higher, b: ignore, 3: lower}",
        "metrics: {a: {direction: lower, tolerance: 10%}, b: {target: 37}, c: {direction: target, target: 0.5}}",
        "metrics: {a: {tolerance: 0.2}, b: {}}",
        "metrics: {a: target}",
        "metrics: {a: hihger}",
        "metrics: {a: 5}",
        "metrics: {a: [higher]}",
        "metrics: {a: {direction: target}}",
        "metrics: {a: {direction: higher, target: 3}}",
        "metrics: {a: {target: soon}}",
        "metrics: {a: {target: true}}",
        "metrics: {a: {tolrance: 1%}}",
        "metrics: [a]",
        "tolerance: 500%",
        "tolerance: 1.5",
        "tolerance: -1",
        "tolerance: true",
        "tolerance: much",
        "tolerence: 5%",
        "[]",
        "text",
    ],
)
def test_schema_and_reader_of_rules_agree(document: str) -> None:
    assert validates(RULES, safe_yaml.load(document.encode())) is of_rules(document)


def test_rules_of_other_tests_agree_too() -> None:
    for content in cases(test_rules.test_what_is_no_such_file_is_one_clear_error):
        try:
            document = safe_yaml.load(content)
        except safe_yaml.Unreadable:
            continue
        assert validates(RULES, document) is of_rules(content.decode())
