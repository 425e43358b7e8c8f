"""More files for the machine, by the place that they get there. Pure: task_paths.py finds the local ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from cvl_ci.inputs.parsers import Wrong, sendable


def read(value: object) -> dict[str, object]:
    """Return remote path → local path, bucket, or SkyPilot's own mapping of a bucket. Raise Wrong.

    Text has one `REMOTE=LOCAL` a line.
    """
    if isinstance(value, Mapping):
        pairs = [(str(remote), _source(source)) for remote, source in value.items()]
    elif isinstance(value, str):
        pairs = [_pair(line) for line in value.splitlines() if line.strip()]
    elif isinstance(value, Sequence):
        pairs = [_pair(str(entry)) for entry in value if str(entry).strip()]
    else:
        raise Wrong("is neither a mapping nor REMOTE=LOCAL lines")
    for remote, source in pairs:
        if not remote.strip() or not (isinstance(source, Mapping) or (isinstance(source, str) and source.strip())):
            raise Wrong("has an empty path", display=f"{remote}={source}")
        sendable(f"{remote}{source if isinstance(source, str) else ''}")
    return dict(pairs)


def _source(value: object) -> object:
    return str(value) if isinstance(value, PurePath) else value


def _pair(entry: str) -> tuple[str, str]:
    remote, equals, source = (part.strip() for part in entry.partition("="))
    if not equals:
        raise Wrong("is not REMOTE=LOCAL, as in `/data=./data`", display=entry)
    return remote, source
