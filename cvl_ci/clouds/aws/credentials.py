"""AWS: a role by GitHub's OIDC token, or keys, or what boto3 finds by itself (files, an instance's role).

Keys stay in variables and the role behind a `credential_process`: both are identity types that SkyPilot does not copy
to machines (sky/clouds/aws.py, get_credential_file_mounts), which have a role of their own. botocore calls the process
again before the keys expire, in whatever process it runs, and in post.
"""

from __future__ import annotations

import configparser
import re
import shlex
import sys

from cvl_ci.clouds.credential_provider import ALLOW_OIDC, Here, Kind, Written, lacking
from cvl_ci.model.access import CloudAccess

ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
OTHER_WAYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE")
_OF_A_PROFILE = {"credential_process", "sso_session", "sso_start_url", "role_arn", "login_session", "aws_access_key_id"}
TAKES = (
    "in a workflow `role_to_assume` (with `permissions: id-token: write`), or `aws_access_key_id` and "
    "`aws_secret_access_key`; in a terminal `aws configure`"
)


def look(here: Here) -> CloudAccess:
    there, missing, takes, notes = _way(here)
    if not there and not missing and here.has_instance_role():
        there = ["the role of this machine"]
    if not there and not missing:
        missing, takes = ["any credentials"], [TAKES]
    extra = "pip install 'cvl-ci[aws]'"
    gone, how = lacking(here, programs={"aws": extra}, modules={"boto3": extra})
    return CloudAccess(
        cloud="aws", there=tuple(there), missing=(*missing, *gone), takes=(*takes, *how), notes=tuple(notes)
    )


def write(here: Here) -> Written:
    role = here.as_input("role_to_assume")
    if role:
        config, cache = here.folder / "aws-config", here.folder / "aws-session.json"
        command = shlex.join(
            [
                sys.executable,
                "-I",
                "-m",
                "cvl_ci.clouds.aws.worker_role",
                role,
                str(cache),
                session_name(here),
            ]
        )
        return Written(
            files={config: f"[default]\ncredential_process = {command}\n", cache: "{}"},
            variables={"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": str(here.folder / "none")},
            without=OTHER_WAYS,
            stays_here=True,
        )
    if not here.as_input("aws_access_key_id"):
        return Written()  # what is in the environment or in the user's own files is there already
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    given = {name: here.as_input(name.lower()) for name in names}
    return Written(
        variables={name: value for name, value in given.items() if value},
        without=tuple(name for name in OTHER_WAYS if not given.get(name)),
        secrets=tuple(filter(None, given.values())),
        stays_here=True,
    )


AWS = Kind(cloud="aws", look=look, write=write)


def _way(here: Here) -> tuple[list[str], list[str], list[str], list[str]]:
    """There, missing, takes and notes, of the one way that would be used."""
    if role := here.as_input("role_to_assume"):
        return _role(here, role)
    names = ("aws_access_key_id", "aws_secret_access_key")
    keys = [name for name in names if here.as_input(name)]
    keys = keys or [name for name in names if here.given(name)]
    if len(keys) == 2:
        temporary = bool(here.given("aws_session_token"))
        note = "a session token expires, and cannot be renewed here as `role_to_assume` can" if temporary else ""
        return ["a temporary access key" if temporary else "an access key"], [], [], [note] if note else []
    if keys:
        [other] = set(names) - set(keys)
        return [], [f"`{other}`, since `{keys[0]}` is given"], [f"give `{other}` too"], []
    return _by_itself(here), [], [], []


def _role(here: Here, role: str) -> tuple[list[str], list[str], list[str], list[str]]:
    missing, takes = [], []
    if not ROLE.fullmatch(role):
        missing.append("a role: `role_to_assume` is no ARN of one")
        takes.append("give it as `arn:aws:iam::123456789012:role/NAME`")
    if not here.oidc:
        missing.append("GitHub's OIDC token, to assume `role_to_assume` with")
        takes.append(ALLOW_OIDC)
    return [] if missing else [f"the role {role}, by GitHub's OIDC token"], missing, takes, []


def _by_itself(here: Here) -> list[str]:
    """What boto3 looks at by itself, in its order, as far as a look at variables and files tells."""
    if here.variable("AWS_WEB_IDENTITY_TOKEN_FILE") and here.variable("AWS_ROLE_ARN"):
        return ["a role, by a web identity token"]
    if here.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") or here.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        return ["the role of this container"]
    shared = here.variable("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
    config = here.variable("AWS_CONFIG_FILE") or "~/.aws/config"
    profile = here.variable("AWS_PROFILE") or here.variable("AWS_DEFAULT_PROFILE") or "default"
    sections = [(shared, profile), (config, f"profile {profile}")]
    for path, section in [*sections, (config, "default")] if profile == "default" else sections:
        if _holds(here, path, section):
            return [f"the profile `{profile}` in {path}"]
    return []


def _holds(here: Here, path: str, section: str) -> bool:
    read = configparser.RawConfigParser(default_section="")
    try:
        read.read(here.at(path), encoding="utf-8")
    except (configparser.Error, OSError, ValueError):
        return False
    return read.has_section(section) and bool(_OF_A_PROFILE & set(read.options(section)))


def session_name(here: Here) -> str:
    """Told apart in the account's CloudTrail: `[\\w+=,.@-]{2,64}`."""
    return re.sub(r"[^\w+=,.@-]", "-", f"cvl-ci-{here.variable('GITHUB_RUN_ID') or 'run'}")[:64]
