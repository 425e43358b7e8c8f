"""The volumes of a run as plain values for the worker: SkyPilot must know a volume before a task may name it."""

from __future__ import annotations

from cvl_ci.model.plan import RunPlan
from cvl_ci.planning import volume_rules

TYPES = {"kubernetes": "k8s-pvc", "runpod": "runpod-network-volume"}
"""sky/utils/volume.py, VolumeType."""


def required(plan: RunPlan) -> list[dict[str, object]]:
    """Return each volume with its type and place; the plan's places are all on clouds with volumes."""
    place = next((one for one in plan.machines.locations if one.cloud in TYPES), None)
    if place is None:
        return []
    return [
        {
            "name": name,
            "volume_type": TYPES[place.cloud],
            "cloud": place.cloud,
            "region": place.region,
            "zone": place.zone,
        }
        for name in volume_rules.names(plan)
    ]
