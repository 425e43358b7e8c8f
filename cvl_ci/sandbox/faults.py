"""The faults of the emulated cloud, as data: a set that holds until a command changes it, also while the cloud runs."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

ALWAYS = 1.0


@dataclass(frozen=True, kw_only=True)
class Throttle:
    """RequestLimitExceeded for an action ("RunInstances", "*"), with a probability, in one region or in all.

    S3 does not slow its callers down in this way, so this fault does not touch it.
    """

    action: str
    probability: float = ALWAYS
    region: str | None = None


BUCKET_FAULTS = ("unavailable", "denied", "slow", "cut", "corrupt")


@dataclass(frozen=True, kw_only=True)
class BucketFault:
    """A fault of the object storage, for one bucket or all ("*"), and one HTTP method or all ("*").

    `unavailable`: 503 SlowDown. `denied`: 403 AccessDenied. `slow`: so many `bytes_per_second`. `cut`: the connection
    ends in the middle of the body. `corrupt`: one byte of it changes. `times`: the number of requests that it hits; 0:
    all.
    `key`: a glob of the object's key, so that lists stay whole; "*": each request.
    """

    kind: Literal["unavailable", "denied", "slow", "cut", "corrupt"]
    bucket: str = "*"
    key: str = "*"
    method: str = "*"
    times: int = 0
    bytes_per_second: int = 64 << 10


@dataclass(frozen=True, kw_only=True)
class Faults:
    """The faults of a sandbox. Places are zones ("us-east-1a") or regions ("us-east-1").

    A machine keeps the faults that held when it booted.
    """

    no_capacity: tuple[str, ...] = ()
    """Places where RunInstances answers InsufficientInstanceCapacity."""
    no_spot_capacity: tuple[str, ...] = ()
    """The same for spot machines alone."""
    throttle: tuple[Throttle, ...] = ()
    api_down: Literal["", "closed", "503"] = ""
    """For each API call: the emulator closes its connection, or answers 503."""
    slow_boot_seconds: float = 0.0
    """Seconds that new machines wait before their SSH server starts."""
    never_ssh: tuple[str, ...] = ()
    """Places where new machines run and never answer."""
    broken_gpus: tuple[str, ...] = ()
    """Places where new machines have a driver that finds no GPU: `nvidia-smi` ends with code 6."""
    lost_answers: tuple[str, ...] = ()
    """Actions that the emulator carries out without an answer to the caller: ("RunInstances",)."""
    terminate_fails: tuple[str, ...] = ()
    """Regions where TerminateInstances answers InternalError and terminates nothing."""
    expired_keys: tuple[str, ...] = ()
    """Access keys that the emulator calls expired. Machines have a role of their own."""
    buckets: tuple[BucketFault, ...] = ()
    """Faults of the object storage."""

    def __bool__(self) -> bool:
        return self != NONE

    def to_json(self) -> dict[str, object]:
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Faults:
        """Read faults from JSON. Raises ValueError, which names each field that it does not understand."""
        _require_known(document, [field.name for field in fields(cls)], what="no such fault")
        down = document.get("api_down", "")
        if down not in ("", "closed", "503"):
            raise ValueError(f"api_down: {down!r} is neither 'closed' nor '503'")
        return cls(
            no_capacity=_names(document, "no_capacity"),
            no_spot_capacity=_names(document, "no_spot_capacity"),
            throttle=tuple(_throttle(entry) for entry in _list(document, "throttle")),
            api_down=down,
            slow_boot_seconds=_number(document.get("slow_boot_seconds", 0.0), "slow_boot_seconds"),
            never_ssh=_names(document, "never_ssh"),
            broken_gpus=_names(document, "broken_gpus"),
            lost_answers=_names(document, "lost_answers"),
            terminate_fails=_names(document, "terminate_fails"),
            expired_keys=_names(document, "expired_keys"),
            buckets=tuple(_bucket_fault(entry) for entry in _list(document, "buckets")),
        )


NONE = Faults()


def touches(places: Sequence[str], *, region: str, zone: str | None = None) -> bool:
    return region in places or (zone is not None and zone in places)


def _list(document: Mapping[str, object], field: str) -> Sequence[object]:
    value = document.get(field, ())
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"{field}: {value!r} is not a list")  # noqa: TRY004  # the document is wrong, not the call
    return value


def _require_known(document: Mapping[str, object], names: Sequence[str], *, what: str) -> None:
    """Raise ValueError with each key that is not among these names, and the name that it is near to."""
    unknown = sorted(str(key) for key in document if key not in names)
    if not unknown:
        return
    near = {key: difflib.get_close_matches(key, names, n=1) for key in unknown}
    keys = ", ".join(f"{key} (did you mean {near[key][0]}?)" if near[key] else key for key in unknown)
    raise ValueError(f"{what}: {keys} (known: {', '.join(names)})")


def _names(document: Mapping[str, object], field: str) -> tuple[str, ...]:
    return tuple(str(name) for name in _list(document, field))


def _throttle(value: object) -> Throttle:
    if not isinstance(value, Mapping) or "action" not in value:
        raise ValueError(f'throttle: {value!r} is not like {{"action": "RunInstances", "probability": 0.5}}')
    _require_known(value, [field.name for field in fields(Throttle)], what="throttle: no such key")
    region = value.get("region")
    probability = _number(value.get("probability", ALWAYS), "probability")
    if probability > ALWAYS:
        raise ValueError(f"probability: {probability} is more than 1")
    return Throttle(
        action=str(value["action"]), probability=probability, region=None if region is None else str(region)
    )


def _bucket_fault(value: object) -> BucketFault:
    if not isinstance(value, Mapping) or value.get("kind") not in BUCKET_FAULTS:
        raise ValueError(f"buckets: {value!r} is not like {{'kind': 'cut'}} (kinds: {', '.join(BUCKET_FAULTS)})")
    _require_known(value, [field.name for field in fields(BucketFault)], what="buckets: no such key")
    return BucketFault(
        kind=value["kind"],
        bucket=str(value.get("bucket") or "*"),
        key=str(value.get("key") or "*"),
        method=str(value.get("method") or "*").upper(),
        times=int(_number(value.get("times", 0), "times")),
        bytes_per_second=int(_number(value.get("bytes_per_second", 64 << 10), "bytes_per_second")) or 1,
    )


def _number(value: object, field: str) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{field}: {value!r} is not a number of at least 0")
    return float(value)
