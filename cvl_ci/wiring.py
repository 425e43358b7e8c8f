"""The only file that knows every adapter: which cloud is opened with what. Reads the environment it is given."""

from __future__ import annotations

import importlib.util
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci.engine import served_inventory as served
from cvl_ci.engine.prices import CataloguePrices
from cvl_ci.engine.skypilot import SkyPilotEngine
from cvl_ci.errors import CredentialsError, EngineError
from cvl_ci.lease import LABEL_KEPT
from cvl_ci.local.clock import SystemClock
from cvl_ci.local.records import FileRecords
from cvl_ci.ports import Cloud, Progress, Records, Watch, Workflow
from cvl_ci.request.plan import SANDBOX, Place
from cvl_ci.sandbox import Access, MachineType, Sandbox, brought_up_by_a_run

if TYPE_CHECKING:
    from cvl_ci.commands.reap import Reaped
    from cvl_ci.request.inputs import Inputs
    from cvl_ci.result.access import CloudAccess
    from cvl_ci.sandbox import Status

THROUGH_SERVER = Place(cloud=served.CLOUD)
_OF_CLOUDS = ("AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_", "KUBECONFIG", "SKYPILOT_", "SKY_", "BOTO_")


def environment() -> Mapping[str, str]:
    return os.environ


def state_directory(environ: Mapping[str, str]) -> Path:
    """Where leases are recorded and the sandbox lives: XDG's place for state."""
    given = environ.get("XDG_STATE_HOME")
    return Path(given or Path(environ.get("HOME", "/root")) / ".local" / "state") / "cvl-ci"


def keep_details(environ: Mapping[str, str], text: str) -> str:
    """A mistake's details go to a file; what a person is told is where."""
    path = state_directory(environ) / f"error-{secrets.token_hex(4)}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        return f"The details could not be written ({error})."
    return f"The details are in {path}."


def sandbox_directory(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("CVL_CI_SANDBOX_DIR") or state_directory(environ) / "sandbox")


def records(environ: Mapping[str, str], workflow: Workflow) -> Records:
    return FileRecords(state_directory(environ) / "leases", warn=workflow.warning)


def prices(environ: Mapping[str, str]) -> CataloguePrices:
    """The baked table, or SkyPilot's own catalogue where it lies on this machine and the table has been overruled."""
    given = environ.get("CVL_CI_CATALOGUE")
    return CataloguePrices(skypilot_catalogue=Path(given)) if given else CataloguePrices()


def machine_types() -> tuple[MachineType, ...]:
    """What the sandbox sells: AWS's machines in the regions it emulates, at their catalogue prices."""
    return tuple(
        MachineType(
            name=row.name,
            vcpus=row.vcpus,
            memory_gib=row.memory_gib,
            accelerator=row.accelerator,
            accelerator_count=row.count,
            accelerator_memory_gib=row.accelerator_memory_gib,
            hourly_usd=row.price,
            spot_hourly_usd=row.spot,
            region=row.region,
        )
        for row in CataloguePrices().machine_rows()
        if row.price is not None
    )


