"""The events of a working engine: plain values, for `match`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cvl_ci.model.launch import Attempt
from cvl_ci.model.outcome import Phase
from cvl_ci.model.storage import Bucket


@dataclass(frozen=True, kw_only=True)
class Progress:
    """SkyPilot's own progress message: one short line."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the job, without its line end. Hostile: it may contain anything."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Began:
    phase: Phase


@dataclass(frozen=True, kw_only=True)
class Attempting:
    """The event before the provider receives a request for a machine: from here on money may flow."""

    attempt: Attempt


@dataclass(frozen=True, kw_only=True)
class AttemptNamed:
    """The event when an API server has named the machine of the latest attempt, and so its price."""

    attempt: Attempt


@dataclass(frozen=True, kw_only=True)
class AttemptFailed:
    attempt: Attempt


@dataclass(frozen=True, kw_only=True)
class MakingBucket:
    """The event before the provider receives a request for a bucket. It exists from here on, as far as we know."""

    bucket: Bucket


@dataclass(frozen=True, kw_only=True)
class CheckpointBytes:
    """Bytes that came from the machines of the latest attempt for copies of checkpoints: traffic of its cloud."""

    count: int


Event = Progress | Line | Began | Attempting | AttemptNamed | AttemptFailed | MakingBucket | CheckpointBytes
Watch = Callable[[Event], None]
