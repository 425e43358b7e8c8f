"""The content of buckets of Cloudflare R2, through S3's API, with the user's own files of keys.

SkyPilot reads the same files (sky/adaptors/cloudflare.py): the profile `r2` of ~/.cloudflare/r2.credentials, and
~/.cloudflare/accountid, whose account has an endpoint of its own (developers.cloudflare.com/r2/api/s3/api).
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from pathlib import Path

from cvl_ci.clouds.aws.buckets import AwsBuckets
from cvl_ci.clouds.aws.clients import service_clients
from cvl_ci.errors import CredentialsError

_ACCOUNT = re.compile(r"[0-9a-z]{1,64}")
_PROFILE = "r2"
_KEYS = ("aws_access_key_id", "aws_secret_access_key")
_MOST_BYTES = 1 << 16


def open_buckets(environ: Mapping[str, str], *, endpoint: str = "https://{}.r2.cloudflarestorage.com") -> AwsBuckets:
    """Return the contents of R2's buckets. `endpoint`: the address, in which {} is the account."""
    folder = Path(environ.get("HOME") or "/nonexistent") / ".cloudflare"
    account = _text(folder / "accountid").strip()
    profiles = configparser.ConfigParser(interpolation=None)
    try:
        profiles.read_string(_text(folder / "r2.credentials"))
        access_key, secret_key = (profiles.get(_PROFILE, key) for key in _KEYS)
    except configparser.Error as error:
        # The error's own words may hold the line of a key.
        raise _missing(f"{folder}/r2.credentials has no keys of the profile r2 ({type(error).__name__})") from None
    if not _ACCOUNT.fullmatch(account):
        raise _missing(f"{folder}/accountid holds no account")
    clients = service_clients(
        access_key_id=access_key,
        secret_access_key=secret_key,
        endpoint_url=endpoint.format(account),
        is_emulator=False,
    )
    return AwsBuckets(clients=clients, provider="cloudflare", region="auto")


def _text(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(_MOST_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise _missing(f"{file} cannot be read ({type(error).__name__})") from None


def _missing(what: str) -> CredentialsError:
    return CredentialsError(f"{what}.", next_step="SkyPilot's page of installation tells how to set up Cloudflare R2.")
