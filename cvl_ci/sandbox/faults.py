"""What goes wrong in the emulated cloud, as data: a standing set of faults that can be changed while it runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

ALWAYS = 1.0


@dataclass(frozen=True, kw_only=True)
class Throttle:
    """RequestLimitExceeded for an action ("RunInstances", "*"), always or with some probability, anywhere or there.

    Not for S3, which does not slow its callers down in this way.
    """

    action: str
    probability: float = ALWAYS
    region: str | None = None


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Places are zones ("us-east-1a") or whole regions ("us-east-1"). Machines feel what was set when they booted."""

    no_capacity: tuple[str, ...] = ()
    """RunInstances answers InsufficientInstanceCapacity there."""
    no_spot_capacity: tuple[str, ...] = ()
    """The same, for spot machines alone."""
    throttle: tuple[Throttle, ...] = ()
    api_down: Literal["", "closed", "503"] = ""
    """Every call of the API: its connection closed without a word, or 503."""
    slow_boot_seconds: float = 0.0
    """New machines wait this long before their ssh server starts."""
    never_ssh: tuple[str, ...] = ()
    """New machines there run, and never answer."""
    lost_answers: tuple[str, ...] = ()
    """Actions that are carried out, while the caller gets no answer: ("RunInstances",)."""
    terminate_fails: tuple[str, ...] = ()
    """TerminateInstances answers InternalError in these regions, and terminates nothing."""
    expired_keys: tuple[str, ...] = ()
    """Whoever signs with these access keys is told that they have expired; machines have a role of their own."""

    def __bool__(self) -> bool:
        return self != NONE

    def to_json(self) -> dict[str, object]:
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Faults:
        """Raises ValueError, naming every field that is not understood."""
        unknown = sorted(set(document) - {field.name for field in fields(cls)})
        if unknown:
            known = ", ".join(field.name for field in fields(cls))
            raise ValueError(f"no such fault: {', '.join(unknown)} (there are {known})")
        down = document.get("api_down", "")
        if down not in ("", "closed", "503"):
            raise ValueError(f"api_down: {down!r} is neither 'closed' nor '503'")
        return cls(
            no_capacity=_names(document, "no_capacity"),
            no_spot_capacity=_names(document, "no_spot_capacity"),
            throttle=tuple(_throttle(each) for each in _list(document, "throttle")),
            api_down=down,
            slow_boot_seconds=_number(document.get("slow_boot_seconds", 0.0), "slow_boot_seconds"),
            never_ssh=_names(document, "never_ssh"),
            lost_answers=_names(document, "lost_answers"),
            terminate_fails=_names(document, "terminate_fails"),
            expired_keys=_names(document, "expired_keys"),
        )


NONE = Faults()


def touches(places: Sequence[str], *, region: str, zone: str | None = None) -> bool:
    return region in places or (zone is not None and zone in places)


def _list(document: Mapping[str, object], field: str) -> Sequence[object]:
    value = document.get(field, ())
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"{field}: {value!r} is no list")  # noqa: TRY004  # a wrong value of a document, no wrong call
    return value


def _names(document: Mapping[str, object], field: str) -> tuple[str, ...]:
    return tuple(str(each) for each in _list(document, field))


def _throttle(value: object) -> Throttle:
    if not isinstance(value, Mapping) or "action" not in value:
        raise ValueError(f'throttle: {value!r} is not like {{"action": "RunInstances", "probability": 0.5}}')
    region = value.get("region")
    probability = _number(value.get("probability", ALWAYS), "probability")
    if probability > ALWAYS:
        raise ValueError(f"probability: {probability} is more than 1")
    return Throttle(
        action=str(value["action"]), probability=probability, region=None if region is None else str(region)
    )


def _number(value: object, field: str) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{field}: {value!r} is no number from 0 up")
    return float(value)
