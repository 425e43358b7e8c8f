"""`deploy --update NAME`: the next version of a service with several replicas, in its place."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci.cli.stopping import Stopping
from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.local.console.streams import Console
from cvl_ci.model.service import TOKEN_VARIABLE

if TYPE_CHECKING:
    from cvl_ci.commands.deploy.update import Updated
    from cvl_ci.model.owner import Owner
    from cvl_ci.model.plan import RunPlan


def update(
    parsed: argparse.Namespace,
    plan: RunPlan,
    environ: Mapping[str, str],
    console: Console,
    *,
    owner: Owner,
    token: str,
) -> int:
    """Update one service, and return the exit code. Raise CvlError before anything changes."""
    from cvl_ci.wiring import updating

    name = parsed.update_name
    mistakes = []
    if not plan.has_replicas:
        problem = "works only with several replicas of an API server: one machine is replaced by a new deployment"
        mistakes.append(InputProblem(field="--update", value=name, problem=problem))
    if parsed.json_summary:
        problem = "cannot be combined with --update, which is not a run of its own"
        mistakes.append(InputProblem(field="--json-summary", value=parsed.json_summary, problem=problem))
    if not environ.get(TOKEN_VARIABLE):
        problem = "is missing: both versions of the service take one token, which its callers have"
        mistakes.append(InputProblem(field=TOKEN_VARIABLE, value="", problem=problem))
    if mistakes:
        raise RequestError(mistakes)
    terminal = console.terminal()
    outputs = Path("cvl-outputs") / owner.name
    try:
        record = updating.record_of(name, environ=environ, token=token, reporter=terminal)
        with Stopping(terminal.warning):
            updated = updating.carry_out(
                plan, record, environ=environ, owner=owner, outputs=outputs, reporter=terminal, token=token
            )
    finally:
        terminal.close()
    for warning in updated.warnings:
        console.tell(f"warning: {warning}")
    console.say(*_lines(updated))
    return updated.exit_code


def _lines(updated: Updated) -> list[str]:
    from cvl_ci.result.sanitize import plain
    from cvl_ci.result.units import moment

    end = f"stop   cvl-ci deploy --down {updated.name}"
    if updated.problem or updated.service is None:
        return [
            f"The update failed: {plain(updated.problem)}",
            f"The service was not taken down. Its replicas are billed, until {moment(updated.until)} at most by plan.",
            f"Look which versions answer: cvl-ci deploy --status {updated.name}",
            end,
        ]
    return [f"url    {updated.service.url}", f"until  {moment(updated.until)}", end]
