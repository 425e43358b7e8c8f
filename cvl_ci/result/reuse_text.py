"""The words about a machine that waits between runs."""

from __future__ import annotations

from cvl_ci.model.reuse import MachineUse
from cvl_ci.result.units import dollars, duration


def machine_use(use: MachineUse) -> str:
    """Return `warm: use 3 of the machine of reuse trainer, which waited 4 min ($0.05, counted by the run before)`."""
    if not use.number:
        return f"none: the run used no machine of reuse {use.key}"
    if not use.is_warm:
        return f"new: use 1 of the machine of reuse {use.key}"
    cost = f"{dollars(use.idle_usd)}, " if use.idle_usd is not None else ""
    wait = f"waited {duration(use.idle_seconds)} ({cost}counted by the run before)"
    return f"warm: use {use.number} of the machine of reuse {use.key}, which {wait}"
