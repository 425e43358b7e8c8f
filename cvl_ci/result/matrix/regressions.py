"""Find the legs that deserve an issue, and those that are fine again. A missing machine says neither. Pure.

A leg that failed and a leg that got worse differ. A success ends the first. The second needs a new comparison whose
metrics are not worse.
"""

from __future__ import annotations

import hashlib

from cvl_ci.result.benchmark.noise import Verdict
from cvl_ci.result.matrix.failures import INFRASTRUCTURE
from cvl_ci.result.matrix.report import Report, is_called
from cvl_ci.result.matrix.row import Row


def bad(report: Report) -> list[str]:
    """Return keys of legs that got worse, failed by themselves, or left no summary, sorted."""
    worse = {_key(row, "worse") for row in report.rows if row.comparison.worse}
    failed = {_key(row, "failed") for row in report.rows if _failed(row)}
    unknown = (*report.missing, *(_expected_name(report, one.name) for one in report.outdated))
    return sorted(worse | failed | {_unknown(name) for name in unknown})


def fine(report: Report) -> list[str]:
    """Return keys of legs that succeeded, and of legs that were compared and are not worse.

    If a leg left no summary, only its name is known. It is fine when it was measured again.
    """
    succeeded = [row for row in report.rows if row.failures.worst is None]
    compared = {_key(row, "worse") for row in succeeded if row.comparison.verdict in {Verdict.SAME, Verdict.BETTER}}
    expected = report.expected.legs if report.expected else ()
    measured = [name for name in expected if any(is_called(leg.name, name) for row in succeeded for leg in row.legs)]
    return sorted(compared | {_key(row, "failed") for row in succeeded} | {_unknown(name) for name in measured})


def title(report: Report, *, workflow: str) -> str:
    """Return the title as plain text, which GitHub shows unchanged."""
    count = len({_key(row, "") for row in report.rows if row.comparison.worse or _failed(row)})
    return f"{workflow or 'Benchmark'}: {count} {'leg' if count == 1 else 'legs'} got worse or failed"


def _expected_name(report: Report, leg: str) -> str:
    """Return the name by which the matrix knows this leg, so that a later measurement closes its issue."""
    expected = report.expected.legs if report.expected else ()
    return next((name for name in expected if is_called(leg, name)), leg)


def _unknown(name: str) -> str:
    return hashlib.sha256(f"no summary: {name}".encode("utf-8", "replace")).hexdigest()[:12]


def _failed(row: Row) -> bool:
    return row.failures.worst is not None and row.failures.worst not in INFRASTRUCTURE


def _key(row: Row, kind: str) -> str:
    """Return a key that stays the same every night, whichever driver or image the leg used."""
    key = row.key
    parts = (
        key.example,
        key.preset,
        key.cloud,
        key.accelerator,
        str(key.spot),
        key.instance_type,
        str(key.nodes),
        kind,
    )
    return hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()[:12]
