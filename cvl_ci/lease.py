"""The guarantee: no machine outlives its lease.

Nothing leaks, for five reasons in the order in which they happen:

1. Name first.            `Owner.name` follows from facts known before the run, so another process can compute it again.
2. Record before create.  `acquire` and `record_attempt` write name, deadline and location before any request.
3. Fence.                 `release` and `keep` shut it first. Under a shut fence nothing is launched.
4. Deadline on board.     The machine knows its deadline (engine/worker/heartbeat.py) and ends itself by then.
5. The provider's word.   `release` ends when the provider shows nothing of the lease, or reports a missing proof.

The run itself releases in all cases (commands/run/run.py). After a killed run, post (action/main.py) or a person
(commands/reap/down.py) releases by the record or the name. Finally the reaper releases by labels alone (`sweep`).
Only this module takes a machine down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from cvl_ci.errors import CvlError, EngineError, explain_while_running
from cvl_ci.model.launch import Attempt
from cvl_ci.model.lease_name import LABEL_BUCKETS, LABEL_DEADLINE, LABEL_KEPT, LABEL_LEASE, NO_BUCKETS
from cvl_ci.model.ledger import Life, Memory
from cvl_ci.model.location import Location
from cvl_ci.model.release import KeptMachines, Release
from cvl_ci.model.resource import ResourceKind, buckets_apart, in_removal_order
from cvl_ci.model.storage import Bucket, KeptBucket
from cvl_ci.ports import Clock, Inventory, InventoryResult, LeaseRecord, Machines, Records, Resource, Storage
from cvl_ci.ports.storage import ending_buckets, kept_buckets, kept_checkpoints

PROOF_SECONDS = 180.0
"""Seconds of repeated queries before we report that the end is not proved."""
POST_SECONDS = 240.0
"""Seconds of post's whole release: after a cancel, GitHub gives all posts of a job 4 min 45 s together."""
SETTLE_SECONDS = 8.0
"""Seconds until a requested machine is in the list: EC2 is eventually consistent, about a second (SkyPilot #4431)."""
ENDING_SECONDS = 20.0
"""Seconds that we wait for a machine that is ending, and is no longer billed, to disappear completely."""


