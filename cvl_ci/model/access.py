"""State of a cloud's credentials on this computer, for `check` and for the refusal of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CloudAccess:
    """Answer whether a cloud would accept this user, by a look at this computer only.

    Phrases for a person, never a secret.
    """

    cloud: str
    available: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    """Steps that add the missing parts."""
    notes: tuple[str, ...] = ()
    unsupported: str = ""
    """The reason why no run can use this cloud yet, even with credentials."""

    @property
    def is_known(self) -> bool:
        return bool(self.available) and not self.missing

    @property
    def usable(self) -> bool:
        return self.is_known and not self.unsupported
