"""Write the lines of `drill`: the line that caught the run, after how long, and the receipt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cvl_ci.errors import CvlError, NotProvedGone
from cvl_ci.result import text
from cvl_ci.result.receipt import LINES, Receipt
from cvl_ci.result.sanitize import plain
from cvl_ci.result.units import duration, moment


def lines(receipt: Receipt) -> Iterator[str]:
    yield f"{receipt.kill} while {receipt.phase.value} (lease {plain(receipt.lease) or 'none'}): {_verdict(receipt)}"
    yield f"  the provider was last asked at {moment(receipt.at)}"
    for check in receipt.checks:
        yield f"  {text.answer(check)}"
    if not receipt.checks:
        yield "  cvl-ci could ask no provider: nothing is proved"


def exit_code(receipts: Sequence[Receipt]) -> int:
    """Return the exit code. 79 comes before all others; a drill in which nothing was killed has proved nothing."""
    if not all(receipt.is_gone for receipt in receipts):
        return NotProvedGone.exit_code
    return 0 if all(receipt.proved for receipt in receipts) else CvlError.exit_code


def _verdict(receipt: Receipt) -> str:
    if receipt.problem:
        return f"NOTHING WAS KILLED: {plain(receipt.problem)}"
    if receipt.line is None:
        return f"NO LINE CAUGHT IT: a machine may still be running and billed; `cvl-ci down {receipt.lease}` ends it"
    after = f" after {duration(receipt.seconds)}" if receipt.seconds is not None else ""
    late = "" if receipt.line <= receipt.first else f", which line {receipt.first} should have done"
    return f"line {receipt.line} caught it, {LINES[receipt.line]}{after}{late}; 0 left"
