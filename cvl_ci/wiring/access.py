"""Credentials: check them, write them where the clouds' libraries look, and remove them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cvl_ci.wiring.directories import credentials_directory

if TYPE_CHECKING:
    from cvl_ci.model.access import CloudAccess
    from cvl_ci.model.location import Location
    from cvl_ci.model.plan import RunPlan
    from cvl_ci.ports import Prices


def credentials(
    environ: Mapping[str, str], clouds: Sequence[str], *, mask: Callable[..., None], required: bool = True
) -> Mapping[str, str]:
    """Write the credentials of the action's inputs for the clouds in use, for this process and all its children."""
    from cvl_ci.clouds import credentials as cloud_credentials
    from cvl_ci.clouds import provable_clouds
    from cvl_ci.model.location import SANDBOX

    if SANDBOX in clouds:
        return environ
    local = cloud_credentials.local_environment(dict(environ), folder=credentials_directory(environ), writes=True)
    return cloud_credentials.set_up(
        local, clouds, provable_clouds=provable_clouds(), mask=mask, adopt=_adopt, required=required
    )


def require_credentials(environ: Mapping[str, str], clouds: Sequence[str]) -> None:
    """Report missing credentials in a terminal before a run spends anything. Writes no files."""
    from cvl_ci.clouds import credentials as cloud_credentials
    from cvl_ci.clouds import provable_clouds
    from cvl_ci.model.location import SANDBOX

    if SANDBOX not in clouds:
        local = cloud_credentials.local_environment(environ, folder=credentials_directory(environ), writes=False)
        named = cloud_credentials.in_use(local, clouds)
        cloud_credentials.require(
            cloud_credentials.check_clouds(local, named, provable_clouds=provable_clouds()), any_of_them=not named
        )


def cloud_access(environ: Mapping[str, str], names: Sequence[str]) -> list[CloudAccess]:
    from cvl_ci.clouds import credentials as cloud_credentials
    from cvl_ci.clouds import provable_clouds
    from cvl_ci.clouds.registry import credential_providers
    from cvl_ci.commands import check

    local = cloud_credentials.local_environment(environ, folder=credentials_directory(environ), writes=False)
    return cloud_credentials.check_clouds(
        local, check.named_clouds(names, credential_providers()), provable_clouds=provable_clouds()
    )


def has_credentials(environ: Mapping[str, str]) -> bool:
    """Return whether this step got the credentials of any cloud.

    The machine's own role does not count: no input gave it.
    """
    from cvl_ci.clouds import credentials as cloud_credentials

    local = cloud_credentials.local_environment(environ, folder=credentials_directory(environ), writes=True)
    without_role = replace(local, has_instance_role=lambda: False)
    return any(
        cloud.available
        for cloud in cloud_credentials.check_clouds(
            without_role, cloud_credentials.in_use(local, ()), provable_clouds=()
        )
    )


def set_up(environ: Mapping[str, str], *, by_inputs: bool = False) -> tuple[Location, ...]:
    """Return the places where our machines may be, as far as this computer knows. `by_inputs`: as the inputs say."""
    from cvl_ci.clouds import credentials as cloud_credentials
    from cvl_ci.clouds import provable_clouds
    from cvl_ci.model.location import Location

    local = cloud_credentials.local_environment(environ, folder=credentials_directory(environ), writes=by_inputs)
    named = cloud_credentials.in_use(local, ()) if by_inputs else ()
    return tuple(
        Location(cloud=one.cloud)
        for one in cloud_credentials.check_clouds(local, named, provable_clouds=provable_clouds())
        if one.usable
    )


def goes_through_server(environ: Mapping[str, str], *, by_inputs: bool) -> bool:
    """Return whether a new run goes through a SkyPilot API server. `by_inputs`: as the action's inputs say."""
    from cvl_ci.clouds import credentials as cloud_credentials

    local = cloud_credentials.local_environment(environ, folder=credentials_directory(environ), writes=by_inputs)
    return bool(cloud_credentials.in_use(local, ()))


def service_places(environ: Mapping[str, str], clouds: Sequence[str]) -> tuple[tuple[Location, ...], tuple[str, ...]]:
    """Return where the services of an environment may be, and the clouds that this step cannot ask, with the reason.

    With an API server, a service has several replicas there. An older one may have one machine on a cloud, which is
    asked if the step got credentials for it. The machine's own role does not count: no input gave it.
    """
    from cvl_ci.clouds import credentials as cloud_credentials
    from cvl_ci.clouds import provable_clouds
    from cvl_ci.model.location import REPLICATED, SANDBOX, Location

    if SANDBOX in clouds or not goes_through_server(environ, by_inputs=True):
        return tuple(Location(cloud=cloud) for cloud in clouds), ()
    local = cloud_credentials.local_environment(environ, folder=credentials_directory(environ), writes=True)
    local = replace(local, has_instance_role=lambda: False)
    checked = cloud_credentials.check_clouds(local, clouds, provable_clouds=provable_clouds())
    places = [REPLICATED, *(one.cloud for one in checked if one.usable)]
    unasked = tuple(f"{one.cloud} ({', '.join(one.missing)} missing)" for one in checked if not one.usable)
    return tuple(Location(cloud=cloud) for cloud in places), unasked


def on_usable_clouds(
    plan: RunPlan, environ: Mapping[str, str], prices: Prices, *, by_inputs: bool, asks_role: bool
) -> RunPlan:
    """Name the clouds of a plan that names none: those with credentials here. Through an API server it stays open.

    `by_inputs`: as the action's inputs say. `asks_role`: whether this machine's own role counts; looking for it asks
    the metadata service of the network.
    """
    from cvl_ci.clouds import credentials as cloud_credentials
    from cvl_ci.clouds import provable_clouds
    from cvl_ci.commands.plan.anywhere import name_clouds

    is_named = bool(plan.machines.locations) and not plan.machines.has_region_alone
    if is_named or goes_through_server(environ, by_inputs=by_inputs):
        return plan
    local = cloud_credentials.local_environment(environ, folder=credentials_directory(environ), writes=by_inputs)
    local = local if asks_role else replace(local, has_instance_role=lambda: False)
    usable = [
        one.cloud for one in cloud_credentials.check_clouds(local, (), provable_clouds=provable_clouds()) if one.usable
    ]
    return name_clouds(plan, usable, prices)


def renews_role(environ: Mapping[str, str]) -> bool:
    """Return whether AWS keys come from a role that cvl-ci assumes again before they expire."""
    from cvl_ci.clouds.aws.credentials import config_of_role

    return environ.get("AWS_CONFIG_FILE") == str(config_of_role(credentials_directory(environ)))


def forget_credentials(environ: Mapping[str, str], *, say: Callable[[str], None]) -> None:
    from cvl_ci.clouds import credential_files

    for path in credential_files.remove(credentials_directory(environ)):
        say(f"{path} holds credentials and could not be removed: remove it by hand where the runner is your own.")


def _adopt(environment: Mapping[str, str]) -> None:
    """Change this process's environment, in which the clouds' libraries look."""
    for name in os.environ.keys() - environment.keys():
        os.environ.pop(name)
    os.environ.update(environment)
