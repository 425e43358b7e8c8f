"""The replicas of a service, in SkyPilot's words. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cvl_ci.model.secret import Secret

CONTROLLER_CPUS, CONTROLLER_MEMORY_GIB, CONTROLLER_DISK_GB = 4.0, 8.0, 256
"""SkyPilot 0.14.1's own controller: sky/serve/constants.py, CONTROLLER_RESOURCES; sky/resources.py,
DEFAULT_DISK_SIZE_GB."""


@dataclass(frozen=True, kw_only=True)
class ReplicaPlan:
    """How many replicas a service has: at least and at most, spare ones included.

    `policy`: the keys of `service:` about replicas, as SkyPilot reads them. `probe_token`: with which the controller of
    an API server probes the replicas; the proxy takes it for the probe's path alone. None: cvl-ci starts none of them.
    """

    least: int
    most: int
    policy: Mapping[str, object] = field(default_factory=dict)
    probe_token: Secret | None = None

    @property
    def is_started(self) -> bool:
        """Return whether a controller of an API server starts them for cvl-ci."""
        return self.probe_token is not None

    @property
    def most_in_update(self) -> int:
        """Return the most machines during an update.

        SkyPilot starts the replicas of the new version before it ends those of the old one
        (sky/serve/autoscalers.py, `_select_outdated_replicas_to_scale_down`).
        """
        return 2 * self.most

    def __str__(self) -> str:
        return f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
