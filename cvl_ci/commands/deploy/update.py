"""Replace the replicas of a service in place, one after the other. It stays under its lease, also after a failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cvl_ci.commands.run import serving, steps
from cvl_ci.commands.run.state import RunPorts, RunState
from cvl_ci.errors import CvlError, EngineError, InputProblem, RequestError, explain_while_running
from cvl_ci.model.lease_name import (
    LABEL_DEADLINE,
    LABEL_DOMAIN,
    LABEL_KEPT,
    LABEL_SERVICE,
    service_address,
    service_url,
)
from cvl_ci.model.location import REPLICATED
from cvl_ci.model.outcome import EXIT_CODES, Ending
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.service import ServiceResult
from cvl_ci.ports import LaunchRequest, LeaseRecord, Records, ServiceAnswer, ServiceRequest, Services
from cvl_ci.result.conclusion import Conclusion
from cvl_ci.result.sanitize import plain


@dataclass(frozen=True, kw_only=True)
class Updated:
    """Result. `problem`: why the new version does not answer; empty: it does. `until`: the latest end of a replica."""

    name: str
    until: float
    exit_code: int = 0
    problem: str = ""
    service: ServiceResult | None = None
    warnings: tuple[str, ...] = ()


def open_record(
    name: str, *, records: Records, services: Services, token: str, field: str, warn: Callable[[str], None]
) -> LeaseRecord:
    """Return the record of a service with several replicas that takes this token. Raise RequestError for another.

    A service that does not answer is often the reason for its update, so its silence is one warning and no refusal.
    """
    record = records.read(name)
    if record is None or record.released_at is not None:
        problem = "is not an open service by the records of this computer"
        raise RequestError([InputProblem(field=field, value=name, problem=problem)])
    if not any(location.cloud == REPLICATED for location in record.locations):
        problem = "has one machine, and no replicas that could replace each other: deploy a new one"
        raise RequestError([InputProblem(field=field, value=name, problem=problem)])
    answer = services.ask(
        ServiceRequest(url=service_url(record.labels), address=service_address(record.labels), token=token)
    )
    if answer.status == 401 and answer.is_from_proxy:
        problem = "is not the token of this service: callers would lose it in the middle of the update"
        raise RequestError([InputProblem(field="CVL_CI_DEPLOY_TOKEN", value="***", problem=problem)])
    if not _took_token(answer):
        warn(
            f"{name} does not answer now ({plain(answer.problem) or answer.status}), so cvl-ci could not compare its "
            "token with that of CVL_CI_DEPLOY_TOKEN. The update goes on. If the two differ, the new version refuses "
            "callers with the old token. Then run the update again with the old token."
        )
    return record


def _took_token(answer: ServiceAnswer) -> bool:
    """Return whether the proxy of a replica took the token. A load balancer without a ready replica answers 503."""
    return answer.is_from_proxy or 0 < answer.status < 500


def update(plan: RunPlan, record: LeaseRecord, *, owner: Owner, outputs: Path, ports: RunPorts) -> Updated:
    """Give the service its next version, and wait until that answers. Raise CvlError before anything changes."""
    steps.refuse_missing_scripts(plan)
    state = steps.begin(plan, owner=owner, outputs=outputs, ports=ports)
    deadline = ports.clock.now() + state.quote.deadline_minutes * 60
    # The replicas of the new version have its deadline as labels from their birth, the old ones keep theirs.
    moments = {LABEL_DEADLINE: str(int(deadline)), LABEL_KEPT: str(int(deadline))}
    until = max(deadline, record.deadline)
    with (
        ports.clouds.open(record.locations, user_id=owner.user_id, watch=state.watch) as cloud,
        ports.staging.staged(plan.files.staged, commits=plan.files.commits) as staged,
    ):
        state.cloud = cloud
        ports.records.write(replace(record, deadline=until, labels={**record.labels, **moments}))
        request = LaunchRequest(
            plan=plan,
            cluster=record.name,
            labels={**_labels_of_machines(record), **moments},
            staged=staged,
            deadline=deadline,
            fence=_own_fence(ports.records, record.name),
            likely=state.quote.offers[0] if state.quote.offers else None,
            offers=state.quote.offers,
            is_update=True,
        )
        try:
            state.note_launch(cloud.machines.launch(request, watch=state.watch))
            serving.wait_and_smoke(state, cloud, deadline=deadline)
        except CvlError as error:
            state.facts.failure = error
        except KeyboardInterrupt:
            state.facts.cancelled = True
    return _result(state, record.name, until)


def _result(state: RunState, name: str, until: float) -> Updated:
    facts = state.facts
    if facts.cancelled:
        problem = "you stopped cvl-ci, and the server goes on with the update"
        return Updated(name=name, until=until, exit_code=EXIT_CODES[Ending.CANCELLED], problem=problem)
    if facts.failure is not None:
        problem = explain_while_running(facts.failure)
        return Updated(name=name, until=until, exit_code=facts.failure.exit_code, problem=problem)
    conclusion = serving.conclusion(state, of_job=_UNKNOWN)
    is_good = state.service is not None and conclusion.exit_code == 0
    return Updated(
        name=name,
        until=until,
        exit_code=conclusion.exit_code,
        problem="" if is_good else conclusion.reason,
        service=state.service,
        warnings=tuple(facts.warnings),
    )


_UNKNOWN = Conclusion(
    ending=Ending.NEVER_STARTED, reason="The new version did not answer.", exit_code=EngineError.exit_code
)


def _labels_of_machines(record: LeaseRecord) -> dict[str, str]:
    """Return the labels of the record that machines have too: not the address, which no machine has."""
    address = {LABEL_SERVICE, LABEL_DOMAIN}
    return {name: value for name, value in record.labels.items() if name not in address}


def _own_fence(records: Records, name: str) -> Path:
    """Return a fence that stays open. That of the lease is shut since its service answered.

    The server refuses an update of a service that was taken down meanwhile.
    """
    return records.fence(name).with_suffix(".update")
