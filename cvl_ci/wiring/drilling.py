"""`drill` for the command line: a folder of its own, this computer's clouds, real runs as child processes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from cvl_ci.inputs.drill_inputs import NETWORK, DrillInputs
from cvl_ci.local.clock import SystemClock
from cvl_ci.model.location import SANDBOX, Location
from cvl_ci.sandbox import Sandbox
from cvl_ci.wiring.access import require_credentials
from cvl_ci.wiring.clouds import OpenClouds, machine_types
from cvl_ci.wiring.directories import sandbox_directory

if TYPE_CHECKING:
    from cvl_ci.result.receipt import Receipt

Say = Callable[[str], None]


def drill(
    environ: Mapping[str, str], inputs: DrillInputs, *, location: Location | None, say: Say, hear: Say
) -> list[Receipt]:
    """Hold a drill.

    `location`: one cloud; None is a mistake of the request. `say` receives the drill's lines; `hear` those of its runs.
    """
    from cvl_ci.commands.drill import drill as drilling
    from cvl_ci.commands.drill.ports import DrillPorts
    from cvl_ci.engine.server import server_inventory as served
    from cvl_ci.local.process.launcher import LocalLauncher
    from cvl_ci.model.owner import Owner

    through = (
        location is not None and location.cloud != SANDBOX and served.goes_through([location], environ, by_record=False)
    )
    requests = drilling.requested_drills(
        inputs,
        location=location,
        server=urlsplit(served.address(environ)).hostname or "?" if through else "",
    )
    require_credentials(environ, [location.cloud] if location else [])
    with tempfile.TemporaryDirectory(prefix="cvl-ci-drill-") as name:
        folder = Path(name).resolve()
        repository = environ.get("GITHUB_REPOSITORY") or str(folder)
        launcher = LocalLauncher(
            folder, environment=environ, hear=hear, outage=lambda kill: _sandbox_refuses(kill, environ)
        )
        ports = DrillPorts(clouds=OpenClouds(environ), launcher=launcher, clock=SystemClock(), say=say)
        user_id = Owner(repository=repository, run="drill").user_id
        location = cast("Location", location)  # without one, requested_drills has raised
        return drilling.drill(requests, location=location, user_id=user_id, ports=ports)


@contextmanager
def _sandbox_refuses(kill: str, environ: Mapping[str, str]) -> Iterator[None]:
    directory = sandbox_directory(environ)
    sandbox = Sandbox(directory, machine_types=machine_types(), environment=environ, progress=lambda _: None)
    before = sandbox.faults()
    if kill == NETWORK:
        sandbox.set_faults(replace(before, api_down="closed"))
    else:
        sandbox.set_faults(replace(before, expired_keys=(sandbox.access().access_key_id,)))
    try:
        yield
    finally:
        sandbox.set_faults(before)