class Lease:
    """A lease: from before the first request for a machine until the provider shows none."""

    def __init__(
        self,
        record: LeaseRecord,
        *,
        machines: Machines,
        inventory: Inventory,
        records: Records,
        clock: Clock,
        say: Callable[[str], None],
        storage: Storage | None = None,
    ) -> None:
        self.record = record
        self._machines = machines
        self._inventory = inventory
        self._storage = storage
        self._is_clearing = False
        self._records = records
        self._clock = clock
        self._say = say
        self._requested_at: float | None = None
        self._ending_buckets: dict[str, KeptBucket] = {}
        """Buckets that this process removes, with the content that they had before."""

    @property
    def name(self) -> str:
        return self.record.name

    def acquire(self) -> None:
        """Write the record before anything is created: from here on a later process can clean up after a killed one."""
        self._records.write(self.record)

    def record_attempt(self, attempt: Attempt, *, location: Location) -> None:
        """Record the region of a request before the request, so that a search knows the region."""
        self._requested_at = self._clock.monotonic()
        if str(location) not in self.record.regions:
            self.record = replace(self.record, regions=(*self.record.regions, str(location)))
            self._records.write(self.record)

    def record_bucket(self, bucket: Bucket) -> None:
        """Record a bucket before the request that makes it."""
        self._requested_at = self._clock.monotonic()
        if bucket not in self.record.buckets:
            self.record = replace(self.record, buckets=(*self.record.buckets, bucket))
            self._records.write(self.record)

    def release(self, *, maybe_created: bool = False, hurried: bool = False) -> Release:
        """Shut the fence, remove the machines, then prove it. A repetition is safe.

        `maybe_created`: there may be machines although this process requested none (a later process). `hurried`: its
        time is short.
        """
        self._records.revoke(self.name)
        if self._machines.stop():
            # Its last message may be lost: a request for a machine can be under way at this very moment.
            self._requested_at = self._clock.monotonic()
        if self._requested_at is None and not maybe_created and not self.record.buckets:
            return self._released(Release(gone=True, at=self._clock.now(), needed=False))
        locations = self._locations()
        # The provider first: a machine stops costing now; SkyPilot's records can wait.
        # A missing answer is requested again below, until the proof.
        return self._released(self._take_down(locations, hurried=hurried))

    def clear(self) -> Release:
        """Remove the machines and prove it, but go on with the lease: further machines may be launched under it.

        Its buckets stay. The fence stays open, unless another process has revoked the lease meanwhile.
        """
        self._machines.stop()
        # The provider's list may lag now too: a single answer may miss a living machine.
        self._requested_at = self._clock.monotonic()
        self._is_clearing = True
        try:
            return self._take_down(self._locations(), hurried=False)
        finally:
            self._is_clearing = False

    def count_machines(self) -> int | None:
        """Return how many living machines the provider shows. None: it does not answer, or does not list machines."""
        resources, silent = self._inventory.find(lease=self.name, locations=self._locations()).read()
        living = [resource.kind for resource in resources if resource.is_leftover]
        if silent or ResourceKind.CLUSTER in living:
            return None
        return sum(kind.has_machines for kind in living)

    def dates(self) -> Memory:
        """Return the machines that the provider dates, ended ones too. A silent provider dates none."""
        try:
            return self._inventory.lives(lease=self.name, locations=self._locations())
        except Exception as error:  # noqa: BLE001  dates are a matter of money, so no fault here may change the proof
            self._say(f"The provider told no dates of the machines, so their cost is an estimate: {error}"[:300])
            return Memory()

    def keep(
        self, *, until: float, public_key: str | None, labels: Mapping[str, str] | None = None, heartbeat: float = 0
    ) -> Release:
        """Keep the machines for a person, under this lease, until `until`, instead of a release.

        `heartbeat`: the minutes after which they end without a renewal, or 0 for `until`.
        Nothing else can be launched under it. Any failure raises, and is a reason to release.
        """
        self._records.revoke(self.name)
        labels = {LABEL_DEADLINE: str(int(until)), LABEL_KEPT: str(int(until)), **(labels or {})}
        self.record = replace(self.record, deadline=until, labels={**self.record.labels, **labels})
        self._records.write(self.record)
        ways_in = self._machines.keep(self.name, until=until, public_key=public_key, heartbeat=heartbeat)
        result = self._find(self._locations())
        resources, silent = result.read()
        living = [resource for resource in resources if resource.is_leftover]
        if not living:
            why = f" {'; '.join(silent)}." if silent else ""
            raise EngineError(f"The provider shows no machine of this lease to keep.{why}")
        machines_alive, buckets = buckets_apart(living)
        if all(one.kind is ResourceKind.SECURITY_GROUP for one in machines_alive):
            raise EngineError("The provider shows no machine of this lease to keep, only its buckets or its open port.")
        self._inventory.label(machines_alive, labels)
        if buckets and self._storage is not None:
            self._storage.label(buckets, labels)
        ids = {bucket.id for bucket in buckets}
        temporary = tuple(bucket for bucket in self.record.buckets if bucket.name in ids)
        machines = KeptMachines(until=until, ways_in=tuple(ways_in), buckets=temporary)
        return Release(
            gone=False,
            at=self._clock.now(),
            asked=result.asked,
            unproved=result.unproved,
            kept=machines,
            memory=self._memory(living),
            buckets=kept_buckets(self._storage, self.record, resources, say=self._say),
            ended_buckets=tuple(KeptBucket(bucket=one, since=self.record.taken_at) for one in temporary),
            checkpoints=kept_checkpoints(self._storage, self.record.checkpoints, is_over=False, say=self._say),
        )

    # ---- how ------------------------------------------------------------------------------------------------------

    def _take_down(self, locations: Sequence[Location], *, hurried: bool) -> Release:
        latest = self._clock.monotonic() + (POST_SECONDS if hurried else math.inf)
        first, _ = self._find(locations).read()
        self._note_creators(first)
        is_removed = self._remove(first) and any(resource.is_leftover for resource in first)
        removed_at = self._clock.now()
        self._down()
        removed_at = removed_at if is_removed else self._clock.now()
        result = self._until_gone(locations, most_seconds=latest - self._clock.monotonic())
        resources, silent = result.read()
        is_gone = not silent and all(check.clean for check in result.asked)
        return Release(
            gone=is_gone,
            at=self._clock.now(),
            asked=result.asked,
            unproved=result.unproved,
            removed_at=removed_at,
            memory=self._memory((*first, *resources)),
            buckets=kept_buckets(self._storage, self.record, resources, say=self._say),
            ended_buckets=tuple(self._ending_buckets.values()),
            checkpoints=kept_checkpoints(self._storage, self.record.checkpoints, is_over=is_gone, say=self._say),
        )

    def _until_gone(self, locations: Sequence[Location], *, most_seconds: float) -> InventoryResult:
        """Query until the provider shows nothing. `most_seconds`: post has only a few minutes for all of it."""
        start = self._clock.monotonic()
        while True:
            result = self._find(locations)
            resources, silent = result.read()
            self._note_creators(resources)
            waited = self._clock.monotonic() - start
            clean = not any(check.leftovers for check in result.asked) and not (silent and result.may_still_answer)
            requested_at = start if self._requested_at is None else self._requested_at
            settled = self._clock.monotonic() - requested_at > SETTLE_SECONDS
            pending = any(not resource.stays for resource in resources)
            if clean and settled and (not pending or waited > ENDING_SECONDS):
                return result
            rest = min(max(PROOF_SECONDS, result.patience_seconds), most_seconds) - waited
            if rest <= 0:
                return result
            self._remove(resources)
            self._clock.sleep(min(5.0, 0.5 + waited / 4, max(0.1, rest)))

    def _memory(self, resources: Sequence[Resource]) -> Memory:
        """Return the machines' dates for the ledger. A machine that only the first answer showed is in it too."""
        first = {
            resource.id: Life(
                id=resource.id,
                cloud=resource.provider,
                region=resource.region,
                instance_type=resource.instance_type,
                start=resource.created_at,
            )
            for resource in resources
            if resource.kind is ResourceKind.MACHINE and resource.created_at is not None
        }
        memory = self.dates()
        lives = first | {life.id: life for life in memory.lives}
        return replace(memory, lives=tuple(lives.values()))

    def _find(self, locations: Sequence[Location]) -> InventoryResult:
        """Ask for the machines by label and name, and for the buckets by their names.

        A lost record names no bucket. The labels of all buckets tell the names then. Its machines may show that the
        run could make none. Then no other provider has to answer.
        """
        result = self._inventory.find(lease=self.name, locations=locations)
        if self._is_clearing:
            return result
        if not self.record.knows_buckets and any(_has_no_buckets(one, self.name) for one in result.read()[0]):
            self.record = replace(self.record, knows_buckets=True)
        if not self.record.knows_buckets and self._storage is not None:
            labelled, answer = self._storage.labelled_buckets(lease=self.name)
            result = result.joined(answer)
            names = {bucket.name for bucket in self.record.buckets}
            new = tuple(bucket for bucket in labelled if bucket.name not in names)
            self.record = replace(self.record, buckets=(*self.record.buckets, *new))
        buckets = self.record.buckets
        if not buckets:
            return result
        if self._storage is None:
            return result.joined(InventoryResult(unproved=tuple(map(str, buckets))))
        return result.joined(self._storage.find(buckets, lease=self.name))

    def _note_creators(self, resources: Sequence[Resource]) -> None:
        """Wait again for late machines after the last moment at which one could still be requested."""
        if _has_creator(resources):
            self._requested_at = self._clock.monotonic()

    def _remove(self, resources: Sequence[Resource]) -> bool:
        """Remove resources, and return whether the provider accepted it for all of them."""
        other_resources, buckets = buckets_apart(resources)
        refusals = list(_removal_refusals(self._inventory, other_resources))
        # A machine that still runs may write to a bucket, so the bucket waits.
        if self._storage is not None and not any(one.is_leftover for one in other_resources):
            sizes = ending_buckets(
                self._storage, self.record, buckets, sized_before=self._ending_buckets, say=self._say
            )
            self._ending_buckets |= sizes
            refusals += _removal_refusals(self._storage, buckets)
        for text in refusals:
            self._say(text)
        return not refusals

    def _down(self) -> None:
        try:
            self._machines.down(self.name)
        except Exception as error:  # noqa: BLE001  any fault of SkyPilot or of ours there must not stop the proof below
            what = error.what if isinstance(error, CvlError) else f"{type(error).__name__}: {error}"
            self._say(f"SkyPilot's own down failed; cvl-ci asks the provider directly. {what}")

    def _locations(self) -> tuple[Location, ...]:
        attempted = tuple(Location.parse(text) for text in self.record.regions)
        return attempted or self.record.locations

    def _released(self, release: Release) -> Release:
        try:
            if release.gone:
                self._records.write(replace(self.record, released_at=release.at))
        except CvlError as error:
            self._say(f"The provider shows nothing of the lease, but the record could not be written: {error.what}")
        return release


