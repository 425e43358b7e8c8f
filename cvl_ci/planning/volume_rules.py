"""Judge the volumes of a plan: they exist already, on a cloud of which SkyPilot mounts volumes. Pure.

Types of volumes: sky/utils/volume.py, VolumeType (0.14.1): claims of Kubernetes, folders of its nodes, and the network
volumes of RunPod.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cvl_ci.model.plan import RunPlan

CLOUDS = ("kubernetes", "runpod")
"""The clouds on which a run may mount a volume."""


def volumes(plan: RunPlan) -> dict[str, object]:
    """Return the volumes by path: those of the task in SkyPilot's own form, then the mounts as names."""
    own = plan.work.task_extra.get("volumes")
    mounts = {mount.target: mount.volume for mount in plan.files.mounts if mount.volume}
    return {**(own if isinstance(own, Mapping) else {}), **mounts}


def names(plan: RunPlan) -> list[str]:
    """Return the names of the volumes that must exist."""
    entries = [entry.get("name") if isinstance(entry, Mapping) else entry for entry in volumes(plan).values()]
    return list(dict.fromkeys(str(name) for name in entries if name))


def mistakes(plan: RunPlan) -> Iterator[str]:
    """Yield a sentence for each volume that the run could not mount, or whose end nothing would prove."""
    of_mounts = {mount.target for mount in plan.files.mounts}
    clouds = [place.cloud for place in plan.machines.locations]
    elsewhere = next((cloud for cloud in clouds if cloud not in CLOUDS), "")
    for target, entry in volumes(plan).items():
        field = target if target in of_mounts else f"volumes.{target}"
        instead = f"Use a mount of a bucket instead, such as {target}=s3://my-bucket/prefix:cached"
        if isinstance(entry, Mapping) and "name" not in entry:
            kind = "host_path, which exists on Slurm alone" if "host_path" in entry else "size"
            yield (
                f"{field} has a {kind}, but a run mounts only a volume that exists already. cvl-ci cannot prove the "
                f"end of a volume that SkyPilot makes. Make it with `sky volumes apply`, and give its name. {instead}"
            )
        elif not clouds:
            yield f"{field} is a volume: name the cloud that has it, kubernetes or runpod. {instead}"
        elif elsewhere:
            yield f"{field} is a volume, and on {elsewhere} SkyPilot mounts none: {' and '.join(CLOUDS)} do. {instead}"
        elif any(place.cloud == "runpod" and not place.zone for place in plan.machines.locations):
            yield f"{field} is a volume of RunPod: name its data center too, as in runpod/REGION/DATA-CENTER"
