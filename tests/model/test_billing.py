"""The providers' rules: seconds that are billed, and prices with their sources."""

from __future__ import annotations

import pytest

from cvl_ci.model.billing import RULES, UnitPrice, disk_hourly_usd, extra_hourly_usd, month_hours, rules_of

NOVEMBER, FEBRUARY = 1_795_900_000.0, 1_803_000_000.0  # 2026-11-28, 2027-02-19


@pytest.mark.parametrize(
    ("cloud", "seconds", "billed"),
    [
        ("aws", 0.0, 0.0),
        ("aws", 0.2, 60.0),
        ("aws", 59.9, 60.0),
        ("aws", 60.2, 61.0),
        ("aws", 3600.0, 3600.0),
        ("gcp", 30.0, 60.0),
        ("lambda", 61.0, 120.0),
        ("nebius", 3.5, 4.0),
        ("azure", 7.5, 7.5),
        ("a new cloud", 7.5, 7.5),
    ],
)
def test_time_is_rounded_as_the_provider_rounds_it(cloud: str, seconds: float, billed: float) -> None:
    assert rules_of(cloud).billed_seconds(seconds) == billed


def test_a_hair_of_a_float_buys_no_second() -> None:
    assert rules_of("aws").billed_seconds(sum([0.1] * 1000)) == 100.0


def test_a_gigabyte_month_is_as_long_as_its_month() -> None:
    assert (month_hours(NOVEMBER), month_hours(FEBRUARY)) == (720.0, 672.0)


def test_the_disk_of_skypilot_on_aws_has_a_part_that_does_not_depend_on_its_size() -> None:
    """gp3 with 3,500 IOPS and 218 MB/s: 500 and 93 above what its size includes."""
    hourly = disk_hourly_usd("aws", disk_gb=100, at=NOVEMBER)
    assert hourly == pytest.approx((100 * 0.08 + 500 * 0.005 + 93 * 0.04) / 720)
    assert extra_hourly_usd("aws", disk_gb=100, at=NOVEMBER) == pytest.approx((hourly or 0) + 0.005)


def test_16_terabytes_cost_what_they_cost() -> None:
    assert extra_hourly_usd("aws", disk_gb=16_384, at=NOVEMBER) == pytest.approx(1.834, abs=0.001)


def test_an_unknown_price_is_none_and_never_invented() -> None:
    assert disk_hourly_usd("azure", disk_gb=100, at=NOVEMBER) is None


def test_the_highest_known_price_bounds_an_unknown_one() -> None:
    known = [disk_hourly_usd(cloud, disk_gb=100, at=NOVEMBER) or 0.0 for cloud in RULES]
    assert extra_hourly_usd("azure", disk_gb=100, at=NOVEMBER) == pytest.approx(max(known) + 0.005)


def test_every_figure_names_its_source() -> None:
    for cloud, rules in RULES.items():
        prices: list[UnitPrice] = [rules.disk, rules.address, rules.traffic]
        assert all(price.source for price in prices if price.usd is not None), cloud
        assert rules.sources, cloud
        assert all("https://" in source for source in rules.sources), cloud
