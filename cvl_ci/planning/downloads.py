"""Files an example wants fetched before its image is built (`resources.downloads`), as shell lines. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from cvl_ci.inputs.parsers import Wrong

_CACHED = ("models/", "data/")
"""Destinations that begin so are not below the example but in the field's cache, where its scripts look for them."""

_DRIVE_ID = re.compile(r"gdrive://(?P<short>[\w-]+)|https?://drive\.google\.com/.*(?:/d/|[?&]id=)(?P<long>[\w-]+)")


def lines(resources: Mapping[str, Any]) -> tuple[str, ...]:
    """One a file; a file that is there already is not fetched again. Raises Wrong."""
    said = resources.get("downloads")
    entries = said if isinstance(said, Sequence) and not isinstance(said, str) else []
    return tuple(_line(entry) for entry in entries)


def _line(entry: object) -> str:
    url, target = (entry.get("url"), entry.get("dest")) if isinstance(entry, Mapping) else (None, None)
    if not isinstance(url, str) or not isinstance(target, str):
        raise Wrong(f"needs the download {entry!r}, which has no url and dest")
    if target.startswith(("/", "~")) or ".." in target.split("/") or target.endswith("/"):
        raise Wrong(f"downloads to {target!r}, which is no file of the example")
    place = '"$HOME"/.cache/cvlization/' if target.startswith(_CACHED) else ""
    file = f"{place}{shlex.quote(target)}"
    source, token = _source(url)
    fetch = f"curl -fL --retry 3 --no-progress-meter{token} -o {file}.part {shlex.quote(source)}"
    return f'[ -s {file} ] || {{ mkdir -p "$(dirname {file})" && {fetch} && mv {file}.part {file}; }}'


def _source(url: str) -> tuple[str, str]:
    """Where it really is, and how we say who we are; the token is the job's own secret, if it has one."""
    header = ' ${HF_TOKEN:+-H "Authorization: Bearer $HF_TOKEN"}'
    if url.startswith("hf://"):
        owner, _, rest = url.removeprefix("hf://").partition("/")
        repository, _, file = rest.partition("/")
        if not file:
            raise Wrong(f"downloads {url!r}, which is not hf://owner/repository/file")
        return f"https://huggingface.co/{owner}/{repository}/resolve/main/{file}", header
    if url.startswith("https://huggingface.co/"):
        return url, header
    drive = _DRIVE_ID.match(url)
    if drive:
        found = drive["short"] or drive["long"]
        return f"https://drive.usercontent.google.com/download?id={found}&export=download&confirm=t", ""
    if not re.match(r"https?://", url):
        raise Wrong(f"downloads {url!r}, which is neither http, hf nor gdrive")
    return url, ""
