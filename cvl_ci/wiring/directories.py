"""The folders of this computer: leases, the sandbox, credentials, the state that main leaves for post."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cvl_ci.local.run_logs import RunLogs
    from cvl_ci.ports import KeyLocks, Records, RunReporter


def environment() -> Mapping[str, str]:
    return os.environ


def state_directory(environ: Mapping[str, str]) -> Path:
    """Return the folder of lease records and the sandbox: XDG's place for state."""
    configured = environ.get("XDG_STATE_HOME")
    return Path(configured or Path(environ.get("HOME", "/root")) / ".local" / "state") / "cvl-ci"


def sandbox_directory(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("CVL_CI_SANDBOX_DIR") or state_directory(environ) / "sandbox")


def credentials_directory(environ: Mapping[str, str]) -> Path:
    return state_directory(environ) / "credentials"


def step_state_path(environ: Mapping[str, str], *, leg: str | None = None) -> Path:
    """Return the state file of this leg of this step: legs with one HOME have a file each.

    `leg`: main's value, if known.
    """
    from cvl_ci.github import context
    from cvl_ci.inputs import action_variables

    current = context.read(environ, leg=action_variables.leg(environ) if leg is None else leg)
    return state_directory(environ) / "action" / f"{current.step_key}-{current.leg_key}.json"


def post_state_path(environ: Mapping[str, str]) -> Path:
    """Return the file that post reads. A post without inputs takes the file of this step, if only one leg left one."""
    from cvl_ci.inputs import action_variables

    own = step_state_path(environ)
    step = own.stem.partition("-")[0]
    files = [] if action_variables.leg(environ) or own.exists() else sorted(own.parent.glob(f"{step}-*.json"))
    return files[0] if len(files) == 1 else own


def open_records(environ: Mapping[str, str], reporter: RunReporter) -> Records:
    from cvl_ci.local.lease_records import FileRecords

    return FileRecords(state_directory(environ) / "leases", warn=reporter.warning)


def key_locks(environ: Mapping[str, str]) -> KeyLocks:
    """Return the locks of machines that wait between runs. They lie next to the lease records of these machines."""
    from cvl_ci.local.key_locks import FileKeyLocks

    return FileKeyLocks(state_directory(environ) / "leases")


def run_logs(environ: Mapping[str, str]) -> RunLogs:
    """Return the logs of this computer's runs, which lie next to their lease records."""
    from cvl_ci.local.run_logs import RunLogs

    return RunLogs(state_directory(environ) / "leases")


def keep_details(environ: Mapping[str, str], text: str) -> str:
    """Write the details of an internal error to a file, and return a sentence with its path."""
    path = state_directory(environ) / f"error-{secrets.token_hex(4)}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        return f"The details could not be written to a file ({error})."
    return f"The details are in {path}."
