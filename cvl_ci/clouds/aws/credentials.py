"""AWS: a role by GitHub's OIDC token, or keys, or the sources of boto3 (files, an instance's role).

Keys stay in variables, and the role is behind a `credential_process`. SkyPilot copies neither identity type to
machines (sky/clouds/aws.py, get_credential_file_mounts); those have a role of their own. botocore calls the process
again before the keys expire, in each process that uses it, and in post.
"""

from __future__ import annotations

import configparser
import re
import shlex
import sys
from pathlib import Path

from cvl_ci.clouds.credential_provider import ALLOW_OIDC, CredentialFiles, CredentialProvider, Environment, find_missing
from cvl_ci.model.access import CloudAccess

ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
OTHER_WAYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE")
_OF_A_PROFILE = {"credential_process", "sso_session", "sso_start_url", "role_arn", "login_session", "aws_access_key_id"}
TAKES = (
    "in a workflow `role_to_assume` (with `permissions: id-token: write`), or `aws_access_key_id` and "
    "`aws_secret_access_key`; in a terminal `aws configure`"
)


def check(environment: Environment) -> CloudAccess:
    available, missing, takes, notes = _way(environment)
    if not available and not missing and environment.has_instance_role():
        available = ["the role of this machine"]
    if not available and not missing:
        missing, takes = ["any credentials"], [TAKES]
    extra = "pip install 'cvl-ci[aws]'"
    missing_software, steps = find_missing(environment, programs={"aws": extra}, modules={"boto3": extra})
    return CloudAccess(
        cloud="aws",
        available=tuple(available),
        missing=(*missing, *missing_software),
        takes=(*takes, *steps),
        notes=tuple(notes),
    )


def write(environment: Environment) -> CredentialFiles:
    role = environment.as_input("role_to_assume")
    if role:
        config, cache = config_of_role(environment.folder), environment.folder / "aws-session.json"
        command = shlex.join(
            [
                sys.executable,
                "-I",
                "-m",
                "cvl_ci.clouds.aws.worker_role",
                role,
                str(cache),
                session_name(environment),
            ]
        )
        return CredentialFiles(
            files={config: f"[default]\ncredential_process = {command}\n", cache: "{}"},
            variables={"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": str(environment.folder / "none")},
            without=OTHER_WAYS,
            stays_here=True,
        )
    if not environment.as_input("aws_access_key_id"):
        return CredentialFiles()  # boto3 already finds the environment's keys and the user's own files
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    values = {name: environment.as_input(name.lower()) for name in names}
    return CredentialFiles(
        variables={name: value for name, value in values.items() if value},
        without=tuple(name for name in OTHER_WAYS if not values.get(name)),
        secrets=tuple(filter(None, values.values())),
        stays_here=True,
    )


AWS = CredentialProvider(cloud="aws", check=check, write=write)


def _way(environment: Environment) -> tuple[list[str], list[str], list[str], list[str]]:
    """Return lists for the way that a run would use: available, missing, steps to do, notes."""
    if role := environment.as_input("role_to_assume"):
        return _role(environment, role)
    names = ("aws_access_key_id", "aws_secret_access_key")
    keys = [name for name in names if environment.as_input(name)]
    keys = keys or [name for name in names if environment.value(name)]
    if len(keys) == 2:
        temporary = bool(environment.value("aws_session_token"))
        note = "a session token expires; unlike `role_to_assume`, cvl-ci cannot renew it" if temporary else ""
        return ["a temporary access key" if temporary else "an access key"], [], [], [note] if note else []
    if keys:
        [other] = set(names) - set(keys)
        return [], [f"`{other}`, since `{keys[0]}` is given"], [f"give `{other}` too"], []
    return _by_itself(environment), [], [], []


def _role(environment: Environment, role: str) -> tuple[list[str], list[str], list[str], list[str]]:
    missing, takes = [], []
    if not ROLE.fullmatch(role):
        missing.append("a role: `role_to_assume` is not the ARN of one")
        takes.append("give it as `arn:aws:iam::123456789012:role/NAME`")
    if not environment.oidc:
        missing.append("GitHub's OIDC token, to assume `role_to_assume` with")
        takes.append(ALLOW_OIDC)
    return [] if missing else [f"the role {role}, by GitHub's OIDC token"], missing, takes, []


def _by_itself(environment: Environment) -> list[str]:
    """Return the source that boto3 would use, in its order, as far as variables and files show it."""
    if environment.variable("AWS_WEB_IDENTITY_TOKEN_FILE") and environment.variable("AWS_ROLE_ARN"):
        return ["a role, by a web identity token"]
    if environment.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") or environment.variable(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI"
    ):
        return ["the role of this container"]
    shared = environment.variable("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
    config = environment.variable("AWS_CONFIG_FILE") or "~/.aws/config"
    profile = environment.variable("AWS_PROFILE") or environment.variable("AWS_DEFAULT_PROFILE") or "default"
    sections = [(shared, profile), (config, f"profile {profile}")]
    for path, section in [*sections, (config, "default")] if profile == "default" else sections:
        if _holds(environment, path, section):
            return [f"the profile `{profile}` in {path}"]
    return []


def _holds(environment: Environment, path: str, section: str) -> bool:
    """Return whether this section of an ini file names a source of credentials."""
    read = configparser.RawConfigParser(default_section="")
    try:
        read.read(environment.expand(path), encoding="utf-8")
    except (configparser.Error, OSError, ValueError):
        return False
    return read.has_section(section) and bool(_OF_A_PROFILE & set(read.options(section)))


def config_of_role(folder: Path) -> Path:
    """Return the file with which AWS's library assumes `role_to_assume`. `folder`: the one of cvl-ci's credentials."""
    return folder / "aws-config"


def session_name(environment: Environment) -> str:
    """Return a name that the account's CloudTrail shows: `[\\w+=,.@-]{2,64}`."""
    return re.sub(r"[^\w+=,.@-]", "-", f"cvl-ci-{environment.variable('GITHUB_RUN_ID') or 'run'}")[:64]
