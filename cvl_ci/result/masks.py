"""What must never be read: each secret in every form it is likely to turn up in, hidden before a word leaves us.

The runner masks what it prints; comments, summaries, outputs and files it does not, so those are cleaned here.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

from cvl_ci.result.inert import plain

SHORTEST = 6
"""A shorter value would turn every log into stars: it is not masked."""

STARS = "***"
_SECRET_KEY = re.compile(r"key|secret|token|password|credential", re.IGNORECASE)
_SECRET_VARIABLE = re.compile(
    r"(SECRET|TOKEN|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIALS?|CONNECTION_STRING)($|_)"
)
_POINTER = re.compile(r"_(FILE|PATH|URL|URI|DIR|ID|NAME)$")

Value = TypeVar("Value")


class Masks:
    """Grows by `add`; `forms` is what the runner is told to mask."""

    def __init__(self) -> None:
        self._forms: dict[str, None] = {}
        self._pattern: re.Pattern[str] | None = None

    def add(self, *values: str) -> tuple[str, ...]:
        """The forms that are new."""
        fresh = [form for value in values for form in forms(value) if form not in self._forms]
        if fresh:
            self._forms.update(dict.fromkeys(fresh))
            self._pattern = re.compile(_any_of(list(self._forms)))
        return tuple(dict.fromkeys(fresh))

    def hide(self, text: str) -> str:
        return self._pattern.sub(STARS, text) if self._pattern else text

    def hide_as_read(self, text: str) -> str:
        """One line. A secret that colours or controls stand in, as `grep --color` puts them, costs it all of them."""
        text = self.hide(text)
        if text.isprintable():
            return text
        bare = plain(text)
        hidden = self.hide(bare)
        return text if hidden == bare else hidden

    def cleaned(self, value: Value) -> Value:
        """The same value, every string in it cleaned, however deep."""
        cleaned: Value = self._cleaned(value)
        return cleaned

    def _cleaned(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.hide_as_read(value)
        if isinstance(value, Mapping):
            return {self._cleaned(key): self._cleaned(inner) for key, inner in value.items()}
        if isinstance(value, (tuple, list)):
            return type(value)(self._cleaned(inner) for inner in value)
        if dataclasses.is_dataclass(value) and not isinstance(value, (type, enum.Enum)):
            fields = {each.name: self._cleaned(getattr(value, each.name)) for each in dataclasses.fields(value)}
            return dataclasses.replace(value, **fields)
        return value


def _any_of(forms: Sequence[str]) -> str:
    """The longest that stands there, as a tree: a key has hundreds of forms, and each line is read for all of them."""
    alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(min(forms), max(forms), strict=False))
    shared = "".join(sign for sign, _ in alike)
    rest = {form[len(shared) :] for form in forms}
    longer = sorted(rest - {""})
    if not longer:
        return re.escape(shared)
    branches = "|".join(_any_of(list(branch)) for _, branch in itertools.groupby(longer, key=lambda form: form[0]))
    return f"{re.escape(shared)}(?:{branches})" + ("?" if "" in rest else "")


def forms(value: str) -> Iterator[str]:
    """The value, each of its lines, what a JSON document keeps secret, and how each is written in URLs, base64, hex."""
    parts = [value.strip(), *(line.strip() for line in value.splitlines()), *_in_json(value)]
    for part in dict.fromkeys(parts):
        if len(part) < SHORTEST:
            continue
        written = (part, quote(part, safe=""), quote_plus(part), json.dumps(part)[1:-1])
        for form in (*written, *_in_base64(part), *_in_base64_lines(part), *_in_hex(part)):
            if len(form) >= SHORTEST:
                yield form


def secret_values(environment: Mapping[str, str]) -> Iterator[str]:
    """Of variables whose name says that they hold a secret, and not merely where one is."""
    for name, value in environment.items():
        if _SECRET_VARIABLE.search(name.upper()) and not _POINTER.search(name.upper()):
            yield value


def _in_base64(part: str) -> Iterator[str]:
    """As it stands in the base64 of a text that begins with it, or holds it after one or two other bytes."""
    raw = part.encode("utf-8", "surrogatepass")
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + raw)
        start = -(-shift * 8 // 6)
        sure = (len(raw) + shift) * 8 // 6
        inner = whole[start:sure].decode()
        if len(inner) >= SHORTEST + 2:
            yield inner
            yield inner.translate(str.maketrans("+/", "-_"))


def _in_base64_lines(part: str) -> Iterator[str]:
    """As `base64` and `openssl` break it; a last line too short to tell is left."""
    raw = part.encode("utf-8", "surrogatepass")
    whole = base64.b64encode(raw).decode()[: len(raw) * 8 // 6]
    for width in (64, 76):
        pieces = [whole[start : start + width] for start in range(0, len(whole), width)]
        yield from (piece for piece in pieces if 16 <= len(piece) < len(whole))


def _in_hex(part: str) -> Iterator[str]:
    digits = part.encode("utf-8", "surrogatepass").hex()
    yield from (digits, digits.upper())


def _in_json(value: str) -> Iterable[str]:
    """A service account's key, say: the document is shown to nobody, its fields turn up alone."""
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
