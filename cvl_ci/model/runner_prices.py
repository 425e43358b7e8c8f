"""Hold GitHub's prices of a minute on its own runners, by SKU. Values, and what follows from them alone.

Source: https://docs.github.com/en/billing/reference/actions-runner-pricing, as of 2026-05-09. GitHub rounds the minutes
of each job up. Minutes on standard runners are free for public repositories, and a plan includes some others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

SOURCE = "https://docs.github.com/en/billing/reference/actions-runner-pricing (2026-05-09)"

MINUTE_USD: Mapping[str, float] = {
    "linux_slim": 0.002,
    "linux": 0.006,
    "linux_2_core_arm": 0.005,
    "linux_4_core": 0.012,
    "linux_8_core": 0.022,
    "linux_16_core": 0.042,
    "linux_32_core": 0.082,
    "linux_64_core": 0.162,
    "linux_96_core": 0.252,
    "linux_4_core_arm": 0.008,
    "linux_8_core_arm": 0.014,
    "linux_16_core_arm": 0.026,
    "linux_32_core_arm": 0.050,
    "linux_64_core_arm": 0.098,
    "windows": 0.010,
    "macos": 0.062,
}

_BY_CORES = {
    "X64": {1: "linux_slim", 2: "linux", **{cores: f"linux_{cores}_core" for cores in (4, 8, 16, 32, 64, 96)}},
    "ARM64": {cores: f"linux_{cores}_core_arm" for cores in (2, 4, 8, 16, 32, 64)},
}


def sku_of(*, hosted: bool, system: str, architecture: str, cores: int) -> str | None:
    """Return the SKU of a Linux runner by GitHub's variables RUNNER_OS and RUNNER_ARCH; None where it is unknown.

    `hosted`: GitHub owns the runner. The cores do not tell a large runner from a standard one with as many.
    """
    return _BY_CORES.get(architecture, {}).get(cores) if hosted and system == "Linux" else None


def minutes_usd(sku: str, seconds: float) -> float:
    """Return the price of a job of this length, without free and included minutes."""
    return MINUTE_USD[sku] * math.ceil(max(seconds, 0.0) / 60)
