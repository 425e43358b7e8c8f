"""The present state of a sandbox: its machines as EC2 would list them, and the image they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from cvl_ci.sandbox.faults import NONE, Faults


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One machine. `launched_at` and `ended_at` are ISO 8601 moments in UTC: EC2 bills the time between them.

    `address` and `ended_at`: the former is None after the machine's end, the latter before it.
    """

    id: str
    region: str
    zone: str
    state: str
    instance_type: str
    spot: bool
    address: str | None
    launched_at: str
    ended_at: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Instance:
        return cls(**document)  # type: ignore[arg-type]  # our own emulator wrote it with asdict


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of a sandbox. It costs nothing in spite of its prices: these machines are containers."""

    up: bool
    id: str
    directory: str
    endpoint_url: str | None = None
    instances: tuple[Instance, ...] = ()
    image: str | None = None
    image_bytes: int | None = None
    faults: Faults = NONE
    leftovers: tuple[str, ...] = ()
    """Containers of this sandbox without a running emulator. `up` and `down` remove them."""

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "faults": self.faults.to_json()}
