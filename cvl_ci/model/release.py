"""Hold the proof that no resource of a lease remains, or its absence. Values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cvl_ci.model.checkpoint_plan import KeptCheckpoints
from cvl_ci.model.launch import Attempt
from cvl_ci.model.ledger import Memory
from cvl_ci.model.storage import Bucket, KeptBucket


@dataclass(frozen=True, kw_only=True)
class ProviderCheck:
    """One question to a provider, and the resources of the lease that it still showed (`leftovers`)."""

    provider: str
    region: str
    kinds: tuple[str, ...]
    leftovers: tuple[str, ...] = ()
    error: str | None = None
    skipped: tuple[str, ...] = ()
    """Kinds that the inventory skipped, and why. A run creates none of them, so the proof is complete without them."""
    stays: tuple[str, ...] = ()
    """Resources that their run left behind on purpose."""
    shared: tuple[str, ...] = ()
    """Free resources that all runs of the repository share, so that no run ends them."""
    is_final: bool = False
    """Whether a repetition cannot change the error, such as a right that the credentials lack."""

    @property
    def clean(self) -> bool:
        return not self.leftovers and self.error is None


@dataclass(frozen=True, kw_only=True)
class KeptMachines:
    """Machines that are kept for a person after their job. They end at `until` (epoch seconds).

    `ways_in`: an ssh command for each node, head first. `buckets`: temporary buckets that the machines may still use.
    They do not end with the machines, but with `down` or a reaper.
    """

    until: float
    ways_in: tuple[str, ...] = ()
    buckets: tuple[Bucket, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Release:
    """Proof, or its absence. `gone`: every provider shows no resource of this lease. `at`: epoch seconds."""

    gone: bool
    at: float
    asked: tuple[ProviderCheck, ...] = ()
    unproved: tuple[str, ...] = ()
    """Clouds whose provider gives no answer here. They never count as clean."""
    needed: bool = True
    """False: no machine was ever requested."""
    kept: KeptMachines | None = None
    """The machines are not gone because the user asked to keep them."""
    buckets: tuple[KeptBucket, ...] = ()
    """Buckets that the run made and that stay, as the user asked."""
    checkpoints: KeptCheckpoints | None = None
    """The folder of the run's checkpoints, which stays."""
    ended_buckets: tuple[KeptBucket, ...] = ()
    """Buckets that ended with the run, or end after it: with the content that they had at last."""
    removed_at: float | None = None
    """The moment at which the provider had accepted the end of all machines that it showed first."""
    memory: Memory = field(default_factory=Memory)
    """The lives of the machines, as far as the providers tell them."""

    def billed_buckets(self, attempts: Sequence[Attempt]) -> tuple[KeptBucket, ...]:
        """Return every bucket that costs. The folder of checkpoints held nothing before the first of `attempts`."""
        own_buckets = (*self.buckets, *self.ended_buckets)
        if self.checkpoints is None or not attempts:
            return own_buckets
        return (*own_buckets, self.checkpoints.as_bucket(since=attempts[0].requested_at))
