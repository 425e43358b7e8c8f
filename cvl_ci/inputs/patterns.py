"""Globs for `outputs`, in the way of actions/upload-artifact, as one regular expression each.

The same text is read by GNU find on a machine (`-regextype posix-extended`, in the C locale) and by Python here, so
that there is one translation. `**` is any number of folders, `*` and `?` stay inside one name, `[a-z]` and `[!a-z]` are
one letter, `!` takes out what an earlier pattern took, and a folder stands for all below it. As in a `.gitignore`, a
pattern without a slash holds at any depth. Beyond both, `{a,b}` is one or the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

MOST_PATTERNS = 200
"""After braces are spelled out."""

HIGH = "@HIGH@"
"""Stands for the bytes 0x80 to 0xBF, the second and later ones of a letter beyond ASCII: collect.sh puts them in."""
_LETTER = f"(([^/{HIGH}]|[{HIGH}])[{HIGH}]*)"
_SPECIAL = frozenset(".[\\()*+?{|^$")
_MAGIC = re.compile(r"[*?\[{]")


class TooMany(ValueError):
    """Braces stand for more patterns than are looked for."""


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """One glob. `expression`: of a whole path, relative to the root that is searched, without `./`.

    `outright`: the same for a file that is named without any glob; empty otherwise.
    """

    text: str
    expression: str
    takes_out: bool = False
    outright: str = ""

    def matches(self, path: bytes) -> bool:
        """Tell whether a path is one of those; here and not on a machine."""
        expression = self.expression.replace(HIGH, "\\x80-\\xbf").encode()
        return re.fullmatch(expression, path, re.DOTALL) is not None


def patterns(globs: Sequence[str], *, directory: str) -> tuple[Pattern, ...]:
    """Read globs in their order. Raise TooMany.

    `directory`: the working directory below the root. Patterns match in it and below the root.
    """
    result = [pattern for glob in globs for pattern in _read(glob, _steps(directory))]
    if result and all(pattern.takes_out for pattern in result):
        result = [*_read("**", []), *result]
    return tuple(result)


def _read(glob: str, inner: Sequence[str]) -> Iterator[Pattern]:
    takes_out, text = False, glob.strip()
    while text.startswith("!"):
        takes_out, text = not takes_out, text[1:].strip()
    for one in _spelled_out(text):
        steps = _steps(one)
        if not steps:
            continue
        prefix = "".join(_literal(step) + "/" for step in inner)
        start = f"({prefix})?" if prefix else ""
        anywhere = "/" not in one.rstrip("/")
        named = not takes_out and not _MAGIC.search(one) and not one.endswith("/") and "\\" not in one
        yield Pattern(
            text=glob,
            expression=("([^/]+/)*" if anywhere else start) + _below(steps, only=one.endswith("/")),
            takes_out=takes_out,
            outright=(prefix if anywhere else start) + "/".join(map(_literal, steps)) if named else "",
        )


def unclosed(glob: str) -> str:
    """Return the bracket or brace that nothing closes; empty for none. It would be a plain sign of a name."""
    depth, at = 0, 0
    while at < len(glob):
        sign, start = glob[at], at + 1
        at += 1
        if sign == "\\":
            at += 1
        elif sign == "[":
            end = glob.find("]", start + (2 if glob[start : start + 1] in {"!", "^"} else 1))
            if end < 0 or "/" in glob[start:end]:
                return sign
            at = end + 1
        elif sign == "{":
            depth += 1
        elif sign == "}":
            depth = max(0, depth - 1)
    return "{" if depth else ""


def _steps(path: str) -> list[str]:
    steps = [step for step in path.split("/") if step not in {"", "."}]
    return [step for step, before in zip(steps, ["", *steps], strict=False) if not step == before == "**"]


def _below(steps: Sequence[str], *, only: bool) -> str:
    """`only`: the last step is a folder, and a file of its name is not meant."""
    if len(steps) > 1 and steps[-1] == "**":  # as upload-artifact has it: the folder itself counts too
        steps = steps[:-1]
    text = ""
    for step in steps[:-1]:
        text += "([^/]+/)*" if step == "**" else _step(step) + "/"
    if steps[-1] == "**":
        return text + ".*[^/]"
    return text + _step(steps[-1]) + ("/.+" if only else "(/.+)?")


def _step(step: str) -> str:
    text, at = "", 0
    while at < len(step):
        sign = step[at]
        at += 1
        if sign == "*":
            text += "" if text.endswith("[^/]*") else "[^/]*"
        elif sign == "?":
            text += _LETTER
        elif sign == "[":
            one, after = _one_of(step, at)
            text, at = text + one, after
        elif sign == "\\" and at < len(step):
            text, at = text + _literal(step[at]), at + 1
        else:
            text += _literal(sign)
    # `*` alone is at least one sign: a name is never empty.
    return "[^/]+" if text == "[^/]*" else text


def _one_of(step: str, at: int) -> tuple[str, int]:
    """`[abc]`, `[a-z]`, `[!a]` from behind the bracket; a bracket that is not closed is a plain sign."""
    end = step.find("]", at + 2 if step[at : at + 1] in {"!", "^"} else at + 1)
    if end < 0:
        return _literal("["), at
    inside, takes_out = step[at:end], step[at : at + 1] in {"!", "^"}
    signs, ranges = _members(inside[1:] if takes_out else inside)
    if takes_out:
        return _none_of(signs, ranges), end + 1
    choices = [*map(_literal, signs), *(f"[{low}-{high}]" for low, high in ranges)]
    # No path holds `//`: nothing matches `[z-a]`.
    return f"({'|'.join(choices) or '//'})", end + 1


def _members(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    signs: list[str] = []
    ranges: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        low, dash, high = text[at], text[at + 1 : at + 2], text[at + 2 : at + 3]
        if dash == "-" and high and low.isalnum() and high.isalnum() and f"{low}{high}".isascii():
            if low <= high:
                ranges.append((low, high))
            at += 3
        else:
            signs.append(low)
            at += 1
    return signs, ranges


def _none_of(signs: Sequence[str], ranges: Sequence[tuple[str, str]]) -> str:
    """In a bracket both readers of it take `]` first, `-` last, and no backslash; a letter beyond ASCII is not told."""
    plain = "".join(sorted({sign for sign in signs if sign.isascii()} - set("]-\\/^[")))
    inside = "".join(f"{low}-{high}" for low, high in ranges)
    tail = "".join(sign for sign in "^[-" if sign in signs)
    first = "]" if "]" in signs else ""
    return f"([^{first}/{plain}{inside}{HIGH}{tail}][{HIGH}]*)"


def _literal(text: str) -> str:
    return "".join(f"\\{sign}" if sign in _SPECIAL else sign for sign in text)


def _spelled_out(text: str) -> list[str]:
    """`{a,b}c` as `ac` and `bc`. Braces without a comma are plain signs. Raises TooMany."""
    todo, results = [text], list[str]()
    while todo:
        if len(todo) + len(results) > MOST_PATTERNS:
            raise TooMany
        one = todo.pop(0)
        span = _braces(one)
        if span is None:
            results.append(one)
        else:
            start, end, choices = span
            todo[:0] = [one[:start] + choice + one[end:] for choice in choices]
    return results


def _braces(text: str) -> tuple[int, int, list[str]] | None:
    """Return the begin, the end and the choices of the first braces that hold a comma."""
    for start, sign in enumerate(text):
        if sign != "{":
            continue
        depth, cuts = 0, [start]
        for at in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if text[at] == "," and depth == 1:
                cuts.append(at)
            if depth == 0:
                if len(cuts) == 1:
                    break
                cuts.append(at)
                return start, at + 1, [text[low + 1 : high] for low, high in pairwise(cuts)]
    return None
