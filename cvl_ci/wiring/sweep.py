"""`reap` for both entry points: the owner of the leases, the clouds, and GitHub's word about ended runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci.engine.server.server_inventory import ADDRESS
from cvl_ci.errors import CredentialsError
from cvl_ci.inputs import action_variables
from cvl_ci.local.clock import SystemClock
from cvl_ci.model.location import MANAGED, REPLICATED, Location
from cvl_ci.ports import RunReporter
from cvl_ci.wiring.access import set_up
from cvl_ci.wiring.clouds import OpenClouds, prices

if TYPE_CHECKING:
    from cvl_ci.commands.reap.reap import Reaped


def reap(
    environ: Mapping[str, str],
    *,
    reporter: RunReporter,
    cloud: str = "",
    owner: str | None = None,
    all_owners: bool = False,
    grace: str = "",
    dry_run: bool = False,
    dashes: str = "",
) -> Reaped:
    """End leases whose run has ended, from typed words. Empty words mean the default: all clouds with credentials."""
    from cvl_ci.commands.reap import reap as reaping
    from cvl_ci.github.pull_requests import PullRequestStates
    from cvl_ci.github.runs import WorkflowRuns
    from cvl_ci.model.owner import Owner

    locations, seconds = reaping.read_request(
        cloud, grace=grace or "10m", regions=prices(environ).regions, dashes=dashes
    )
    repository = environ.get("GITHUB_REPOSITORY", "")
    token = action_variables.value(environ, "github_token") or environ.get("GITHUB_TOKEN", "")
    api = environ.get("GITHUB_API_URL") or "https://api.github.com"
    runs = pulls = None
    if token and repository and owner in {None, repository}:
        runs = WorkflowRuns(api=api, token=token, repository=repository, say=reporter.warning)
        pulls = PullRequestStates(api=api, token=token, repository=repository, say=reporter.warning)
    else:
        reporter.notice(
            "cvl-ci does not ask GitHub which runs have ended (that needs a token): deadlines alone decide."
        )
    return reaping.reap(
        locations or all_places(environ),
        owner=None if all_owners else owner or repository or str(Path.cwd()),
        repository=repository,
        named=owner is not None,
        grace=seconds,
        dry_run=dry_run,
        user_id=Owner(repository=repository, run="reap").user_id,
        ports=reaping.ReapPorts(
            clouds=OpenClouds(environ, by_record=True),
            prices=prices(environ),
            reporter=reporter,
            clock=SystemClock(),
            runs=runs,
            pulls=pulls,
        ),
    )


def clouds_named(cloud: str) -> list[str]:
    """Return the clouds in typed words, to find their credentials. The reader of the words reports their mistakes."""
    from cvl_ci.inputs import locations, parsers

    try:
        return [location.cloud for location in locations.read(cloud)] if cloud.strip() else []
    except parsers.Wrong:
        return []


def all_places(environ: Mapping[str, str]) -> tuple[Location, ...]:
    """Return all places with credentials: the clouds, and the managed jobs and services of an API server."""
    if not environ.get(ADDRESS):
        return all_set_up(environ)
    return (*set_up(environ), Location(cloud=MANAGED), Location(cloud=REPLICATED))


def all_set_up(environ: Mapping[str, str]) -> tuple[Location, ...]:
    """Return all places with credentials. Raises CredentialsError for none: that would prove nothing."""
    usable = set_up(environ)
    if not usable:
        raise CredentialsError(
            "There are no credentials for a cloud here, so cvl-ci looked at nothing.",
            money="Machines that may still run are still billed.",
            next_step="`cvl-ci check` shows the state of each cloud.",
        )
    return usable
