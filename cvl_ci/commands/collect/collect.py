"""End detached runs: read the end that the machine stored, prove the machine gone, and build the outcome of the run.

A job without an end in its bucket runs on, as long as the provider shows its machine: nothing is taken down. If the
provider shows none, the machine was lost, and that is infrastructure. A missing answer is neither.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cvl_ci.commands.collect import ending
from cvl_ci.commands.collect.running import StillRunning
from cvl_ci.commands.lease_on_cloud import lease_on
from cvl_ci.errors import CvlError, EngineError, InputProblem, RequestError, explain_while_running
from cvl_ci.inputs.suggest import similar
from cvl_ci.model.detached import Detached
from cvl_ci.model.lease_name import LABEL_OWNER, LABEL_RUN
from cvl_ci.model.location import Location
from cvl_ci.model.loss import ControllerRecoveries
from cvl_ci.model.outcome import Outcome
from cvl_ci.model.release import Release
from cvl_ci.model.resource import ResourceKind
from cvl_ci.ports import (
    Clock,
    Cloud,
    Clouds,
    DetachedEnd,
    Event,
    Fetched,
    LeaseRecord,
    Prices,
    Records,
    RecoveredMachines,
    Results,
    RunReporter,
)


@dataclass(frozen=True, kw_only=True)
class CollectPorts:
    """Ports that collecting needs. `publish` gets each outcome with its folder, before its record says collected."""

    clouds: Clouds
    records: Records
    prices: Prices
    reporter: RunReporter
    clock: Clock
    publish: Callable[[LeaseRecord, Outcome, Path], None]


@dataclass(frozen=True, kw_only=True)
class Collected:
    """The result: the outcomes of the runs that are over, by lease, and the runs that are not."""

    outcomes: dict[str, Outcome]
    running: tuple[StillRunning, ...] = ()


def collect(
    names: Sequence[str], *, everything: bool, user_id: str, folder_of: Callable[[str], Path], ports: CollectPorts
) -> Collected:
    """Collect these runs, or all that wait. Raise RequestError for a name that is not of a detached run.

    `folder_of`: the folder for the files of a lease.
    """
    outcomes: dict[str, Outcome] = {}
    running: list[StillRunning] = []
    for record in _chosen(names, everything=everything, ports=ports):
        if record.detached is None:
            continue
        state = _Collection(record=record, detached=record.detached, into=folder_of(record.name))
        try:
            result = _collect(state, user_id=user_id, ports=ports)
        except Exception as error:  # noqa: BLE001  a fault at one run must not stop the others
            result = _after_fault(state, explain_while_running(error), ports=ports)
        if isinstance(result, Outcome):
            outcomes[record.name] = result
        else:
            running.append(result)
    return Collected(outcomes=outcomes, running=tuple(running))


def _chosen(names: Sequence[str], *, everything: bool, ports: CollectPorts) -> list[LeaseRecord]:
    detached = {record.name: record for record in ports.records.all() if record.detached is not None}
    mistakes = [
        InputProblem(
            field="NAME", value=name, problem="is not a detached run on record here", near=similar(name, detached)
        )
        for name in names
        if name not in detached
    ]
    if mistakes:
        raise RequestError(mistakes, next_step="`cvl-ci status` lists the open leases.")
    waiting = [one for one in detached.values() if one.detached and not one.detached.is_collected]
    return waiting if everything else [detached[name] for name in dict.fromkeys(names)]


@dataclass
class _Collection:
    """One run, and how far its collection came. `into`: the folder of its files. `silence`: of its bucket."""

    record: LeaseRecord
    detached: Detached
    into: Path
    silence: str = ""
    release: Release | None = None
    outcome: Outcome | None = None


def _collect(state: _Collection, *, user_id: str, ports: CollectPorts) -> Outcome | StillRunning:
    record, detached = state.record, state.detached
    with ports.clouds.open(record.locations, user_id=user_id, watch=_unwatched) as cloud:
        if cloud.results is None:
            raise EngineError("This cloud has no place for results.")
        lease = lease_on(cloud, record, records=ports.records, clock=ports.clock, say=ports.reporter.warning)
        end = _end(state, cloud.results, now=ports.clock.now())
        if end is None and not record.is_cancelled:
            count = lease.count_machines()
            if count is None:
                raise EngineError("The provider does not answer about its machine.")
            if count and not _is_overdue(record, now=ports.clock.now()):
                return ending.still_running(record, detached, now=ports.clock.now(), doubt=state.silence)
            # The machine may have stored it between the two questions.
            end = _end(state, cloud.results, now=ports.clock.now())
        _refuse_others(record, cloud)
        state.release = release = lease.release(maybe_created=True)
        fetched = cloud.results.fetch(detached, end, into=state.into, line=ports.reporter.show_job_line)
        controller = _controller(record, cloud)
        state.outcome = outcome = _outcome(state, end, release, fetched, controller=controller, ports=ports)
        ports.reporter.show_outcome(outcome)
    ports.publish(record, outcome, state.into)
    if release.gone:
        latest = ports.records.read(record.name) or lease.record
        ports.records.write(replace(latest, detached=replace(detached, is_collected=True)))
    return outcome


def _is_overdue(record: LeaseRecord, *, now: float) -> bool:
    """Return whether a managed job has had its time. Its controller would go on to look for machines."""
    return record.is_managed and now > record.deadline + ending.OVERDUE_SECONDS


def _end(state: _Collection, results: Results, *, now: float) -> DetachedEnd | None:
    """Return the stored end. Long after the deadline, the provider alone tells of a run whose bucket is silent."""
    try:
        return results.end(state.detached.place)
    except CvlError as error:
        if now < state.record.deadline + ending.SILENT_SECONDS:
            raise
        state.silence = explain_while_running(error)
        return None


def _after_fault(state: _Collection, why: str, *, ports: CollectPorts) -> Outcome | StillRunning:
    """Return the outcome of a run that was over before the fault. Otherwise, nothing certain is known of the run."""
    if state.outcome is not None:
        ports.reporter.warning(
            f"{state.record.name} is over, but not all of its collection succeeded. {why} "
            f"Its end stands. Collect it again: cvl-ci collect {state.record.name}"
        )
        return state.outcome
    now, was_released = ports.clock.now(), state.release is not None
    return ending.still_running(state.record, state.detached, now=now, doubt=why, was_released=was_released)


def _refuse_others(record: LeaseRecord, cloud: Cloud) -> None:
    """Raise EngineError if a resource with this name of a lease is not of the record's owner and run.

    A record may come from an artifact, and the machines' labels are the word of the run that made them.
    """
    own = {name: record.labels[name] for name in (LABEL_OWNER, LABEL_RUN) if name in record.labels}
    locations = tuple(map(Location.parse, record.regions)) or record.locations
    resources, silent = cloud.inventory.find(lease=record.name, locations=locations).read()
    if silent:
        raise EngineError(f"The provider does not answer, so cvl-ci cannot tell who owns these machines: {silent[0]}")
    for one in resources:
        labels = one.labels if one.kind is ResourceKind.MACHINE else {**own, **one.labels}
        if one.is_leftover and any(labels.get(name) != value for name, value in own.items()):
            raise EngineError(f"{one.kind.value} {one.id} has the name of this lease, and labels of another run.")


def _controller(record: LeaseRecord, cloud: Cloud) -> ControllerRecoveries | None:
    """Return the recoveries of a managed job by its controller's word. Without an answer, their count is not known."""
    if not record.is_managed:
        return None
    machines = cloud.machines
    try:
        count = machines.recovery_count(record.name) if isinstance(machines, RecoveredMachines) else None
        return ControllerRecoveries(count=count)
    except CvlError:  # the proof of the release stands, and a report shows no count
        return ControllerRecoveries()


def _outcome(
    state: _Collection,
    end: DetachedEnd | None,
    release: Release,
    fetched: Fetched,
    *,
    controller: ControllerRecoveries | None,
    ports: CollectPorts,
) -> Outcome:
    facts = ending.Facts(
        detached=state.detached,
        end=end,
        release=release,
        fetched=fetched,
        controller=controller,
        silence=state.silence,
        now=ports.clock.now(),
        price_source=ports.prices.date,
    )
    return ending.outcome(state.record, facts, outputs=state.into)


def _unwatched(event: Event) -> None:
    """Ignore the event: the outcome holds all that matters."""
