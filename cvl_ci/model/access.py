"""How a cloud stands with us before anything is asked of it: what `check` shows and what a run is refused for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CloudAccess:
    """Whether a cloud would know us, as far as a look at this machine tells; phrases for a person, never a secret."""

    cloud: str
    there: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    """What to do about what is missing."""
    notes: tuple[str, ...] = ()
    unsupported: str = ""
    """Why no run can go there yet, whatever the credentials."""

    @property
    def known(self) -> bool:
        return bool(self.there) and not self.missing

    @property
    def usable(self) -> bool:
        return self.known and not self.unsupported
