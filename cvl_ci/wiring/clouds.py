"""The clouds and their adapters: SkyPilot and the provider's own answer, the sandbox, or an API server."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict
from urllib.parse import urlsplit

from cvl_ci.clouds import child_environment
from cvl_ci.clouds.catalogue import sources
from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.engine.fetch.detached_results import StoredResults
from cvl_ci.engine.jobs import SkyPilotJobs
from cvl_ci.engine.machine_log import SkyPilotMachineLog
from cvl_ci.engine.machines import SkyPilotMachines
from cvl_ci.engine.server import server_inventory as served
from cvl_ci.engine.session import Session
from cvl_ci.engine.sharing import SkyPilotSharing
from cvl_ci.errors import EngineError, InputProblem, RequestError
from cvl_ci.local.clock import SystemClock
from cvl_ci.model.lease_name import LABEL_KEPT
from cvl_ci.model.location import MANAGED, REPLICATED, SANDBOX, Location
from cvl_ci.ports import BucketContents, Cloud, Inventory, Progress, Watch
from cvl_ci.sandbox import MachineType, Sandbox, SkyAccess, is_started_by_run
from cvl_ci.wiring import controlled_clouds
from cvl_ci.wiring.access import renews_role, set_up
from cvl_ci.wiring.directories import sandbox_directory

if TYPE_CHECKING:
    from cvl_ci.inputs.reader import Inputs
    from cvl_ci.model.plan import RunPlan
    from cvl_ci.ports.models import ObjectStore
    from cvl_ci.sandbox import Status

THROUGH_SERVER = Location(cloud=served.CLOUD)


class OfPlan(TypedDict):
    """The options of OpenClouds that follow from a run's plan."""

    secrets: Collection[str]
    is_managed: bool
    has_replicas: bool


def of_plan(plan: RunPlan) -> OfPlan:
    return OfPlan(secrets=plan.variables.secrets, is_managed=plan.detach.is_managed, has_replicas=plan.has_replicas)


