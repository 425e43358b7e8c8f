"""Metrics in rows: JSON, JSON lines and CSV. The last row is the metric, all rows the series. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Mapping, Sequence

from cvl_ci.result.benchmark.readings import Collector, Readings, Unreadable
from cvl_ci.result.sanitize import encodable

MOST_ROWS = 20_000
"""The last ones: a metric is what its last row says."""


def read_json(text: str) -> Readings:
    """A mapping, or a list of mappings, which are rows."""
    found = load(text)
    if isinstance(found, list):
        return _rows([row for row in found[-MOST_ROWS:] if isinstance(row, dict)])
    if not isinstance(found, dict):
        raise Unreadable("is no mapping")
    collector = Collector()
    collector.flatten(found)
    return collector.readings()


def read_json_lines(text: str) -> Readings:
    """A run that is stopped leaves half a last line: what stands before it counts."""
    rows = []
    for line in text.splitlines()[-MOST_ROWS:]:
        try:
            row = load(line) if line.strip() else None
        except Unreadable:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return _rows(rows)


def read_csv(text: str) -> Readings:
    """A table whose first column names its rows (`leaderboard.csv`) gives `row.column`; any other is a series."""
    lines = io.StringIO(text.removeprefix("\ufeff"))
    try:
        rows = deque(csv.DictReader(lines, restkey="", restval=""), maxlen=MOST_ROWS)
    except csv.Error as error:
        raise Unreadable(f"is no CSV: {error}") from None
    typed = [{str(key): _typed(value) for key, value in row.items() if key} for row in rows]
    first = next(iter(typed[0]), None) if typed else None
    names = [row.get(first) for row in typed] if first is not None else []
    if first is None or not all(isinstance(name, str) and name for name in names) or len({*names}) < len(names):
        return _rows(typed)
    collector = Collector()
    for name, row in zip(names, typed, strict=True):
        collector.flatten({key: value for key, value in row.items() if key != first}, prefix=f"{name}.")
    return collector.readings()


def load(text: str) -> object:
    """JSON as the field writes it, bare NaN included."""
    try:
        return encodable(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"is no JSON: {str(error)[:80]}") from None


def _rows(rows: Sequence[Mapping[str, object]]) -> Readings:
    """Not every row has every column: the last that has one gives its metric."""
    if not rows:
        raise Unreadable("holds no rows")
    flat = []
    for row in rows:
        one = Collector()
        one.flatten(row)
        flat.append(one.readings().metrics)
    collector = Collector()
    columns: dict[str, list[object]] = {}
    for row in flat:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    for name, values in columns.items():
        collector.add(name, values[-1] if values[-1] is not None else float("nan"))
        collector.add_series(name, values)
    return collector.readings()


def _typed(value: object) -> object:
    text = value.strip() if isinstance(value, str) else ""
    try:
        return int(text) if text.lstrip("+-").isdecimal() and len(text) < 20 else float(text)
    except ValueError:
        return text
