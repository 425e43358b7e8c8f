"""Write mounts as SkyPilot's `file_mounts`, and as the shell text that completes and checks them on a machine."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping
from importlib import resources

from cvl_ci.model.mount import UPLOADS_FOLDER, Mount, MountMode
from cvl_ci.model.plan import RunPlan
from cvl_ci.planning.storage_rules import file_mounts

_MODES = {MountMode.COPY: "COPY", MountMode.CACHED: "MOUNT_CACHED", MountMode.STREAM: "MOUNT"}
_OWN_PLACE = "a-bucket-of-the-run"
_PREFIXED = ("s3://", "gs://", "r2://", "az://")


def entries(plan: RunPlan, *, lease: str, staged: str) -> dict[str, object]:
    """Return `file_mounts`: those of the task, then the mounts. `staged`: the folder of the staged files."""
    pairs = _entries(plan, lease=lease, staged=staged).items()
    return {_hidden(target) if _prefix(entry) else target: entry for target, entry in pairs}


def _entries(plan: RunPlan, *, lease: str, staged: str) -> dict[str, object]:
    own = {target: _below_a_bucket(entry) for target, entry in file_mounts(plan).items()}
    return {**own, **dict(_of_mounts(plan, lease=lease, staged=staged))}


def _prefix(entry: object) -> str:
    """Return the path below a cached bucket. SkyPilot's cached mode ignores it and mounts the whole bucket."""
    if not isinstance(entry, Mapping) or str(entry.get("mode")).upper() != "MOUNT_CACHED":
        return ""
    return str(entry.get("_bucket_sub_path") or "")


def _hidden(target: str) -> str:
    return f"/.cvl-ci-buckets/{hashlib.sha256(target.encode()).hexdigest()[:8]}"


def _links(plan: RunPlan) -> Iterator[str]:
    for target, entry in _entries(plan, lease="", staged="").items():
        if prefix := _prefix(entry):
            yield f"cvl_ci_link {shlex.quote(f'{_hidden(target)}/{prefix}')} {shlex.quote(target)}"


def rendered(plan: RunPlan) -> dict[str, object]:
    """Return `file_mounts` for a person's own `sky launch`, with local folders where they are here."""
    own = {target: _below_a_bucket(entry) for target, entry in file_mounts(plan).items()}
    local_entries = {
        mount.target: {"name": _OWN_PLACE, "source": mount.source, "mode": _MODES[mount.mode]}
        if mount.needs_bucket
        else mount.source
        for mount in plan.files.mounts
        if mount.is_local
    }
    return {**own, **local_entries, **dict(_of_mounts(plan, lease=_OWN_PLACE, staged="", local=False))}


def prepare(plan: RunPlan) -> str:
    """Return the text that a node runs once before its commands; empty without mounts."""
    mounts = plan.files.mounts
    links = list(_links(plan))
    if not mounts and not links:
        return ""
    copied = [mount for mount in mounts if mount.mode is MountMode.COPY]
    lines = [
        *links,
        *(
            f"cvl_ci_place {mount.digest} {shlex.quote(mount.target)}"
            for mount in copied
            if not mount.needs_bucket and mount.is_local
        ),
        *(
            f"cvl_ci_check {shlex.quote(mount.source)} {shlex.quote(mount.target)}"
            for mount in copied
            if mount.source.startswith("s3://")
        ),
    ]
    targets = f"cvl_ci_mounts=({' '.join(shlex.quote(mount.target) for mount in mounts)})"
    check = f"cat > \"$cvl_ci_state/check_copy.py\" << 'CVL_CI_END_OF_FILE'\n{_read('check_copy.py')}CVL_CI_END_OF_FILE"
    return "\n".join([targets, check, _read("mounts.sh"), *lines, "cvl_ci_mounted"])


def _of_mounts(plan: RunPlan, *, lease: str, staged: str, local: bool = True) -> Iterator[tuple[str, object]]:
    for mount in plan.files.mounts:
        if not mount.is_local:
            yield mount.target, mount.source if mount.mode is MountMode.COPY else _remote(mount)
        elif mount.needs_bucket and local:
            yield mount.target, _uploaded(mount, lease=lease, folder=f"{staged}/{UPLOADS_FOLDER}/{mount.digest}")


def _remote(mount: Mount) -> object:
    return _below_a_bucket({"source": mount.source, "mode": _MODES[mount.mode]})


def _uploaded(mount: Mount, *, lease: str, folder: str) -> dict[str, object]:
    entry: dict[str, object] = {
        "name": mount.via.bucket if mount.via else mount.own_bucket(lease),
        "source": folder,
        "store": "s3",
        "mode": _MODES[mount.mode],
        "persistent": mount.via is not None,
    }
    return {**entry, "_bucket_sub_path": mount.via.prefix} if mount.via and mount.via.prefix else entry


def _below_a_bucket(entry: object) -> object:
    """Return an entry whose source is a whole bucket, with the path below it apart.

    SkyPilot mounts a path below a bucket, but refuses to read one from its source (sky/data/storage.py:1218-1237).
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get("source"), str):
        return entry
    source, mode = str(entry["source"]), str(entry.get("mode") or "MOUNT").upper()
    scheme = next((prefix for prefix in _PREFIXED if source.startswith(prefix)), None)
    bucket, _, path = source[len(scheme or "") :].partition("/")
    if scheme is None or mode == "COPY" or not path.strip("/"):
        return entry
    return {**entry, "source": f"{scheme}{bucket}", "_bucket_sub_path": path.strip("/")}


def _read(name: str) -> str:
    return resources.files("cvl_ci.engine").joinpath("machine").joinpath(name).read_text(encoding="utf-8")