class OpenClouds:
    """The Clouds port.

    `keep_sandbox`: a sandbox that this run started stays up. `to_end`: look for leftovers only. It starts no sandbox,
    and stops a sandbox whose run has gone. `by_record`: there is no new run. `secrets`: names of the job's own secrets.
    Our programs do not get these, unless a cloud needs them. `to_look`: start and stop nothing.
    `is_managed`: the new run is a managed job. `has_replicas`: it is a service with several replicas.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        secrets: Collection[str] = (),
        keep_sandbox: bool = False,
        to_end: bool = False,
        by_record: bool = False,
        to_look: bool = False,
        is_managed: bool = False,
        has_replicas: bool = False,
    ) -> None:
        self._is_managed, self._has_replicas = is_managed, has_replicas
        self._by_record = by_record or to_end or to_look
        self._to_look = to_look
        self._own_environ = environ
        self._environ = child_environment.for_programs(environ, secrets=secrets, renews_role=renews_role(environ))
        self._keep_sandbox = keep_sandbox
        self._to_end = to_end

    @contextmanager
    def open(self, locations: Sequence[Location], *, user_id: str, watch: Watch) -> Iterator[Cloud]:
        if any(location.cloud == SANDBOX for location in locations):
            with self._sandbox(watch) as cloud_of, self._closing(cloud_of(user_id)) as cloud:
                yield cloud
        else:
            with self._closing(self._opened(locations, user_id)) as cloud:
                yield cloud

    def _opened(self, locations: Sequence[Location], user_id: str) -> Cloud:
        if self._is_managed or served.is_managed(locations):
            return self._controlled_cloud(MANAGED, locations, user_id)
        if self._has_replicas or served.has_replicas(locations):
            return self._controlled_cloud(REPLICATED, locations, user_id)
        through = served.goes_through(locations, self._environ, by_record=self._by_record)
        return self._server_cloud(user_id) if through else self._real(locations, user_id)

    @contextmanager
    def _sandbox(self, watch: Watch) -> Iterator[Callable[[str], Cloud]]:
        from cvl_ci.local import leftover_inventory

        sandbox = Sandbox(
            sandbox_directory(self._environ),
            machine_types=machine_types(),
            environment=self._environ,
            progress=lambda text: watch(Progress(text=text)),
        )
        if self._to_look:
            access = sandbox.access() if sandbox.status().up else None
            yield (
                partial(self._on_sandbox, access)
                if access
                else (lambda _: leftover_inventory.opened(sandbox, named=SANDBOX))
            )
            return
        to_end, keep = sandbox.in_use_for_removal, self._keep_sandbox
        in_use = to_end(needed=_keeps_a_machine) if self._to_end else sandbox.in_use(keep=keep, needed=_keeps_a_machine)
        with in_use as access:
            yield (
                partial(self._on_sandbox, access)
                if access
                else (lambda _: leftover_inventory.opened(sandbox, named=SANDBOX))
            )

    def _on_sandbox(self, access: SkyAccess, user_id: str) -> Cloud:
        from cvl_ci import clouds as inventory

        own_environment = {
            name: value
            for name, value in self._environ.items()
            if not name.startswith(child_environment.CLOUD_PREFIXES)
        }
        clients = inventory.service_clients(
            access_key_id=access.access_key_id,
            secret_access_key=access.secret_access_key,
            endpoint_url=access.endpoint_url,
        )
        buckets = inventory.AwsBuckets(clients=clients, provider=SANDBOX, regions=lambda: access.regions)
        client = partial(clients, "ec2")
        aws = inventory.AwsInventory(
            client=client, regions=lambda: access.regions, provider=SANDBOX, buckets=buckets, user_id=user_id
        )
        session = Session(
            environment=_for_skypilot(
                {**own_environment, **around_proxies(own_environment, access.endpoint_url), **access.environment},
                user_id,
            ),
            clock=SystemClock(),
            cloud_name=SANDBOX,
        )
        return Cloud(
            machines=SkyPilotMachines(session),
            jobs=SkyPilotJobs(session),
            shared=SkyPilotSharing(session),
            log=SkyPilotMachineLog(session),
            inventory=inventory.Inventories({SANDBOX: aws}),
            billed=False,
            named=SANDBOX,
            storage=buckets,
            contents=inventory.EveryStore({"s3": lambda: buckets}),
            results=StoredResults(partial(_bucket, _keys_of(access), is_local=True), environment=session.environment),
        )

    def _real(self, locations: Sequence[Location], user_id: str) -> Cloud:
        from cvl_ci import clouds as inventory

        if any(location.cloud == "aws" for location in locations) and importlib.util.find_spec("boto3") is None:
            raise EngineError(
                "The AWS client is not installed, so cvl-ci could not ask AWS whether a machine has ended.",
                next_step="Install it: pip install 'cvl-ci[aws]'.",
            )
        environ = _for_skypilot(self._environ, user_id)
        anywhere = () if locations else [location.cloud for location in set_up(self._own_environ)] or ["aws"]
        inventories = inventory.all_inventories(environ, anywhere=anywhere)
        session = Session(environment=environ, clock=SystemClock())
        buckets = inventory.AwsBuckets(clients=inventory.service_clients(), regions=_aws_regions)
        return Cloud(
            machines=SkyPilotMachines(session),
            jobs=SkyPilotJobs(session),
            shared=SkyPilotSharing(session),
            log=SkyPilotMachineLog(session),
            inventory=inventories,
            storage=buckets,
            contents=inventory.all_stores(buckets, environ),
            hub=self._hub,
            results=StoredResults(partial(_bucket, environ), environment=environ),
        )

    def _hub(self, token: str) -> BucketContents:
        from cvl_ci.hub.repositories import open_repositories

        return open_repositories(self._environ, token)

    def _server_cloud(self, user_id: str) -> Cloud:
        endpoint = served.address(self._environ)
        session = Session(environment=_for_skypilot(self._environ, user_id), clock=SystemClock())
        machines = SkyPilotMachines(session)
        inventory = served.ServedInventory(machines, endpoint=endpoint, aws=self._aws_with_own_keys())
        return Cloud(machines=machines, jobs=SkyPilotJobs(session), inventory=inventory, through=served.CLOUD)

    def _controlled_cloud(self, kind: str, locations: Sequence[Location], user_id: str) -> Cloud:
        """Return the managed jobs of the server, or its services with several replicas."""
        environ = _for_skypilot(self._environ, user_id)
        return controlled_clouds.opened(
            kind,
            locations,
            environ=environ,
            endpoint=served.address(self._environ),
            aws=self._aws_with_own_keys(),
            bucket=partial(_bucket, environ),
        )

    def _aws_with_own_keys(self) -> Inventory | None:
        """Return AWS as this computer's own keys show it, which dates machines better than a server does."""
        from cvl_ci import clouds as inventory

        has_keys = any(self._environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"))
        if not has_keys or importlib.util.find_spec("boto3") is None:
            return None
        return inventory.AwsInventory(client=inventory.ec2_clients(), regions=lambda: ())

    @contextmanager
    def _closing(self, cloud: Cloud) -> Iterator[Cloud]:
        try:
            yield cloud
        finally:
            cloud.machines.close()


def sandbox_was_left(environ: Mapping[str, str]) -> bool:
    """Return whether a run started the sandbox and did not stop it."""
    return is_started_by_run(sandbox_directory(environ))


def on_sandbox(inputs: Inputs) -> Inputs:
    return replace(inputs, location=replace(inputs.location, cloud=(Location(cloud=SANDBOX),)))


def prices(environ: Mapping[str, str], *, folder: str = "") -> CataloguePrices:
    """Return the prices of the newest catalogue on this computer, or of the one folder that the user named.

    `folder`: the value of `--catalogue`. Raise RequestError if the folder is not there, or if the number of days is
    not one.
    """
    variable = environ.get("CVL_CI_CATALOGUE", "")
    folders = (
        [sources.existing(Path(folder or variable), name="--catalogue" if folder else "CVL_CI_CATALOGUE")]
        if folder or variable
        else [skypilot_catalogue(environ), sources.IMAGE_FOLDER]
    )
    return CataloguePrices(*folders, oldest_days=_oldest_days(environ))


def skypilot_catalogue(environ: Mapping[str, str]) -> Path:
    """Return the folder in which SkyPilot keeps its catalogue (sky/catalog/common.py, 0.14.1)."""
    return Path(environ.get("SKY_RUNTIME_DIR") or environ.get("HOME") or "/root") / ".sky/catalogs/v8"


def _oldest_days(environ: Mapping[str, str]) -> int:
    text = environ.get("CVL_CI_PRICE_DAYS", "")
    if not text:
        return sources.OLDEST_DAYS
    if not text.isdecimal():
        raise RequestError([InputProblem(field="CVL_CI_PRICE_DAYS", value=text, problem="is not a number of days")])
    return int(text)


def _bucket(environ: Mapping[str, str], name: str, *, is_local: bool = False) -> ObjectStore:
    """Open a bucket in any region: S3 sends a client of the default region to the right one."""
    from cvl_ci.clouds.aws.object_store import S3Bucket, s3_client

    return S3Bucket(s3_client(environ=environ, is_local=is_local), name)


def _keys_of(access: SkyAccess) -> Mapping[str, str]:
    return {
        "AWS_ENDPOINT_URL_S3": access.endpoint_url,
        "AWS_ACCESS_KEY_ID": access.access_key_id,
        "AWS_SECRET_ACCESS_KEY": access.secret_access_key,
    }


def _aws_regions() -> Sequence[str]:
    from cvl_ci import clouds as inventory

    return inventory.account_regions(inventory.ec2_clients())()


def machine_types() -> tuple[MachineType, ...]:
    """Return the machines of the sandbox: AWS's in the regions that it emulates, at their catalogue prices."""
    return tuple(
        MachineType(
            name=row.name,
            vcpus=row.vcpus,
            memory_gib=row.memory_gib,
            accelerator=row.accelerator,
            accelerator_count=int(row.count),
            accelerator_memory_gib=row.accelerator_memory_gib,
            hourly_usd=row.price,
            spot_hourly_usd=row.spot,
            region=row.region,
        )
        for row in CataloguePrices().machine_rows()
        if row.price is not None
    )


def _keeps_a_machine(status: Status) -> bool:
    over = {"shutting-down", "terminated"}
    return any(LABEL_KEPT in instance.tags and instance.state not in over for instance in status.instances)


def around_proxies(environ: Mapping[str, str], address: str) -> dict[str, str]:
    """Return variables under which clients ask this address directly. A proxy cannot reach the sandbox's networks."""
    names = ("no_proxy", "NO_PROXY")
    present = next((environ[name] for name in names if environ.get(name)), "")
    host = urlsplit(address).hostname or ""
    return dict.fromkeys(names, present if present.strip() == "*" else ",".join(filter(None, [present, host])))


def _for_skypilot(environ: Mapping[str, str], user_id: str) -> dict[str, str]:
    """Return the environment for SkyPilot, which calls the clouds' command lines (`aws`) next to this interpreter."""
    interpreter_folder = str(Path(sys.executable).parent)
    # We ignore PYTHONPATH, which may lead into the workspace of a pull request. Programs that we call must do so too.
    ignored = ("PYTHON", "LD_") if sys.flags.isolated else ()
    return {
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
        **{name: value for name, value in environ.items() if not name.startswith(ignored)},
        "SKYPILOT_USER_ID": user_id,
        "PATH": os.pathsep.join([interpreter_folder, environ.get("PATH", os.defpath)]),
    }
