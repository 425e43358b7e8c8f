"""The update of a service with several replicas: its record, its ports, and the means to stop it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci.local.http_services import HttpServices
from cvl_ci.wiring.directories import open_records
from cvl_ci.wiring.one_run import ports_of

if TYPE_CHECKING:
    from cvl_ci.commands.deploy.update import Updated
    from cvl_ci.model.owner import Owner
    from cvl_ci.model.plan import RunPlan
    from cvl_ci.ports import LeaseRecord, RunReporter


def record_of(name: str, *, environ: Mapping[str, str], token: str, reporter: RunReporter) -> LeaseRecord:
    """Return the record of a service that runs and takes this token. Raise RequestError."""
    from cvl_ci.commands.deploy import update as updates

    records = open_records(environ, reporter)
    return updates.open_record(
        name, records=records, services=HttpServices(), token=token, field="--update", warn=reporter.warning
    )


def carry_out(
    plan: RunPlan,
    record: LeaseRecord,
    *,
    environ: Mapping[str, str],
    owner: Owner,
    outputs: Path,
    reporter: RunReporter,
    token: str,
) -> Updated:
    from cvl_ci.commands.deploy import update as updates

    ports = ports_of(plan, environ=environ, reporter=reporter, secrets=plan.variables.secrets)
    return updates.update(plan, record, owner=owner, outputs=outputs, ports=replace(ports, token=token))
