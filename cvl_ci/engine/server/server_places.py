"""Follow the places that an API server tries, in the lines that it streams. Pure.

The server chooses the places itself and sends no event for them. SkyPilot 0.14.1 prints `Launching on AWS us-east-1
(us-east-1a).` before it requests machines (sky/backends/cloud_vm_ray_backend.py), and then the provider's own error.
"""

from __future__ import annotations

from collections.abc import Callable

from cvl_ci.engine.job_log import progress
from cvl_ci.engine.server.server_lines import ServerPlace, place_of
from cvl_ci.engine.sky_refusals import FailureKind, kind_of_text

_NO_MACHINE = {FailureKind.CAPACITY, FailureKind.QUOTA}
"""Answers with which a provider makes no machine."""
_LAST_ERROR, _ALL_REFUSED = "handler error:", "Max attempts exceeded"
"""The line with which SkyPilot gives a place up, and its words where each zone of the place had its own error.

One line names several zones. So a zone may refuse, the next one may make a machine, and another error may come then
(sky/provision/aws/instance.py, `_create_instances`).
"""


class ServerPlaces:
    """A listener for lines. `moved` hears of each further place, and whether the place before it refused."""

    def __init__(self, moved: Callable[[ServerPlace, bool], None]) -> None:
        self._moved = moved
        self.place: ServerPlace | None = None
        self.is_refused = False
        """Whether the last place refused, as far as its lines tell."""
        self._failed_otherwise = False
        """Whether its last error was none of a provider that makes no machine: a machine may have come up before."""
        self._refused_before_line = False
        self._refused_since_line = False

    @property
    def had_machines(self) -> bool:
        """Return whether the last place may have made machines: it was tried, and no refusal was heard."""
        return self.place is not None and not self.is_refused

    def begin_again(self) -> bool:
        """Begin an attempt at the same place with its last line. Return whether the attempt before it was refused."""
        self.is_refused = self._refused_since_line
        return self._refused_before_line

    def __call__(self, line: str) -> None:
        text = progress(line) or ""
        place = place_of(line)
        if place is None:
            is_refusal = kind_of_text(text) in _NO_MACHINE
            if _LAST_ERROR in text and not is_refusal and _ALL_REFUSED not in text:
                self.is_refused, self._refused_since_line, self._failed_otherwise = False, False, True
            if self._failed_otherwise:
                return
            self.is_refused = self.is_refused or is_refusal
            self._refused_since_line = self._refused_since_line or is_refusal
            return
        self._refused_before_line, self._refused_since_line = self.is_refused, False
        self._failed_otherwise = False
        if place == self.place:
            return
        if self.place is not None:
            self._moved(place, self.is_refused)
        self.place, self.is_refused = place, False
