"""Where it may run: clouds, regions and zones in the order to try. Pure: what a cloud's regions are is an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.suggest import similar, with_names
from cvl_ci.model.location import SANDBOX, Location

# sky/skylet/constants.py ALL_CLOUDS of SkyPilot 0.14.1, and our own sandbox.
CLOUDS = (
    *("aws", "azure", "gcp", "ibm", "lambda", "scp", "oci", "kubernetes", "runpod", "vast", "vsphere", "cudo"),
    *("fluidstack", "paperspace", "primeintellect", "do", "nebius", "ssh", "slurm", "hyperbolic", "seeweb"),
    *("shadeform", "yotta", "mithril", "verda", SANDBOX),
)
_ANY = ("any", "*", "all")
_OTHER_NAMES = {"k8s": "kubernetes", "amazon": "aws", "ec2": "aws", "google": "gcp", "lambda_labs": "lambda"}
OWN_CLUSTERS = frozenset({"kubernetes", "ssh", "slurm"})
"""Their GPUs have the names that their owner gave them."""


def are_own_clusters(places: Iterable[Location]) -> bool:
    return all(place.cloud in OWN_CLUSTERS for place in places)


_REGION_HAS_SLASHES = ("kubernetes", "ssh")
_ZONE_BEGINS_WITH_REGION = ("aws", "gcp", SANDBOX)

RUNNERS = {"skypilot": None, "ec2": "aws", "aws": "aws", "gcp": "gcp", "azure": "azure", "lambda": "lambda"}
"""`--runner` of the program this replaces: all are SkyPilot, most on a cloud of their name."""


def read(value: object) -> tuple[Location, ...]:
    """Return the places of `aws`, `aws/us-east-1/us-east-1a` or `aws,gcp/us-central1`; none for `any`. Raise Wrong."""
    if not isinstance(value, str) and not isinstance(value, Sequence):
        raise Wrong("is not a cloud, as in `aws`, `aws/us-east-1` or `aws,gcp`")
    entries = value.replace("\n", ",").split(",") if isinstance(value, str) else [str(entry) for entry in value]
    entries = [entry.strip().strip("/") for entry in entries if entry.strip()]
    if any(entry.lower() in _ANY for entry in entries):
        if len(entries) > 1:
            raise Wrong("names a cloud next to `any`")
        return ()
    places = tuple(_place(entry) for entry in entries)
    if len({place.cloud == SANDBOX for place in places}) > 1:
        raise Wrong("mixes the sandbox with a cloud that bills: give one or the other")
    return places


def runner(value: object) -> str:
    word = str(value).strip().lower()
    if word not in RUNNERS:
        raise Wrong(f"is none of {', '.join(RUNNERS)}", near=similar(word, RUNNERS))
    return word


def check_regions(place: Location, regions: Callable[[str], Sequence[str]]) -> None:
    """Raise Wrong for a region that the cloud does not have, where its regions are known."""
    region_names = regions(place.cloud)
    if place.region is None or not region_names:
        return
    if place.region not in region_names:
        raise Wrong(f"is not a region of {place.cloud}", near=similar(place.region, region_names), display=place.region)
    if place.zone and place.cloud in _ZONE_BEGINS_WITH_REGION and not place.zone.startswith(place.region):
        raise Wrong(f"is not a zone of {place.region}", near=(f"{place.region}a",), display=place.zone)


def in_region(places: tuple[Location, ...], region: str) -> tuple[Location, ...]:
    """Return the one named cloud in this region (`region` or `region/zone`). Raise Wrong."""
    if len(places) > 1:
        raise Wrong("cannot be combined with several clouds: write it with its cloud, as in `aws/us-east-1,gcp`")
    if not places:
        raise Wrong("is given without a cloud: write `aws/us-east-1`")
    name, _, zone = region.partition("/")
    if places[0].region not in (None, name):
        raise Wrong(f"is not the region of the cloud given, {places[0]}")
    return (replace(places[0], region=name, zone=zone or places[0].zone),)


def _place(entry: str) -> Location:
    cloud, _, rest = entry.partition("/")
    cloud = _OTHER_NAMES.get(cloud.strip().lower().replace("-", "_"), cloud.strip().lower())
    if cloud == "*":
        raise Wrong("names a region of any cloud: name the cloud too, as in `aws/us-east-1`", display=entry)
    if cloud not in CLOUDS:
        near = similar(cloud, CLOUDS)
        raise Wrong(with_names("is not a cloud that SkyPilot knows", sorted(CLOUDS), near), near=near, display=entry)
    if cloud in _REGION_HAS_SLASHES:
        return Location(cloud=cloud, region=rest or None)
    region, _, zone = rest.partition("/")
    if "/" in zone or (zone and not region):
        raise Wrong("is not cloud, cloud/region or cloud/region/zone", display=entry)
    return Location(cloud=cloud, region=_name_or_none(region), zone=_name_or_none(zone))


def _name_or_none(part: str) -> str | None:
    return None if part.strip() in ("", "*") else part.strip()
