"""The numbers an example wrote in its metrics.json, flat: hostile text in, plain values out. Pure."""

from __future__ import annotations

import json
import math

MOST = 200
LONGEST = 120


def read_metrics(text: bytes) -> dict[str, object]:
    """Nested mappings become dotted names. Numbers, and short strings beside them as labels; NaN and ∞ become None.

    Raises ValueError for what is no JSON mapping.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError("no mapping")  # noqa: TRY004  of the text, not of a type
    flat: dict[str, object] = {}
    _flatten("", values, flat)
    return flat


def _flatten(prefix: str, values: dict[str, object], flat: dict[str, object]) -> None:
    for key, value in values.items():
        name = f"{prefix}{key}"[:LONGEST]
        if len(flat) >= MOST:
            return
        if isinstance(value, dict):
            _flatten(f"{name}.", value, flat)
        elif isinstance(value, float) and not math.isfinite(value):
            flat[name] = None
        elif isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= LONGEST):
            flat[name] = value
