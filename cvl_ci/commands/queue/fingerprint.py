"""The content of a job as one digest: the same digest means the same work on the same files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cvl_ci.model.mount import Mount
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.staged_files import Blob, StagedFile

_CHUNK = 1 << 20


def fingerprint(plan: RunPlan, *, before: Sequence[str] = ()) -> str:
    """Return the SHA-256 of everything that decides a job's result: commands, machines, variables and files.

    The files of earlier jobs are among the plan's files. Limits and prices are not in it: they change no result.
    A secret counts by its name alone. `before`: the fingerprints of jobs whose files it finds on its machine.
    """
    work, machines = plan.work, plan.machines
    facts = {
        "commands": [work.setup_commands, work.run_commands, work.directory, work.fail_fast],
        "image": work.image,
        "task": work.task_extra,
        "machines": [repr(machines.needs), machines.num_nodes, sorted(map(str, machines.locations))],
        "env": sorted(plan.variables.env.items()),
        "secrets": sorted(plan.variables.secrets),
        "outputs": plan.files.outputs,
        "trials": [plan.trials.repeat, plan.trials.base.commit if plan.trials.base else None],
        "mounts": sorted(map(_storage, plan.files.mounts)),
        "models": repr(plan.models),
        "files": [[file.path, _digest(file)] for file in sorted(plan.files.staged, key=lambda file: file.path)],
    }
    if before:
        facts["before"] = list(before)
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def digests(folder: Path, paths: Iterable[str]) -> dict[str, str]:
    """Return the digest of each file below a folder, by its relative path. Raises OSError."""
    return {path: digest_of(folder / path) for path in paths}


def are_intact(folder: Path, expected: Mapping[str, str]) -> bool:
    """Return whether each of these files is still there with its content."""
    try:
        return all(digest_of(folder / path) == digest for path, digest in expected.items())
    except OSError:
        return False


def _storage(mount: Mount) -> list[str]:
    """Return the facts of a mount. A local folder counts by its files, which are staged, and not by its place."""
    return [mount.target, "" if mount.is_local else mount.source, mount.mode.value, repr(mount.via)]


def _digest(file: StagedFile) -> str:
    """Return the content's digest; git's id of a blob is one."""
    if isinstance(file.source, Blob):
        return f"{file.source.id} {file.source.executable}"
    path = Path(file.source)
    if path.is_symlink():
        return f"link {path.readlink()}"
    return digest_of(path)
