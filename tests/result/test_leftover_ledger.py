"""What a provider shows without its run has a cost too: machines, disks and addresses by the provider's rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.reap.reap import cost_so_far, known_usd
from cvl_ci.model.billing import month_hours
from cvl_ci.model.ledger import CostKind
from cvl_ci.model.resource import Pricing, Resource, ResourceKind
from cvl_ci.result.leftover_ledger import of_resources

NOW = 1_795_900_000.0
HOUR = 3600.0
MACHINE = Resource(
    provider="aws",
    region="us-east-1",
    kind=ResourceKind.MACHINE,
    id="i-1",
    state="running",
    labels={},
    instance_type="m6i.large",
    created_at=NOW - 2 * HOUR,
)
DISK = replace(MACHINE, kind=ResourceKind.DISK, id="vol-1", instance_type="", pricing=Pricing(size_gb=256.0))
PRICES = CataloguePrices()


def test_machine_disk_and_address_are_told_to_the_cent() -> None:
    ledger = cost_so_far([MACHINE, DISK], NOW, PRICES)
    disk_usd = (256 * 0.08 + 500 * 0.005 + 93 * 0.04) / month_hours(NOW) * 2
    assert known_usd(ledger) == pytest.approx(2 * 0.096 + disk_usd + 2 * 0.005)
    assert [entry.kind for entry in ledger.entries] == [CostKind.MACHINE, CostKind.ADDRESS, CostKind.DISK]
    assert all(entry.seconds == 2 * HOUR for entry in ledger.entries)


def test_a_spot_machine_counts_at_the_price_of_spot() -> None:
    [spot, _] = cost_so_far([replace(MACHINE, pricing=Pricing(spot=True))], NOW, PRICES).entries
    assert spot.price.usd == 0.0352


@pytest.mark.parametrize("changed", [{"instance_type": "x9.unknown"}, {"created_at": None}, {"created_at": NOW + 1}])
def test_an_unknown_price_or_date_is_no_zero(changed: dict[str, object]) -> None:
    assert known_usd(cost_so_far([replace(MACHINE, **changed)], NOW, PRICES)) is None  # type: ignore[arg-type]


def test_a_disk_of_unknown_size_or_price_is_not_invented() -> None:
    assert of_resources([replace(DISK, pricing=Pricing())], until=NOW, hourly_usd=lambda _: 1.0).entries == ()
    [unknown] = of_resources([replace(DISK, provider="azure")], until=NOW, hourly_usd=lambda _: 1.0).unknown
    assert unknown.kind is CostKind.DISK
