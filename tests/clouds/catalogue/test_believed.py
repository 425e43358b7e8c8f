"""A price that is 345 times wrong neither ranks a machine nor bounds a run; a large host is not a wrong price."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.clouds.catalogue import believed
from cvl_ci.clouds.catalogue.machine_row import MachineRow
from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.prices import doubts
from cvl_ci.model.location import Location
from cvl_ci.model.resource_request import ResourceRequest, Spot
from tests.clouds.catalogue import files


def row(name: str, price: float | None, *, spot: float | None = None, vcpus: float = 4, count: float = 1) -> MachineRow:
    return MachineRow(
        cloud="aws", name=name, vcpus=vcpus, memory_gib=16, accelerator="L4", count=count, price=price, spot=spot,
        spot_most=spot, region="us-east-1",
    )  # fmt: skip


USUAL = [row("a", 0.7), row("b", 0.8), row("c", 0.9), row("d", 3.2, count=4, vcpus=16)]


@pytest.mark.parametrize("factor", [0.003, 0.19, 4.1, 345])
def test_a_price_far_from_its_gpus_median_is_replaced_by_it(factor: float) -> None:
    wrong = row("wrong", 0.8 * factor)
    checked = believed.checked(wrong, believed.usual_prices([*USUAL, wrong]))
    assert checked.price == pytest.approx(0.8, rel=0.1)
    assert checked.doubted == {False: wrong.price}


@pytest.mark.parametrize("factor", [0.25, 0.57, 1.75, 3.9])
def test_a_price_within_the_bounds_stays(factor: float) -> None:
    usual = row("fine", 0.8 * factor)
    assert believed.checked(usual, believed.usual_prices([*USUAL, usual])) == usual


def test_a_large_host_with_one_gpu_is_not_a_wrong_price() -> None:
    """AWS's g4dn.16xlarge: one T4 and 64 vCPUs cost 8 times what one T4 and 4 vCPUs cost."""
    large = row("g.16xlarge", 6.4, vcpus=64)
    assert believed.checked(large, believed.usual_prices([*USUAL, large])).doubted is None


def test_a_type_has_one_vote_however_many_regions_it_has() -> None:
    many = [replace(row("a", 0.01), region=f"r{number}") for number in range(40)]
    usual = believed.usual_prices([*USUAL[1:], *many])
    assert usual["L4", False].unit_usd == pytest.approx(0.8)


def test_two_types_say_nothing() -> None:
    assert believed.usual_prices(USUAL[:2]) == {}


def test_spot_without_a_discount_is_believed_and_a_dear_zone_is_bounded() -> None:
    spots = [row(name, 0.8, spot=0.2) for name in "abc"]
    no_discount = row("d", 0.85, spot=0.85)
    assert believed.checked(no_discount, believed.usual_prices([*spots, no_discount])).doubted is None
    dear_zone = replace(row("e", 0.8, spot=0.2), spot_most=69.0)
    assert believed.checked(dear_zone, believed.usual_prices([*spots, dear_zone])).spot_most == pytest.approx(0.2)


def test_no_row_of_our_own_table_is_doubted() -> None:
    prices = CataloguePrices()
    gpus = {name for row_ in prices.machine_rows() if (name := row_.accelerator)}
    for name in {*gpus, "H100", "H200", "A100", "GH200", "B200"}:
        for count in (1, 2, 4, 8):
            results = prices.offers(ResourceRequest(accelerators={name: count}), locations=(), spot=Spot.FALLBACK)
            assert [offer for offer in results if offer.doubted_usd is not None] == []


def test_a_wrong_price_of_a_catalogue_is_named_and_ranks_by_the_usual_one(tmp_path: Path) -> None:
    files.write(tmp_path, "aws", files.AWS.replace("16.0,,0.7,", "16.0,,0.002,").replace('",0.7,', '",0.002,'))
    prices = CataloguePrices(tmp_path)
    (l4,) = prices.offers(ResourceRequest(accelerators={"L4": 1}), locations=[Location(cloud="aws")], spot=Spot.NEVER)
    assert l4.doubted_usd == 0.002
    assert 0.4 < l4.hourly_usd < 1.2
    assert doubts([l4]) == [
        "aws/us-east-1 g6.xlarge: the catalogue says $0.002 an hour, which is not believed. "
        f"The usual ${l4.hourly_usd:.4f}".rstrip("0")
        + " counts."
    ]


def test_random_rows_stay_within_the_bounds_of_their_median() -> None:
    dice = random.Random(7)
    for _ in range(200):
        rows = [
            row(
                f"t{n}",
                0.8 * 10 ** dice.uniform(-3, 3),
                spot=0.3 * 10 ** dice.uniform(-3, 3),
                vcpus=dice.choice([4, 64]),
            )
            for n in range(dice.randint(3, 30))
        ]
        usual = believed.usual_prices(rows)
        for one in rows:
            checked = believed.checked(one, usual)
            for on_spot in (False, True):
                median, price = usual["L4", on_spot], checked.at(on_spot=on_spot)
                scale = max(1.0, one.vcpus / median.vcpus)
                assert price is not None
                highest = believed.HIGHEST * median.unit_usd * scale
                assert believed.LOWEST * median.unit_usd <= price <= max(highest, checked.price or 0.0) * (1 + 1e-9)
