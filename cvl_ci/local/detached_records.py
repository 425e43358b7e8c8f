"""Write the facts of a detached run as JSON, and read them back: in its lease record, and in its artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, TypeVar

from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.detached import Detached
from cvl_ci.model.launch import Attempt, Launch, Spending
from cvl_ci.model.limits import IdlePolicy, Limits
from cvl_ci.model.work_identity import WorkIdentity

MOST_ATTEMPTS = 1000
LARGEST = 32_503_680_000.0
"""The largest number in a record: a moment, the year 3000."""
T = TypeVar("T")


def to_json(detached: Detached) -> dict[str, object]:
    """Return plain values. A month's budget belongs to the run that is over."""
    return {**asdict(detached), "limits": {**asdict(detached.limits), "month": None}}


def from_json(data: Mapping[str, Any]) -> Detached:
    """Return the facts. Raise one of lease_records.UNREADABLE for anything that `to_json` does not write."""
    launch = data["launch"]
    return Detached(
        place=_of(BucketAddress, data["place"]),
        title=str(data["title"]),
        work=_of(WorkIdentity, data["work"]),
        launch=_of(Launch, {**launch, "accelerators": {str(k): int(v) for k, v in launch["accelerators"].items()}}),
        spending=spending_from_json(data["spending"]),
        limits=_limits(data["limits"]),
        directory=str(data["directory"]),
        outputs=tuple(map(str, data["outputs"])),
        began_at=bounded(data["began_at"]),
        estimated_usd=None if data["estimated_usd"] is None else bounded(data["estimated_usd"]),
        workflow={str(name): str(value) for name, value in data["workflow"].items()},
        is_collected=data["is_collected"] is True,
    )


def spending_from_json(data: Mapping[str, Any]) -> Spending:
    """Return the requests of a run. Raise one of lease_records.UNREADABLE for anything else."""
    if len(data["attempts"]) > MOST_ATTEMPTS:
        raise ValueError("too many attempts")
    return Spending(
        attempts=tuple(_of(Attempt, one) for one in data["attempts"]),
        nodes=int(data["nodes"]),
        disk_gb=bounded(data["disk_gb"]),
        billed=data["billed"] is not False,
    )


def _limits(data: Mapping[str, Any]) -> Limits:
    idle = data.get("idle")
    limits = _of(Limits, {**data, "idle": None})
    return replace(limits, idle=None if idle is None else _of(IdlePolicy, idle))


def _of(kind: type[T], data: Mapping[str, Any]) -> T:
    """Return a value of plain fields. Each has the kind of JSON value that its type asks for."""
    values = {field.name: data[field.name] for field in fields(kind)}  # type: ignore[arg-type]
    for field in fields(kind):  # type: ignore[arg-type]
        if not _fits(values[field.name], str(field.type)):
            raise TypeError(f"{field.name} is {type(values[field.name]).__name__}")
    return kind(**values)


def bounded(value: object) -> float:
    """Return an amount or a moment. Raise ValueError or TypeError for another value."""
    number = float(value)  # type: ignore[arg-type]
    if not 0 <= number < LARGEST:  # NaN passes no comparison
        raise ValueError("a number is out of all bounds")
    return number


def _fits(value: object, kind: str) -> bool:
    """Return whether a value of JSON may stand for a type. JSON writes 3.0 as 3 at times."""
    if value is None:
        return "None" in kind
    if isinstance(value, int | float) and not -LARGEST < value < LARGEST:
        return False
    if isinstance(value, bool):
        return kind.startswith("bool")
    names = {str: ("str",), dict: ("Mapping",), int: ("int", "float"), float: ("float",)}
    return kind.startswith(names.get(type(value), ("nothing",)))
