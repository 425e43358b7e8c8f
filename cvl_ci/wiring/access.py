"""Credentials: which there are, written where the clouds' libraries look, removed again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cvl_ci.wiring.directories import credentials_directory

if TYPE_CHECKING:
    from cvl_ci.model.access import CloudAccess
    from cvl_ci.model.plan import Place, RunPlan
    from cvl_ci.ports import Prices


def credentials(
    environ: Mapping[str, str], clouds: Sequence[str], *, mask: Callable[..., None], required: bool = True
) -> Mapping[str, str]:
    """The action's: what the inputs give is written for the clouds in use, for this process and all that follow."""
    from cvl_ci.clouds import credentials as access
    from cvl_ci.clouds import proved
    from cvl_ci.model.plan import SANDBOX

    if SANDBOX in clouds:
        return environ
    where = access.local_environment(dict(environ), folder=credentials_directory(environ), writes=True)
    return access.set_up(where, clouds, proved=proved(), mask=mask, adopt=_adopt, required=required)


def require_credentials(environ: Mapping[str, str], clouds: Sequence[str]) -> None:
    """In a terminal: what is missing is told before anything is spent, and nothing is written."""
    from cvl_ci.clouds import credentials as access
    from cvl_ci.clouds import proved
    from cvl_ci.model.plan import SANDBOX

    if SANDBOX not in clouds:
        where = access.local_environment(environ, folder=credentials_directory(environ), writes=False)
        named = access.in_use(where, clouds)
        access.require(access.check_clouds(where, named, proved=proved()), any_of_them=not named)


def cloud_access(environ: Mapping[str, str], names: Sequence[str]) -> list[CloudAccess]:
    from cvl_ci.clouds import credentials as access
    from cvl_ci.clouds import proved
    from cvl_ci.clouds.registry import credential_providers
    from cvl_ci.commands import check

    where = access.local_environment(environ, folder=credentials_directory(environ), writes=False)
    return access.check_clouds(where, check.asked(names, credential_providers()), proved=proved())


def has_credentials(environ: Mapping[str, str]) -> bool:
    """Whether any cloud's were given to this step. The machine's own role was given to nobody: it is not asked."""
    from cvl_ci.clouds import credentials as access

    where = access.local_environment(environ, folder=credentials_directory(environ), writes=True)
    looks = access.check_clouds(replace(where, has_instance_role=lambda: False), access.in_use(where, ()), proved=())
    return any(each.there for each in looks)


def set_up(environ: Mapping[str, str], *, by_inputs: bool = False) -> tuple[Place, ...]:
    """Where machines of ours could be, as far as this machine tells. `by_inputs`: as the action's inputs say."""
    from cvl_ci.clouds import credentials as access
    from cvl_ci.clouds import proved
    from cvl_ci.model.plan import Place

    where = access.local_environment(environ, folder=credentials_directory(environ), writes=by_inputs)
    named = access.in_use(where, ()) if by_inputs else ()
    return tuple(Place(cloud=each.cloud) for each in access.check_clouds(where, named, proved=proved()) if each.usable)


def on_usable_clouds(
    plan: RunPlan, environ: Mapping[str, str], prices: Prices, *, by_inputs: bool, asks_role: bool
) -> RunPlan:
    """Name the clouds of a plan that names none: those with credentials here. Through an API server it stays open.

    `by_inputs`: as the action's inputs say. `asks_role`: whether this machine's own role counts; looking for it asks
    the metadata service of the network.
    """
    from cvl_ci.clouds import credentials as access
    from cvl_ci.clouds import proved
    from cvl_ci.commands.plan.anywhere import name_clouds
    from cvl_ci.engine.server_inventory import ADDRESS

    if plan.places or environ.get(ADDRESS):
        return plan
    where = access.local_environment(environ, folder=credentials_directory(environ), writes=by_inputs)
    if access.in_use(where, ()):
        return plan
    where = where if asks_role else replace(where, has_instance_role=lambda: False)
    usable = [each.cloud for each in access.check_clouds(where, (), proved=proved()) if each.usable]
    return name_clouds(plan, usable, prices)


def forget_credentials(environ: Mapping[str, str], *, say: Callable[[str], None]) -> None:
    from cvl_ci.clouds import credential_files

    for path in credential_files.remove(credentials_directory(environ)):
        say(f"{path} holds credentials and could not be removed: remove it by hand where the runner is your own.")


def _adopt(known: Mapping[str, str]) -> None:
    """The clouds' libraries look there."""
    for name in os.environ.keys() - known.keys():
        os.environ.pop(name)
    os.environ.update(known)
