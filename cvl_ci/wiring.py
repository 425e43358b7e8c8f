"""The only file that knows every adapter: which cloud is opened with what. Reads the environment it is given."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci.engine.prices import CataloguePrices
from cvl_ci.engine.skypilot import SkyPilotEngine
from cvl_ci.errors import EngineError
from cvl_ci.local.clock import SystemClock
from cvl_ci.local.handover import Handover
from cvl_ci.local.handover import save as save_handover
from cvl_ci.local.handover import written as written_handover
from cvl_ci.local.records import FileRecords
from cvl_ci.ports import Cloud, Progress, Records, Watch, Workflow
from cvl_ci.request.plan import SANDBOX, Place
from cvl_ci.sandbox import Access, MachineType, Sandbox

if TYPE_CHECKING:
    from cvl_ci.commands.reap import Reaped
    from cvl_ci.github.discussion import Discussion
    from cvl_ci.result.outcome import Outcome, Phase

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
    """The Clouds port. `keep_sandbox`: leave up a sandbox that this run brought up."""

    def __init__(self, environ: Mapping[str, str], *, keep_sandbox: bool = False) -> None:
        self._environ = environ
        self._keep_sandbox = keep_sandbox

    @contextmanager
    def open(self, places: Sequence[Place], *, user_id: str, watch: Watch) -> Iterator[Cloud]:
        if any(place.cloud == SANDBOX for place in places):
            with self._sandbox(watch) as access, self._closing(self._on_sandbox(access, user_id)) as cloud:
                yield cloud
        else:
            with self._closing(self._real(user_id)) as cloud:
                yield cloud

    @contextmanager
    def _sandbox(self, watch: Watch) -> Iterator[Access]:
        sandbox = Sandbox(
            sandbox_directory(self._environ),
            machine_types=machine_types(),
            environment=self._environ,
            progress=lambda text: watch(Progress(text=text)),
        )
        with sandbox.visited(keep=self._keep_sandbox) as access:
            yield access

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

    def _real(self, user_id: str) -> Cloud:
        from cvl_ci.engine import inventory

        try:
            client = inventory.ec2_clients()
        except ImportError as error:
            raise EngineError(
                f"The AWS client is not installed ({error}), so AWS could not be asked whether a machine is gone.",
                next_step="Install it: pip install 'cvl-ci[aws]'.",
            ) from None
        aws = inventory.AwsInventory(client=client, regions=inventory.account_regions(client))
        engine = SkyPilotEngine(environment=_for_skypilot(self._environ, user_id), clock=SystemClock())
        return Cloud(engine=engine, inventory=inventory.Inventories({"aws": aws}))

    @contextmanager
    def _closing(self, cloud: Cloud) -> Iterator[Cloud]:
        try:
            yield cloud
        finally:
            cloud.engine.close()


def _for_skypilot(environ: Mapping[str, str], user_id: str) -> dict[str, str]:
    """SkyPilot calls the clouds' command lines (`aws`), which are installed beside this interpreter."""
    beside = str(Path(sys.executable).parent)
    return {
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
        **environ,
        "SKYPILOT_USER_ID": user_id,
        "PATH": os.pathsep.join([beside, environ.get("PATH", os.defpath)]),
    }


def reap(
    environ: Mapping[str, str],
    *,
    workflow: Workflow,
    cloud: str = "",
    owner: str | None = None,
    all_owners: bool = False,
    grace: str = "",
    dry_run: bool = False,
) -> Reaped:
    """As both doors call it, in words as typed. Empty words: the default."""
    from cvl_ci.commands import reap as reaping
    from cvl_ci.github.runs import WorkflowRuns
    from cvl_ci.lease import Owner

    places, seconds = reaping.asked(cloud or "aws", grace=grace or "10m")
    repository = environ.get("GITHUB_REPOSITORY", "")
    token = environ.get("INPUT_GITHUB_TOKEN") or environ.get("GITHUB_TOKEN", "")
    api = environ.get("GITHUB_API_URL") or "https://api.github.com"
    runs = None
    if token and repository and owner in {None, repository}:
        runs = WorkflowRuns(api=api, token=token, repository=repository, say=workflow.warning)
    else:
        workflow.notice("GitHub is not asked which runs are over (that takes a token): deadlines alone decide.")
    return reaping.reap(
        places,
        owner=None if all_owners else owner or repository or str(Path.cwd()),
        repository=repository,
        named=owner is not None,
        grace=seconds,
        dry_run=dry_run,
        user_id=Owner(repository=repository, run="reap").user_id,
        tools=reaping.Tools(
            clouds=OpenClouds(environ), prices=prices(environ), workflow=workflow, clock=SystemClock(), runs=runs
        ),
    )


# ---- GitHub -------------------------------------------------------------------------------------------------


