"""The verb `collect`: the results of detached runs, with the proof that their machines are gone."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci.cli.stopping import Stopping
from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.local.console.streams import Console

if TYPE_CHECKING:
    from cvl_ci.model.outcome import Outcome
    from cvl_ci.ports import LeaseRecord

ALL = "all"


def collect(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    """Collect, write DIR/NAME.json for each run that is over, and return the worst exit code. Raise CvlError."""
    from cvl_ci.commands.collect import text
    from cvl_ci.model.owner import Owner
    from cvl_ci.result.no_follow import write_text
    from cvl_ci.result.summary import to_json
    from cvl_ci.wiring import collecting

    names = list(parsed.names)
    if not names or (ALL in names and len(names) > 1):
        missing = "is missing: name a lease, or write `cvl-ci collect all`"
        problem = missing if not names else "cannot be combined with other names"
        raise RequestError([InputProblem(field="NAME", value=" ".join(names), problem=problem)])
    folder = Path(parsed.outputs_dir or "cvl-outputs")
    terminal = console.terminal()

    def folder_of(name: str) -> Path:
        terminal.keep_in(folder / name / f"{name}.collected.log")
        return folder / name

    def publish(record: LeaseRecord, outcome: Outcome, _: Path) -> None:
        summary = to_json(console.cleaned(outcome), commit=environ.get("GITHUB_SHA", ""))
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{record.name}.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")

    try:
        with Stopping(terminal.warning):
            collected = collecting.collect(
                [] if names == [ALL] else names,
                environ=environ,
                user_id=Owner(repository=environ.get("GITHUB_REPOSITORY") or str(Path.cwd()), run="collect").user_id,
                reporter=terminal,
                folder_of=folder_of,
                publish=publish,
            )
    finally:
        terminal.close()
    console.say(*text.lines(collected))
    return text.exit_code(collected, is_neutral=False)
