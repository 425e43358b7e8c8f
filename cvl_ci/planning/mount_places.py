"""Judge the places of mounts on a machine, and the addresses of SkyPilot's own `file_mounts`. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

from cvl_ci.inputs import bucket_address
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.suggest import similar
from cvl_ci.model.plan import RunPlan

SYSTEM = frozenset(
    {
        *("/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/proc"),
        *("/root", "/run", "/sbin", "/sys", "/tmp", "/usr", "/var"),  # noqa: S108
        *("/usr/bin", "/usr/include", "/usr/lib", "/usr/lib64", "/usr/local", "/usr/sbin", "/usr/share"),
        *("/var/cache", "/var/lib", "/var/log", "/var/run", "/var/tmp"),  # noqa: S108
    }
)
"""Folders that the machine itself needs: Filesystem Hierarchy Standard 3.0."""
_WITHOUT_FILES_OF_OTHERS = re.compile(r"/(?:bin|boot|dev|etc|lib|lib32|lib64|libx32|proc|run|sbin|sys)(?:/.*)?")
"""No mount of a folder belongs there, at any depth."""
_HOME = re.compile(r"/home/[^/]+")
_OWN = frozenset({".ssh", ".sky", ".cvl-ci"})
"""Folders of ssh, of SkyPilot and of cvl-ci, by which the machine is reached and ended."""
_SCHEMES = ("s3", "gs", "r2", "hf", "https", "az", "cos", "oci", "nebius", "cw", "vastdata")
"""sky/cloud_stores.py, _REGISTRY (0.14.1)."""
_SOURCE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*).*", re.DOTALL)


def mistakes(plan: RunPlan) -> Iterator[str]:
    """Yield a sentence for each place that two mounts share or that the machine needs, and each unknown address."""
    own = plan.work.task_extra.get("file_mounts")
    entries = own if isinstance(own, Mapping) else {}
    for target, entry in entries.items():
        yield from _of_entry(f"file_mounts.{target}", str(target), entry)
    for mount in plan.files.mounts:
        place = _place(mount.target)
        if place in SYSTEM or _HOME.fullmatch(place) or _WITHOUT_FILES_OF_OTHERS.fullmatch(place):
            yield f"{mount.target} is a folder of the machine's own system: choose a path of its own, such as /data"
        elif _OWN & set(place.split("/")):
            yield f"{mount.target} is a folder by which the machine is reached: choose another, such as /data"
    yield from _shared(plan, entries)


def _of_entry(field: str, target: str, entry: object) -> Iterator[str]:
    place = _place(target)
    if place in SYSTEM or _HOME.fullmatch(place):
        yield f"{field} is a folder of the machine's own system: choose a path of its own, such as /data"
    source = entry.get("source") if isinstance(entry, Mapping) else entry
    for address in source if isinstance(source, list) else [source]:
        if isinstance(address, str) and (problem := _problem(address)):
            yield f"{field} has the source {address}, which {problem}"


def _problem(address: str) -> str:
    """Return the problem of an address; empty for none. A name that a variable fills on the machine is not judged."""
    match = _SOURCE.fullmatch(address)
    if match is None or "$" in address:
        return ""
    scheme, bucket = match.groups()
    if scheme not in _SCHEMES:
        names = similar(scheme, _SCHEMES)
        fix = f"did you mean {names[0]}://?" if names else f"it has {', '.join(_SCHEMES)}"
        return f"SkyPilot does not have: {fix}"
    if scheme == "s3":
        try:
            bucket_address.read(f"s3://{bucket}")
        except Wrong as wrong:
            return wrong.problem
    if scheme == "hf" and not address.startswith("hf://buckets/") and bucket_address.read_any(address) is None:
        return "is not hf://OWNER/NAME, with @REVISION and a path or without"
    return ""


def _shared(plan: RunPlan, entries: Mapping[object, object]) -> Iterator[str]:
    """Yield each mount that shares its path with a file of the task, or is inside of it, or around it.

    SkyPilot makes a link to each place outside of the home folder, in the order of the task. Its own entries among each
    other are its own affair.
    """
    fields = {f"file_mounts.{target}": _place(str(target)) for target in entries}
    volumes = plan.work.task_extra.get("volumes")
    fields |= {f"volumes.{target}": _place(str(target)) for target in (volumes if isinstance(volumes, Mapping) else {})}
    for mount in plan.files.mounts:
        place = _place(mount.target)
        for field, other in fields.items():
            if place == other:
                yield f"{mount.target} has two sources: this mount, and {field}. Remove one of them"
            elif other.startswith(f"{place}/") or place.startswith(f"{other}/"):
                yield f"{mount.target} and {field} are one inside the other: choose paths apart from each other"


def _place(target: str) -> str:
    path = posixpath.normpath(target)
    return f"/{path.lstrip('/')}" if path.startswith("/") else path
