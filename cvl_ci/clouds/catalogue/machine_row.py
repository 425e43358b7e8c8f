"""One machine type in one region with its prices, from our own table or from SkyPilot's files. Values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cvl_ci.model.gpu_memory import GPU_MEMORY
from cvl_ci.model.offer import Offer


@dataclass(frozen=True, kw_only=True)
class MachineRow:
    """One machine type in one region. Prices in dollars an hour; None: not on sale in this way.

    `spot` and `spot_most`: the lowest and the highest of the region's zones. `zone`: a Local Zone, which a request gets
    only by its name; None: the usual zones of the region. `doubted`: prices of the catalogue that were not believed,
    by their use of spot.
    """

    cloud: str
    name: str
    vcpus: float
    memory_gib: float
    accelerator: str | None
    count: float
    price: float | None
    spot: float | None
    spot_most: float | None
    region: str
    zone: str | None = None
    doubted: Mapping[bool, float] | None = None

    @property
    def accelerator_memory_gib(self) -> float:
        return GPU_MEMORY.get(self.accelerator or "", ("", 0.0))[1]

    @property
    def units(self) -> float:
        """Return the number by which two machines are compared: GPUs, or vCPUs where there is none."""
        return self.count if self.accelerator else self.vcpus

    def at(self, *, on_spot: bool) -> float | None:
        return self.spot if on_spot else self.price

    def offer(self, price: float, *, on_spot: bool, is_dated: bool) -> Offer:
        """Return the offer. A spot price of an unknown day may have grown: no spot price is above the usual one."""
        most = max(price, self.spot_most or 0.0, 0.0 if is_dated else self.price or 0.0) if on_spot else price
        return Offer(
            cloud=self.cloud,
            region=self.region,
            instance_type=self.name,
            accelerators={self.accelerator: plain_count(self.count)} if self.accelerator else {},
            spot=on_spot,
            hourly_usd=price,
            most_usd=most,
            doubted_usd=(self.doubted or {}).get(on_spot),
            vcpus=self.vcpus,
            memory_gib=self.memory_gib,
        )


def plain_count(count: float) -> float:
    """Return an int where the count is whole: SkyPilot and people write `L4:1`, not `L4:1.0`."""
    return int(count) if count == int(count) else count


def from_table(text: Mapping[str, str]) -> MachineRow:
    """Return a row of our own table, prices.csv."""
    spot = _number(text["spot_usd_per_hour"])
    return MachineRow(
        cloud=text["cloud"],
        name=text["instance_type"],
        vcpus=float(text["vcpus"]),
        memory_gib=float(text["memory_gib"]),
        accelerator=text["accelerator"] or None,
        count=float(text["accelerator_count"] or 0),
        price=_number(text["price_usd_per_hour"]),
        spot=spot,
        spot_most=spot,
        region=text["region"],
    )


def _number(text: str) -> float | None:
    return float(text) if text else None
