"""The specification of one sandbox: written before its emulator starts, read by it and by each later call."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.docker.networks import Network
from cvl_ci.sandbox.machine_types import MachineType, fingerprint

REGISTRY = "CVL_CI_SANDBOX_REGISTRY"
"""The variable with the registry of this computer from which machines may pull, such as `127.0.0.1:5000`."""
FILE = "sandbox.json"
ACTIONS = "actions.json"
FAULTS = "faults.json"
LOG = "emulator.log"


@dataclass(frozen=True, kw_only=True)
class SandboxSpec:
    """The parts of a sandbox.

    The API listens on the host's loopback and on each network's gateway, on the same port.
    """

    id: str
    image: str
    networks: tuple[Network, ...]
    port: int
    metadata_port: int
    skypilot_port: int
    """A port reserved for an API server of SkyPilot in this sandbox's home. We listen on no such port."""
    machine_types: tuple[MachineType, ...]
    registry: str = ""
    """A registry of images on this computer's loopback, from which machines may pull: `127.0.0.1:PORT`."""

    @property
    def endpoint_url(self) -> str:
        """Return one address for this host, for containers on other bridges, and for the machines of all regions."""
        return f"http://{self.networks[0].gateway}:{self.port}"

    @property
    def regions(self) -> tuple[str, ...]:
        return tuple(network.region for network in self.networks)

    def network(self, region: str) -> Network | None:
        return next((network for network in self.networks if network.region == region), None)


def identity(directory: Path) -> str:
    """Return the id of a sandbox, from its directory alone: two directories share nothing."""
    return hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:8]


def require_same(spec: SandboxSpec, types: Sequence[MachineType], environment: Mapping[str, str]) -> None:
    """Raise SandboxError if a sandbox that is up is another one than this call needs."""
    registry = environment.get(REGISTRY, "")
    if fingerprint(spec.machine_types) != fingerprint(types):
        problem = "sells other machines than this call requests"
    elif registry and registry != spec.registry:
        problem = f"lets its machines pull from {spec.registry or 'no registry of this computer'}, not from {registry}"
    else:
        return
    raise SandboxError(
        f"This sandbox is up and {problem}.",
        next_step="Stop it first (cvl-ci sandbox down), then start it again.",
    )


def save(directory: Path, spec: SandboxSpec) -> None:
    write_json(directory / FILE, asdict(spec))


def load(directory: Path) -> SandboxSpec | None:
    """Return the stored specification. None: there is none, or it cannot be understood and so cannot be used."""
    try:
        document = json.loads((directory / FILE).read_text(encoding="utf-8"))
        return SandboxSpec(
            **{
                **document,
                "networks": tuple(Network(**row) for row in document["networks"]),
                "machine_types": tuple(MachineType(**row) for row in document["machine_types"]),
            }
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Write a JSON file in one step, because others read it at any moment."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(path)
