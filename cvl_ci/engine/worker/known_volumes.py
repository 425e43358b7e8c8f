"""Tell SkyPilot of volumes that exist already: its own list of them is empty on a fresh runner.

It registers an existing volume by its provider's name (sky/volumes/server/core.py, volume_apply). The setting
`use_existing` makes both clouds refuse a volume that does not exist, so nothing is ever made here. Sources:
provision/kubernetes/volume.py, create_persistent_volume_claim; provision/runpod/volume.py, apply_volume. This module is
loaded in the worker process only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sky import exceptions
from sky.volumes.server import core

EXISTING: Mapping[str, Any] = {"use_existing": True}


def register(volumes: Sequence[Mapping[str, Any]]) -> None:
    """Register volumes that must exist. Raise VolumeNotFoundError for a volume that the provider does not show."""
    for volume in volumes:
        try:
            core.volume_apply(**volume, size=None, config=dict(EXISTING), use_existing=True)
        except Exception as error:
            place = "/".join(part for part in (volume["cloud"], volume["region"], volume["zone"]) if part)
            raise exceptions.VolumeNotFoundError(
                f"The volume {volume['name']} of {place} could not be used: {error}"
            ) from error
