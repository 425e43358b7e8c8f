"""Mask consecutive lines: a secret may begin in one line and end in a later one.

`base64`, `openssl` and `xxd` break their output at a column that cvl-ci cannot know. A line without an end arrives in
pieces. Each line leaves at once. If a form begins in the last three signs of a line, those signs are visible.
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
    """Lines of one stream. Lines of several machines mix in it, each with its rank in front."""

    def __init__(self, masks: Masks) -> None:
        self._masks = masks
        self._expected: dict[str, tuple[bool, frozenset[str]]] = {}

    def hide(self, text: str) -> str:
        """Return the line with stars for each secret, and for each part that continues a secret of the line before."""
        match = _NODE.match(text)
        node = match[0] if match else ""
        is_piece, rests = self._expected.pop(node, (False, frozenset()))
        body = text[len(node) :]
        spans = self._masks.spans(body)
        going_on: set[str] = set()
        if rests:
            spans = _together([*self._continued(body, rests, going_on, is_piece=is_piece), *spans])
        spans = _together([*spans, *self._begun(body, node, going_on)])
        hidden = node + stars_for(body, spans)
        return hidden if hidden.isprintable() else self._masks.hide_as_read(hidden)

    def _continued(self, body: str, rests: frozenset[str], going_on: set[str], *, is_piece: bool) -> list[Span]:
        """Return the ends of forms that began in the line before.

        `going_on` gets the rests of the forms that do not end here.
        """
        match = _START.match(body)
        at, run = (0, body) if is_piece or match is None else (match.end(), match[1])
        spans = []
        for rest in rests:
            if run.startswith(rest):
                spans.append((at, end_of_base64(body, at + len(rest))))
            elif len(run) >= BEGINNING and rest.startswith(run):
                going_on.add(rest[len(run) :])
                spans.append((at, at + len(run)))
        return spans

    def _begun(self, body: str, node: str, going_on: set[str]) -> list[Span]:
        is_piece = len(body) >= PIECE
        end = body if is_piece else body.rstrip().rstrip("=")
        start = 0 if is_piece else len(end.rstrip(_SIGNS))
        run = body[start:] if is_piece else body[start:].rstrip()
        if len(run) < BROKEN_AT:
            if going_on:
                self._expect(node, (is_piece, frozenset(going_on)))
            return []
        begun = list(self._masks.begun(run))
        rests = going_on | {rest for _, rest in begun}
        if rests:
            self._expect(node, (is_piece, frozenset(rests)))
        return [(start + at, start + len(run)) for at, _ in begun[:1] if at < len(run)]

    def _expect(self, node: str, rests: tuple[bool, frozenset[str]]) -> None:
        """Remember the forms that continue in this node's next line.

        A job may print any rank, so only a few nodes are remembered.
        """
        while len(self._expected) >= MOST_NODES:
            self._expected.pop(next(iter(self._expected)))
        self._expected[node] = rests


def _together(spans: list[Span]) -> list[Span]:
    """Return the spans in order, and join those that touch."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