class OpenClouds:
    """The Clouds port. `keep_sandbox`: leave up a sandbox that this run brought up. `to_end`: only what was left is
    looked for; a sandbox is not brought up for that, and one a run had left is taken down. `by_record`: no new run."""

    def __init__(
        self, environ: Mapping[str, str], *, keep_sandbox: bool = False, to_end: bool = False, by_record: bool = False
    ) -> None:
        self._by_record = by_record or to_end
        self._environ = environ
        self._keep_sandbox = keep_sandbox
        self._to_end = to_end

    @contextmanager
    def open(self, places: Sequence[Place], *, user_id: str, watch: Watch) -> Iterator[Cloud]:
        if any(place.cloud == SANDBOX for place in places):
            with self._sandbox(watch) as cloud_of, self._closing(cloud_of(user_id)) as cloud:
                yield cloud
        else:
            through = served.goes_through(places, self._environ, by_record=self._by_record)
            with self._closing(self._served(user_id) if through else self._real(places, user_id)) as cloud:
                yield cloud

    @contextmanager
    def _sandbox(self, watch: Watch) -> Iterator[Callable[[str], Cloud]]:
        from cvl_ci.local import remains

        sandbox = Sandbox(
            sandbox_directory(self._environ),
            machine_types=machine_types(),
            environment=self._environ,
            progress=lambda text: watch(Progress(text=text)),
        )
        to_end, keep = sandbox.visited_to_end, self._keep_sandbox
        visited = (
            to_end(needed=_keeps_a_machine) if self._to_end else sandbox.visited(keep=keep, needed=_keeps_a_machine)
        )
        with visited as access:
            yield partial(self._on_sandbox, access) if access else (lambda _: remains.opened(sandbox, named=SANDBOX))

    def _on_sandbox(self, access: Access, user_id: str) -> Cloud:
        from cvl_ci.engine import inventory

        mine = {name: value for name, value in self._environ.items() if not name.startswith(_OF_CLOUDS)}
        client = inventory.ec2_clients(
            access_key_id=access.access_key_id,
            secret_access_key=access.secret_access_key,
            endpoint_url=access.endpoint_url,
        )
        aws = inventory.AwsInventory(client=client, regions=lambda: access.regions, provider=SANDBOX)
        engine = SkyPilotEngine(
            environment=_for_skypilot({**mine, **access.environment, "HOME": str(access.home)}, user_id),
            clock=SystemClock(),
            cloud_name=SANDBOX,
        )
        return Cloud(engine=engine, inventory=inventory.Inventories({SANDBOX: aws}), billed=False, named=SANDBOX)

    def _real(self, places: Sequence[Place], user_id: str) -> Cloud:
        from cvl_ci.engine import inventory

        if any(place.cloud == "aws" for place in places) and importlib.util.find_spec("boto3") is None:
            raise EngineError(
                "The AWS client is not installed, so AWS could not be asked whether a machine is gone.",
                next_step="Install it: pip install 'cvl-ci[aws]'.",
            )
        environ = _for_skypilot(self._environ, user_id)
        anywhere = () if places else [place.cloud for place in set_up(self._environ)] or ["aws"]
        every = inventory.every(environ, anywhere=anywhere)
        return Cloud(engine=SkyPilotEngine(environment=environ, clock=SystemClock()), inventory=every)

    def _served(self, user_id: str) -> Cloud:
        endpoint = served.address(self._environ)
        engine = SkyPilotEngine(environment=_for_skypilot(self._environ, user_id), clock=SystemClock())
        inventory = served.ServedInventory(engine, endpoint=endpoint)
        return Cloud(engine=engine, inventory=inventory, through=served.CLOUD)

    @contextmanager
    def _closing(self, cloud: Cloud) -> Iterator[Cloud]:
        try:
            yield cloud
        finally:
            cloud.engine.close()


def sandbox_was_left(environ: Mapping[str, str]) -> bool:
    """A run brought it up and was not there to take it down."""
    return brought_up_by_a_run(sandbox_directory(environ))


def _keeps_a_machine(status: Status) -> bool:
    over = {"shutting-down", "terminated"}
    return any(LABEL_KEPT in each.tags and each.state not in over for each in status.instances)


def _for_skypilot(environ: Mapping[str, str], user_id: str) -> dict[str, str]:
    """SkyPilot calls the clouds' command lines (`aws`), which are installed beside this interpreter."""
    beside = str(Path(sys.executable).parent)
    # Where we look at no PYTHONPATH, which may lead into the workspace of a pull request, what we call must not either.
    deaf = ("PYTHON", "LD_") if sys.flags.isolated else ()
    return {
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
        **{name: value for name, value in environ.items() if not name.startswith(deaf)},
        "SKYPILOT_USER_ID": user_id,
        "PATH": os.pathsep.join([beside, environ.get("PATH", os.defpath)]),
    }


# ---- credentials --------------------------------------------------------------------------------------------


def credentials(
    environ: Mapping[str, str], clouds: Sequence[str], *, mask: Callable[..., None], required: bool = True
) -> Mapping[str, str]:
    """The action's: what the inputs give is written for the clouds in use, for this process and all that follow."""
    from cvl_ci.engine.credentials import access
    from cvl_ci.engine.inventory import PROVED

    if SANDBOX in clouds:
        return environ
    where = access.here(dict(environ), folder=credentials_directory(environ), writes=True)
    return access.become_known(where, clouds, proved=PROVED, mask=mask, adopt=_adopt, required=required)


def require_credentials(environ: Mapping[str, str], clouds: Sequence[str]) -> None:
    """In a terminal: what is missing is told before anything is spent, and nothing is written."""
    from cvl_ci.engine.credentials import access
    from cvl_ci.engine.inventory import PROVED

    if SANDBOX not in clouds:
        where = access.here(environ, folder=credentials_directory(environ), writes=False)
        named = access.in_use(where, clouds)
        access.require(access.look(where, named, proved=PROVED), any_of_them=not named)


