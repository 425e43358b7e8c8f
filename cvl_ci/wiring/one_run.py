"""One run of a program: its ports, and the means to stop it from another thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci.errors import NotProvedGone
from cvl_ci.local.clock import SystemClock
from cvl_ci.local.http_services import HttpServices
from cvl_ci.local.staging import LocalStaging
from cvl_ci.model.outcome import Phase
from cvl_ci.wiring.access import require_credentials
from cvl_ci.wiring.clouds import OpenClouds, of_plan, prices
from cvl_ci.wiring.directories import key_locks, open_records

if TYPE_CHECKING:
    from cvl_ci.commands.run.in_turn import MachineEnd, Turn, Turns
    from cvl_ci.commands.run.state import RunPorts
    from cvl_ci.local.interruption import Interruption
    from cvl_ci.model.limits import Limits
    from cvl_ci.model.location import Location
    from cvl_ci.model.outcome import Outcome
    from cvl_ci.model.owner import Owner
    from cvl_ci.model.plan import RunPlan
    from cvl_ci.model.release import Release
    from cvl_ci.ports import RunReporter


def carry_out(
    plan: RunPlan,
    *,
    environ: Mapping[str, str],
    owner: Owner,
    outputs: Path,
    reporter: RunReporter,
    interruption: Interruption,
    token: str = "",
) -> Outcome:
    """Run a plan in this thread. `interruption` stops it from another one, until the release begins.

    `token`: of the service that the plan starts.
    """
    from cvl_ci.commands.run import run as running
    from cvl_ci.wiring.images import sandbox_environment

    environ = sandbox_environment(plan, environ)
    ports = ports_of(plan, environ=environ, reporter=reporter, secrets=plan.variables.secrets)
    ports = replace(ports, token=token)
    with interruption:
        return running.run(plan, owner=owner, outputs=outputs, ports=ports)


def carry_out_in_turn(
    first: Turn,
    turns: Turns,
    *,
    environ: Mapping[str, str],
    owner: Owner,
    limits: Limits,
    secrets: Collection[str],
    interruption: Interruption,
) -> MachineEnd:
    """Run jobs in turn on one machine, in this thread. `interruption` stops it, until the release begins.

    `secrets`: the names of all jobs' secrets.
    """
    from cvl_ci.commands.run.in_turn import run_in_turn

    ports = ports_of(first.plan, environ=environ, reporter=first.reporter, secrets=secrets)
    with interruption:
        return run_in_turn(first, turns, owner=owner, limits=limits, ports=ports)


def ports_of(plan: RunPlan, *, environ: Mapping[str, str], reporter: RunReporter, secrets: Collection[str]) -> RunPorts:
    """Return the ports of a run. `secrets`: the names of its secrets."""
    from cvl_ci.commands.run.state import RunPorts
    from cvl_ci.wiring.models import models_of_run

    require_credentials(environ, [location.cloud for location in plan.machines.locations])
    options = of_plan(plan)
    options["secrets"] = secrets
    return RunPorts(
        clouds=OpenClouds(environ, **options),
        records=open_records(environ, reporter),
        staging=LocalStaging(),
        reporter=reporter,
        prices=prices(environ),
        clock=SystemClock(),
        models=models_of_run(environ),
        services=HttpServices(environ),
        locks=key_locks(environ),
    )


def until_release(interruption: Interruption) -> Callable[[Phase], None]:
    """Return a watcher of phases: a run that releases its machine ends soon by itself, and must not be stopped."""

    def watch(phase: Phase) -> None:
        if phase is Phase.RELEASING:
            interruption.close()

    return watch


def end(
    names: Sequence[str],
    *,
    environ: Mapping[str, str],
    locations: Sequence[Location],
    user_id: str,
    reporter: RunReporter,
    uses: Mapping[str, int] | None = None,
) -> Mapping[str, Release]:
    """End leases by name. Raises NotProvedGone. `locations`: where to look for a lease without a record here.

    `uses`: lease → the number of its last use by this process. A machine that another one uses since then stays.
    """
    from cvl_ci.commands.reap import down as taking_down
    from cvl_ci.commands.reap import waiting

    if uses is not None:
        own = {name: uses[name] for name in names}
        lease_records, locks = open_records(environ, reporter), key_locks(environ)
        with waiting.free_machines(own, records=lease_records, locks=locks, say=reporter.notice) as free:
            return end(free, environ=environ, locations=locations, user_id=user_id, reporter=reporter) if free else {}

    ports = taking_down.DownPorts(
        clouds=OpenClouds(environ, by_record=True),
        records=open_records(environ, reporter),
        reporter=reporter,
        clock=SystemClock(),
    )
    downed = taking_down.down(names, everything=False, locations=locations, user_id=user_id, ports=ports)
    if not downed.proved:
        unproved = [name for name, release in downed.releases.items() if not release.gone]
        raise NotProvedGone(
            f"The provider did not show that these leases ended: {', '.join(unproved) or 'it did not answer'}.",
            money="Their machines may still run, and are billed.",
            next_step=f"End them with proof: cvl-ci down {' '.join(names)}",
        )
    return downed.releases
