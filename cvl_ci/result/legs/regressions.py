"""Which legs are worth an issue, and which are fine again: what a machine's absence says of neither. Pure."""

from __future__ import annotations

import hashlib

from cvl_ci.result.legs.failures import INFRASTRUCTURE
from cvl_ci.result.legs.rows import Report, Row, is_called


def bad(report: Report) -> list[str]:
    """Keys of legs that got worse, failed by their own doing, or left no summary, sorted."""
    unknown = {_unknown(name) for name in report.missing}
    return sorted({*unknown, *(_key(row) for row in report.rows if _is_bad(row))})


def fine(report: Report) -> list[str]:
    """Keys of legs that were measured and are not worse. Of a leg that once left no summary only its name is known."""
    calm = [row for row in report.rows if row.failure is None and not row.worse]
    legs = [leg for row in calm for leg in row.legs]
    expected = report.expected.legs if report.expected else ()
    names = [name for name in expected if any(is_called(leg, name) for leg in legs)]
    return sorted({*map(_unknown, names), *map(_key, calm)})


def title(report: Report, *, workflow: str) -> str:
    """Plain text, which GitHub shows as it is."""
    count = len(bad(report))
    return f"{workflow or 'Benchmark'}: {count} {'leg' if count == 1 else 'legs'} got worse or failed"


def _unknown(name: str) -> str:
    return hashlib.sha256(f"no summary: {name}".encode("utf-8", "replace")).hexdigest()[:12]


def _is_bad(row: Row) -> bool:
    return bool(row.worse) or (row.failure is not None and row.failure not in INFRASTRUCTURE)


def _key(row: Row) -> str:
    """The same every night, whichever driver or image it ran with."""
    key = row.key
    told = (key.example, key.preset, key.cloud, key.accelerator, str(key.spot))
    return hashlib.sha256(repr(told).encode("utf-8", "replace")).hexdigest()[:12]