def cloud_access(environ: Mapping[str, str], names: Sequence[str]) -> list[CloudAccess]:
    from cvl_ci.commands import check
    from cvl_ci.engine.credentials import access
    from cvl_ci.engine.inventory import PROVED

    where = access.here(environ, folder=credentials_directory(environ), writes=False)
    return access.look(where, check.asked(names, access.KINDS), proved=PROVED)


def _adopt(known: Mapping[str, str]) -> None:
    """The clouds' libraries look there."""
    for name in os.environ.keys() - known.keys():
        os.environ.pop(name)
    os.environ.update(known)


def forget_credentials(environ: Mapping[str, str], *, say: Callable[[str], None]) -> None:
    from cvl_ci.engine.credentials import files

    for path in files.remove(credentials_directory(environ)):
        say(f"{path} holds credentials and could not be removed: remove it by hand where the runner is your own.")


def credentials_directory(environ: Mapping[str, str]) -> Path:
    return state_directory(environ) / "credentials"


# ---- reap ---------------------------------------------------------------------------------------------------


def reap(
    environ: Mapping[str, str],
    *,
    workflow: Workflow,
    cloud: str = "",
    owner: str | None = None,
    all_owners: bool = False,
    grace: str = "",
    dry_run: bool = False,
    dashes: str = "",
) -> Reaped:
    """As both doors call it, in words as typed. Empty words: the default; of clouds, all that are set up."""
    from cvl_ci.commands import reap as reaping
    from cvl_ci.github.runs import WorkflowRuns
    from cvl_ci.lease import Owner

    places, seconds = reaping.asked(cloud, grace=grace or "10m", regions=prices(environ).regions, dashes=dashes)
    repository = environ.get("GITHUB_REPOSITORY", "")
    token = environ.get("INPUT_GITHUB_TOKEN") or environ.get("GITHUB_TOKEN", "")
    api = environ.get("GITHUB_API_URL") or "https://api.github.com"
    runs = None
    if token and repository and owner in {None, repository}:
        runs = WorkflowRuns(api=api, token=token, repository=repository, say=workflow.warning)
    else:
        workflow.notice("GitHub is not asked which runs are over (that takes a token): deadlines alone decide.")
    return reaping.reap(
        places or _all_set_up(environ),
        owner=None if all_owners else owner or repository or str(Path.cwd()),
        repository=repository,
        named=owner is not None,
        grace=seconds,
        dry_run=dry_run,
        user_id=Owner(repository=repository, run="reap").user_id,
        tools=reaping.Tools(
            clouds=OpenClouds(environ, by_record=True),
            prices=prices(environ),
            workflow=workflow,
            clock=SystemClock(),
            runs=runs,
        ),
    )


def clouds_named(cloud: str) -> list[str]:
    """Of words as typed, for their credentials alone: what is wrong with them is told where they are read."""
    from cvl_ci.request import places, values

    try:
        return [place.cloud for place in places.read(cloud)] if cloud.strip() else []
    except values.Wrong:
        return []


def set_up(environ: Mapping[str, str], *, by_inputs: bool = False) -> tuple[Place, ...]:
    """Where machines of ours could be, as far as this machine tells. `by_inputs`: as the action's inputs say."""
    from cvl_ci.engine.credentials import access
    from cvl_ci.engine.inventory import PROVED

    where = access.here(environ, folder=credentials_directory(environ), writes=by_inputs)
    named = access.in_use(where, ()) if by_inputs else ()
    return tuple(Place(cloud=each.cloud) for each in access.look(where, named, proved=PROVED) if each.usable)


def _all_set_up(environ: Mapping[str, str]) -> tuple[Place, ...]:
    """None at all is no clean sweep."""
    known = set_up(environ)
    if not known:
        raise CredentialsError(
            "No cloud that can be asked is set up here, so nothing was looked at.",
            money="What may be running is still billed.",
            next_step="`cvl-ci check` shows how each cloud stands.",
        )
    return known


# ---- GitHub -------------------------------------------------------------------------------------------------


def has_credentials(environ: Mapping[str, str]) -> bool:
    """Whether any cloud's were given to this step. The machine's own role was given to nobody: it is not asked."""
    from cvl_ci.engine.credentials import access

    where = access.here(environ, folder=credentials_directory(environ), writes=True)
    looks = access.look(replace(where, has_instance_role=lambda: False), access.in_use(where, ()), proved=())
    return any(each.there for each in looks)


def on_sandbox(inputs: Inputs) -> Inputs:
    return replace(inputs, places=(Place(cloud=SANDBOX),))


def handover_path(environ: Mapping[str, str]) -> Path:
    from cvl_ci.github import surroundings

    return state_directory(environ) / "action" / f"{surroundings.read(environ, leg='').step_key}.json"
