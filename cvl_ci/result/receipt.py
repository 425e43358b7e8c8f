"""What a drill proved: which line of the promise caught a killed run, how soon, and the provider's word for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cvl_ci.model.outcome import Asked, Phase
from cvl_ci.result.units import duration, moment

MAIN, AFTERWARDS, MACHINE, REAPER = 1, 2, 3, 4
LINES = {
    MAIN: "main's own lease",
    AFTERWARDS: "post, or `cvl-ci down`",
    MACHINE: "the machine itself",
    REAPER: "`cvl-ci reap`",
}
"""The four lines of the promise, in the order in which they come."""


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """One drill. `line` None: none of them caught it. `problem`: why nothing was killed, and so nothing is proved."""

    phase: Phase
    kill: str
    lease: str
    first: int
    """The line that is left to catch it, those before it being cut by this death."""
    line: int | None = None
    seconds: float | None = None
    """From the kill (or the end of an outage) until the provider showed none, however long it was asked after that."""
    there: int = 0
    """What the provider showed right after the kill."""
    at: float
    """When it was asked last, seconds since the epoch."""
    asked: tuple[Asked, ...] = ()
    problem: str = ""

    @property
    def gone(self) -> bool:
        return bool(self.asked) and all(asked.clean for asked in self.asked)

    @property
    def proved(self) -> bool:
        return self.gone and self.line is not None and not self.problem


def table(receipts: Sequence[Receipt], *, where: str) -> str:
    """For the documentation."""
    left = sum(not receipt.gone for receipt in receipts)
    date = moment(max(receipt.at for receipt in receipts))[:10] if receipts else ""
    head = f"{len(receipts)} drills on {where}, {date}: {left} left a machine."
    rows = [
        f"| {receipt.phase.value} | {receipt.kill} | {_line(receipt)} | {_after(receipt)} | {_left(receipt)} |"
        for receipt in receipts
    ]
    return "\n".join([head, "", "| killed while | by | caught by | after | left |", "|---|---|---|---|---|", *rows])


def count_left(receipt: Receipt) -> int:
    return sum(len(asked.left) for asked in receipt.asked)


def _line(receipt: Receipt) -> str:
    if receipt.line is None:
        return "no line" if not receipt.problem else "not killed"
    late = "" if receipt.line == receipt.first else f", not by line {receipt.first}"
    return f"line {receipt.line}, {LINES[receipt.line]}{late}"


def _after(receipt: Receipt) -> str:
    return "" if receipt.seconds is None else duration(receipt.seconds)


def _left(receipt: Receipt) -> str:
    return "0" if receipt.gone else (str(count_left(receipt)) if count_left(receipt) else "not known")
