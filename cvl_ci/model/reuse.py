"""Hold the request for a machine that waits between runs, and one use of such a machine. Values only."""

from __future__ import annotations

import enum
import hashlib
import re
from dataclasses import dataclass

from cvl_ci.model.secret import Secret

IDLE_MINUTES = 10.0
MAX_AGE_MINUTES = 8 * 60.0
SECRET_VARIABLE = "CVL_CI_REUSE_KEY"  # noqa: S105  the name of a variable
_MARK = re.compile(r"(busy|idle)-(\d{1,6})-(\d{1,11})", re.ASCII)


class IfBusy(enum.Enum):
    """The answer to a machine that another run uses: wait for it, or take a new machine for this run alone."""

    WAIT = "wait"
    NEW = "new"


class UseState(enum.Enum):
    """The state of a machine between runs and in one: only an idle machine can take the next run."""

    BUSY = "busy"
    IDLE = "idle"


def lock_name(user_id: str, key: str) -> str:
    """Return the name of the lock of a key. `user_id`: the user hash of its repository."""
    return f"reuse-{hashlib.sha256(repr((user_id, key)).encode()).hexdigest()[:16]}"


@dataclass(frozen=True, kw_only=True)
class ReusePlan:
    """The machine of a key: how long it waits for the next run, and how old it may become.

    `secret`: the repository's secret from which the machine's SSH key follows, so that other runners enter it too.
    None: the runs of one home folder share it.
    """

    key: str
    idle_minutes: float = IDLE_MINUTES
    max_age_minutes: float = MAX_AGE_MINUTES
    if_busy: IfBusy = IfBusy.WAIT
    secret: Secret | None = None


@dataclass(frozen=True, kw_only=True)
class UseMark:
    """The use of a machine as its label tells it: `idle-3-1800000000` after its third use, since that second."""

    state: UseState
    number: int
    since: float

    def __str__(self) -> str:
        return f"{self.state.value}-{self.number}-{int(self.since)}"

    @classmethod
    def parse(cls, text: str) -> UseMark | None:
        """Return the mark of a label; None for a text that this class does not write."""
        match = _MARK.fullmatch(text)
        return cls(state=UseState(match[1]), number=int(match[2]), since=float(match[3])) if match else None

    def is_before_end_of(self, number: int) -> bool:
        """Return whether the run with this use has not let the machine wait yet. Each use belongs to one run alone."""
        return self.number < number or (self.number == number and self.state is UseState.BUSY)


@dataclass(frozen=True, kw_only=True)
class MachineUse:
    """One use of such a machine. `number`: from 1, which is the run that launched it; 0: the run used none of the key.

    `entered_at`: epoch seconds of the beginning of this use. `idle_seconds`: how long the machine waited before.
    `idle_usd`: the cost of that wait, which the run before counted; None: no price is known.
    """

    key: str
    number: int = 1
    entered_at: float = 0.0
    idle_seconds: float = 0.0
    idle_usd: float | None = None
    uncounted_usd: float | None = None
    """The cost of machines of the key that this run ended, since a run used them that was killed.

    No other run counts it.
    """

    @property
    def is_warm(self) -> bool:
        return self.number > 1
