"""Hold the ledger of a run: one entry for each thing that costs, and the sums of entries. Values only."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from cvl_ci.model.billing import UnitPrice, month_hours, rules_of
from cvl_ci.model.location import Location


class CostKind(enum.Enum):
    """The kinds of things that cost."""

    MACHINE = "machine"
    DISK = "disk"
    ADDRESS = "address"
    BUCKET = "bucket"
    TRAFFIC = "traffic"


@dataclass(frozen=True, kw_only=True)
class Life:
    """The life of one machine, by the provider's own clock. Epoch seconds; `end` None: it lives.

    `was_taken`: the provider took it away, and no person or program did.
    """

    id: str
    cloud: str
    region: str
    instance_type: str = ""
    spot: bool = False
    start: float
    end: float | None = None
    was_taken: bool = False


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that costs, from the beginning of its billing to its end, in epoch seconds.

    `quantity`: machines, addresses, GB of all disks or GB of traffic. `attempt`: the number of the attempt that it
    belongs to, from 1. `is_metered`: the provider reported both moments; else cvl-ci's own moments stand for them.
    """

    kind: CostKind
    item: str
    place: Location
    attempt: int
    start: float
    end: float
    quantity: float
    price: UnitPrice
    disks: int = 1
    """For disks: their number, because a part of their price does not depend on the size."""
    is_metered: bool = False
    note: str = ""
    is_free: bool = False
    """A rule of the provider makes this entry free."""

    @property
    def seconds(self) -> float:
        """Return the billed seconds of one item."""
        if self.kind is CostKind.TRAFFIC:
            return 0.0
        return rules_of(self.place.cloud).billed_seconds(self.end - self.start)

    @property
    def usd(self) -> float | None:
        """Return the dollars; None where no source gives the price."""
        if self.is_free:
            return 0.0
        if self.price.usd is None:
            return None
        if self.kind is CostKind.TRAFFIC:
            return self.price.usd * self.quantity
        hours = self.seconds / 3600
        if self.price.per == "GB-month":
            monthly = self.price.usd * self.quantity + self.price.fixed_usd * self.disks
            return monthly * hours / month_hours(self.start)
        return self.price.usd * self.quantity * hours


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """All entries of a run. Every figure about its cost is a sum of them."""

    entries: tuple[Entry, ...] = ()

    @property
    def usd(self) -> float:
        """Return the sum of the entries with a known price."""
        return sum(entry.usd or 0.0 for entry in self.entries)

    @property
    def unknown(self) -> tuple[Entry, ...]:
        """Return the entries without a known price. The sum lacks them."""
        return tuple(entry for entry in self.entries if entry.usd is None)

    @property
    def machine_seconds(self) -> float:
        """Return the time from the first machine's beginning to the last one's end, where both overlap or not."""
        machines = self.of_kind(CostKind.MACHINE)
        if not machines:
            return 0.0
        return max(0.0, max(entry.end for entry in machines) - min(entry.start for entry in machines))

    def of_kind(self, *kinds: CostKind) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.kind in kinds)

    def of_attempt(self, attempt: int) -> Ledger:
        return self._only(lambda entry: entry.attempt == attempt)

    def until(self, moment: float) -> Ledger:
        """Return the ledger as it stood at a moment: later entries are absent, longer ones are cut there."""
        begun = [entry for entry in self.entries if entry.start < moment or entry.kind is CostKind.TRAFFIC]
        return Ledger(entries=tuple(replace(entry, end=min(entry.end, moment)) for entry in begun))

    def plus(self, entries: Iterable[Entry]) -> Ledger:
        return Ledger(entries=(*self.entries, *entries))

    def _only(self, chosen: Callable[[Entry], bool]) -> Ledger:
        return Ledger(entries=tuple(entry for entry in self.entries if chosen(entry)))
