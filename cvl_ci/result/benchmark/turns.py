"""What a job measured in several runs on one machine, as one: medians, with every run's own number kept. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from cvl_ci.result.benchmark.readings import MOST, Readings, finite

TIME = "time.turn"
"""How long one turn ran, in seconds, by the machine's own clock."""


def together(turns: Sequence[Readings], *, seconds: Sequence[float]) -> Readings:
    """Of each turn one number a name, its median where it had samples itself. Labels: the last turn's."""
    found: dict[str, list[float]] = {TIME: list(seconds)} if seconds else {}
    labels: dict[str, object] = {}
    for turn in turns:
        for name, value in _of(turn).items():
            number = finite(value)
            if number is None:
                labels[name] = value
            elif name in found or len(found) < MOST:
                found.setdefault(name, []).append(number)
    medians = {name: statistics.median(values) for name, values in found.items()}
    return Readings(
        metrics={**labels, **medians},
        samples={name: tuple(values) for name, values in found.items() if len(values) > 1},
    )


def _of(turn: Readings) -> Mapping[str, object]:
    return {**{name: statistics.median(values) for name, values in turn.samples.items()}, **turn.metrics}
