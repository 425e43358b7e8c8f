"""Build the ledger of a run from its attempts and the provider's dates, and put its entries into words. Pure."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cvl_ci.model.billing import BilledUntil, UnitPrice, rules_of
from cvl_ci.model.launch import Attempt
from cvl_ci.model.ledger import BilledTime, CostKind, Ledger, LedgerEntry, Life, Memory, Origin
from cvl_ci.model.location import Location
from cvl_ci.model.storage import GIB_MONTH_USD, PRICE_SOURCE, KeptBucket
from cvl_ci.result.machine_lives import lives_by_attempt, named
from cvl_ci.result.sanitize import plain
from cvl_ci.result.units import dollars, duration, moment, percent, size

NAMES = {
    CostKind.MACHINE: "machines",
    CostKind.DISK: "disks",
    CostKind.ADDRESS: "addresses",
    CostKind.BUCKET: "buckets",
    CostKind.TRAFFIC: "traffic",
}
FETCHED_FILES = "fetched files"
"""The traffic of outputs, which belongs to the last attempt."""


@dataclass(frozen=True, kw_only=True)
class Ends:
    """The moments at which the machines of a run ended, in epoch seconds.

    `removed_at`: the provider had accepted their end. `gone_at`: it showed none, or they end by then. `lost_at`: the
    run noticed that machines had ended without it. `is_latest`: machines whose dates no provider tells may have ended
    sooner.
    """

    removed_at: float
    gone_at: float
    lost_at: float | None = None
    is_latest: bool = False

    def of(self, cloud: str) -> float:
        """Return when this provider stopped billing the machines that the run itself ended."""
        return self.removed_at if rules_of(cloud).until is BilledUntil.REQUEST else self.gone_at


@dataclass(frozen=True, kw_only=True)
class Span:
    """The billed time of one machine of an attempt."""

    start: float
    end: float
    is_metered: bool = False
    is_taken: bool = False
    is_bound: bool = False
    slack_seconds: float | None = None
    """How wrong the dates of an API server's record may be; None: the dates are another's."""


def build(
    attempts: Sequence[Attempt],
    *,
    nodes: int,
    disk_gb: float,
    ends: Ends,
    memory: Memory | None = None,
    fetched_bytes: float = 0.0,
    price_source: str = "",
    buckets: Sequence[KeptBucket] = (),
) -> Ledger:
    """Return the ledger. `memory`: the machines that the providers know; where they know none, our own moments count.

    A refused attempt costs nothing. An attempt whose machines came up and failed costs their time.
    """
    memory = memory or Memory()
    attempts = named(attempts, memory)
    by_attempt = lives_by_attempt(attempts, memory.lives)
    entries: list[LedgerEntry] = []
    for number, attempt in enumerate(attempts, 1):
        spans = _spans(attempt, by_attempt.get(number, ()), ends=ends)
        if not memory.remembers(attempt.cloud, seconds=ends.gone_at - attempt.requested_at):
            count = attempt.machines if attempt.error is not None else nodes
            spans += [_own_span(attempt, ends)] * (count - len(spans))
        entries += _entries(attempt, number, spans, disk_gb=disk_gb, price_source=price_source)
    for number, attempt in enumerate(attempts, 1):
        if attempt.copied_bytes:
            entries.append(_traffic(attempt, number, attempt.copied_bytes, item="copied checkpoints", at=ends.gone_at))
    if fetched_bytes and attempts and entries:
        entries.append(_traffic(attempts[-1], len(attempts), fetched_bytes, item=FETCHED_FILES, at=ends.gone_at))
    entries += [_bucket(bucket, attempts, until=ends.gone_at) for bucket in buckets]
    return Ledger(entries=tuple(entries))


def divided(ledger: Ledger, ends: Sequence[float]) -> list[Ledger]:
    """Divide a ledger without traffic by time: one part up to each of these moments, and a last part after them.

    The parts of an entry add up to it, as its price grows with its quantity. A provider's minimum is divided too.
    """
    spans = itertools.pairwise([-math.inf, *ends, math.inf])
    parts = [[_part(entry, begin, end) for entry in ledger.entries] for begin, end in spans]
    return [Ledger(entries=tuple(entry for entry in part if entry is not None)) for part in parts]


def _part(entry: LedgerEntry, begin: float, end: float) -> LedgerEntry | None:
    """Return the share of an entry that lies between two moments; None without one."""
    lasted = entry.end - entry.start
    if lasted > 0:
        share = max(0.0, min(entry.end, end) - max(entry.start, begin)) / lasted
    else:
        share = 1.0 if begin <= entry.start < end else 0.0
    if share in {0.0, 1.0}:
        return entry if share else None
    note = f"{percent(share)} of it: other jobs used it too"
    return replace(
        entry,
        quantity=entry.quantity * share,
        disks=entry.disks * share,
        note="; ".join(filter(None, [entry.note, note])),
    )


def lines(ledger: Ledger) -> Iterator[str]:
    """Yield one line for each entry, as the details of a summary or a comment show it."""
    for entry in ledger.entries:
        price = _price(entry.price)
        amount = dollars(entry.usd) if entry.usd is not None else "price unknown"
        time = "" if entry.kind is CostKind.TRAFFIC else f", {duration(entry.seconds)}"
        note = f"; {entry.note}" if entry.note else ""
        yield plain(f"{_quantity(entry)} on {entry.place}{time}{price}: {amount} ({entry.origin.value}{note})")


def parts(ledger: Ledger) -> str:
    """Return `machines $0.40, disks $0.02`, or an empty string where only machines cost."""
    sums: dict[CostKind, float] = {}
    for entry in ledger.entries:
        sums[entry.kind] = sums.get(entry.kind, 0.0) + (entry.usd or 0.0)
    shares = [f"{NAMES[kind]} {dollars(usd)}" for kind, usd in sums.items() if usd]
    return ", ".join(shares) if len(shares) > 1 else ""


def missing(ledger: Ledger) -> str:
    """Return `disks on azure`, the things whose price no source gives, or an empty string."""
    names = (f"{NAMES[entry.kind]} on {entry.place.cloud}" for entry in ledger.unknown)
    return ", ".join(dict.fromkeys(names))


def to_json(ledger: Ledger) -> list[Mapping[str, object]]:
    """Return every entry for a program."""
    return [
        {
            "kind": entry.kind.value,
            "item": entry.item,
            "cloud": entry.place.cloud,
            "region": entry.place.region,
            "zone": entry.place.zone,
            "attempt": entry.attempt,
            "start": moment(entry.start),
            "end": moment(entry.end),
            "quantity": entry.quantity,
            "billed_seconds": round(entry.seconds, 3),
            "unit_usd": entry.price.usd,
            "unit": entry.price.per,
            "monthly_fixed_usd": entry.price.fixed_usd,
            "usd": entry.usd,
            "price_source": entry.price.source,
            "metered": entry.is_metered,
            "at_most": entry.is_bound,
            "note": entry.note,
        }
        for entry in ledger.entries
    ]


def _spans(attempt: Attempt, lives: Sequence[Life], *, ends: Ends) -> list[Span]:
    """Return the billed time of each machine that the provider knows.

    An API server's record ends when the server noticed the end, which may be later than the provider's own date.
    """
    return [
        Span(
            start=life.start,
            end=max(life.start, _end(life, attempt, ends)),
            is_metered=life.end is not None and not life.is_recorded,
            is_taken=life.was_taken,
            is_bound=life.is_recorded and ends.is_latest,
            slack_seconds=life.slack_seconds if life.is_recorded else None,
        )
        for life in lives
    ]


def _end(life: Life, attempt: Attempt, ends: Ends) -> float:
    end = life.end if life.end is not None else attempt.ended_at
    if end is not None:
        return end
    return ends.lost_at if life.is_gone and ends.lost_at is not None else ends.of(life.cloud)


def _own_span(attempt: Attempt, ends: Ends) -> Span:
    """Return the life of a machine by our own moments, where the provider names none."""
    end = attempt.ended_at
    if end is None and attempt.error is None:
        end = ends.of(attempt.cloud)
    return Span(
        start=attempt.requested_at,
        end=max(attempt.requested_at, end or 0.0),
        is_bound=attempt.ended_at is None and ends.is_latest,
    )


def _entries(
    attempt: Attempt, number: int, spans: Sequence[Span], *, disk_gb: float, price_source: str
) -> Iterator[LedgerEntry]:
    rules, place = rules_of(attempt.cloud), _place(attempt)
    machine = UnitPrice(usd=attempt.hourly_usd or None, per="hour", source=price_source)
    for span, count in Counter(spans).items():
        origin = Origin.AT_MOST if attempt.is_bound or span.is_bound else Origin.ESTIMATED
        time, lasted = BilledTime(start=span.start, end=span.end), span.end - span.start
        is_free = attempt.spot and span.is_taken and lasted < rules.free_spot_seconds
        yield LedgerEntry(
            kind=CostKind.MACHINE,
            item=attempt.instance_type,
            place=place,
            attempt=number,
            time=time,
            quantity=count,
            price=machine,
            origin=Origin.METERED if span.is_metered and not attempt.is_bound else origin,
            is_free=is_free,
            note=_note(attempt, span, is_free=is_free),
        )
        yield LedgerEntry(
            kind=CostKind.DISK,
            item=rules.disk_type or "disk",
            place=place,
            attempt=number,
            time=time,
            quantity=count * disk_gb,
            disks=count,
            price=rules.disk,
            origin=origin,
        )
        yield LedgerEntry(
            kind=CostKind.ADDRESS,
            item="public IPv4",
            place=place,
            attempt=number,
            time=time,
            quantity=count,
            price=rules.address,
            origin=origin,
        )


def _traffic(attempt: Attempt, number: int, traffic_bytes: float, *, item: str, at: float) -> LedgerEntry:
    return LedgerEntry(
        kind=CostKind.TRAFFIC,
        item=item,
        place=_place(attempt),
        attempt=number,
        time=BilledTime(start=at, end=at),
        quantity=traffic_bytes / 1e9,
        price=rules_of(attempt.cloud).traffic,
        note="an estimate of what left the cloud",
    )


def _bucket(bucket: KeptBucket, attempts: Sequence[Attempt], *, until: float) -> LedgerEntry:
    """Return the storage of a bucket from before its creation to the end of the run, at the size that it had at last.

    A bucket of the sandbox is billed like one of S3, as its machines are.
    """
    cloud = attempts[0].cloud if attempts else "aws"
    is_known, size_gib = bucket.gib is not None, bucket.gib or 0.0
    stays = f"it stays, at {dollars(bucket.monthly_usd or 0.0)} a month" if bucket.bucket.stays else ""
    return LedgerEntry(
        kind=CostKind.BUCKET,
        item=f"S3 Standard in {bucket.bucket}",
        place=Location(cloud=cloud, region=bucket.bucket.region or None),
        attempt=max(1, len(attempts)),
        time=BilledTime(start=min(bucket.since or until, until), end=until),
        quantity=size_gib,
        price=UnitPrice(usd=GIB_MONTH_USD if is_known else None, per="GB-month", source=PRICE_SOURCE),
        note=stays if is_known else "its size is not known",
    )


def _place(attempt: Attempt) -> Location:
    return Location(cloud=attempt.cloud, region=attempt.region or None, zone=attempt.zone or None)


def _note(attempt: Attempt, span: Span, *, is_free: bool) -> str:
    if is_free:
        return "free: the provider took the spot machine within its first hour"
    if attempt.is_bound:
        return "the API server names neither the machine nor its price"
    if span.slack_seconds is not None and not span.is_bound:
        return f"by the API server's record, to {span.slack_seconds:.1f} s"
    if span.is_bound:
        return "no provider tells when it ended"
    return "the attempt failed after its machines came up" if attempt.error is not None else ""


def _quantity(entry: LedgerEntry) -> str:
    if entry.kind is CostKind.TRAFFIC:
        return f"{size(round(entry.quantity * 1e9))} of {entry.item}"
    if entry.kind is CostKind.BUCKET:
        return f"{size(round(entry.quantity * (1 << 30)))} of {entry.item}"
    if entry.price.per == "GB-month":
        return f"{entry.quantity:g} GB {entry.item}"
    return f"{entry.quantity:g} × {entry.item}"


def _price(price: UnitPrice) -> str:
    if price.usd is None:
        return ""
    per = {"hour": "an hour", "GB-month": "a GB and month", "GB": "a GB"}[price.per]
    fixed = f" and {dollars(price.fixed_usd)} a month each" if price.fixed_usd else ""
    return f" at {dollars(price.usd)} {per}{fixed}"
