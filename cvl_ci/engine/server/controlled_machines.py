"""Implement the Machines port with an API server's own controller, which launches the machines and ends them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cvl_ci.engine.machines import SkyPilotMachines
from cvl_ci.model.launch import Launch
from cvl_ci.ports import LaunchRequest, Watch


class ControlledMachines(SkyPilotMachines):
    """The machines of work that has the name of its lease: a managed job, or a service with several replicas."""

    def launch(self, request: LaunchRequest, *, watch: Watch) -> Launch:
        """Give the server the work. The returned machines are the most expensive that its controller may take."""
        launch = super().launch(request, watch=watch)
        self._session.is_attached = False
        dearest = max(request.offers, key=lambda offer: offer.hourly_usd, default=None)
        if dearest is None:
            return launch
        return replace(
            launch,
            region=launch.region or dearest.region,
            instance_type=dearest.instance_type,
            hourly_usd=dearest.hourly_usd,
            spot=dearest.spot,
        )

    def keep(self, cluster: str, *, until: float, public_key: str | None, heartbeat: float = 0.0) -> Sequence[str]:
        """Return no way in. The deadline in the task ends each machine."""
        return ()
