"""Follow the places that an API server tries, in the lines that it streams. Pure.

The server chooses the places itself and sends no event for them. SkyPilot 0.14.1 prints `Launching on AWS us-east-1
(us-east-1a).` before it requests machines (sky/backends/cloud_vm_ray_backend.py), and then the provider's own error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from cvl_ci.engine.job_log import progress
from cvl_ci.engine.sky_refusals import Kind, kind_of_words

_LAUNCHING = re.compile(
    r"Launching(?: [A-Z_]+)? on ([A-Za-z]+)(?: ([A-Za-z0-9-]{1,64}))?(?: \(([A-Za-z0-9,. -]{1,200})\))?\."
)
_NO_MACHINE = {Kind.CAPACITY, Kind.QUOTA}
"""Answers with which a provider makes no machine."""


@dataclass(frozen=True, kw_only=True)
class ServerPlace:
    """One place, as the server's line names it."""

    cloud: str
    region: str = ""
    zone: str = ""


class ServerPlaces:
    """A listener for lines. `moved` hears of each further place, and whether the place before it refused."""

    def __init__(self, moved: Callable[[ServerPlace, bool], None]) -> None:
        self._moved = moved
        self._place: ServerPlace | None = None
        self._is_refused = False

    @property
    def had_machines(self) -> bool:
        """Return whether the last place may have made machines: it was tried, and no refusal was heard."""
        return self._place is not None and not self._is_refused

    def __call__(self, line: str) -> None:
        text = progress(line) or ""
        match = _LAUNCHING.search(text)
        if match is None:
            self._is_refused = self._is_refused or kind_of_words(text) in _NO_MACHINE
            return
        place = ServerPlace(cloud=match[1].lower(), region=match[2] or "", zone=match[3] or "")
        if place == self._place:
            return
        if self._place is not None:
            self._moved(place, self._is_refused)
        self._place, self._is_refused = place, False
