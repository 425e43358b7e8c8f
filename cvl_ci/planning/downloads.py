"""Write the shell lines that fetch files for an example before its image is built (`resources.downloads`). Pure.

An entry is a `url` and a `dest`. A url is http(s), `gdrive://ID`, `hf://owner/repository/file`, or
`hf://owner/repository` for a whole repository of the Hugging Face Hub; `hf://datasets/…` is one of its datasets.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from cvl_ci.inputs.parsers import Wrong

_CACHED = ("models/", "data/")
"""Destinations with these beginnings lie in the field's cache and not below the example: its scripts look there."""

_HUB_WHOLE = re.compile(r"hf://(?:(?P<kind>datasets|spaces)/)?(?P<repository>[\w.-]+/[\w.-]+)/?")
_HUB_FILE = re.compile(r"hf://(?P<repository>(?:(?:datasets|spaces)/)?[\w.-]+/[\w.-]+)/(?P<file>.+)")
_HUB = "\"$HOME/.local/bin/uv\" tool run --quiet --from 'huggingface_hub>=1,<3' hf download"
"""SkyPilot puts uv there on each machine (SKY_UV_INSTALL_DIR in sky/skylet/constants.py of 0.14.1).

`hf` reads HF_TOKEN itself.
"""
_DRIVE_ID = re.compile(r"gdrive://(?P<short>[\w-]+)|https?://drive\.google\.com/.*(?:/d/|[?&]id=)(?P<long>[\w-]+)")


def lines(resources: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one line for each file. An existing file is not fetched again. Raises Wrong."""
    declared = resources.get("downloads")
    entries = declared if isinstance(declared, Sequence) and not isinstance(declared, str) else []
    return tuple(_line(entry) for entry in entries)


def _line(entry: object) -> str:
    url, target = (entry.get("url"), entry.get("dest")) if isinstance(entry, Mapping) else (None, None)
    if not isinstance(url, str) or not isinstance(target, str):
        raise Wrong(f"needs the download {entry!r}, which has no url and dest")
    repository = _hub_repository(url)
    if target.startswith(("/", "~")) or ".." in target.split("/") or (target.endswith("/") and not repository):
        raise Wrong(f"downloads to {target!r}, which is not a file of the example")
    target = target.rstrip("/")
    place = '"$HOME"/.cache/cvlization/' if target.startswith(_CACHED) else ""
    file = f"{place}{shlex.quote(target)}"
    if repository:
        fetch = f"{_HUB} {repository} --local-dir {file}.part --quiet > /dev/null"
        return f'[ -d {file} ] || {{ mkdir -p "$(dirname {file})" && {fetch} && mv {file}.part {file}; }}'
    source, token = _source(url)
    fetch = f"curl -fL --retry 3 --no-progress-meter{token} -o {file}.part {shlex.quote(source)}"
    return f'[ -s {file} ] || {{ mkdir -p "$(dirname {file})" && {fetch} && mv {file}.part {file}; }}'


def _hub_repository(url: str) -> str:
    """Return the words for `hf download` of a whole repository; empty: the url is not one."""
    match = _HUB_WHOLE.fullmatch(url)
    if match is None:
        return ""
    kind = f" --repo-type {match['kind'].rstrip('s')}" if match["kind"] else ""
    return f"{shlex.quote(match['repository'])}{kind}"


def _source(url: str) -> tuple[str, str]:
    """Return the real address and the header with the token, which is the job's own secret if it has one."""
    header = ' ${HF_TOKEN:+-H "Authorization: Bearer $HF_TOKEN"}'
    if url.startswith("hf://"):
        match = _HUB_FILE.fullmatch(url)
        if match is None:
            raise Wrong(f"downloads {url!r}, which is not hf://owner/repository or hf://owner/repository/file")
        return f"https://huggingface.co/{match['repository']}/resolve/main/{match['file']}", header
    if url.startswith("https://huggingface.co/"):
        return url, header
    drive = _DRIVE_ID.match(url)
    if drive:
        file_id = drive["short"] or drive["long"]
        return f"https://drive.usercontent.google.com/download?id={file_id}&export=download&confirm=t", ""
    if not re.match(r"https?://", url):
        raise Wrong(f"downloads {url!r}, which is neither http, hf nor gdrive")
    return url, ""
