"""The credentials of all clouds: check them, and write those that a run uses, before it spends anything."""

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
from cvl_ci.clouds.child_environment import for_programs
from cvl_ci.clouds.credential_provider import CredentialFiles, Environment, Login
from cvl_ci.clouds.kubernetes.credentials import KUBERNETES
from cvl_ci.clouds.programs import run_bounded
from cvl_ci.clouds.registry import credential_providers
from cvl_ci.errors import CredentialsError
from cvl_ci.inputs.action_variables import variable
from cvl_ci.inputs.credential_inputs import CREDENTIAL_INPUTS
from cvl_ci.model.access import CloudAccess
from cvl_ci.model.location import MANAGED, REPLICATED

LOGIN_SECONDS = 60
SERVER_INPUTS = ("skypilot_api_server_endpoint", "skypilot_service_account_token")


def local_environment(environ: Mapping[str, str], *, folder: Path, writes: bool) -> Environment:
    search_path = os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", os.defpath)])
    return Environment(
        environ=environ,
        home=Path(environ.get("HOME", "/root")),
        folder=folder,
        has_program=lambda name: shutil.which(name, path=search_path) is not None,
        has_module=_installed,
        has_instance_role=lambda: _instance_role(environ),
        writes=writes,
        id_token=lambda audience: oidc.id_token(environ, audience),
    )


def check_clouds(
    environment: Environment, clouds: Collection[str], *, provable_clouds: Collection[str]
) -> list[CloudAccess]:
    """Check the credentials of clouds; an empty list means any cloud. `provable_clouds`: clouds that can prove an end.

    A run on another cloud could not be proved to have ended.
    """
    providers = credential_providers()
    named = dict.fromkeys(clouds) or [cloud for cloud in providers if cloud != API_SERVER.cloud]
    return [
        _with_proof(
            providers[cloud].check(environment) if cloud in providers else _unknown_cloud(cloud), provable_clouds
        )
        for cloud in named
    ]


def in_use(environment: Environment, clouds: Collection[str]) -> Collection[str]:
    """Return the clouds for which a run needs credentials. With an API server, that server alone: it has the others.

    A user who names a server wants all runs to use it: a run past it would bring an unexpected bill. The results of a
    managed job are in a bucket, which this computer reads with its own keys. The services of a server can be named
    together with clouds: an older service of an environment may have one machine there.
    """
    if MANAGED in clouds:
        return [API_SERVER.cloud, "aws"]
    if REPLICATED in clouds:
        return [API_SERVER.cloud, *(cloud for cloud in clouds if cloud != REPLICATED)]
    return [API_SERVER.cloud] if any(environment.value(name) for name in SERVER_INPUTS) else clouds


def require(accesses: Sequence[CloudAccess], *, any_of_them: bool) -> None:
    """Raise CredentialsError with everything that is missing. `any_of_them`: one usable cloud is enough."""
    if any_of_them and any(access.usable for access in accesses):
        return
    incomplete = [access for access in accesses if not access.usable]
    if not incomplete:
        return
    if any_of_them:
        named = [access for access in accesses if access.available or access.missing[:1] != ("any credentials",)]
        incomplete = [access for access in named if access.cloud != "api-server"] or incomplete
    raise CredentialsError(
        "\n".join(["The credentials are not complete:", *map(_problem, incomplete)]),
        next_step="`cvl-ci check` shows the state of each cloud.",
    )


def set_up(
    environment: Environment,
    clouds: Sequence[str],
    *,
    provable_clouds: Collection[str],
    mask: Callable[..., None],
    adopt: Callable[[Mapping[str, str]], None],
    required: bool,
) -> Mapping[str, str]:
    """Turn inputs into an environment with the credentials of the clouds, and return it.

    Without `required`, a missing credential is not an error here. `adopt` applies the environment to this process,
    before cvl-ci contacts a cloud.
    """
    clouds = list(in_use(environment, clouds))
    accesses = check_clouds(environment, clouds, provable_clouds=provable_clouds)
    if required:
        require(accesses, any_of_them=not clouds)
    files = prepare(environment, [access.cloud for access in accesses if access.usable])
    mask(*files.secrets)
    environ = carry_out(environment, files)
    adopt(environ)
    mask(*first_keys(environment, environ))
    return environ


def prepare(environment: Environment, clouds: Collection[str]) -> CredentialFiles:
    """Return everything to write for these clouds, and limit SkyPilot to them.

    Clouds that are not in use get nothing.
    """
    providers = credential_providers()
    parts = {cloud: providers[cloud].write(environment) for cloud in clouds}
    merged = CredentialFiles(
        files={path: text for part in parts.values() for path, text in part.files.items()},
        variables={name: value for part in parts.values() for name, value in part.variables.items()},
        without=tuple(name for part in parts.values() for name in part.without),
        secrets=tuple(secret for part in parts.values() for secret in part.secrets),
        logins=tuple(login for part in parts.values() for login in part.logins),
    )
    return _limited_to(environment, merged, parts)


