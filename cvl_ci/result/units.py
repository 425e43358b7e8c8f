"""Format dollars, seconds and bytes for a person."""

from __future__ import annotations

from datetime import datetime, timezone


def dollars(usd: float) -> str:
    """Return two decimals, and more where two would hide the amount: `$12.50`, `$0.096`, `$0.0041`."""
    if usd >= 1 or usd == 0:
        return f"${usd:.2f}"
    text = f"{usd:.4f}".rstrip("0")
    units, _, decimals = text.partition(".")
    return f"${units}.{decimals.ljust(2, '0')}"


def percent(share: float, *, digits: int = 0, signed: bool = False) -> str:
    """Return a share of one as `76 %`, or as `+18.4 %` with its sign and one digit."""
    return f"{share:{'+' if signed else ''}.{digits}%}".replace("%", " %")


def change(share: float) -> str:
    """Return a change against another value, such as `+18.4 %`."""
    return percent(share, digits=1, signed=True)


def duration(seconds: float) -> str:
    """Return `0.4 s`, `48 s`, `1 min 32 s`, `2 h 5 min`."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    minutes, rest = divmod(rounded, 60)
    if minutes == 0:
        return f"{rounded} s"
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def clock_text(seconds: float) -> str:
    """Return `1:32`, `2:05:09`."""
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(count: int) -> str:
    """Return `512 B`, `31.2 kB`, `1.4 GB`, in powers of 1000 and not of 1024."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.95 or unit == "GB":
            break
        amount /= 1000
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def moment(epoch_seconds: float) -> str:
    """Return ISO 8601, UTC, whole seconds."""
    return datetime.fromtimestamp(epoch_seconds, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def number(value: object) -> str:
    """Return a metric's value, short: floats with four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
