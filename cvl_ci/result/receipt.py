"""Hold the result of a drill: which line of the promise caught a killed run, how soon, and the provider's proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cvl_ci.model.outcome import Phase
from cvl_ci.model.release import ProviderCheck
from cvl_ci.result.units import duration, moment

MAIN, AFTERWARDS, MACHINE, REAPER = 1, 2, 3, 4
LINES = {
    MAIN: "main's own lease",
    AFTERWARDS: "post, or `cvl-ci down`",
    MACHINE: "the machine itself",
    REAPER: "`cvl-ci reap`",
}
"""The four lines of the promise, in the order in which they act."""


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Result of one drill.

    `line` None: no line caught the run. `problem`: why nothing was killed, so that nothing is proved.
    """

    phase: Phase
    kill: str
    lease: str
    first: int
    """The line that must catch the run: this death cuts the lines before it."""
    line: int | None = None
    seconds: float | None = None
    """Seconds from the kill, or from the end of an outage, until the provider showed no machine.

    Later questions to the provider do not count.
    """
    seen_after_kill: int = 0
    """The number of resources that the provider showed right after the kill."""
    at: float
    """The time of the last question to the provider, in seconds since the epoch."""
    checks: tuple[ProviderCheck, ...] = ()
    problem: str = ""

    @property
    def is_gone(self) -> bool:
        return bool(self.checks) and all(check.clean for check in self.checks)

    @property
    def proved(self) -> bool:
        return self.is_gone and self.line is not None and not self.problem


def table(receipts: Sequence[Receipt], *, place: str) -> str:
    """Return a Markdown table for the documentation."""
    left_count = sum(not receipt.is_gone for receipt in receipts)
    date = moment(max(receipt.at for receipt in receipts))[:10] if receipts else ""
    head = f"{len(receipts)} drills on {place}, {date}: {left_count} left a machine."
    rows = [
        f"| {receipt.phase.value} | {receipt.kill} | {_line(receipt)} | {_after(receipt)} | {_left_text(receipt)} |"
        for receipt in receipts
    ]
    return "\n".join([head, "", "| killed while | by | caught by | after | left |", "|---|---|---|---|---|", *rows])


def count_left(receipt: Receipt) -> int:
    return sum(len(check.leftovers) for check in receipt.checks)


def _line(receipt: Receipt) -> str:
    if receipt.line is None:
        return "no line" if not receipt.problem else "not killed"
    late = "" if receipt.line == receipt.first else f", not by line {receipt.first}"
    return f"line {receipt.line}, {LINES[receipt.line]}{late}"


def _after(receipt: Receipt) -> str:
    return "" if receipt.seconds is None else duration(receipt.seconds)


def _left_text(receipt: Receipt) -> str:
    return "0" if receipt.is_gone else (str(count_left(receipt)) if count_left(receipt) else "not known")
