"""Where things lie on this machine: leases, the sandbox, credentials, what main hands to post."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cvl_ci.local.run_logs import RunLogs
    from cvl_ci.ports import Records, Workflow


def environment() -> Mapping[str, str]:
    return os.environ


def state_directory(environ: Mapping[str, str]) -> Path:
    """Where leases are recorded and the sandbox lives: XDG's place for state."""
    given = environ.get("XDG_STATE_HOME")
    return Path(given or Path(environ.get("HOME", "/root")) / ".local" / "state") / "cvl-ci"


def sandbox_directory(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("CVL_CI_SANDBOX_DIR") or state_directory(environ) / "sandbox")


def credentials_directory(environ: Mapping[str, str]) -> Path:
    return state_directory(environ) / "credentials"


def handover_path(environ: Mapping[str, str], *, leg: str | None = None) -> Path:
    """Of this leg of this step: legs that share a HOME have a file each. `leg`: as main had it, if not as the input."""
    from cvl_ci.github import context
    from cvl_ci.inputs import action_variables

    here = context.read(environ, leg=action_variables.value(environ, "leg") if leg is None else leg)
    return state_directory(environ) / "action" / f"{here.step_key}-{here.leg_key}.json"


def handover_left(environ: Mapping[str, str]) -> Path:
    """Where post looks. One that has lost its inputs takes what this step left here, if that is of one leg alone."""
    from cvl_ci.inputs import action_variables

    own = handover_path(environ)
    step = own.stem.partition("-")[0]
    there = [] if action_variables.value(environ, "leg") or own.exists() else sorted(own.parent.glob(f"{step}-*.json"))
    return there[0] if len(there) == 1 else own


def records(environ: Mapping[str, str], workflow: Workflow) -> Records:
    from cvl_ci.local.lease_records import FileRecords

    return FileRecords(state_directory(environ) / "leases", warn=workflow.warning)


def run_logs(environ: Mapping[str, str]) -> RunLogs:
    """Return the logs of this computer's runs, which lie next to their lease records."""
    from cvl_ci.local.run_logs import RunLogs

    return RunLogs(state_directory(environ) / "leases")


def keep_details(environ: Mapping[str, str], text: str) -> str:
    """A mistake's details go to a file; what a person is told is where."""
    path = state_directory(environ) / f"error-{secrets.token_hex(4)}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        return f"The details could not be written ({error})."
    return f"The details are in {path}."
