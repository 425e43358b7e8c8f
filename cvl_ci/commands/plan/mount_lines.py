"""Put the mounts of a plan into words and into JSON: sizes, the bucket that a run makes, its place and its price."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cvl_ci.model.mount import VOLUME, Mount, MountMode
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.storage import monthly_usd
from cvl_ci.planning import volume_rules
from cvl_ci.planning.storage_rules import file_mounts, made_bucket
from cvl_ci.result.units import dollars, size

REGION = "us-east-1"
"""The region in which SkyPilot makes a bucket of S3 without another request: sky/data/storage.py, S3Store."""
UNPRICED = "its provider bills it"
RUNPOD = "RunPod bills $0.07 for a GB and month, and $0.05 above 1 TB"
"""docs.runpod.io/get-started/billing-information, "Network volume billing". RunPod tells no size before the mount."""
_HOW = {
    MountMode.COPY: "copied before the job, and checked",
    MountMode.CACHED: "read on demand, written back",
    MountMode.STREAM: "read and written without a cache",
}


def lines(plan: RunPlan) -> Iterator[str]:
    price = RUNPOD if any(place.cloud == "runpod" for place in plan.machines.locations) else UNPRICED
    for target, entry in volume_rules.volumes(plan).items():
        volume = entry.get("name") if isinstance(entry, Mapping) else entry
        yield f"{target} is the volume {volume}, which exists already and stays; {price}. The quote does not include it"
    for mount in plan.files.mounts:
        if mount.volume:
            continue
        yield f"{mount.target} from {mount.source}, {_way(mount)}{_size(mount)}"
        if mount.needs_bucket:
            yield f"  through {_bucket(mount)}"
    for target, entry in file_mounts(plan).items():
        name = made_bucket(entry) if isinstance(entry, Mapping) else None
        if name and isinstance(entry, Mapping):
            end = "ends with the run" if entry.get("persistent") is False else "stays after the run, and is billed"
            yield f"{target} through the bucket s3://{name}; if the run makes it, it {end}"


def as_json(plan: RunPlan) -> list[dict[str, object]]:
    targets = {mount.target for mount in plan.files.mounts}
    of_task = [
        Mount(target=target, source=f"{VOLUME}{entry.get('name') if isinstance(entry, Mapping) else entry}")
        for target, entry in volume_rules.volumes(plan).items()
        if target not in targets
    ]
    return [_as_json(mount) for mount in (*plan.files.mounts, *of_task)]


def _way(mount: Mount) -> str:
    if mount.is_local and mount.mode is MountMode.COPY:
        return "copied before the job"
    return _HOW[mount.mode]


def _size(mount: Mount) -> str:
    if not mount.is_local:
        return "; its size is known when it is read"
    return f": {mount.files} file{'' if mount.files == 1 else 's'}, {size(mount.bytes)}"


def _bucket(mount: Mount) -> str:
    price = f"{dollars(monthly_usd(mount.bytes))} a month at S3 Standard's price"
    if mount.via is None:
        return f"a bucket of the run's own, s3://LEASE-{mount.digest} in {REGION}, which ends with the run ({price})"
    return f"{mount.via}, which stays ({price}); if the run makes the bucket, then in {REGION}"


def _as_json(mount: Mount) -> dict[str, object]:
    return {
        "path": mount.target,
        "source": mount.source,
        "mode": "volume" if mount.volume else mount.mode.value,
        "bytes": mount.bytes if mount.is_local else None,
        "bucket": (str(mount.via) if mount.via else f"s3://LEASE-{mount.digest}") if mount.needs_bucket else None,
        "region": REGION if mount.needs_bucket else None,
        "monthly_usd": round(monthly_usd(mount.bytes), 6) if mount.needs_bucket else None,
    }
