"""Define all errors as one tree: an exception has its exit code and names the next step.

    CvlError (70)             the engine or this program failed: not the job's fault
    ├── RequestError (64)     the inputs are wrong: every mistake at once, nothing started
    ├── RequestRefused (64)   SkyPilot or a provider refuses the request: a retry changes nothing
    ├── CredentialsError (77) the cloud rejects the credentials
    ├── UntrustedCode (77)    a stranger's code may not spend money here
    ├── BudgetError (78)      it would cost more than allowed
    ├── CapacityError (75)    no requested cloud, region or zone has such a machine now
    ├── QuotaError (75)       the account's quota allows no such machine
    ├── EngineError (70)      SkyPilot, the network or the machine failed
    ├── SandboxError (70)     the emulated cloud did not start
    ├── HubError (70)         the model hub gave no valid answer, or wrong bytes
    ├── StorageError (70)     the bucket gave no valid answer, or holds wrong bytes
    ├── ImageError (70)       a container image was not built, not pushed, or is not in its registry
    ├── LeftoversFound (1)    `reap` found leftovers: they are gone, but their cause is not
    ├── ArtifactError (70)    files could not be uploaded; they are still at their place
    └── NotProvedGone (79)    a machine may still be running: the loudest

An Outcome is not an exception: a job that ran and failed is *done*, and has its own exit code (model/outcome.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NOTHING_STARTED = "Nothing was started and nothing is billed."
"""The usual sentence on money, for a verb that would have launched and did not."""

_LAUNCHES_NONE = "Nothing was started."
_ENDED_NONE = "Nothing was ended: a machine that was running still is, and is billed."
_CHANGED_NONE = "Nothing was started or ended: this verb only reads. Machines that run are billed as before."
_MAY_RUN = "A machine that was running may still be, and is billed."
_STORED = (
    "No machine was started. Parts that an upload stored are billed until the next upload, which continues with them."
)
_OF_VERBS = {
    "": (_LAUNCHES_NONE, _LAUNCHES_NONE),
    "down": (_ENDED_NONE, _MAY_RUN),
    "reap": (_ENDED_NONE, _MAY_RUN),
    "collect": (_ENDED_NONE, _MAY_RUN),
    "status": (_CHANGED_NONE, _MAY_RUN),
    "check": (_LAUNCHES_NONE, _LAUNCHES_NONE),
    "logs": (_LAUNCHES_NONE, "The run itself goes on."),
    "completion": (_LAUNCHES_NONE, _LAUNCHES_NONE),
    "schema": (_LAUNCHES_NONE, _LAUNCHES_NONE),
    "prices": (_LAUNCHES_NONE, _LAUNCHES_NONE),
    "cost": (_LAUNCHES_NONE, _LAUNCHES_NONE),
    "models": (_LAUNCHES_NONE, _STORED),
    "report": (_LAUNCHES_NONE, _LAUNCHES_NONE),
    "history": (_LAUNCHES_NONE, _LAUNCHES_NONE),
    "sandbox": ("The sandbox is never billed.", "The sandbox is never billed."),
}
"""Replacements of the usual sentence by verb: for a wrong request, and for a later failure. "": a mistyped verb."""


class CvlError(Exception):
    """Base of all errors: what happened · how it affects money and machines · the next step."""

    exit_code = 70

    def __init__(self, what: str, *, money: str = NOTHING_STARTED, next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.money = money
        self.next_step = next_step

    def __str__(self) -> str:
        return "\n".join(part for part in (self.what, self.money, self.next_step) if part)


@dataclass(frozen=True, kw_only=True)
class InputProblem:
    """One wrong input: its name as the user typed it, its value, the problem, and similar valid values."""

    field: str
    value: str
    problem: str
    near: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = self.value if len(self.value) <= 80 else self.value[:77] + "..."
        near = f" Did you mean {_or_list(self.near)}?" if self.near else ""
        return f"{self.field}: {text!r} {self.problem}.{near}"


class RequestError(CvlError):
    """All mistakes of one request, reported together before any cost."""

    exit_code = 64

    def __init__(self, mistakes: Sequence[InputProblem], *, next_step: str = "") -> None:
        self.mistakes = tuple(mistakes)
        count = len(self.mistakes)
        head = "1 input is wrong:" if count == 1 else f"{count} inputs are wrong:"
        super().__init__("\n".join([head, *(f"  - {mistake}" for mistake in self.mistakes)]), next_step=next_step)


class RequestRefused(CvlError):
    exit_code = 64


class CredentialsError(CvlError):
    exit_code = 77


class UntrustedCode(CvlError):
    exit_code = 77


class BudgetError(CvlError):
    exit_code = 78


class CapacityError(CvlError):
    exit_code = 75


class QuotaError(CvlError):
    exit_code = 75


class EngineError(CvlError):
    exit_code = 70


class SandboxError(CvlError):
    exit_code = 70


class ArtifactError(CvlError):
    exit_code = 70


class HubError(CvlError):
    exit_code = 70


class StorageError(CvlError):
    exit_code = 70


class ImageError(CvlError):
    exit_code = 70


class LeftoversFound(CvlError):
    exit_code = 1


class NotProvedGone(CvlError):
    exit_code = 79


def explain(error: CvlError, *, verb: str) -> str:
    """Return the error's text, with a sentence on money that is true of this verb."""
    if error.money != NOTHING_STARTED or verb not in _OF_VERBS:
        return str(error)
    wrong_request, failure = _OF_VERBS[verb]
    money = wrong_request if isinstance(error, RequestError) else failure
    return "\n".join(part for part in (error.what, money, error.next_step) if part)


def explain_while_running(error: Exception) -> str:
    """Return the error's text where a machine may be running: without the usual sentence, which would be wrong."""
    if not isinstance(error, CvlError):
        return f"{type(error).__name__}: {error}"[:300]
    if error.money != NOTHING_STARTED:
        return str(error)
    return "\n".join(part for part in (error.what, error.next_step) if part)


def cancelled(verb: str) -> str:
    """Return what a person who pressed Ctrl-C reads, where the verb itself wrote no message."""
    if verb and verb in _OF_VERBS:
        return f"Cancelled. {_OF_VERBS[verb][1]}"
    return "Cancelled before anything was started."


def _or_list(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} or {words[-1]}"
