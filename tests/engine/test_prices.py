"""Offers are what the table says, in the order asked for, and never a price nobody should believe."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cvl_ci.clouds.catalogue import names as catalogue
from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.inputs.locations import CLOUDS
from cvl_ci.model.gpu_memory import GPU_MEMORY
from cvl_ci.model.location import Location
from cvl_ci.model.offer import Offer
from cvl_ci.model.resource_request import ResourceRequest, Spot
from cvl_ci.ports import Prices

PRICES = CataloguePrices()
AWS, GCP = Location(cloud="aws"), Location(cloud="gcp")


def offers(
    needs: ResourceRequest, *locations: Location, spot: Spot = Spot.NEVER, prices: Prices = PRICES
) -> list[Offer]:
    return list(prices.offers(needs, locations=locations, spot=spot))


def gpu(**counts: int) -> ResourceRequest:
    return ResourceRequest(accelerators={name.replace("_", "-"): count for name, count in counts.items()})


def test_the_cheapest_machine_with_the_gpu_comes_first() -> None:
    found = offers(gpu(L4=1))
    assert (found[0].cloud, found[0].instance_type, found[0].hourly_usd) == ("runpod", "1x_L4_SECURE", 0.49)
    assert [offer.hourly_usd for offer in found] == sorted(offer.hourly_usd for offer in found)
    assert all(offer.accelerators == {"L4": 1} and not offer.spot for offer in found)


def test_alternatives_compete_by_price() -> None:
    found = offers(gpu(A100=1, L40S=1), AWS)
    assert (found[0].instance_type, found[0].hourly_usd) == ("g6e.xlarge", 1.861)


def test_alternatives_in_order_of_preference_are_not_ranked_by_price() -> None:
    found = offers(ResourceRequest(accelerators={"L40S": 1, "A10G": 1, "T4": 1}, in_order=True), AWS)
    ranks = [["L40S", "A10G", "T4"].index(name) for offer in found for name in offer.accelerators]
    assert set(ranks) == {0, 1, 2}
    assert ranks == sorted(ranks)


def test_exact_sizes_are_exact() -> None:
    assert {offer.vcpus for offer in offers(ResourceRequest(cpus=2, exact=frozenset({"cpus"})), AWS)} == {2}
    assert offers(ResourceRequest(cpus=3, exact=frozenset({"cpus"})), AWS) == []
    assert {
        offer.memory_gib for offer in offers(ResourceRequest(memory_gib=8, exact=frozenset({"memory_gib"})), AWS)
    } == {8}


def test_a_count_is_exact() -> None:
    assert {offer.instance_type for offer in offers(gpu(L4=4), AWS)} == {"g6.12xlarge"}
    assert offers(gpu(A100=1), AWS) == []


def test_places_keep_their_order_and_prices_order_each() -> None:
    found = offers(gpu(L4=1), AWS, Location(cloud="gcp", region="us-central1"))
    assert [offer.cloud for offer in found] == ["aws"] * 6 + ["gcp"]
    assert {offer.region for offer in found if offer.cloud == "gcp"} == {"us-central1"}
    assert found[0].hourly_usd <= found[5].hourly_usd


def test_spot_has_spot_prices_and_fallback_has_all_of_them_first() -> None:
    spot = offers(gpu(T4=1), AWS, spot=Spot.ALWAYS)
    assert (spot[0].region, spot[0].hourly_usd, spot[0].spot) == ("us-east-2", 0.1901, True)
    both = offers(gpu(T4=1), AWS, GCP, spot=Spot.FALLBACK)
    kinds = [offer.spot for offer in both]
    assert kinds == sorted(kinds, reverse=True)
    assert {offer.cloud for offer in both if offer.spot} == {offer.cloud for offer in both if not offer.spot}
    assert offers(gpu(GH200=1), spot=Spot.ALWAYS) == []


def test_without_a_gpu_the_cheapest_with_two_vcpus_is_meant() -> None:
    found = offers(ResourceRequest(), AWS)
    assert (found[0].instance_type, found[0].hourly_usd) == ("m6i.large", 0.096)
    assert all(offer.accelerators == {} for offer in found)
    assert offers(ResourceRequest(cpus=4, memory_gib=16), AWS)[0].instance_type == "m6i.xlarge"
    assert offers(ResourceRequest(cpus=4), AWS)[0].instance_type == "m6i.xlarge", "SkyPilot takes 4 GiB for each vCPU"
    assert offers(ResourceRequest(cpus=4, memory_gib=8), AWS)[0].instance_type == "c6i.xlarge"
    assert {offer.instance_type for offer in found} == {"m6i.large"}, "SkyPilot tries one type without GPU"
    assert offers(ResourceRequest(cpus=1000)) == []


def test_cpus_and_memory_hold_for_a_gpu_too() -> None:
    found = offers(ResourceRequest(accelerators={"T4": 1}, cpus=8, memory_gib=32), AWS)
    assert {offer.instance_type for offer in found} == {"g4dn.2xlarge"}


def test_a_type_asked_for_is_that_type() -> None:
    assert {offer.instance_type for offer in offers(ResourceRequest(instance_type="g5.xlarge"))} == {"g5.xlarge"}


def test_the_sandbox_has_awss_machines_of_its_two_regions_and_is_no_part_of_any() -> None:
    found = offers(gpu(L4=1), Location(cloud="sandbox"))
    assert {offer.cloud for offer in found} == {"sandbox"}
    assert {offer.region for offer in found} == {"us-east-1", "us-west-2"}
    assert "sandbox" not in {offer.cloud for offer in offers(gpu(L4=1))}
    rows = PRICES.machine_rows()
    t4 = next(row for row in rows if row.name == "g4dn.xlarge" and row.region == "us-east-1")
    assert (t4.accelerator, t4.count, t4.accelerator_memory_gib, t4.vcpus, t4.memory_gib) == ("T4", 1, 16, 4, 16)
    assert (t4.price, t4.spot) == (0.526, 0.2)
    assert next(row for row in rows if row.name == "m6i.large").accelerator is None


def test_a_region_of_a_cloud_with_one_price_everywhere_has_it() -> None:
    (first, *_) = offers(gpu(A10=1), Location(cloud="lambda", region="us-west-1"))
    assert (first.region, first.hourly_usd) == ("us-west-1", 1.29)


@pytest.mark.parametrize(
    ("needs", "place", "never"),
    [
        (gpu(A100_80GB=1), Location(cloud="gcp"), {3.24335, 2.94582}),
        (gpu(H100=8), Location(cloud="gcp"), {43.06615}),
        (gpu(A100=1), Location(cloud="gcp"), {2.42771}),
    ],
)
def test_a_price_nobody_should_believe_is_offered_to_nobody(
    needs: ResourceRequest, place: Location, never: set[float]
) -> None:
    assert not never & {offer.hourly_usd for offer in offers(needs, place)}
    assert offers(needs, place) != []


def test_a_spot_price_nobody_should_believe_leaves_the_machine_on_demand() -> None:
    spot = offers(gpu(A100=8), AWS, spot=Spot.ALWAYS)
    assert "us-east-1" not in {offer.region for offer in spot}
    assert "us-east-1" in {offer.region for offer in offers(gpu(A100=8), AWS)}


def test_the_table_is_whole_and_every_row_names_its_source() -> None:
    with (Path(catalogue.__file__).parent / "prices.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 160
    assert all(len(row["catalog_commit"]) == 40 for row in rows)
    assert {row["cloud"] for row in rows} == set(PRICES.clouds()) <= set(CLOUDS)
    assert {row["accelerator"] for row in rows} - {""} <= GPU_MEMORY.keys() <= set(catalogue.ACCELERATORS)
    for row in rows:
        known = catalogue.REGIONS.get(row["cloud"])
        assert known is None or row["region"] in known


def test_the_date_is_what_is_known_of_it() -> None:
    assert "between 2025-04-28 and 2026-11-28" in PRICES.date
    assert "aws 00148f2" in PRICES.date


def test_every_gpu_of_the_examples_table_is_known() -> None:
    names = {"T4", "L4", "A10G", "A10", "A100", "L40S", "A6000", "A100-80GB", "H100", "H200", "B200"}
    assert names <= set(PRICES.accelerators())
    assert len(set(PRICES.accelerators())) == len(PRICES.accelerators())
