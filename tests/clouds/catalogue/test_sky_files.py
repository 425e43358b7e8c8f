"""SkyPilot's own files are read as SkyPilot reads them: zones, Local Zones, Google's two prices, and broken lines."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.model.location import Location
from cvl_ci.model.offer import Offer
from cvl_ci.model.resource_request import ResourceRequest, Spot
from tests.clouds.catalogue import files

AWS, GCP = Location(cloud="aws"), Location(cloud="gcp")


@pytest.fixture
def prices(tmp_path: Path) -> CataloguePrices:
    files.write(tmp_path, "aws", files.AWS)
    files.write(tmp_path, "gcp", files.GCP)
    return CataloguePrices(tmp_path, today=date(2026, 10, 1))


def offers(
    prices: CataloguePrices, needs: ResourceRequest, *locations: Location, spot: Spot = Spot.NEVER
) -> list[Offer]:
    return list(prices.offers(needs, locations=locations, spot=spot))


def gpu(name: str, count: float = 1) -> ResourceRequest:
    return ResourceRequest(accelerators={name: count})


def test_a_type_and_region_is_one_offer_with_the_lowest_and_the_highest_spot_price(prices: CataloguePrices) -> None:
    (l4,) = offers(prices, gpu("L4"), AWS)
    assert (l4.instance_type, l4.hourly_usd, l4.vcpus, l4.memory_gib) == ("g6.xlarge", 0.7, 4, 16)
    (spot,) = offers(prices, gpu("L4"), AWS, spot=Spot.ALWAYS)
    assert (spot.hourly_usd, spot.most_usd) == (0.25, 0.30)


def test_a_local_zone_counts_only_where_the_place_names_it(prices: CataloguePrices) -> None:
    assert {offer.hourly_usd for offer in offers(prices, gpu("L4"), AWS)} == {0.7}
    boston = Location(cloud="aws", region="us-east-1", zone="us-east-1-bos-1a")
    assert {offer.hourly_usd for offer in offers(prices, gpu("L4"), boston)} == {1.1}
    usual = Location(cloud="aws", region="us-east-1", zone="us-east-1a")
    assert {offer.hourly_usd for offer in offers(prices, gpu("L4"), usual)} == {0.7}


def test_a_part_of_a_gpu_and_a_broken_line(prices: CataloguePrices) -> None:
    (part,) = offers(prices, gpu("L4", 0.125), AWS)
    assert (part.instance_type, part.accelerators) == ("g6f.large", {"L4": 0.125})
    assert "broken" not in {offer.instance_type for offer in offers(prices, gpu("L4"), AWS)}


def test_without_a_gpu_one_type_of_skypilots_families(prices: CataloguePrices) -> None:
    assert {offer.instance_type for offer in offers(prices, ResourceRequest(), AWS)} == {"m6i.large"}
    assert {offer.instance_type for offer in offers(prices, ResourceRequest(), GCP)} == {"n2-standard-2"}


def test_googles_host_and_gpu_are_one_price(prices: CataloguePrices) -> None:
    a100 = {offer.region: offer for offer in offers(prices, gpu("A100"), GCP)}
    assert a100["us-central1"].hourly_usd == pytest.approx(0.73948 + 2.93391)
    assert a100["me-west1"].hourly_usd == pytest.approx(0.81342 + 2.93391)
    (spot,) = offers(prices, gpu("A100"), Location(cloud="gcp", region="me-west1"), spot=Spot.ALWAYS)
    assert spot.hourly_usd == pytest.approx(0.33516 + 1.2)
    assert {offer.instance_type for offer in offers(prices, gpu("L4"), GCP)} == {"g2-standard-4"}
    assert {offer.instance_type for offer in offers(prices, gpu("T4"), GCP)} == {"n1-highmem-4"}, "15 GiB are too few"
    large = ResourceRequest(accelerators={"T4": 1}, cpus=8)
    assert {offer.instance_type for offer in offers(prices, large, GCP)} == {"n1-highmem-8"}
    (named,) = offers(prices, ResourceRequest(instance_type="a3-highgpu-8g"), GCP)
    assert dict(named.accelerators) == {"H100": 8}
    assert named.hourly_usd == pytest.approx(9.46006 + 78.4)


def test_an_n1_of_google_cloud_has_the_gpu_that_the_request_names(prices: CataloguePrices) -> None:
    (bare,) = offers(prices, ResourceRequest(instance_type="n1-standard-4"), GCP)
    assert (len(bare.accelerators), bare.hourly_usd) == (0, 0.19)
    small = ResourceRequest(instance_type="n1-standard-4", accelerators={"T4": 1})
    (with_gpu,) = offers(prices, small, GCP)
    assert dict(with_gpu.accelerators) == {"T4": 1}
    assert with_gpu.hourly_usd == pytest.approx(0.19 + 0.35)
    assert not offers(CataloguePrices(), ResourceRequest(instance_type="n1-highmem-8"), GCP), "priced with GPUs alone"
    assert not offers(prices, ResourceRequest(instance_type="g6.xlarge", accelerators={"A100": 1}), AWS)


def test_a_cloud_without_a_file_has_the_prices_of_the_table(prices: CataloguePrices) -> None:
    nebius = Location(cloud="nebius")
    assert offers(prices, gpu("H200"), nebius) == offers(CataloguePrices(), gpu("H200"), nebius)
