"""Mask secrets: replace each one, in every form in which it is likely to appear, before any text leaves cvl-ci.

Each entry point passes all its text through these masks. A CI system masks at most its own output, and only the secrets
that it knows.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from cvl_ci.result.encodings import SHORTEST, Edges, encoded
from cvl_ci.result.radix_tree import RadixTree
from cvl_ci.result.sanitize import plain

STARS = "***"
_SECRET_KEY = re.compile(r"key|secret|token|password|credential", re.IGNORECASE)
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")

Value = TypeVar("Value")
Span = tuple[int, int]


class Masks:
    """Secrets known so far. `add` adds to them."""

    def __init__(self) -> None:
        self._forms: dict[str, Edges] = {}
        self._pattern: re.Pattern[str] | None = None
        self._tree = RadixTree()

    def add(self, *values: str) -> tuple[str, ...]:
        """Hide these values from now on. Return the new forms, so that the caller can pass them to the CI system."""
        fresh: dict[str, Edges] = {}
        for value in values:
            for form, edges in forms(value):
                if form not in self._forms:
                    fresh.setdefault(form, edges)
        if fresh:
            self._forms.update(fresh)
            self._pattern = None
            for form in fresh:
                self._tree.add(form)
        return tuple(fresh)

    def hide(self, text: str) -> str:
        """Return the text with stars for every secret in it."""
        return stars_for(text, self.spans(text))

    def hide_as_read(self, text: str) -> str:
        """Hide secrets in one line.

        `grep --color` can put colours into a secret. Such a line loses all its colours.
        """
        text = self.hide(text)
        if text.isprintable():
            return text
        bare = plain(text)
        hidden = self.hide(bare)
        return text if hidden == bare else hidden

    def cleaned(self, value: Value) -> Value:
        """Return the same value with every string in it masked, however deep."""
        cleaned: Value = self._cleaned(value)
        return cleaned

    def spans(self, text: str) -> list[Span]:
        """Return the places of secrets, in order. Two secrets that overlap become one span."""
        spans: list[Span] = []
        if not self._forms:
            return spans
        pattern = self._pattern = self._pattern or self._compiled()
        at = 0
        while (match := pattern.search(text, at)) is not None:
            at = match.start() + 1
            if length := self._tree.longest_at(text, match.start()):
                start, end = self._with_edges(text, match.start(), text[match.start() : match.start() + length])
                if spans and start <= spans[-1][1]:
                    start, end = spans[-1][0], max(end, spans.pop()[1])
                spans.append((start, end))
        return spans

    def _compiled(self) -> re.Pattern[str]:
        """Compile a pattern of beginnings only, each as long as the shortest form.

        A pattern of whole forms takes a second to compile for a private key. Shorter beginnings match each dash of a
        line, because a private key begins with dashes.
        """
        return re.compile(_any_of(list({form[:SHORTEST] for form in self._forms})))

    def begun(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield where a form may begin at the end of a text and continue elsewhere, and its rest, the longest first."""
        if not self._forms:
            return
        pattern = self._pattern = self._pattern or self._compiled()
        at = max(0, len(text) - max(map(len, self._forms)) + 1)
        while (match := pattern.search(text, at)) is not None:
            yield from self._begun_at(text, match.start())
            at = match.start() + 1
        for at in range(max(0, len(text) - SHORTEST + 1), len(text) - BEGINNING + 1):
            yield from self._begun_at(text, at)
        for count in range(min(BEGINNING - 1, len(text)), 0, -1):
            yield from ((len(text), rest) for rest in self._tree.rests_after(text[-count:]))

    def _begun_at(self, text: str, at: int) -> Iterator[tuple[int, str]]:
        part = text[at:]
        for rest in self._tree.rests_after(part):
            before = self._forms[part + rest].before and text[at - 1 : at] in _BASE64
            yield (at - 1 if before else at), rest

    def _with_edges(self, text: str, start: int, form: str) -> Span:
        edges, end = self._forms[form], start + len(form)
        if edges.before and text[start - 1 : start] in _BASE64:
            start -= 1
        return start, end_of_base64(text, end) if edges.after else end

    def _cleaned(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.hide_as_read(value)
        if isinstance(value, Mapping):
            return {self._cleaned(key): self._cleaned(inner) for key, inner in value.items()}
        if isinstance(value, (tuple, list, set, frozenset)):
            return type(value)(self._cleaned(inner) for inner in value)
        if dataclasses.is_dataclass(value) and not isinstance(value, (type, enum.Enum)):
            fields = {field.name: self._cleaned(getattr(value, field.name)) for field in dataclasses.fields(value)}
            return dataclasses.replace(value, **fields)
        return value


BEGINNING = 4
"""As many signs identify the beginning of a form. Fewer signs stand at the end of a line by chance."""


def stars_for(text: str, spans: Sequence[Span]) -> str:
    """Return the text with stars in place of these spans, which are in order and apart."""
    if not spans:
        return text
    at, parts = 0, []
    for start, end in spans:
        parts += [text[at:start], STARS]
        at = end
    return "".join((*parts, text[at:]))


def end_of_base64(text: str, at: int) -> int:
    """Return where base64 ends, if the last whole sign of a value stands before `at`.

    One last sign and its padding may follow.
    """
    at += text[at : at + 1] in _BASE64 and at < len(text)
    while text[at : at + 1] == "=":
        at += 1
    return at


def _any_of(words: Sequence[str]) -> str:
    """Return a pattern for words of one length, as a tree.

    There are hundreds of words, and every line is searched for all.
    """
    if len(words) == 1 or not words[0]:
        return re.escape(words[0])
    branches = itertools.groupby(sorted(words), key=lambda word: word[0])
    return f"(?:{'|'.join(re.escape(sign) + _any_of([word[1:] for word in alike]) for sign, alike in branches)})"


def forms(value: str) -> Iterator[tuple[str, Edges]]:
    """Yield the value, each of its lines, and each secret of a JSON document, in every encoding."""
    parts = [value.strip(), *(line.strip() for line in value.splitlines()), *_in_json(value)]
    for part in dict.fromkeys(parts):
        if len(part) >= SHORTEST:
            yield from encoded(part)


def _in_json(value: str) -> Iterable[str]:
    """Return the secret fields of a JSON document, such as a service account's key.

    A log shows the fields alone and never the document.
    """
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        return []
    return list(_leaves("", document, secret=False))


def _leaves(name: str, value: object, *, secret: bool) -> Iterator[str]:
    secret = secret or bool(_SECRET_KEY.search(name))
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(str(key), inner, secret=secret)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves("", inner, secret=secret)
    elif isinstance(value, str) and secret:
        yield value.strip()
        yield from (line.strip() for line in value.splitlines())
