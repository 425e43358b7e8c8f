"""The verbs that read only: status, logs, check, completion and schema. They launch and end nothing."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cvl_ci import wiring
from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.local.console.streams import Console

if TYPE_CHECKING:
    from cvl_ci.local.run_logs import RunLogs
    from cvl_ci.ports import RunLog

_SHOWN_NAMES = 5


def status(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    """List the open leases. Raise NotProvedGone when a cloud gives no answer."""
    from cvl_ci.commands import status as overviews

    overview = wiring.status(environ, cloud=parsed.cloud or "")
    console.say(*([overviews.as_json(overview)] if parsed.json else overviews.lines(overview)))
    error = overviews.verdict(overview)
    if error is not None:
        raise error
    return 0


def logs(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    """Show the lines of one run's job, until the run's end. Raise RequestError for a name without a log."""
    from cvl_ci.commands import logs as saved_logs
    from cvl_ci.local.clock import SystemClock

    log = _log(parsed.names, wiring.run_logs(environ))
    for batch in saved_logs.lines(log, clock=SystemClock(), is_following=not parsed.no_follow):
        console.show(batch)
    if not log.path.exists():
        console.tell(
            "The job has not printed a line yet."
            if log.is_alive()
            else f"{log.path} does not exist: the job printed no line, or the file was removed."
        )
    return 0


def _log(names: Sequence[str], recorded: RunLogs) -> RunLog:
    """Return the log of the one name on the command line."""
    from cvl_ci.inputs.suggest import similar, with_names

    name, all_names = " ".join(names), recorded.names()
    next_step = "`cvl-ci status` lists the open leases; each run names its own in its first lines."
    if name in all_names and (log := recorded.find(name)) is not None:
        return log
    if name in all_names:
        mistake = InputProblem(
            field="NAME", value=name, problem="has no log on this computer: its run did not start at a terminal here"
        )
    elif name:
        near = similar(name, all_names)
        problem = with_names("is not a lease of this computer", all_names[-_SHOWN_NAMES:], near)
        mistake = InputProblem(field="NAME", value=name, problem=problem, near=near)
    else:
        mistake = InputProblem(field="NAME", value="", problem="is missing: name a lease, as its run printed it")
    raise RequestError([mistake], next_step=next_step)


def check(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    """Show which credentials exist. Return 77 when no cloud, or not each cloud that the person named, is usable."""
    from cvl_ci.commands import check as checking

    checks = wiring.cloud_access(environ, parsed.clouds)
    console.say(checking.as_text(checks, width=shutil.get_terminal_size((120, 24)).columns))
    console.say("", *checking.catalogue(checks, wiring.prices(environ)))
    return checking.exit_code(checks, named=bool(parsed.clouds))


def completion(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    """Print the script of one shell. Raise RequestError for any other word."""
    from cvl_ci.inputs import command_line
    from cvl_ci.inputs.completion.scripts import SHELLS, script
    from cvl_ci.inputs.suggest import similar
    from cvl_ci.sandbox.command import add_arguments as add_sandbox

    shell = " ".join(parsed.shells)
    if shell not in SHELLS:
        problem = "is not one of bash, zsh and fish" if shell else "is missing: name bash, zsh or fish"
        raise RequestError([InputProblem(field="SHELL", value=shell, problem=problem, near=similar(shell, SHELLS))])
    prices = wiring.prices(environ)
    regions = sorted({region for cloud in prices.clouds() for region in prices.regions(cloud)})
    parser = command_line.build(sandbox=add_sandbox)
    console.say(script(shell, parser, gpus=prices.accelerators(), regions=regions).removesuffix("\n"))
    return 0


def schema(parsed: argparse.Namespace, _environ: Mapping[str, str], console: Console) -> int:
    """Print the JSON Schema of one file. Raise RequestError for any other word."""
    from cvl_ci.commands import schema as schemas
    from cvl_ci.inputs.suggest import similar

    name, names = " ".join(parsed.files), list(schemas.SCHEMAS)
    if name not in names:
        problem = f"is not one of {' and '.join(names)}" if name else f"is missing: name {' or '.join(names)}"
        raise RequestError([InputProblem(field="FILE", value=name, problem=problem, near=similar(name, names))])
    console.say(schemas.as_text(name))
    return 0
