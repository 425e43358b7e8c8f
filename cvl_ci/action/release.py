"""The releases of post: the leases of its step, by their records, or by their names where a record is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cvl_ci import wiring
from cvl_ci.errors import CvlError, NotProvedGone, explain_while_running

if TYPE_CHECKING:
    from cvl_ci.action.publication import StepPublication
    from cvl_ci.action.state import StepState
    from cvl_ci.action.step import Step
    from cvl_ci.model.location import Location
    from cvl_ci.model.release import Release
    from cvl_ci.ports import LeaseRecord

LOOK_SECONDS = 60.0
"""Seconds of repeated queries whether another run has the machine of a key. GitHub gives post only a few minutes."""


def releases_of(
    names: Sequence[str], saved: StepState | None, step: Step, environ: Mapping[str, str]
) -> Mapping[str, Release]:
    """Release by the records, else by the names that main must have had. A name is absent if nothing can be running."""
    from cvl_ci.commands.reap import down as taking_down
    from cvl_ci.local.clock import SystemClock

    records = wiring.open_records(environ, step.reporter)
    by_name = {name: record for name in names if (record := records.read(name)) is not None}
    for name in names:
        records.revoke(name)
    unknown = [name for name in names if name not in by_name]
    locations = _places(saved, step, environ) if unknown else ()
    recorded = [location for record in by_name.values() for location in record.locations]
    environ = (
        _known_to_clouds(list(dict.fromkeys([*recorded, *locations])), step, environ)
        if recorded or locations
        else environ
    )
    ports = taking_down.DownPorts(
        clouds=wiring.OpenClouds(environ, to_end=True), records=records, reporter=step.reporter, clock=SystemClock()
    )
    # All of them at once: GitHub gives post only a few minutes.
    to_end = by_name | {name: taking_down.unrecorded(name, locations, ports.clock) for name in unknown if locations}
    return taking_down.end_all(to_end, user_id=step.owner.user_id, ports=ports, hurried=True)


def undo_run(saved: StepState | None, publication: StepPublication, step: Step, environ: Mapping[str, str]) -> int:
    """Release the one lease of a step, publish its end, and return post's exit code."""
    from cvl_ci.action.saved_outcome import outcome_from
    from cvl_ci.commands.run.shared_machines import is_offered
    from cvl_ci.local.clock import SystemClock
    from cvl_ci.model.release import Release

    name = saved.lease if saved else step.owner.name
    record = wiring.open_records(environ, step.reporter).read(name)
    waiting = _left_to_others(record, step, environ) if record is not None and is_offered(record) else None
    release = waiting or releases_of([name], saved, step, environ).get(name)
    if saved is None:
        step.reporter.warning(
            f"The state of this step is lost, so post looked for the lease {name} alone. The leases of other legs, and "
            "of a queue's jobs, have other names. `cvl-ci status` shows their machines, and `cvl-ci down NAME` ends "
            "one. Each machine ends itself at its deadline."
        )
    if release is None and (saved is None or not saved.work.title):
        return 0
    release = release or Release(gone=True, at=SystemClock().now(), needed=False)
    publication.publish(outcome_from(saved, release, name=name, folder=step.outputs), saved=saved)
    return 0 if release.gone or release.kept is not None else NotProvedGone.exit_code


def _left_to_others(record: LeaseRecord, step: Step, environ: Mapping[str, str]) -> Release | None:
    """Return the end of a run that began to let its machine wait: its release would end another run's machine.

    None: the provider shows that no other run can have it. Without an answer, its end is not proved.
    """
    from cvl_ci.local.clock import SystemClock
    from cvl_ci.model.release import KeptMachines, Release

    clock = SystemClock()
    start = clock.monotonic()
    environ = _known_to_clouds(record.locations, step, environ)
    while True:
        try:
            may_be_taken = _may_be_taken(record, step, environ)
        except CvlError as error:
            if clock.monotonic() - start < LOOK_SECONDS:
                clock.sleep(5.0)
                continue
            step.reporter.warning(f"{explain_while_running(error)} So post does not end it.")
            places = record.regions or tuple(map(str, record.locations))
            return Release(gone=False, at=clock.now(), unproved=places)
        return Release(gone=False, at=clock.now(), kept=KeptMachines(until=record.deadline)) if may_be_taken else None


def _may_be_taken(record: LeaseRecord, step: Step, environ: Mapping[str, str]) -> bool:
    from cvl_ci.commands.run import shared_machines

    opened = wiring.OpenClouds(environ, to_end=True).open(
        record.locations, user_id=step.owner.user_id, watch=lambda _: None
    )
    with opened as cloud:
        return shared_machines.may_be_taken(cloud.inventory, record)


def _known_to_clouds(locations: Sequence[Location], step: Step, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment with fresh keys: those of main may have expired. A missing key is only a warning."""
    try:
        return wiring.credentials(
            environ, [location.cloud for location in locations], mask=step.reporter.mask, required=False
        )
    except CvlError as error:
        step.reporter.warning(explain_while_running(error))
        return environ


def _places(saved: StepState | None, step: Step, environ: Mapping[str, str]) -> tuple[Location, ...]:
    """Return the places to search without a record.

    With all state lost, the inputs may differ from those of main: they add places, and take none away.
    """
    from cvl_ci.inputs.reader import from_environment
    from cvl_ci.model.location import SANDBOX, Location

    if (
        saved is not None and not saved.spending.attempts and not saved.leases
    ):  # main wrote its state before it asked a provider
        return (Location(cloud=SANDBOX),) if wiring.sandbox_was_left(environ) else ()
    inputs = from_environment(environ)
    if (saved.verb if saved is not None else step.inputs.verb) == "deploy":
        from cvl_ci.action import deploy_request

        places = deploy_request.places_of(inputs, environ)
        if places.has_server:
            return places.locations
    chosen = inputs.location.cloud or ()
    if any(location.cloud == SANDBOX for location in chosen):
        return (Location(cloud=SANDBOX),)
    configured = wiring.set_up(environ, by_inputs=True)
    if wiring.THROUGH_SERVER in configured:
        return configured
    return tuple(dict.fromkeys([*(Location(cloud=location.cloud) for location in chosen), *configured])) or (
        Location(cloud="aws"),
    )