def carry_out(environment: Environment, files: CredentialFiles) -> dict[str, str]:
    """Write the files, then log in. Return the new environment, which holds none of our secret inputs.

    An input that is now a variable goes too: a later check would miss the secret next to it.
    """
    leaves = [login.leaves for login in files.logins if login.leaves]
    credential_files.put(files.files, leaves=leaves, folder=environment.folder)
    inputs = [one.name for one in CREDENTIAL_INPUTS if one.secret or one.variable in files.variables]
    removed = {*files.without, *map(variable, inputs)}
    environ = {name: value for name, value in environment.environ.items() if name not in removed} | dict(
        files.variables
    )
    for login in files.logins:
        _log_in(login, environ)
    return environ


def first_keys(environment: Environment, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the role's keys now: then a wrong role shows before the run spends anything."""
    from cvl_ci.clouds.aws import credentials as aws_credentials
    from cvl_ci.clouds.aws import worker_role

    role = environment.as_input("role_to_assume")
    if not role or environ.get("AWS_CONFIG_FILE") != str(aws_credentials.config_of_role(environment.folder)):
        return ()
    keys = worker_role.keys(
        role,
        cache=environment.folder / "aws-session.json",
        session=aws_credentials.session_name(environment),
        environ=environment.environ,
        now=datetime.now(timezone.utc),
    )
    return tuple(str(keys[name]) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"))


def _limited_to(
    environment: Environment, files: CredentialFiles, parts: Mapping[str, CredentialFiles]
) -> CredentialFiles:
    """Add a SkyPilot configuration, unless the user has one: these clouds only, and no files for machines elsewhere.

    By default SkyPilot copies the files of all clouds to the machines of each cloud (backends/backend_utils.py).
    """
    if API_SERVER.cloud in parts or (not files.variables and not files.files):
        return files
    if environment.variable("SKYPILOT_GLOBAL_CONFIG") or environment.exists("~/.sky/config.yaml"):
        return files
    path = environment.folder / "skypilot.yaml"
    config: dict[str, object] = {"allowed_clouds": sorted(parts)}
    stay = [cloud for cloud, part in parts.items() if part.stays_here]
    if KUBERNETES.cloud in stay:
        stay.append("ssh")  # SkyPilot's name for a second way to the same kubeconfig
    config |= {cloud: {"remote_identity": "NO_UPLOAD"} for cloud in stay}
    return CredentialFiles(
        files={**files.files, path: yaml.safe_dump(config)},
        variables={**files.variables, "SKYPILOT_GLOBAL_CONFIG": str(path)},
        without=files.without,
        secrets=files.secrets,
        logins=files.logins,
    )


def _log_in(login: Login, environ: Mapping[str, str]) -> None:
    """Run a login. Its output stays here, because it may repeat the credentials."""
    name = " ".join(login.command[:3])
    try:
        code, _, _ = run_bounded(
            login.command, {**for_programs(environ), **login.variables}, name=name, seconds=LOGIN_SECONDS
        )
    except OSError as error:
        raise CredentialsError(f"`{name}` could not be run: {type(error).__name__}.") from None
    if code != 0:
        raise CredentialsError(
            f"`{name}` refused these credentials (exit code {code}).",
            next_step="Try the same in a terminal to see its reason.",
        )


def _problem(access: CloudAccess) -> str:
    if access.unsupported:
        problem = "cvl-ci could not prove that a run there has ended. Use another cloud."
        return f"  - {access.cloud}: {access.unsupported}: {problem}"
    return f"  - {access.cloud}: {', '.join(access.missing)} missing. To fix it: {'; '.join(access.takes)}."


def _unknown_cloud(cloud: str) -> CloudAccess:
    return CloudAccess(cloud=cloud, missing=("a way to sign in, which cvl-ci does not have yet",))


def _with_proof(access: CloudAccess, provable_clouds: Collection[str]) -> CloudAccess:
    if access.unsupported or access.cloud in provable_clouds:
        return access
    return CloudAccess(
        cloud=access.cloud,
        available=access.available,
        missing=access.missing,
        takes=access.takes,
        notes=access.notes,
        unsupported="a way to ask whether a machine has ended, which cvl-ci does not have yet",
    )


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _instance_role(environ: Mapping[str, str]) -> bool:
    """Return whether the instance has a role. Only the metadata service knows: one request, one second."""
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true" or not _installed("botocore"):
        return False
    from botocore.utils import InstanceMetadataFetcher

    return bool(InstanceMetadataFetcher(timeout=1, num_attempts=1).retrieve_iam_role_credentials())
