"""`status` for the command line: this computer's records, and the clouds that a person names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci.local.clock import SystemClock
from cvl_ci.wiring.clouds import OpenClouds, prices
from cvl_ci.wiring.directories import state_directory
from cvl_ci.wiring.sweep import all_set_up

if TYPE_CHECKING:
    from cvl_ci.commands.status import Overview


def status(environ: Mapping[str, str], *, cloud: str) -> Overview:
    """Return the state of runs. `cloud`: as typed; empty: the records alone; `any`: all clouds with credentials."""
    from cvl_ci.commands import status as overviews
    from cvl_ci.commands.reap import reap as reaping
    from cvl_ci.local.lease_records import FileRecords
    from cvl_ci.model.owner import Owner

    locations, _ = reaping.read_request(cloud, grace="0", regions=prices(environ).regions, dashes="--")
    if cloud.strip() and not locations:
        locations = all_set_up(environ)
    unread: list[str] = []
    repository = environ.get("GITHUB_REPOSITORY") or str(Path.cwd())
    ports = overviews.StatusPorts(
        clouds=OpenClouds(environ, to_look=True),
        records=FileRecords(state_directory(environ) / "leases", warn=unread.append),
        prices=prices(environ),
        clock=SystemClock(),
    )
    return overviews.build_overview(
        locations, user_id=Owner(repository=repository, run="status").user_id, unread=unread, ports=ports
    )
