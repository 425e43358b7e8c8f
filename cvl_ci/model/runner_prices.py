"""Hold GitHub's prices of a minute on its standard Linux runners. Values, and what follows from them alone.

Standard runners are free for public repositories. The prices hold for the others, whose standard runners have 1 or 2
cores (GitHub's docs, "GitHub-hosted runners reference"). A runner of another size is a larger runner, or unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RunnerPrice:
    """A standard runner in GitHub's price list. `sku`: GitHub's name of it."""

    sku: str
    minute_usd: float

    def usd(self, seconds: float) -> float:
        """Return the price of this time, in whole minutes and without the minutes that a plan includes."""
        return self.minute_usd * minutes(seconds)


PRICES: Mapping[tuple[str, int], RunnerPrice] = {
    ("X64", 1): RunnerPrice(sku="actions_linux_slim", minute_usd=0.002),
    ("X64", 2): RunnerPrice(sku="actions_linux", minute_usd=0.006),
    ("ARM64", 2): RunnerPrice(sku="actions_linux_arm", minute_usd=0.005),
}
"""By GitHub's RUNNER_ARCH and the number of cores.

Source: https://docs.github.com/en/billing/reference/actions-runner-pricing, as of 2026-05-09.
"""


def minutes(seconds: float) -> int:
    """Return whole minutes: GitHub rounds up."""
    return math.ceil(max(seconds, 0.0) / 60)


def price_of(*, hosted: bool, private: bool, system: str, architecture: str, cores: int) -> RunnerPrice | None:
    """Return the price of a runner by GitHub's variables RUNNER_OS and RUNNER_ARCH; None where it is free or unknown.

    `hosted`: GitHub owns the runner. `private`: the event says that the repository is not public.
    """
    return PRICES.get((architecture, cores)) if hosted and private and system == "Linux" else None