def handover_path(environ: Mapping[str, str]) -> Path:
    from cvl_ci.github import surroundings

    return state_directory(environ) / "action" / f"{surroundings.read(environ, leg='').step_key}.json"


class OnGitHub:
    """One step of a workflow: who holds its lease, where its words go, what post will find."""

    def __init__(self, environ: Mapping[str, str], *, leg: str | None = None) -> None:
        """Masks first: nothing is said before the runner knows what to hide. `leg`: as main had it."""
        from cvl_ci.github import surroundings
        from cvl_ci.github.masks import Masks, secret_values
        from cvl_ci.github.workflow import GitHubWorkflow
        from cvl_ci.lease import Owner
        from cvl_ci.result.report import job_summary

        self._here = here = surroundings.read(environ, leg=environ.get("INPUT_LEG", "") if leg is None else leg)
        self.owner = Owner(
            repository=here.repository, run=here.run, attempt=here.attempt, job=here.job, step=here.step, leg=here.leg
        )
        self.outputs = Path("cvl-outputs") / self.owner.name
        self.masks = Masks()
        self._environ = environ
        self._left = Handover(lease=self.owner.name, leg=here.leg)
        self.workflow = GitHubWorkflow(
            out=sys.stdout,
            clock=SystemClock(),
            files=environ,
            masks=self.masks,
            log=self.outputs.with_name(f"{self.owner.name}.log"),
            summarise=lambda outcome, tail, room: job_summary(outcome, tail=tail, room=room),
            on_phase=self._under_way,
            on_price=lambda hourly, billed: self.leave(since=SystemClock().now(), hourly_usd=hourly, billed=billed),
        )
        self.workflow.mask(*secret_values(environ))
        self._discussion = self._opened() if environ.get("INPUT_GITHUB_TOKEN") else None

    def leave(self, **known: object) -> None:
        """For post: in a file under HOME, and with the runner. The first price's moment is when spending began."""
        if self._left.since:
            known.pop("since", None)
        self._left = replace(self._left, **known)  # type: ignore[arg-type]
        save_handover(handover_path(self._environ), self._left)
        self.workflow.commands.state("handover", written_handover(self._left))

    def comment(self, outcome: Outcome) -> None:
        from cvl_ci.result.report import Link, comment, group_comment, group_row, marker

        if self._discussion is None:
            return
        here, group = self._here, self._environ.get("INPUT_COMMENT_GROUP", "").strip()
        outcome = self.masks.cleaned(outcome)
        run, mark = Link(words="log of the run", url=here.run_url), marker(here.comment_key(group))
        if group:
            row = group_row(outcome, leg=here.leg_in_words or here.job, run=run)
            write = partial(group_comment, title=group, marker=mark, key=here.row_key, row=row)
            self._discussion.put(lambda before: self.masks.hide(write(before)), last=True)
        else:
            text = self.masks.hide(comment(outcome, marker=mark, run=run, tail=self.workflow.tail))
            self._discussion.put(lambda _: text, last=True)

    def give_back(self) -> None:
        """We are root in the container and the workspace is not root's: what we left there must be its owner's."""
        if os.geteuid() != 0:
            return
        owner = Path.cwd().stat()
        for path in (self.outputs.parent, *self.outputs.parent.rglob("*")):
            with suppress(OSError):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def _under_way(self, phase: Phase) -> None:
        """The comment while it runs; a group's row only tells the end."""
        from cvl_ci.result.report import Link, comment_so_far, marker

        quiet = self._environ.get("INPUT_COMMENT", "") not in {"", "auto", "always"}
        if self._discussion is None or quiet or self._environ.get("INPUT_COMMENT_GROUP", "").strip():
            return
        run = Link(words="log of the run", url=self._here.run_url)
        price = f" at ${self._left.hourly_usd:.4g} an hour" if self._left.hourly_usd else ""
        text = comment_so_far(
            title=self.masks.hide(self._left.title),
            doing=f"{phase.value}{price}",
            marker=marker(self._here.comment_key()),
            run=run,
        )
        self._discussion.put(lambda _: text)

    def _opened(self) -> Discussion:
        from cvl_ci.github.discussion import Discussion
        from cvl_ci.result.report import marker

        here, group = self._here, self._environ.get("INPUT_COMMENT_GROUP", "").strip()
        return Discussion(
            api=here.api,
            token=self._environ["INPUT_GITHUB_TOKEN"],
            repository=here.repository,
            sha=here.sha,
            event=here.event,
            marker=marker(here.comment_key(group)),
            clock=SystemClock(),
            say=self._no_comment,
        )

    def _no_comment(self, reason: str) -> None:
        always = self._environ.get("INPUT_COMMENT") == "always"
        (self.workflow.warning if always else self.workflow.progress)(reason)
