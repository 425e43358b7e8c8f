"""What an engine says while it works: plain values, which `match` tells apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cvl_ci.model.outcome import Attempt, Phase


@dataclass(frozen=True, kw_only=True)
class Progress:
    """SkyPilot's own word on how far it is: one short line."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line the job printed, without its end of line. Hostile: it may hold anything."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Began:
    phase: Phase


@dataclass(frozen=True, kw_only=True)
class Attempting:
    """Said before the provider is asked for a machine: from here on money may flow."""

    attempt: Attempt


@dataclass(frozen=True, kw_only=True)
class AttemptFailed:
    attempt: Attempt


Event = Progress | Line | Began | Attempting | AttemptFailed
Watch = Callable[[Event], None]
