"""Hold the ledger of a run: one entry for each thing that costs, and the sums of entries. Values only."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cvl_ci.model.billing import BillingRules, UnitPrice, month_hours, rules_of
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
    """The life of one machine, by the provider's own clock, in epoch seconds.

    `end` None: it lives, or, where `is_gone`, the provider does not date its end.
    `was_taken`: the provider took it away, and no person or program did.
    `is_recorded`: an API server's record dates it, by the server's clock, and its seconds may be wrong by
    `slack_seconds`. `hourly_usd`: the price in that record.
    """

    id: str
    cloud: str
    region: str
    instance_type: str = ""
    spot: bool = False
    start: float
    end: float | None = None
    is_gone: bool = False
    was_taken: bool = False
    is_recorded: bool = False
    slack_seconds: float = 0.0
    hourly_usd: float | None = None


REMEMBERED_SECONDS = 3300.0
"""A provider that remembers ended machines does so for about an hour (EC2 User Guide, "Terminate an instance")."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The machines of a lease that providers know, ended ones too.

    `clouds`: those that list every machine of the last hour. Of any other cloud, absence proves nothing.
    `requested`: the machines in an API server's records, whether they came up or not.
    """

    lives: tuple[Life, ...] = ()
    requested: tuple[Life, ...] = ()
    clouds: frozenset[str] = frozenset()

    def dated_by(self, lives: Iterable[Life]) -> Memory:
        """Return the memory with a provider's own dates of these machines, where a server's record dated them.

        A place without such a machine keeps the record: the provider may have been asked in another account.
        """
        own = tuple(lives)
        places = {(life.cloud, life.region) for life in own}
        return replace(self, lives=(*(one for one in self.lives if (one.cloud, one.region) not in places), *own))

    def remembers(self, cloud: str, *, seconds: float) -> bool:
        """Return whether it lists every machine that this cloud made in the last seconds."""
        return cloud in self.clouds and seconds < REMEMBERED_SECONDS


class Origin(enum.Enum):
    """The origin of an entry's figures. METERED: the provider reported both moments. AT_MOST: they are a bound."""

    METERED = "metered"
    ESTIMATED = "estimated"
    AT_MOST = "at most"


@dataclass(frozen=True, kw_only=True)
class BilledTime:
    """The time of an entry, in epoch seconds.

    `birth`: the beginning of the machine's life, where earlier runs have paid for it until `start`. A provider's
    minimum belongs to that beginning, and so only to the first of these runs.
    """

    start: float
    end: float
    birth: float | None = None

    def seconds(self, rules: BillingRules) -> float:
        """Return the seconds that the provider bills, without those before `start`."""
        before = max(0.0, self.start - self.birth) if self.birth is not None else 0.0
        return rules.billed_seconds(before + self.end - self.start) - rules.billed_seconds(before)

    def since(self, moment: float, *, birth: float | None) -> BilledTime:
        """Return the part after a moment. `birth`: the beginning of the life, where the provider does not date it."""
        start = max(self.start, moment)
        own = self.birth if self.birth is not None else self.start
        first = min(own, birth) if birth is not None else own
        return BilledTime(start=start, end=max(start, self.end), birth=first if first < start else self.birth)

    def until(self, moment: float) -> BilledTime:
        """Return the part before a moment."""
        return replace(self, end=min(self.end, moment))


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One thing that costs, from the beginning of its billing to its end.

    `quantity`: machines, addresses, GB of all disks or GB of traffic. `attempt`: the number of the attempt that it
    belongs to, from 1. `origin`: unless it is metered, cvl-ci's own moments stand for the provider's.
    """

    kind: CostKind
    item: str
    place: Location
    attempt: int
    time: BilledTime
    quantity: float
    price: UnitPrice
    disks: float = 1
    """For disks: their number, because a part of their price does not depend on the size. A share of one is below 1."""
    origin: Origin = Origin.ESTIMATED
    note: str = ""
    is_free: bool = False
    """A rule of the provider makes this entry free."""

    @property
    def start(self) -> float:
        return self.time.start

    @property
    def end(self) -> float:
        return self.time.end

    @property
    def is_metered(self) -> bool:
        return self.origin is Origin.METERED

    @property
    def is_bound(self) -> bool:
        return self.origin is Origin.AT_MOST

    @property
    def seconds(self) -> float:
        """Return the billed seconds of one item."""
        if self.kind is CostKind.TRAFFIC:
            return 0.0
        return self.time.seconds(rules_of(self.place.cloud))

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

    entries: tuple[LedgerEntry, ...] = ()

    @property
    def usd(self) -> float:
        """Return the sum of the entries with a known price."""
        return sum(entry.usd or 0.0 for entry in self.entries)

    @property
    def unknown(self) -> tuple[LedgerEntry, ...]:
        """Return the entries without a known price. The sum lacks them."""
        return tuple(entry for entry in self.entries if entry.usd is None)

    @property
    def is_bound(self) -> bool:
        """Return whether the real sum is at most this one."""
        return any(entry.is_bound for entry in self.entries)

    @property
    def last_seconds(self) -> float:
        """Return the time of the longest-lived machine of the last attempt."""
        machines = self.of_kind(CostKind.MACHINE)
        last = max((entry.attempt for entry in machines), default=0)
        return max((entry.end - entry.start for entry in machines if entry.attempt == last), default=0.0)

    def of_kind(self, *kinds: CostKind) -> tuple[LedgerEntry, ...]:
        return tuple(entry for entry in self.entries if entry.kind in kinds)

    def since(self, moment: float, *, birth: float | None = None) -> Ledger:
        """Return the part of the ledger after a moment, where earlier runs have counted their machines until then.

        `birth`: the beginning of these machines' lives by cvl-ci's own clock, for those that no provider dates.
        """
        going_on = [entry for entry in self.entries if entry.end > moment or entry.kind is CostKind.TRAFFIC]
        return Ledger(entries=tuple(replace(one, time=one.time.since(moment, birth=birth)) for one in going_on))

    def until(self, moment: float) -> Ledger:
        """Return the ledger as it stood at a moment: later entries are absent, longer ones are cut there."""
        begun = [entry for entry in self.entries if entry.start < moment or entry.kind is CostKind.TRAFFIC]
        return Ledger(entries=tuple(replace(entry, time=entry.time.until(moment)) for entry in begun))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Sums of the ledger, next to the quote. `billed` False on the sandbox, where the figures are only an example."""

    ledger: Ledger
    """Every entry. For kept machines, to their latest end."""
    hourly_usd: float
    """The price of all nodes together, of the machine it ran on, without disks and addresses."""
    estimated_usd: float | None = None
    """The largest cost in the quote."""
    billed: bool = True
    kept_usd: float | None = None
    """The part of it that is still to come at most, while the machines are kept."""
    on_demand_hourly_usd: float | None = None
    """The price of the same machines on demand, if they were spot and the catalogue has it.

    It measures spot's saving.
    """

    @property
    def usd(self) -> float:
        return self.ledger.usd

    @property
    def seconds(self) -> float:
        """Return the time of the longest-lived machine of the last attempt."""
        return self.ledger.last_seconds
