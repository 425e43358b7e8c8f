"""The clouds of an API server's own controllers: managed jobs, and services with several replicas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cvl_ci.engine.fetch.detached_results import StoredResults
from cvl_ci.engine.jobs import SkyPilotJobs
from cvl_ci.engine.server.controlled_inventory import ControlledInventory
from cvl_ci.engine.server.managed_machines import VARIABLE as MANAGED_VARIABLE
from cvl_ci.engine.server.managed_machines import ManagedMachines
from cvl_ci.engine.server.serve_jobs import ReplicaJobs, ReplicaLog
from cvl_ci.engine.server.serve_machines import VARIABLE as REPLICA_VARIABLE
from cvl_ci.engine.server.serve_machines import ReplicaMachines
from cvl_ci.engine.session import Session
from cvl_ci.local.clock import SystemClock
from cvl_ci.model.location import MANAGED, REPLICATED, Location
from cvl_ci.ports import Cloud, Inventory

if TYPE_CHECKING:
    from cvl_ci.ports.models import ObjectStore


def opened(
    kind: str,
    locations: Sequence[Location],
    *,
    environ: Mapping[str, str],
    endpoint: str,
    aws: Inventory | None,
    bucket: Callable[[str], ObjectStore],
) -> Cloud:
    """Return the cloud of this kind, next to clouds of the same question that cvl-ci asks itself.

    `aws`: AWS by this computer's own keys; None: it has none. `bucket`: opens the bucket of a job's results. The worker
    of another kind of the same server ends with this process.
    """
    from cvl_ci import clouds as inventory

    makers = {MANAGED: _managed, REPLICATED: _replicas}
    cloud = makers[kind](environ, endpoint, aws)
    if kind == MANAGED:
        cloud = replace(cloud, results=StoredResults(bucket, environment=environ))
    further = {location.cloud for location in locations} - {kind}
    if not further or not any(location.cloud == kind for location in locations):
        return cloud
    added = {kind: cloud.inventory}
    added |= {other: makers[other](environ, endpoint, aws).inventory for other in further & makers.keys()}
    return replace(cloud, inventory=inventory.all_inventories(environ, added=added))


def _managed(environ: Mapping[str, str], endpoint: str, aws: Inventory | None) -> Cloud:
    session = Session(environment={**environ, MANAGED_VARIABLE: "1"}, clock=SystemClock())
    machines = ManagedMachines(session)
    inventory = ControlledInventory(machines, cloud=MANAGED, endpoint=endpoint, aws=aws)
    return Cloud(machines=machines, jobs=SkyPilotJobs(session), inventory=inventory, through=MANAGED)


def _replicas(environ: Mapping[str, str], endpoint: str, aws: Inventory | None) -> Cloud:
    session = Session(environment={**environ, REPLICA_VARIABLE: "1"}, clock=SystemClock())
    machines = ReplicaMachines(session)
    inventory = ControlledInventory(machines, cloud=REPLICATED, endpoint=endpoint, aws=aws)
    jobs, log = ReplicaJobs(session, machines), ReplicaLog(machines)
    return Cloud(machines=machines, jobs=jobs, inventory=inventory, log=log, through=REPLICATED)
