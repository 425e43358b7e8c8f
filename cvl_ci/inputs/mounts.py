"""Read mounts, such as `/data=s3://bucket/prefix:cached`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from cvl_ci.inputs import bucket_address
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.suggest import near
from cvl_ci.model.mount import Mount, MountMode

SCHEMES = ("s3", "gs", "az", "r2", "hf", "volume")
"""The remote storage of SkyPilot that a mount may name: sky/cloud_stores.py, sky/data/storage.py, sky/volumes."""
_VOLUME_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
"""The name of a claim of Kubernetes: kubernetes.io, "Object Names and IDs", DNS subdomain names."""
_MODES = {mode.value: mode for mode in MountMode}
_SCHEME = re.compile(r"([a-z0-9]+)://(.*)", re.DOTALL)
_AZURE = re.compile(r"az://[a-z0-9]{3,24}/[a-z0-9](?:-?[a-z0-9]){2,62}(?:/[^?#]*)?")
"""Names of accounts and containers: learn.microsoft.com, "Naming rules and restrictions for Azure resources"."""
_VIA = ",via="


def read(value: object) -> tuple[Mount, ...]:
    """Return the mounts. Raise Wrong. Text has one `PATH=SOURCE[:MODE][,via=s3://BUCKET/PREFIX]` a line."""
    if isinstance(value, Mapping):
        pairs = [(str(target), str(source)) for target, source in value.items()]
    elif isinstance(value, (str, Sequence)):
        lines = value.splitlines() if isinstance(value, str) else [str(line) for line in value]
        pairs = [_pair(line.strip()) for line in lines if line.strip()]
    else:
        raise Wrong("is neither a mapping nor PATH=SOURCE lines")
    mounts = tuple(_mount(target, source) for target, source in pairs)
    for target in _inside_each_other([mount.target for mount in mounts]):
        raise Wrong("has one path twice, or one path inside another", display=target)
    return mounts


def _pair(line: str) -> tuple[str, str]:
    target, equals, source = (part.strip() for part in line.partition("="))
    if not equals or not source:
        raise Wrong("is not PATH=SOURCE, as in `/data=s3://bucket/prefix`", display=line)
    return target, source


def _mount(target: str, text: str) -> Mount:
    typed_text = f"{target}={text}"
    path = target.rstrip("/")
    if not re.fullmatch(r"/[\w./@+-]+", path) or ".." in path.split("/") or path in {"/home", "/root", "/tmp"}:  # noqa: S108
        raise Wrong("needs an absolute path of its own on the machine, such as /data", display=typed_text)
    source, _, bucket = text.partition(_VIA)
    head, colon, word = source.rpartition(":")
    if colon and not word.startswith("//"):
        if word not in _MODES:
            raise Wrong("has a mode other than copy, cached or stream", near=near(word, _MODES), display=typed_text)
        source = head
    mode = _MODES[word] if colon and not word.startswith("//") else MountMode.COPY
    remote = _SCHEME.fullmatch(source)
    if remote and remote[1] not in SCHEMES:
        raise Wrong(f"is not {', '.join(f'{name}://' for name in SCHEMES)} or a folder", display=typed_text)
    if remote and not remote[2].strip("/"):
        raise Wrong("names no bucket", display=typed_text)
    if remote and bucket:
        raise Wrong("has via, which is for a folder of this computer", display=typed_text)
    if remote and remote[1] == "volume" and (not _VOLUME_NAME.fullmatch(remote[2]) or mode is not MountMode.COPY):
        raise Wrong("is not the name of a volume, such as volume://my-volume, without a mode", display=typed_text)
    if remote and remote[1] == "az" and not _AZURE.fullmatch(source):
        raise Wrong("is not az://ACCOUNT/CONTAINER, with a path below it or without", display=typed_text)
    if remote and remote[1] == "s3":
        bucket_address.read(source)
    via = bucket_address.read(bucket) if bucket else None
    return Mount(target=path, source=source if remote else source.rstrip("/") or ".", mode=mode, via=via)


def _inside_each_other(targets: Sequence[str]) -> Iterator[str]:
    for number, target in enumerate(targets):
        for other in targets[:number]:
            if f"{target}/".startswith(f"{other}/") or f"{other}/".startswith(f"{target}/"):
                yield target
