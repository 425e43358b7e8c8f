"""Read the place of an attempt in a line of an API server's launch. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cvl_ci.engine.job_log import progress

_LAUNCHING = re.compile(
    r"Launching(?: [A-Z_]+)? on ([A-Za-z]+)(?: ([A-Za-z0-9-]{1,64}))?(?: \(([A-Za-z0-9,. -]{1,200})\))?\."
)


@dataclass(frozen=True, kw_only=True)
class ServerPlace:
    """One place, as the server's line names it."""

    cloud: str
    region: str = ""
    zone: str = ""


def place_of(line: str) -> ServerPlace | None:
    """Return the place that the server asks next, if the line names one."""
    match = _LAUNCHING.search(progress(line) or "")
    return ServerPlace(cloud=match[1].lower(), region=match[2] or "", zone=match[3] or "") if match else None
