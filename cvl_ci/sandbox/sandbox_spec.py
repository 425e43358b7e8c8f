"""What one sandbox is made of: written before its emulator starts, read by it and by every later call."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from cvl_ci.sandbox.docker.networks import Network
from cvl_ci.sandbox.machine_types import MachineType

FILE = "sandbox.json"
ACTIONS = "actions.json"
FAULTS = "faults.json"
LOG = "emulator.log"


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """The API listens on this host's loopback and on the gateway of every network, on the same port."""

    id: str
    image: str
    networks: tuple[Network, ...]
    port: int
    metadata_port: int
    skypilot_port: int
    """Nothing of ours listens there: it is kept for an API server of SkyPilot's in this sandbox's home."""
    machine_types: tuple[MachineType, ...]

    @property
    def endpoint_url(self) -> str:
        """One address for this host, for containers on other bridges, and for the machines of every region."""
        return f"http://{self.networks[0].gateway}:{self.port}"

    @property
    def regions(self) -> tuple[str, ...]:
        return tuple(network.region for network in self.networks)

    def network(self, region: str) -> Network | None:
        return next((network for network in self.networks if network.region == region), None)


def identity(directory: Path) -> str:
    """A sandbox is its directory: two of them share nothing."""
    return hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:8]


def save(directory: Path, blueprint: Blueprint) -> None:
    write_json(directory / FILE, asdict(blueprint))


def load(directory: Path) -> Blueprint | None:
    """None where there is none, or none that can be understood: then there is nothing to build upon."""
    try:
        document = json.loads((directory / FILE).read_text(encoding="utf-8"))
        return Blueprint(
            **{
                **document,
                "networks": tuple(Network(**each) for each in document["networks"]),
                "machine_types": tuple(MachineType(**each) for each in document["machine_types"]),
            }
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Whole or not at all: others read it at any moment."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(path)