def sweep(
    resources: Sequence[Resource],
    *,
    inventory: Inventory,
    locations: Sequence[Location],
    clock: Clock,
    say: Callable[[str], None],
) -> InventoryResult:
    """End leases without an owner, all together, and query until the provider shows none of them.

    Returns its last answer for these leases alone. A lease that cannot be ended does not delay the others.
    """
    leases = {resource.labels[LABEL_LEASE] for resource in resources}
    start, shown_errors, remaining = clock.monotonic(), set[str](), list(resources)
    quiet_at = start
    while True:
        if _has_creator(remaining):
            quiet_at = clock.monotonic() + SETTLE_SECONDS
        for text in _removal_refusals(inventory, remaining):
            if text not in shown_errors:
                shown_errors.add(text)
                say(text)
        result = inventory.find(lease=None, locations=locations)
        resources, silent = result.read()
        remaining = [item for item in resources if item.labels.get(LABEL_LEASE) in leases and item.is_leftover]
        unheard = silent and result.may_still_answer
        is_over = not (remaining or unheard) and clock.monotonic() >= quiet_at
        if is_over or clock.monotonic() - start > max(PROOF_SECONDS, result.patience_seconds):
            return result.only(remaining)
        clock.sleep(min(15.0, 1.0 + (clock.monotonic() - start) / 4))


def _has_no_buckets(resource: Resource, lease: str) -> bool:
    return resource.labels.get(LABEL_LEASE) == lease and resource.labels.get(LABEL_BUCKETS) == NO_BUCKETS


def _has_creator(resources: Sequence[Resource]) -> bool:
    return any(resource.kind.creates_others and resource.is_leftover for resource in resources)


def _removal_refusals(inventory: Inventory | Storage, resources: Sequence[Resource]) -> Iterator[str]:
    """Remove resources in the order of their kinds. Yield the refusals: one kind's refusal does not delay the next."""
    for batch in in_removal_order(resources):
        try:
            inventory.remove(batch)
        except CvlError as error:
            yield explain_while_running(error)
