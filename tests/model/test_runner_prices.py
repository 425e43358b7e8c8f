"""GitHub's prices of its runners."""

from __future__ import annotations

import pytest

from cvl_ci.model.runner_prices import minutes_usd, sku_of


@pytest.mark.parametrize(
    ("hosted", "system", "architecture", "cores", "sku"),
    [
        (True, "Linux", "X64", 2, "linux"),
        (True, "Linux", "X64", 16, "linux_16_core"),
        (True, "Linux", "ARM64", 2, "linux_2_core_arm"),
        (True, "Linux", "X64", 3, None),
        (True, "Windows", "X64", 2, None),
        (False, "Linux", "X64", 2, None),
    ],
)
def test_a_runner_is_known_by_its_size(
    hosted: bool, system: str, architecture: str, cores: int, sku: str | None
) -> None:
    assert sku_of(hosted=hosted, system=system, architecture=architecture, cores=cores) == sku


def test_github_rounds_minutes_up() -> None:
    assert minutes_usd("linux", 61.0) == pytest.approx(0.012)
    assert minutes_usd("linux", 0.0) == 0.0
