"""What every cloud's tests name: one lease of ours, one of another run, and what SkyPilot would call their clusters."""

from __future__ import annotations

from cvl_ci.clouds.provider import Provider, ProviderInventory
from cvl_ci.model.location import Location
from cvl_ci.model.owner import Owner
from cvl_ci.ports import InventoryResult

OURS = Owner(repository="cvl/ci", run="12345678901")
OTHER = Owner(repository="cvl/ci", run="12345678902")
CLUSTER = f"{OURS.name}-{OURS.user_id}"
OTHER_CLUSTER = f"{OTHER.name}-{OTHER.user_id}"
LABELS = OURS.labels(deadline=1_800_000_000)
OTHER_LABELS = OTHER.labels(deadline=1_800_000_000)


def find(provider: Provider, lease: str | None = OURS.name, *, region: str | None = None) -> InventoryResult:
    return ProviderInventory(provider).find(lease=lease, locations=[Location(cloud=provider.name, region=region)])


def ids(found: InventoryResult) -> set[str]:
    return {resource.id for resource in found.read()[0]}


def error(found: InventoryResult) -> str:
    """Of the one question that was asked; it must not be clean."""
    (request,) = found.asked
    assert not request.clean
    return str(request.error)
