"""Load YAML from others: plain values out, for any content, and never more work than its size. Pure."""

from __future__ import annotations

from typing import Any

import yaml

LARGEST_BYTES = 1024 * 1024
_MOST_NODES = 20_000
_MOST_ALIASES = 20  # three aliases of three aliases of ...: 20 of them stand for at most some 1500 copies
_DEEPEST = 40
_LONGEST_NUMBER = 300
"""The most characters of a number. YAML's base 60 costs the square of its length, and Python refuses to print a whole
number of more than 4300 digits, which a base of 16 can have."""


class Unreadable(ValueError):
    """Error for content that is not YAML, or not YAML that a person writes.

    Its text gives the reason in a few words.
    """


def load(content: bytes) -> object:
    """Load one document. Dates stay text. Raises Unreadable."""
    documents = load_all(content)
    if len(documents) > 1:
        raise Unreadable("has several YAML documents")
    return documents[0] if documents else None


def load_mapping(content: bytes) -> dict[str, Any]:
    document = load(content)
    if not isinstance(document, dict):
        raise Unreadable("is not a mapping of keys to values")
    return {str(key): value for key, value in document.items()}


def load_all(content: bytes) -> list[object]:
    if len(content) > LARGEST_BYTES:
        raise Unreadable("is larger than 1 MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable("is not text") from None
    try:
        return list(yaml.load_all(text, Loader=_Loader))
    except yaml.reader.ReaderError:
        raise Unreadable("is not text") from None
    except yaml.YAMLError as error:
        raise Unreadable(f"is not YAML: {_problem(error)}") from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise Unreadable(f"is not YAML that can be read: {error}") from None


class _Loader(yaml.SafeLoader):
    """Loader that counts during composition: a small file may stand for a huge one."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own attribute
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._nodes = self._aliases = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._nodes += 1
        self._aliases += self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._nodes > _MOST_NODES:
            raise yaml.YAMLError(f"more than {_MOST_NODES} values")
        if self._aliases > _MOST_ALIASES:
            raise yaml.YAMLError(f"more than {_MOST_ALIASES} aliases")
        if self._depth > _DEEPEST:
            raise yaml.YAMLError(f"nested more than {_DEEPEST} deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _number(loader: _Loader, node: yaml.ScalarNode) -> object:
    if len(node.value) > _LONGEST_NUMBER:
        raise yaml.YAMLError(f"a number of more than {_LONGEST_NUMBER} characters")
    name = node.tag.rpartition(":")[2]
    return getattr(loader, f"construct_yaml_{name}")(node)


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _number)


def _problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or error).strip().splitlines()[0]
    return f"{problem} (line {mark.line + 1})" if mark is not None else problem
