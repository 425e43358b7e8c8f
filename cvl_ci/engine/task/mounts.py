"""Write mounts as SkyPilot's `file_mounts`, and as the shell text that completes and checks them on a machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from importlib import resources

from cvl_ci.model.mount import ALL_CACHED, UPLOADS_FOLDER, Mount, MountMode, digest
from cvl_ci.model.node_end import MountFault
from cvl_ci.model.plan import RunPlan
from cvl_ci.planning.storage_rules import file_mounts

_MODES = {MountMode.COPY: "COPY", MountMode.CACHED: "MOUNT_CACHED", MountMode.STREAM: "MOUNT"}
_OWN_PLACE = "a-bucket-of-the-run"
_BUCKET = re.compile(r"(?:s3|gs|r2)://[^/]+|https://[a-z0-9]{3,24}\.blob\.core\.windows\.net/[^/]+")
"""The part of an address that names a whole bucket or container."""


def entries(plan: RunPlan, *, lease: str, staged: str) -> dict[str, object]:
    """Return `file_mounts`: those of the task, then the mounts. `staged`: the folder of the staged files."""
    pairs = _entries(plan, lease=lease, staged=staged).items()
    return {_hidden(target) if _prefix(entry) else target: entry for target, entry in pairs}


def _entries(plan: RunPlan, *, lease: str, staged: str) -> dict[str, object]:
    own = {target: _below_a_bucket(entry) for target, entry in file_mounts(plan).items()}
    return {**own, **dict(_of_mounts(plan, lease=lease, staged=staged))}


def _prefix(entry: object) -> str:
    """Return the path below a cached bucket. SkyPilot's cached mode ignores it and mounts the whole bucket."""
    return str(entry.get("_bucket_sub_path") or "") if isinstance(entry, Mapping) and _is_cached(entry) else ""


def _hidden(target: str) -> str:
    return f"/.cvl-ci-buckets/{digest(target)}"


def _links(plan: RunPlan) -> Iterator[str]:
    for target, entry in _entries(plan, lease="", staged="").items():
        if prefix := _prefix(entry):
            yield shlex.join(["cvl_ci_link", digest(target), f"{_hidden(target)}/{prefix}", target])


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
    if not mounts and not links and not _count_cached(plan):
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
            shlex.join(["cvl_ci_check", mount.digest, mount.source, mount.target])
            for mount in copied
            if mount.source.startswith("s3://")
        ),
    ]
    targets = f"cvl_ci_mounts=({' '.join(shlex.quote(mount.target) for mount in mounts)})"
    check = f"cat > \"$cvl_ci_state/check_copy.py\" << 'CVL_CI_END_OF_FILE'\n{_read('check_copy.py')}CVL_CI_END_OF_FILE"
    return "\n".join([targets, check, _read("mounts.sh"), *lines, "cvl_ci_mounted"])


def wait_for_writes(plan: RunPlan) -> str:
    """Return the text that waits after the job until cached files are in their buckets; empty without such mounts."""
    if not _count_cached(plan):
        return ""
    message = shlex.quote("the files of cached mounts are not proved to be in their buckets")
    unsent = f"cvl_ci_refuse_mount {MountFault.UNSENT.value} {ALL_CACHED} {message}"
    return f"cvl_ci_send_rest 0 || {unsent}"


def send_at_exit(plan: RunPlan) -> str:
    """Return the text that has a failed job wait for its cached files too; empty without such a mount."""
    count = _count_cached(plan)
    return f"cvl_ci_cached={count}\ncvl_ci_last+=(cvl_ci_send_rest)" if count else ""


def _count_cached(plan: RunPlan) -> int:
    return sum(_is_cached(entry) for entry in _entries(plan, lease="", staged="").values())


def _is_cached(entry: object) -> bool:
    return isinstance(entry, Mapping) and str(entry.get("mode")).upper() == _MODES[MountMode.CACHED]


def _of_mounts(plan: RunPlan, *, lease: str, staged: str, local: bool = True) -> Iterator[tuple[str, object]]:
    for mount in plan.files.mounts:
        if mount.volume:
            continue
        if not mount.is_local:
            yield mount.target, _address(mount.source) if mount.mode is MountMode.COPY else _remote(mount)
        elif mount.needs_bucket and local:
            yield mount.target, _uploaded(mount, lease=lease, folder=f"{staged}/{UPLOADS_FOLDER}/{mount.digest}")


def _remote(mount: Mount) -> object:
    return _below_a_bucket({"source": _address(mount.source), "mode": _MODES[mount.mode]})


def _address(source: str) -> str:
    """Return the address as SkyPilot knows it: a container of Azure by its https address (sky/cloud_stores.py)."""
    if not source.startswith("az://"):
        return source
    account, _, rest = source.removeprefix("az://").partition("/")
    return f"https://{account}.blob.core.windows.net/{rest}"


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
    bucket = _BUCKET.match(source)
    path = source[bucket.end() :].strip("/") if bucket else ""
    if bucket is None or mode == "COPY" or not path:
        return entry
    return {**entry, "source": bucket[0], "_bucket_sub_path": path}


def _read(name: str) -> str:
    return resources.files("cvl_ci.engine").joinpath("machine").joinpath(name).read_text(encoding="utf-8")
