"""The process from which botocore gets a role's keys, fetched with GitHub's OIDC token and stored until they expire.

`python -I -m ... ROLE CACHE SESSION`, after AWS's "Sourcing credentials with an external process": JSON with an
Expiration on stdout. botocore asks again from fifteen minutes before it, so a stored answer must last longer than that.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cvl_ci.clouds import credential_files, oidc
from cvl_ci.errors import CredentialsError, CvlError

AUDIENCE = "sts.amazonaws.com"
FRESH = timedelta(minutes=20)
"""Stored keys with less time than this are replaced."""


def keys(role: str, *, cache: Path, session: str, environ: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """Return the stored keys of the role, or store new ones. Raise CredentialsError."""
    stored = _stored(cache)
    if stored and stored.get("Role") == role and _lifetime(stored, now) > FRESH:
        return stored
    minted = {**mint(role, session=session, token=oidc.id_token(environ, AUDIENCE), environ=environ), "Role": role}
    credential_files.replace(cache, json.dumps(minted))
    return minted


def mint(role: str, *, session: str, token: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Call AssumeRoleWithWebIdentity. The call is not signed: it needs the token alone. Raises CredentialsError."""
    import botocore.session
    from botocore import UNSIGNED
    from botocore.config import Config

    from cvl_ci.clouds.aws import bounded_client

    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    config = Config(signature_version=UNSIGNED, retries={"mode": "standard", "max_attempts": 5}, connect_timeout=5)
    sts: Any = botocore.session.Session().create_client("sts", region_name=region, config=config)
    bounded_client.bind(sts, most_bytes=oidc.MOST_BYTES, seconds=oidc.SECONDS)
    try:
        answer = sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName=session, WebIdentityToken=token)
    except Exception as error:  # noqa: BLE001  botocore makes its classes at run time
        raise CredentialsError(
            f"AWS does not let this job assume {role}: {error}",
            next_step="Look at the role's trust policy: the provider token.actions.githubusercontent.com, "
            f"its audience {AUDIENCE}, and the `sub` of this repository.",
        ) from None
    try:
        credentials = answer["Credentials"]
        keys = {name: credentials[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")}
        expiration = credentials["Expiration"].astimezone(timezone.utc).isoformat()
    except (KeyError, TypeError, AttributeError):
        raise CredentialsError(
            f"AWS answered for {role} without keys.", next_step="Run this job again: that is not a valid answer of AWS."
        ) from None
    return {"Version": 1, **keys, "Expiration": expiration}


def _lifetime(stored: Mapping[str, Any], now: datetime) -> timedelta:
    """Return the remaining lifetime; zero if the file names no end."""
    try:
        return datetime.fromisoformat(stored["Expiration"]) - now
    except (TypeError, ValueError):
        return timedelta()


def _stored(cache: Path) -> dict[str, Any]:
    try:
        document = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) and "Expiration" in document else {}


def main() -> None:
    role, cache, session = sys.argv[1:4]
    try:
        credentials = keys(role, cache=Path(cache), session=session, environ=os.environ, now=datetime.now(timezone.utc))
    except CvlError as error:
        sys.exit(str(error))  # botocore repeats it in its own exception
    sys.stdout.write(json.dumps(credentials) + "\n")


if __name__ == "__main__":
    main()
