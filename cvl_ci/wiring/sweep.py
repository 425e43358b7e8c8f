"""`reap` as both doors call it, in words as typed: whose leases, on which clouds, by whose word a run is over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci.errors import CredentialsError
from cvl_ci.inputs import action_variables
from cvl_ci.local.clock import SystemClock
from cvl_ci.model.plan import Place
from cvl_ci.ports import Workflow
from cvl_ci.wiring.access import set_up
from cvl_ci.wiring.clouds import OpenClouds, prices

if TYPE_CHECKING:
    from cvl_ci.commands.reap.reap import Reaped


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
    from cvl_ci.commands.reap import reap as reaping
    from cvl_ci.github.runs import WorkflowRuns
    from cvl_ci.lease import Owner

    places, seconds = reaping.asked(cloud, grace=grace or "10m", regions=prices(environ).regions, dashes=dashes)
    repository = environ.get("GITHUB_REPOSITORY", "")
    token = action_variables.value(environ, "github_token") or environ.get("GITHUB_TOKEN", "")
    api = environ.get("GITHUB_API_URL") or "https://api.github.com"
    runs = None
    if token and repository and owner in {None, repository}:
        runs = WorkflowRuns(api=api, token=token, repository=repository, say=workflow.warning)
    else:
        workflow.notice("GitHub is not asked which runs are over (that takes a token): deadlines alone decide.")
    return reaping.reap(
        places or all_set_up(environ),
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
    from cvl_ci.inputs import locations as places
    from cvl_ci.inputs import parsers

    try:
        return [place.cloud for place in places.read(cloud)] if cloud.strip() else []
    except parsers.Wrong:
        return []


def all_set_up(environ: Mapping[str, str]) -> tuple[Place, ...]:
    """None at all is no clean sweep."""
    known = set_up(environ)
    if not known:
        raise CredentialsError(
            "No cloud that can be asked is set up here, so nothing was looked at.",
            money="What may be running is still billed.",
            next_step="`cvl-ci check` shows how each cloud stands.",
        )
    return known
