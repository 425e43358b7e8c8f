"""Credential files on this computer: mode 0600, never over another program's file, removed with their record.

The record is written before the files, so that post can remove them even after a crash of main.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from cvl_ci.errors import CredentialsError

RECORD = "written.json"
LOGIN_DIRECTORIES = {".azure", "gcloud"}


def put(files: Mapping[Path, str], *, leaves: Iterable[Path] = (), folder: Path) -> None:
    """Write the files.

    `leaves`: directories that another program will create. Raises CredentialsError before any write.
    """
    own_paths = set(_recorded(folder))
    foreign = [path for path, text in files.items() if _is_foreign(path, text, own_paths)]
    if foreign:
        raise CredentialsError(
            "cvl-ci cannot write these credentials, because other files exist in their places: "
            + ", ".join(map(str, foreign)),
            next_step="Omit the input to use the existing file, or remove the file first.",
        )
    new_parents = [parent for path in (*files, folder / RECORD) for parent in _missing_parents(path)]
    making = {path for path in files if not path.exists()} | {path for path in leaves if not path.exists()}
    for parent in reversed(dict.fromkeys(new_parents)):
        parent.mkdir(mode=0o700, exist_ok=True)
    everything = own_paths | {str(path) for path in (*making, *new_parents)}
    _write(folder / RECORD, json.dumps(sorted(everything)))
    for path, text in files.items():
        if str(path) in everything:
            _write(path, text)


def remove(folder: Path) -> list[Path]:
    """Remove exactly our files, the directories of logins, and then empty directories.

    Return what could not be removed.
    """
    recorded = [Path(name) for name in _recorded(folder)]
    deepest_first = sorted(recorded, key=lambda path: len(path.parts), reverse=True)
    secret = [path for path in deepest_first if not path.is_dir() or path.name in LOGIN_DIRECTORIES]
    stuck = [path for path in secret if not _removed(path)]
    with suppress(OSError):  # only now: a run that stops earlier can do it again
        (folder / RECORD).unlink(missing_ok=True)
    return [*stuck, *(path for path in deepest_first if path not in secret and not _removed(path))]


def replace(path: Path, text: str) -> None:
    """Replace one of our files in one step, so that a reader always sees a whole file."""
    _write(path, text)


def _removed(path: Path) -> bool:
    try:
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
        elif path.name in LOGIN_DIRECTORIES:
            shutil.rmtree(path)
        elif not any(path.iterdir()):
            path.rmdir()
    except OSError:
        return False
    return True


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:  # from before it exists: a signal may come at once
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _recorded(folder: Path) -> list[str]:
    try:
        names = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _is_foreign(path: Path, text: str, own_paths: set[str]) -> bool:
    if str(path) in own_paths or not path.exists():
        return False
    try:
        return path.read_text(encoding="utf-8") != text
    except (OSError, ValueError):
        return True


def _missing_parents(path: Path) -> list[Path]:
    """Return the missing parents, deepest first."""
    return [parent for parent in path.parents if not parent.exists()]
