"""Hold the comparison of two commits that ran on one machine. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Change:
    """One metric of two versions that ran on one machine.

    `head`, `base`: medians, or flags; None: no number there. `change`: a share of the base. `gated`: the better
    direction is known.
    """

    metric: str
    head: float | None
    base: float | None
    change: float | None
    verdict: str
    why: str = ""
    gated: bool = True

    @property
    def worse(self) -> bool:
        return self.verdict == "worse"


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """Comparison of this commit's work with another commit's, run in trial.

    `order`: of the trials. `reason`: why there is no comparison; empty if there is one.
    """

    ref: str
    commit: str
    order: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    reason: str = ""

    @property
    def worse(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.worse)

    @property
    def changed(self) -> tuple[Change, ...]:
        """Return metrics that certainly changed, in an unknown direction."""
        return tuple(change for change in self.changes if change.verdict == "changed")

    @property
    def unsure(self) -> tuple[Change, ...]:
        """Return gated metrics whose verdict is unknown."""
        return tuple(change for change in self.changes if change.gated and change.verdict == "unsure")

    @property
    def sound(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.gated and change.verdict in {"same", "better"})
