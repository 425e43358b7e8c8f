"""Credential files on this machine: made 0600, never over a file of somebody else's, gone again with their record.

What is made is written down first, so that post can remove it whatever became of main.
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
LEFT_BY_LOGINS = {".azure", "gcloud"}


def put(files: Mapping[Path, str], *, leaves: Iterable[Path] = (), folder: Path) -> None:
    """`leaves`: directories that somebody else will make for us."""
    ours = set(_recorded(folder))
    foreign = [path for path, text in files.items() if _is_foreign(path, text, ours)]
    if foreign:
        raise CredentialsError(
            "These credentials cannot be written, since files of somebody else's are there already: "
            + ", ".join(map(str, foreign)),
            next_step="Leave the input out to use the file as it is, or remove the file first.",
        )
    made = [parent for path in (*files, folder / RECORD) for parent in _missing_parents(path)]
    making = {path for path in files if not path.exists()} | {path for path in leaves if not path.exists()}
    for parent in reversed(dict.fromkeys(made)):
        parent.mkdir(mode=0o700, exist_ok=True)
    everything = ours | {str(path) for path in (*making, *made)}
    _write(folder / RECORD, json.dumps(sorted(everything)))
    for path, text in files.items():
        if str(path) in everything:
            _write(path, text)


def remove(folder: Path) -> list[Path]:
    """Exactly what was made: files, what a login left, and then the directories that are empty. What could not go."""
    recorded = [Path(name) for name in _recorded(folder)]
    deepest_first = sorted(recorded, key=lambda path: len(path.parts), reverse=True)
    secret = [path for path in deepest_first if not path.is_dir() or path.name in LEFT_BY_LOGINS]
    stuck = [path for path in secret if not _removed(path)]
    with suppress(OSError):  # only now: one that is stopped before this can be done again
        (folder / RECORD).unlink(missing_ok=True)
    return [*stuck, *(path for path in deepest_first if path not in secret and not _removed(path))]


def replace(path: Path, text: str) -> None:
    """A file of ours, whole at every moment for whoever reads it."""
    _write(path, text)


def _removed(path: Path) -> bool:
    try:
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
        elif path.name in LEFT_BY_LOGINS:
            shutil.rmtree(path)
        elif not any(path.iterdir()):
            path.rmdir()
    except OSError:
        return False
    return True


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _recorded(folder: Path) -> list[str]:
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _is_foreign(path: Path, text: str, ours: set[str]) -> bool:
    if str(path) in ours or not path.exists():
        return False
    try:
        return path.read_text(encoding="utf-8") != text
    except (OSError, ValueError):
        return True


def _missing_parents(path: Path) -> list[Path]:
    """Deepest first."""
    return [parent for parent in path.parents if not parent.exists()]
