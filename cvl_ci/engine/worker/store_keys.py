"""Send the keys of a store to a machine only where the run mounts that store, and the hub's token only as a secret.

SkyPilot copies the keys of R2, CoreWeave, VAST Data and the hub to every machine of every run (sky/check.py:586). It
takes the hub's token from HF_TOKEN or from the file of `hf auth login`, and asks the hub at each launch whether it is
valid (sky/adaptors/huggingface.py:84). This module is loaded in the worker process only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sky import check
from sky.adaptors import cloudflare, coreweave, huggingface, vastdata

TOKEN = "HF_TOKEN"  # noqa: S105  a name
HUB = "hf"
STORES: Mapping[str, Any] = {"r2": cloudflare, "cw": coreweave, "vastdata": vastdata, HUB: huggingface}
"""SkyPilot's adaptor of each store whose keys it copies by itself, by the scheme of its addresses."""
_NAMES = {"r2": "r2", "coreweave": "cw", "vastdata": "vastdata", "hf": HUB}
"""The word after `store:` of a task, sky/data/storage.py, StoreType."""


def limit(task: Mapping[str, Any], *, folder: Path) -> None:
    """Have SkyPilot copy the keys that this task's mounts need, and no others. A later call replaces an earlier one.

    `folder`: private; it gets the file of the token. The token is the job's own secret, which the machine gets anyway.
    """
    mounted = _mounted(task)
    token = str((task.get("secrets") or {}).get(TOKEN) or "")
    original = getattr(check.get_cloud_credential_file_mounts, "original", check.get_cloud_credential_file_mounts)

    def get_cloud_credential_file_mounts(*arguments: Any, **options: Any) -> dict[str, str]:
        with ExitStack() as stack:
            for scheme, adaptor in STORES.items():
                if scheme not in mounted or scheme == HUB:
                    stack.enter_context(_replaced(adaptor, "check_storage_credentials", lambda: (False, None)))
            mounts: dict[str, str] = original(*arguments, **options)
        if HUB in mounted and token:
            mounts[huggingface.HF_TOKEN_PATH] = str(_file(folder, token))
        return mounts

    get_cloud_credential_file_mounts.original = original  # type: ignore[attr-defined]
    check.get_cloud_credential_file_mounts = get_cloud_credential_file_mounts
    huggingface.get_token = lambda: token or None


def _mounted(task: Mapping[str, Any]) -> set[str]:
    """Return the schemes of the stores that a task mounts or copies from."""
    entries = (task.get("file_mounts") or {}).values()
    text = json.dumps(list(entries))
    named = {_NAMES.get(str(entry.get("store") or "").lower(), "") for entry in entries if isinstance(entry, Mapping)}
    return {scheme for scheme in STORES if f'"{scheme}://' in text or scheme in named}


def _file(folder: Path, token: str) -> Path:
    path = folder / "hub-token"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        file.write(token)
    return path


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)
