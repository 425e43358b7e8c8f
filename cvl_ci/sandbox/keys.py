"""The keys of one sandbox, in a file that its owner alone can read. Without them the emulator answers nothing.

A machine of the sandbox is a container with many rights: a user who may launch one can become root on this computer.
"""

from __future__ import annotations

import json
import os
import secrets
import string
from dataclasses import asdict, dataclass, field
from pathlib import Path

FOLDER, FILE = "keys", "keys.json"


@dataclass(frozen=True, kw_only=True)
class AccessKey:
    """An access key of the emulated account."""

    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Keys:
    """All keys: `client` signs a run's requests, `witness` an observer's, and `control` opens our own requests."""

    client: AccessKey
    witness: AccessKey
    control: str = field(repr=False)


def create(directory: Path) -> Keys:
    """Make new keys. Keys of an earlier emulator open nothing afterwards."""
    new_keys = Keys(client=new_key("AKIA"), witness=new_key("AKIA"), control=secrets.token_urlsafe(32))
    folder = directory / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    draft = folder / f".{FILE}.{secrets.token_hex(4)}"
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(new_keys), file)
        draft.replace(folder / FILE)
    finally:
        draft.unlink(missing_ok=True)
    return new_keys


def load(directory: Path) -> Keys | None:
    """Return the keys. None: there are none, they belong to another user, or others can read them."""
    try:
        if (directory / FOLDER).stat().st_mode & 0o077:
            return None
        document = json.loads((directory / FOLDER / FILE).read_text(encoding="utf-8"))
        return Keys(
            client=AccessKey(**document["client"]),
            witness=AccessKey(**document["witness"]),
            control=str(document["control"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def new_key(prefix: str) -> AccessKey:
    """Return a new access key. Prefix `AKIA`: of an account. `ASIA`: temporary."""
    signs = string.ascii_uppercase + "234567"
    return AccessKey(id=prefix + "".join(secrets.choice(signs) for _ in range(16)), secret=secrets.token_urlsafe(30))
