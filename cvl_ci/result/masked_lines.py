"""The masks for lines that come one after another: a secret may begin in one of them and end in a later one.

So it is where `base64`, `openssl` and `xxd` break what they print, at a column that nobody knows before, and where a
line without end arrives in pieces. Each line leaves at once: of a form that begins in the last three signs of a line,
those signs are shown.
"""

from __future__ import annotations

import re
import string

from cvl_ci.result.masks import BEGINNING, Masks, Span, end_of_base64, stars_for

BROKEN_AT = 40
"""No program breaks base64 or hexadecimal digits at fewer signs."""
MOST_NODES = 64
PIECE = 1 << 19
"""A line as long as this may go on in the next one."""

_NODE = re.compile(r"\(rank \d+\) ")
_SIGNS = string.ascii_letters + string.digits + "+/_-"
_START = re.compile(r"\s*(?=([A-Za-z0-9+/_-]*))")


class MaskedLines:
    """The lines of one stream. Several machines' lines mix in it, each with its rank in front."""

    def __init__(self, masks: Masks) -> None:
        self._masks = masks
        self._expected: dict[str, tuple[bool, frozenset[str]]] = {}

    def hide(self, text: str) -> str:
        """Return this line with stars for each secret, and for each part of one that goes on from the line before."""
        match = _NODE.match(text)
        node = match[0] if match else ""
        whole, rests = self._expected.pop(node, (False, frozenset()))
        body = text[len(node) :]
        spans = self._masks.spans(body)
        going_on: set[str] = set()
        if rests:
            spans = _together([*self._continued(body, rests, going_on, whole=whole), *spans])
        spans = _together([*spans, *self._begun(body, node, going_on)])
        hidden = node + stars_for(body, spans)
        return hidden if hidden.isprintable() else self._masks.hide_as_read(hidden)

    def _continued(self, body: str, rests: frozenset[str], going_on: set[str], *, whole: bool) -> list[Span]:
        """Return where a form ends that began before. `going_on` gets the rests of those that do not end here."""
        match = _START.match(body)
        at, run = (0, body) if whole or match is None else (match.end(), match[1])
        found = []
        for rest in rests:
            if run.startswith(rest):
                found.append((at, end_of_base64(body, at + len(rest))))
            elif len(run) >= BEGINNING and rest.startswith(run):
                going_on.add(rest[len(run) :])
                found.append((at, at + len(run)))
        return found

    def _begun(self, body: str, node: str, going_on: set[str]) -> list[Span]:
        whole = len(body) >= PIECE
        end = body if whole else body.rstrip().rstrip("=")
        start = 0 if whole else len(end.rstrip(_SIGNS))
        run = body[start:] if whole else body[start:].rstrip()
        if len(run) < BROKEN_AT:
            if going_on:
                self._expect(node, (whole, frozenset(going_on)))
            return []
        begun = list(self._masks.begun(run))
        rests = going_on | {rest for _, rest in begun}
        if rests:
            self._expect(node, (whole, frozenset(rests)))
        return [(start + at, start + len(run)) for at, _ in begun[:1] if at < len(run)]

    def _expect(self, node: str, rests: tuple[bool, frozenset[str]]) -> None:
        """Remember the forms that go on in this node's next line. A job may print any rank: few are remembered."""
        while len(self._expected) >= MOST_NODES:
            self._expected.pop(next(iter(self._expected)))
        self._expected[node] = rests


def _together(spans: list[Span]) -> list[Span]:
    """Return them in order, those that touch as one."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
