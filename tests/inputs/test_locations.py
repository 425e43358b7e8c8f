"""Places are read in the order to try; what is none is answered with near ones."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cvl_ci.clouds.catalogue.names import REGIONS
from cvl_ci.inputs import locations
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.location import Location


def regions(cloud: str) -> Sequence[str]:
    return REGIONS.get(cloud, ())


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("aws", [Location(cloud="aws")]),
        ("AWS/us-east-1/us-east-1a", [Location(cloud="aws", region="us-east-1", zone="us-east-1a")]),
        ("aws, gcp/us-central1", [Location(cloud="aws"), Location(cloud="gcp", region="us-central1")]),
        (["gcp", "aws"], [Location(cloud="gcp"), Location(cloud="aws")]),
        ("k8s/my/context", [Location(cloud="kubernetes", region="my/context")]),
        ("aws/*", [Location(cloud="aws")]),
        ("sandbox", [Location(cloud="sandbox")]),
        ("any", []),
        ("*", []),
    ],
)
def test_places_are_read_in_order(value: object, read: list[Location]) -> None:
    assert list(locations.read(value)) == read


@pytest.mark.parametrize("value", ["awz", "aws/a/b/c", "aws//b", "any,aws", "sandbox,aws", 5])
def test_what_is_no_place_is_refused(value: object) -> None:
    with pytest.raises(Wrong):
        locations.read(value)


def test_a_wrong_cloud_and_a_wrong_region_are_answered_with_near_ones() -> None:
    with pytest.raises(Wrong) as cloud:
        locations.read("azzure")
    assert cloud.value.near == ("azure",)
    with pytest.raises(Wrong) as region:
        locations.check_regions(Location(cloud="aws", region="us-esat-1"), regions)
    assert "us-east-1" in region.value.near


def test_a_zone_belongs_to_its_region() -> None:
    locations.check_regions(Location(cloud="aws", region="us-east-1", zone="us-east-1a"), regions)
    with pytest.raises(Wrong, match="not a zone of us-east-1"):
        locations.check_regions(Location(cloud="aws", region="us-east-1", zone="us-west-2a"), regions)


def test_regions_of_a_cloud_whose_regions_nobody_wrote_down_are_accepted() -> None:
    locations.check_regions(Location(cloud="nebius", region="mars-1"), regions)


def test_a_region_needs_one_cloud_to_be_in() -> None:
    aws = (Location(cloud="aws"),)
    assert locations.in_region(aws, "us-east-1/us-east-1b") == (
        Location(cloud="aws", region="us-east-1", zone="us-east-1b"),
    )
    for wrong in ((), (Location(cloud="aws"), Location(cloud="gcp")), (Location(cloud="aws", region="us-west-2"),)):
        with pytest.raises(Wrong):
            locations.in_region(wrong, "us-east-1")


@pytest.mark.parametrize("text", ["aws", "aws/us-east-1", "aws/us-east-1/us-east-1a", "aws/*/us-east-1a"])
def test_a_place_is_written_as_it_is_read(text: str) -> None:
    (place,) = locations.read(text)
    assert str(place) == text
    assert Location.parse(text) == place
