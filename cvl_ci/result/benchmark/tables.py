"""Read metrics in rows: JSON, JSON lines and CSV. The last row is the metric, all rows are the series. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Mapping, Sequence

from cvl_ci.result.benchmark.readings import Collector, Readings, UnreadableReadings
from cvl_ci.result.sanitize import encodable

MOST_ROWS = 20_000
"""Only the last rows count: a metric is the value of its last row."""


def read_json(text: str) -> Readings:
    """Read a mapping, or a list of mappings, which are rows."""
    document = load(text)
    if isinstance(document, list):
        return _rows([row for row in document[-MOST_ROWS:] if isinstance(row, dict)])
    if not isinstance(document, dict):
        raise UnreadableReadings("is not a mapping")
    collector = Collector()
    collector.flatten(document)
    return collector.readings()


def read_json_lines(text: str) -> Readings:
    """Read JSON lines. A stopped run leaves half a last line: the lines before it count."""
    rows = []
    for line in text.splitlines()[-MOST_ROWS:]:
        try:
            row = load(line) if line.strip() else None
        except UnreadableReadings:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return _rows(rows)


def read_csv(text: str) -> Readings:
    """Read a table.

    A first column that names the rows (`leaderboard.csv`) gives `row.column`; other tables are series.
    """
    lines = io.StringIO(text.removeprefix("\ufeff"))
    try:
        rows = deque(csv.DictReader(lines, restkey="", restval=""), maxlen=MOST_ROWS)
    except csv.Error as error:
        raise UnreadableReadings(f"is not CSV: {error}") from None
    values = [{str(key): _parsed(value) for key, value in row.items() if key} for row in rows]
    first = next(iter(values[0]), None) if values else None
    names = [row.get(first) for row in values] if first is not None else []
    if first is None or not all(isinstance(name, str) and name for name in names) or len({*names}) < len(names):
        return _rows(values)
    collector = Collector()
    for name, row in zip(names, values, strict=True):
        collector.flatten({key: value for key, value in row.items() if key != first}, prefix=f"{name}.")
    return collector.readings()


def load(text: str) -> object:
    """Load JSON, and accept a bare NaN, which many programs write."""
    try:
        return encodable(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise UnreadableReadings(f"is not JSON: {str(error)[:80]}") from None


def _rows(rows: Sequence[Mapping[str, object]]) -> Readings:
    """Return the last value of each column, because not every row has every column."""
    if not rows:
        raise UnreadableReadings("holds no rows")
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


def _parsed(value: object) -> object:
    text = value.strip() if isinstance(value, str) else ""
    try:
        return int(text) if text.lstrip("+-").isdecimal() and len(text) < 20 else float(text)
    except ValueError:
        return text
