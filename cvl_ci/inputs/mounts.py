"""Read mounts, such as `/data=s3://bucket/prefix:cached`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from cvl_ci.inputs import bucket_address
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.suggest import similar
from cvl_ci.model.mount import Mount, MountMode

SCHEMES = ("s3", "gs", "az", "r2", "hf", "volume")
"""The remote storage of SkyPilot that a mount may name: sky/cloud_stores.py, sky/data/storage.py, sky/volumes."""
_VOLUME_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
"""The name of a claim of Kubernetes: kubernetes.io, "Object Names and IDs", DNS subdomain names."""
_PATH = re.compile(r"/[\w./@+-]+")
_MODES = {mode.value: mode for mode in MountMode}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_AZURE = re.compile(r"az://[a-z0-9]{3,24}/[a-z0-9](?:-?[a-z0-9]){2,62}(?:/[^?#]*)?")
"""Names of accounts and containers: learn.microsoft.com, "Naming rules and restrictions for Azure resources"."""
_HUB_BUCKET = re.compile(r"hf://buckets/[\w.-]+/[\w.-]+(?:/[^?#]*)?")
"""A bucket of the hub: sky/data/data_utils.py:127."""
_VIA = ",via="


def read(value: object) -> tuple[Mount, ...]:
    """Return the mounts. Raise Wrong. Text has one `PATH=SOURCE[:MODE][,via=s3://BUCKET/PREFIX]` a line."""
    if isinstance(value, Mapping):
        lines = [f"{target}={source}" for target, source in value.items()]
    elif isinstance(value, (str, Sequence)):
        lines = value.splitlines() if isinstance(value, str) else [str(line) for line in value]
    else:
        raise Wrong("is neither a mapping nor PATH=SOURCE lines")
    mounts: list[Mount] = []
    wrong_lines: list[Wrong] = []
    for line in filter(None, map(str.strip, lines)):
        try:
            mounts.append(_mount(*_pair(line)))
        except Wrong as wrong:
            wrong_lines.append(Wrong(wrong.problem, near=wrong.near, display=line))
    shared = _inside_each_other([mount.target for mount in mounts])
    wrong_lines += [Wrong("has one path twice, or one path inside another", display=target) for target in shared]
    if wrong_lines:
        first, *further = wrong_lines
        raise Wrong(first.problem, near=first.near, display=first.display, further=tuple(further))
    return tuple(mounts)


def _pair(line: str) -> tuple[str, str]:
    target, equals, source = (part.strip() for part in line.partition("="))
    if not equals or not source:
        raise Wrong("is not PATH=SOURCE, as in `/data=s3://bucket/prefix`", display=line)
    return target, source


def _mount(target: str, text: str) -> Mount:
    path = target.rstrip("/")
    if not _PATH.fullmatch(path) or {"", ".", ".."} & {*path.split("/")[1:]}:
        raise Wrong("needs an absolute path of its own on the machine, such as /data")
    source, _, bucket = text.partition(_VIA)
    head, colon, word = source.rpartition(":")
    if head in SCHEMES and word not in _MODES and not word.startswith("//"):
        raise Wrong(f"has no `//` after {head}:", near=(f"{target}={head}://{word.lstrip('/')}",))
    if colon and not word.startswith("//"):
        if word not in _MODES:
            raise Wrong("has a mode other than copy, cached or stream", near=similar(word, _MODES))
        source = head
    mode = _MODES[word] if colon and not word.startswith("//") else MountMode.COPY
    remote = _SCHEME.fullmatch(source)
    if remote and bucket:
        raise Wrong("has via, which is for a folder of this computer")
    if remote and (problem := _problem(remote[1], remote[2], source, mode)):
        raise Wrong(problem)
    if remote and remote[1] == "s3":
        bucket_address.read(source)
    via = bucket_address.read(bucket) if bucket else None
    return Mount(target=path, source=source if remote else source.rstrip("/") or ".", mode=mode, via=via)


def _problem(scheme: str, rest: str, source: str, mode: MountMode) -> str:
    """Return the problem of an address of remote storage, `SCHEME://REST`; empty for none."""
    if scheme not in SCHEMES:
        return f"is not {', '.join(f'{name}://' for name in SCHEMES)} or a folder"
    if not rest.strip("/"):
        return "names no bucket"
    if scheme == "volume" and (not _VOLUME_NAME.fullmatch(rest) or mode is not MountMode.COPY):
        return "is not the name of a volume, such as volume://my-volume, without a mode"
    if scheme == "az" and not _AZURE.fullmatch(source):
        return "is not az://ACCOUNT/CONTAINER, with a path below it or without"
    if scheme == "hf" and not _HUB_BUCKET.fullmatch(source) and not bucket_address.read_any(source):
        return "is not hf://OWNER/NAME, with @REVISION and a path or without"
    return ""


def _inside_each_other(targets: Sequence[str]) -> Iterator[str]:
    for number, target in enumerate(targets):
        for other in targets[:number]:
            if f"{target}/".startswith(f"{other}/") or f"{other}/".startswith(f"{target}/"):
                yield target
