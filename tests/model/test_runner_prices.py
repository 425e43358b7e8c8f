"""GitHub's prices of its runners."""

from __future__ import annotations

import pytest

from cvl_ci.model.runner_prices import minutes, price_of


@pytest.mark.parametrize(
    ("hosted", "private", "system", "size", "sku"),
    [
        (True, True, "Linux", ("X64", 1), "actions_linux_slim"),
        (True, True, "Linux", ("X64", 2), "actions_linux"),
        (True, True, "Linux", ("ARM64", 2), "actions_linux_arm"),
        (True, True, "Linux", ("X64", 4), None),
        (True, True, "Windows", ("X64", 2), None),
        (True, False, "Linux", ("X64", 2), None),
        (False, True, "Linux", ("X64", 2), None),
    ],
)
def test_only_a_standard_runner_of_a_private_repository_has_a_price(
    hosted: bool, private: bool, system: str, size: tuple[str, int], sku: str | None
) -> None:
    result = price_of(hosted=hosted, private=private, system=system, architecture=size[0], cores=size[1])
    assert (result.sku if result else None) == sku


def test_github_rounds_minutes_up() -> None:
    price = price_of(hosted=True, private=True, system="Linux", architecture="X64", cores=2)
    assert price is not None
    assert price.usd(61.0) == pytest.approx(0.012)
    assert price.usd(0.0) == 0.0
    assert [minutes(seconds) for seconds in (-1.0, 0.0, 1.0, 60.0, 60.5)] == [0, 0, 1, 1, 2]
