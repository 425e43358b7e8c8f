"""The guarantee: no machine outlives its lease. Nothing leaks, for five reasons in the order in which they happen:

1. Name first.            `Owner.name` follows from facts known before the run, so another process can compute it again.
2. Record before create.  `take` and `attempting` write name, deadline and location; then a provider gets a request.
3. Fence.                 `release` and `keep` shut it first. Under a shut fence nothing is launched.
4. Deadline on board.     The machine knows its deadline (engine/user_data.py, heartbeat.py) and ends itself by then.
5. The provider's word.   `release` ends when the provider shows nothing of the lease, or says that this is not proved.

The run itself releases, whatever happens in it (commands/run/run.py). After a killed run, post (action/main.py) or a
person (commands/reap/down.py) releases by the record or the name; at last the reaper does, by labels alone (`sweep`).
Only this module takes a machine down.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cvl_ci.errors import CvlError, EngineError
from cvl_ci.model.lease_name import LABEL_DEADLINE, LABEL_KEPT, LABEL_LEASE, LABEL_OWNER, LABEL_RUN, format_name
from cvl_ci.model.outcome import Attempt, Kept, Release
from cvl_ci.model.plan import Place
from cvl_ci.ports import Clock, Engine, Found, Inventory, LeaseRecord, Records, Resource

PROOF_SECONDS = 180.0
"""How long the provider is asked again before we say that it is not proved."""
SETTLE_SECONDS = 8.0
"""A machine asked for and not yet listed: EC2 is eventually consistent, about a second in practice (SkyPilot #4431)."""
ENDING_SECONDS = 20.0
"""How long we wait for a machine that has begun to end (and is billed no more) to be wholly gone."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who holds a lease: the same facts give the same name, so that a later process can recompute it.

    `run` is unique per run (a GitHub run id, or a random word on a terminal); `attempt`, `job`, `step` and `leg`
    tell apart what runs within it.
    """

    repository: str
    run: str
    attempt: str = "1"
    job: str = ""
    step: str = ""
    leg: str = ""

    @property
    def user_id(self) -> str:
        """SkyPilot's user hash: the tail of every name on the cloud, so it has to be recomputable too."""
        return _digest(self.repository)[:8]

    @property
    def name(self) -> str:
        """The lease's name, which follows from all six facts."""
        facts = (self.repository, self.run, self.attempt, self.job, self.step, self.leg)
        return format_name(run=self.run, digest=_digest(repr(facts)))

    def labels(self, *, deadline: float) -> dict[str, str]:
        """Valid on every cloud: [a-z0-9_-], beginning and ending with a letter or digit (GCP's rule, the narrowest)."""
        return {
            LABEL_OWNER: _label(self.repository),
            LABEL_LEASE: self.name,
            LABEL_RUN: _label(f"{self.run}-{self.attempt}"),
            LABEL_DEADLINE: str(int(deadline)),
        }


class Lease:
    """Held from before the first machine is asked for until the provider says that none is left."""

    def __init__(
        self,
        record: LeaseRecord,
        *,
        engine: Engine,
        inventory: Inventory,
        records: Records,
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        self.record = record
        self._engine = engine
        self._inventory = inventory
        self._records = records
        self._clock = clock
        self._say = say
        self._asked_at: float | None = None

    @property
    def name(self) -> str:
        return self.record.name

    def take(self) -> None:
        """Written down before anything is created: from here on a killed process can be cleaned up after."""
        self._records.write(self.record)

    def attempting(self, attempt: Attempt, *, place: Place) -> None:
        """Called before each time a provider is asked: where to look is on disk before there is anything to find."""
        self._asked_at = self._clock.monotonic()
        if str(place) not in self.record.regions:
            self.record = replace(self.record, regions=(*self.record.regions, str(place)))
            self._records.write(self.record)

    def release(self, *, surely: bool = False) -> Release:
        """The fence, the machines, then the proof. Idempotent.

        `surely`: there may be machines although this process asked for none (a later process).
        """
        self._records.revoke(self.name)
        if self._engine.stop():
            # What it said last may not have been heard: a request for a machine can be under way this very moment.
            self._asked_at = self._clock.monotonic()
        if self._asked_at is None and not surely:
            return self._released(Release(gone=True, at=self._clock.now(), needed=False))
        places = self._places()
        # The provider first: a machine stops costing now, SkyPilot's records can be tidied after.
        # Who is silent now is asked again below, until the proof.
        there, _ = self._inventory.find(lease=self.name, places=places).read()
        self._remove(there)
        self._down()
        found = self._until_gone(places, hurried=surely)
        _, silent = found.read()
        gone = not silent and all(asked.clean for asked in found.asked)
        return self._released(
            Release(gone=gone, at=self._clock.now(), asked=found.asked, unproved=found.unproved),
        )

    def keep(self, *, until: float, public_key: str | None) -> Release:
        """Instead of a release, for a person: still under this lease, whose end is moved to `until`, not removed.

        Nothing else can be launched under it. Whatever fails is raised, and is a reason to release.
        """
        self._records.revoke(self.name)
        labels = {LABEL_DEADLINE: str(int(until)), LABEL_KEPT: str(int(until))}
        self.record = replace(self.record, deadline=until, labels={**self.record.labels, **labels})
        self._records.write(self.record)
        ways_in = self._engine.keep(self.name, until=until, public_key=public_key)
        found = self._inventory.find(lease=self.name, places=self._places())
        resources, silent = found.read()
        there = [each for each in resources if not each.ending]
        if not there:
            why = f" {'; '.join(silent)}." if silent else ""
            raise EngineError(f"The provider shows no machine of this lease that could be kept.{why}")
        self._inventory.label(there, labels)
        kept = Kept(until=until, ways_in=tuple(ways_in))
        return Release(gone=False, at=self._clock.now(), asked=found.asked, unproved=found.unproved, kept=kept)

    # ---- how ------------------------------------------------------------------------------------------------------

    def _until_gone(self, places: Sequence[Place], *, hurried: bool) -> Found:
        """A later process is hurried: GitHub gives post minutes, and an answer without proof is better than none."""
        start = self._clock.monotonic()
        asked_at = self._asked_at if self._asked_at is not None else start
        while True:
            found = self._inventory.find(lease=self.name, places=places)
            resources, silent = found.read()
            waited = self._clock.monotonic() - start
            clean = not any(asked.left for asked in found.asked) and not (silent and found.may_still_answer)
            settled = self._clock.monotonic() - asked_at > SETTLE_SECONDS
            if clean and settled and (not resources or waited > ENDING_SECONDS):
                return found
            if waited > (PROOF_SECONDS if hurried else max(PROOF_SECONDS, found.patience_seconds)):
                return found
            self._remove([each for each in resources if not each.ending])
            self._clock.sleep(min(5.0, 0.5 + waited / 4))

    def _remove(self, resources: Sequence[Resource]) -> None:
        try:
            if resources:
                self._inventory.remove(resources)
        except CvlError as error:
            self._say(str(error))

    def _down(self) -> None:
        try:
            self._engine.down(self.name)
        except Exception as error:  # noqa: BLE001  whatever SkyPilot or we got wrong there, the proof below must go on
            what = error.what if isinstance(error, CvlError) else f"{type(error).__name__}: {error}"
            self._say(f"SkyPilot's own down failed; the provider is asked directly. {what}")

    def _places(self) -> tuple[Place, ...]:
        tried = tuple(Place.parse(text) for text in self.record.regions)
        return tried or self.record.places

    def _released(self, release: Release) -> Release:
        try:
            if release.gone:
                self._records.write(replace(self.record, released_at=release.at))
        except CvlError as error:
            self._say(f"It is gone, but that could not be written down: {error.what}")
        return release


def owner_label(repository: str) -> str:
    """What LABEL_OWNER holds for a repository. Two that differ in punctuation alone share one."""
    return _label(repository)


def sweep(
    resources: Sequence[Resource],
    *,
    inventory: Inventory,
    places: Sequence[Place],
    clock: Clock,
    say: Callable[[str], None],
) -> Found:
    """End leases whose holders are gone, all in one go, and ask until the provider shows none of them.

    What is given back is its last answer, of these leases alone. One that cannot be ended keeps no other waiting.
    """
    leases = {resource.labels[LABEL_LEASE] for resource in resources}
    start, told, remaining = clock.monotonic(), set[str](), list(resources)
    while True:
        try:
            inventory.remove(remaining)
        except CvlError as error:
            if str(error) not in told:
                told.add(str(error))
                say(str(error))
        found = inventory.find(lease=None, places=places)
        resources, silent = found.read()
        remaining = [each for each in resources if each.labels.get(LABEL_LEASE) in leases and not each.ending]
        unheard = silent and found.may_still_answer
        if not (remaining or unheard) or clock.monotonic() - start > max(PROOF_SECONDS, found.patience_seconds):
            return found.only(remaining)
        clock.sleep(min(15.0, 1.0 + (clock.monotonic() - start) / 4))


def _label(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[-63:].strip("-_") or "none"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
