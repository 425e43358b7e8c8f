"""All clouds together: how things stand, and what is written for those in use, before anything is spent."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import yaml

from cvl_ci.clouds import credential_files, oidc
from cvl_ci.clouds.api_server.credentials import API_SERVER
from cvl_ci.clouds.aws.credentials import AWS
from cvl_ci.clouds.azure.credentials import AZURE
from cvl_ci.clouds.credential_provider import Here, Login, Written
from cvl_ci.clouds.gcp.credentials import GCP
from cvl_ci.clouds.key_files import LAMBDA, NEBIUS, RUNPOD
from cvl_ci.clouds.kubernetes.credentials import KUBERNETES
from cvl_ci.clouds.programs import run_bounded
from cvl_ci.errors import CredentialsError
from cvl_ci.inputs.action_variables import variable
from cvl_ci.inputs.credential_fields import CREDENTIAL_INPUTS
from cvl_ci.model.access import CloudAccess

KINDS = {kind.cloud: kind for kind in (AWS, GCP, AZURE, LAMBDA, RUNPOD, NEBIUS, KUBERNETES, API_SERVER)}
LOGIN_SECONDS = 60
SERVER_INPUTS = ("skypilot_api_server_endpoint", "skypilot_service_account_token")


def here(environ: Mapping[str, str], *, folder: Path, writes: bool) -> Here:
    beside = os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", os.defpath)])
    return Here(
        environ=environ,
        home=Path(environ.get("HOME", "/root")),
        folder=folder,
        has_program=lambda name: shutil.which(name, path=beside) is not None,
        has_module=_installed,
        has_instance_role=lambda: _instance_role(environ),
        writes=writes,
        id_token=lambda audience: oidc.id_token(environ, audience),
    )


def look(where: Here, clouds: Collection[str], *, proved: Collection[str]) -> list[CloudAccess]:
    """`clouds`: none named means any that runs can go to. `proved`: those that can be asked whether a machine is gone;
    a run anywhere else could not be called over."""
    named = dict.fromkeys(clouds) or [cloud for cloud in KINDS if cloud != API_SERVER.cloud]
    return [_with_proof(KINDS[cloud].look(where) if cloud in KINDS else _stranger(cloud), proved) for cloud in named]


def in_use(where: Here, clouds: Collection[str]) -> Collection[str]:
    """Whom a run needs to be known to. Through an API server that is the server alone: it has the clouds' credentials.

    Who gives its address means runs to go through it: one that went another way would surprise with its bill.
    """
    return [API_SERVER.cloud] if any(where.given(name) for name in SERVER_INPUTS) else clouds


def require(looks: Sequence[CloudAccess], *, any_of_them: bool) -> None:
    """Everything that is missing, at once. `any_of_them`: one that is usable is enough."""
    if any_of_them and any(each.usable for each in looks):
        return
    lacking = [each for each in looks if not each.usable]
    if not lacking:
        return
    if any_of_them:
        named = [each for each in looks if each.there or each.missing[:1] != ("any credentials",)]
        lacking = [each for each in named if each.cloud != "api-server"] or lacking
    raise CredentialsError(
        "\n".join(["The credentials are not complete:", *map(_told, lacking)]),
        next_step="`cvl-ci check` shows how each cloud stands.",
    )


def become_known(
    where: Here,
    clouds: Sequence[str],
    *,
    proved: Collection[str],
    mask: Callable[..., None],
    adopt: Callable[[Mapping[str, str]], None],
    required: bool,
) -> Mapping[str, str]:
    """From inputs to an environment in which the clouds know us. Without `required`, what is missing is left to others
    to tell. `adopt`: takes the environment over for this process, before a cloud is asked."""
    clouds = list(in_use(where, clouds))
    looks = look(where, clouds, proved=proved)
    if required:
        require(looks, any_of_them=not clouds)
    written = prepare(where, [each.cloud for each in looks if each.usable])
    mask(*written.secrets)
    known = carry_out(where, written)
    adopt(known)
    mask(*first_keys(where, known))
    return known


def prepare(where: Here, clouds: Collection[str]) -> Written:
    """What to write for these clouds, as one, with SkyPilot kept to them. Nothing for clouds that are not in use."""
    parts = {cloud: KINDS[cloud].write(where) for cloud in clouds}
    merged = Written(
        files={path: text for part in parts.values() for path, text in part.files.items()},
        variables={name: value for part in parts.values() for name, value in part.variables.items()},
        without=tuple(name for part in parts.values() for name in part.without),
        secrets=tuple(secret for part in parts.values() for secret in part.secrets),
        logins=tuple(login for part in parts.values() for login in part.logins),
    )
    return _kept_to(where, merged, parts)


def carry_out(where: Here, written: Written) -> dict[str, str]:
    """Files, then logins: the environment in which the clouds know us. No input of ours that is secret stays in it."""
    leaves = [login.leaves for login in written.logins if login.leaves]
    credential_files.put(written.files, leaves=leaves, folder=where.folder)
    gone = {*written.without, *(variable(one.name) for one in CREDENTIAL_INPUTS if one.secret)}
    environ = {name: value for name, value in where.environ.items() if name not in gone} | dict(written.variables)
    for login in written.logins:
        _log_in(login, environ)
    return environ


def first_keys(where: Here, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The role's keys, asked for now: a role that cannot be assumed shows before anything is spent."""
    role = where.as_input("role_to_assume")
    if not role or environ.get("AWS_CONFIG_FILE") != str(where.folder / "aws-config"):
        return ()
    from cvl_ci.clouds.aws import credentials as aws
    from cvl_ci.clouds.aws import worker_role

    found = worker_role.keys(
        role,
        cache=where.folder / "aws-session.json",
        session=aws.session_name(where),
        environ=where.environ,
        now=datetime.now(timezone.utc),
    )
    return tuple(str(found[name]) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"))


def _kept_to(where: Here, written: Written, parts: Mapping[str, Written]) -> Written:
    """SkyPilot's own configuration, unless the user has one: these clouds only, and no copy for machines elsewhere.

    Left alone, SkyPilot copies the files of every cloud to the machines of each (backends/backend_utils.py).
    """
    if API_SERVER.cloud in parts or (not written.variables and not written.files):
        return written
    if where.variable("SKYPILOT_GLOBAL_CONFIG") or where.exists("~/.sky/config.yaml"):
        return written
    path = where.folder / "skypilot.yaml"
    config: dict[str, object] = {"allowed_clouds": sorted(parts)}
    stay = [cloud for cloud, part in parts.items() if part.stays_here]
    if KUBERNETES.cloud in stay:
        stay.append("ssh")  # SkyPilot's name for a second way to the same kubeconfig
    config |= {cloud: {"remote_identity": "NO_UPLOAD"} for cloud in stay}
    return Written(
        files={**written.files, path: yaml.safe_dump(config)},
        variables={**written.variables, "SKYPILOT_GLOBAL_CONFIG": str(path)},
        without=written.without,
        secrets=written.secrets,
        logins=written.logins,
    )


def _log_in(login: Login, environ: Mapping[str, str]) -> None:
    """The program's own words stay here: they may repeat what it was given."""
    name = " ".join(login.command[:3])
    try:
        code, _, _ = run_bounded(login.command, {**environ, **login.variables}, name=name, seconds=LOGIN_SECONDS)
    except OSError as error:
        raise CredentialsError(f"`{name}` could not be run: {type(error).__name__}.") from None
    if code != 0:
        raise CredentialsError(
            f"`{name}` refused these credentials (exit code {code}).",
            next_step="Try the same in a terminal to see its reason.",
        )


def _told(access: CloudAccess) -> str:
    if access.unsupported:
        return f"  - {access.cloud}: {access.unsupported}: a run there could not be called over. Go to another cloud."
    return f"  - {access.cloud}: {', '.join(access.missing)} missing. To have it: {'; '.join(access.takes)}."


def _stranger(cloud: str) -> CloudAccess:
    return CloudAccess(cloud=cloud, missing=("a way to sign in to it, which is not built yet",))


def _with_proof(access: CloudAccess, proved: Collection[str]) -> CloudAccess:
    if access.unsupported or access.cloud in proved:
        return access
    return CloudAccess(
        cloud=access.cloud,
        there=access.there,
        missing=access.missing,
        takes=access.takes,
        notes=access.notes,
        unsupported="a way to ask it whether a machine is gone, which is not built yet",
    )


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _instance_role(environ: Mapping[str, str]) -> bool:
    """An instance's role shows only when its metadata service is asked: one question, one second."""
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true" or not _installed("botocore"):
        return False
    from botocore.utils import InstanceMetadataFetcher

    return bool(InstanceMetadataFetcher(timeout=1, num_attempts=1).retrieve_iam_role_credentials())
