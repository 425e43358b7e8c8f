"""Judge the storage of a plan: which buckets SkyPilot would make, and what no run can do with them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cvl_ci.model.location import SANDBOX
from cvl_ci.model.mount import MountMode
from cvl_ci.model.plan import RunPlan
from cvl_ci.planning import mount_places, volume_rules

_ON_AWS = {SANDBOX, "aws"}
NO_STREAM = (
    "has the mode stream, which the sandbox does not have: SkyPilot downloads goofys for it, and a machine of the "
    "sandbox has no internet. Use cached or copy"
)


def mistakes(plan: RunPlan) -> Iterator[str]:
    """Yield a sentence for each mount that the run could not keep its promise for."""
    is_sandbox = plan.machines.is_on_sandbox
    yield from volume_rules.mistakes(plan)
    yield from mount_places.mistakes(plan)
    for mount in plan.files.mounts:
        if mount.volume:
            continue
        if is_sandbox and mount.mode is MountMode.STREAM:
            yield f"{mount.target} {NO_STREAM}"
        if is_sandbox and not mount.is_local and not mount.source.startswith("s3://"):
            yield f"{mount.target} needs {mount.source.partition(':')[0]}://, and the sandbox has s3:// alone"
    for target, entry in file_mounts(plan).items():
        if not isinstance(entry, Mapping):
            continue
        mode = str(entry.get("mode") or "MOUNT").upper()
        if is_sandbox and mode == "MOUNT":
            yield f"file_mounts.{target} {NO_STREAM.replace('stream', 'MOUNT', 1).replace('cached', 'MOUNT_CACHED')}"
        if bucket := made_bucket(entry):
            yield from _elsewhere(plan, target, bucket, str(entry.get("store") or "").lower())


def mistakes_through_server(plan: RunPlan) -> Iterator[str]:
    """Yield a sentence for each bucket that a run through an API server would make: the server cannot prove its end."""
    if plan.machines.is_on_sandbox:
        return
    end = "through a SkyPilot API server, where cvl-ci cannot prove its end"
    for mount in plan.files.mounts:
        if mount.needs_bucket:
            yield f"{mount.target} may make a bucket {end}: use the mode copy without via, or the address of a bucket"
    for target, entry in file_mounts(plan).items():
        if isinstance(entry, Mapping) and (bucket := made_bucket(entry)):
            yield (
                f"file_mounts.{target} may make the bucket {bucket} {end}: make the bucket first, and give its address "
                "as the source"
            )


def file_mounts(plan: RunPlan) -> Mapping[str, object]:
    """Return SkyPilot's own `file_mounts` of a task or of the input of that name."""
    mounts = plan.work.task_extra.get("file_mounts")
    return mounts if isinstance(mounts, Mapping) else {}


def made_bucket(entry: Mapping[str, object]) -> str | None:
    """Return the bucket that SkyPilot makes for an entry if there is none of this name; None if it never makes one."""
    source, name = entry.get("source"), entry.get("name")
    is_remote = isinstance(source, str) and "://" in source
    return str(name) if name and not is_remote else None


def makes_buckets(plan: RunPlan) -> bool:
    entries = file_mounts(plan).values()
    return any(mount.needs_bucket for mount in plan.files.mounts) or any(
        made_bucket(entry) for entry in entries if isinstance(entry, Mapping)
    )


def _elsewhere(plan: RunPlan, target: str, bucket: str, store: str) -> Iterator[str]:
    fix = "make the bucket first and give its address as the source, or give `store: s3`"
    if store and store != "s3":
        yield (
            f"file_mounts.{target} would make the bucket {bucket} in {store}, where cvl-ci cannot prove its end: {fix}"
        )
    locations = plan.machines.locations
    if not store and not (locations and all(one.cloud in _ON_AWS for one in locations)):
        yield (f"file_mounts.{target} names the bucket {bucket} without a store, so SkyPilot chooses the cloud: {fix}")
