"""The loss of a run's machines: its kind decides whether the run may go on elsewhere."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from cvl_ci.model.fitness import MachineState


class LossKind(enum.Enum):
    """How the machines of a job were lost, by the provider's answer."""

    PREEMPTED = "preempted"
    """The provider shows fewer spot machines than there were."""
    NODE_LOST = "node lost"
    """The provider shows fewer machines than there were, and they are not spot."""
    UNREACHABLE = "unreachable"
    """The provider shows the machines, or does not answer, and they do not answer."""
    ENDED_ITSELF = "ended itself"
    """The machine's own timer ended it."""
    UNFIT = "unfit"
    """A probe found a machine broken before the job began, and cvl-ci gives the machines back."""


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A loss. `why`: one line for a person."""

    kind: LossKind
    why: str
    states: tuple[MachineState, ...] = ()
    """The states of machines that a probe found broken: their GPUs are known again by their uuids."""

    @property
    def is_proved(self) -> bool:
        """Return whether the provider itself showed the loss of machines before their deadline."""
        return self.kind in {LossKind.PREEMPTED, LossKind.NODE_LOST}


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """One loss of a run's machines, or their return as unfit, and the launch that replaced them. Epoch seconds.

    `number`: from 1. `place`, `instance_type`, `spot`: of the lost machines. `usd`: their cost.
    `ran_seconds`: how long the job had run on them. `gone_at` None: their end is not proved.
    `resumed_at` None: no machine replaced them. `checkpoint`: the name of the last one in its place; empty: none.
    `repeated_seconds`: the job's time since that checkpoint. None: it is not known, or the run stores no checkpoint.
    """

    number: int
    lost: Lost
    place: str
    instance_type: str
    spot: bool
    lost_at: float
    ran_seconds: float
    usd: float = 0.0
    gone_at: float | None = None
    resumed_at: float | None = None
    checkpoint: str = ""
    repeated_seconds: float | None = None

    @property
    def is_replaced(self) -> bool:
        """Return whether a new machine ran the job after a loss. A broken machine that cvl-ci gave back is none."""
        return self.lost.kind is not LossKind.UNFIT and self.resumed_at is not None

    @property
    def pause_seconds(self) -> float | None:
        """Return how long no machine ran the job."""
        return None if self.resumed_at is None else max(0.0, self.resumed_at - self.lost_at)


@dataclass(frozen=True, kw_only=True)
class ControllerRecoveries:
    """The recoveries of a job by the controller of an API server. cvl-ci sees none of its losses.

    `count`: the controller's own number. None: it has given none, because its job goes on or it did not answer.
    """

    count: int | None = None
