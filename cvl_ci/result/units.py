"""Dollars, seconds and bytes as a person reads them."""

from __future__ import annotations

from datetime import datetime, timezone


def dollars(usd: float) -> str:
    """Two decimals, more where two would hide it: `$12.50`, `$0.096`, `$0.0041`."""
    if usd >= 1 or usd == 0:
        return f"${usd:.2f}"
    text = f"{usd:.4f}".rstrip("0")
    whole, _, decimals = text.partition(".")
    return f"${whole}.{decimals.ljust(2, '0')}"


def duration(seconds: float) -> str:
    """`0.4 s`, `48 s`, `1 min 32 s`, `2 h 5 min`."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if minutes == 0:
        return f"{whole} s"
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def stopwatch(seconds: float) -> str:
    """`1:32`, `2:05:09`."""
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: int) -> str:
    """`512 B`, `31.2 kB`, `1.4 GB`: thousands, not 1024s."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.95 or unit == "GB":
            break
        amount /= 1000
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def moment(epoch_seconds: float) -> str:
    """ISO 8601, UTC, whole seconds."""
    return datetime.fromtimestamp(epoch_seconds, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def number(value: object) -> str:
    """A metric's value, short: floats to four significant places."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
