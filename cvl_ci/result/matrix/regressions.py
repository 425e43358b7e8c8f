"""Which legs are worth an issue, and which are fine again: what a machine's absence says of neither. Pure.

A leg that failed and one that got worse are told apart: of the one it is news that it succeeds, of the other only that
its metrics were compared again and are not worse.
"""

from __future__ import annotations

import hashlib

from cvl_ci.result.benchmark.noise import Verdict
from cvl_ci.result.matrix.failures import INFRASTRUCTURE
from cvl_ci.result.matrix.report import Report, Row, is_called


def bad(report: Report) -> list[str]:
    """Return keys of legs that got worse, failed by their own doing, or left no summary, sorted."""
    worse = {_key(row, "worse") for row in report.rows if row.worse}
    failed = {_key(row, "failed") for row in report.rows if _failed(row)}
    unknown = (*report.missing, *(_expected_name(report, one.name) for one in report.outdated))
    return sorted(worse | failed | {_unknown(name) for name in unknown})


def fine(report: Report) -> list[str]:
    """Return keys of legs that succeeded, and of those that were compared and are not worse.

    Of a leg that once left no summary only its name is known: it is fine when it was measured again.
    """
    ended = [row for row in report.rows if row.failure is None]
    compared = {_key(row, "worse") for row in ended if row.verdict in {Verdict.SAME, Verdict.BETTER}}
    expected = report.expected.legs if report.expected else ()
    measured = [name for name in expected if any(is_called(leg.name, name) for row in ended for leg in row.legs)]
    return sorted(compared | {_key(row, "failed") for row in ended} | {_unknown(name) for name in measured})


def title(report: Report, *, workflow: str) -> str:
    """Plain text, which GitHub shows as it is."""
    count = len({_key(row, "") for row in report.rows if row.worse or _failed(row)})
    return f"{workflow or 'Benchmark'}: {count} {'leg' if count == 1 else 'legs'} got worse or failed"


def _expected_name(report: Report, leg: str) -> str:
    """Return the name by which the matrix knows this leg, so that a later measurement closes its issue."""
    expected = report.expected.legs if report.expected else ()
    return next((name for name in expected if is_called(leg, name)), leg)


def _unknown(name: str) -> str:
    return hashlib.sha256(f"no summary: {name}".encode("utf-8", "replace")).hexdigest()[:12]


def _failed(row: Row) -> bool:
    return row.failure is not None and row.failure not in INFRASTRUCTURE


def _key(row: Row, how: str) -> str:
    """The same every night, whichever driver or image it ran with."""
    key = row.key
    told = (key.example, key.preset, key.cloud, key.accelerator, str(key.spot), key.instance_type, str(key.nodes), how)
    return hashlib.sha256(repr(told).encode("utf-8", "replace")).hexdigest()[:12]
