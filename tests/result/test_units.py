"""Numbers as a person reads them."""

from __future__ import annotations

import pytest

from cvl_ci.result.units import clock_text, dollars, duration, moment, size


@pytest.mark.parametrize(
    ("usd", "text"),
    [(0, "$0.00"), (0.00004, "$0.00"), (0.0041, "$0.0041"), (0.096, "$0.096"), (0.5, "$0.50"), (12.345, "$12.35")],
)
def test_dollars(usd: float, text: str) -> None:
    assert dollars(usd) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (0.4, "0.4 s"), (48.2, "48 s"), (59.7, "1 min"), (92, "1 min 32 s"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0:00"), (9, "0:09"), (92.9, "1:32"), (7509, "2:05:09")])
def test_stopwatch(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (31_234, "31.2 kB"), (999_999, "1.0 MB"), (5 * 10**12, "5000.0 GB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_a_moment_is_utc() -> None:
    assert moment(0) == "1970-01-01T00:00:00Z"
