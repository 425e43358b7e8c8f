"""The command line: words in, exit code out. No traceback reaches a person."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci import wiring
from cvl_ci.cli import collect as cli_collect
from cvl_ci.cli import drill as cli_drill
from cvl_ci.cli import lookups, money
from cvl_ci.cli import models as stored_models
from cvl_ci.cli.stopping import Stopping
from cvl_ci.errors import CvlError, InputProblem, RequestError, cancelled
from cvl_ci.inputs import arguments, command_line, line_parser, verb_options
from cvl_ci.inputs import table as options
from cvl_ci.local.console.streams import Console

if TYPE_CHECKING:
    from cvl_ci.model.owner import Owner
    from cvl_ci.model.plan import RunPlan


_OTHER_VERBS = {"--down": "down", "--list": "status", "--logs": "status", "--status": "status"}
"""Options of `deploy` that make it another verb, about money."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. It handles every error: no traceback reaches a person."""
    from cvl_ci.sandbox.command import add_arguments as add_sandbox

    environ = wiring.environment()
    console = Console(environ, out=sys.stdout, err=sys.stderr)
    line = sys.argv[1:] if argv is None else argv
    verb = line[0] if line and line[0] in VERBS else ""
    if verb == "deploy":
        verb = next((_OTHER_VERBS[name] for word in line if (name := word.partition("=")[0]) in _OTHER_VERBS), verb)
    try:
        parsed = command_line.parse(line, sandbox=add_sandbox, version=_version)
        return _carried_out(parsed, environ, console)
    except CvlError as error:
        console.refuse(error, verb=verb)
        return error.exit_code
    except KeyboardInterrupt:
        console.tell(cancelled(verb))
        return 130
    except BrokenPipeError:
        return 141
    except Exception:  # noqa: BLE001  the one place where a mistake of ours becomes a sentence
        return _bug(environ, console)


def _carried_out(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    try:
        return VERBS[parsed.verb](parsed, environ, console)
    except RequestError as error:
        raise line_parser.as_typed(error, parsed) from None


def _version() -> str:
    from importlib.metadata import version

    return version("cvl-ci")


# ---- plan ---------------------------------------------------------------------------------------------------


def _plan(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    from cvl_ci.commands.plan import quote as quoting
    from cvl_ci.commands.plan import quote_text
    from cvl_ci.engine.task import task

    _refuse_two_forms(parsed)
    plan, prices = _prepared(parsed, environ, console), wiring.prices(environ)
    if parsed.yaml:
        offers = quoting.offers_of(plan, prices, spot=plan.machines.spot)
        console.say(task.render(plan, offers=offers).removesuffix("\n"))
        return 0
    if parsed.estimate_cost:
        return _say_estimate(plan, environ, console)
    quoted = quoting.quote(plan, prices)
    console.say(quote_text.as_json(plan, quoted) if parsed.json else quote_text.as_text(plan, quoted, prices))
    return 0


def _refuse_two_forms(parsed: argparse.Namespace) -> None:
    """Raise RequestError where a line asks for several forms of one answer."""
    forms = {"--json": parsed.json, "--yaml": parsed.yaml, "--estimate-cost": parsed.estimate_cost}
    first, *further = [flag for flag, is_given in forms.items() if is_given] or [""]
    if further:
        problem = f"cannot go with {first}: there is one answer, in one form"
        raise RequestError([InputProblem(field=flag, value="true", problem=problem) for flag in further])


def _say_estimate(plan: RunPlan, environ: Mapping[str, str], console: Console) -> int:
    from cvl_ci.commands.plan import quote as quoting
    from cvl_ci.commands.plan.estimate import Estimate

    console.say(*Estimate(plan=plan, quote=quoting.quote(plan, wiring.prices(environ))).lines)
    return 0


def _prepared(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> RunPlan:
    from cvl_ci.commands.plan.build_run import prepare
    from cvl_ci.local.git.checkout import open_checkout

    inputs = arguments.from_namespace(parsed, environment=environ)
    console.learn(inputs.variables)
    checkout = open_checkout(Path.cwd(), at=_elsewhere(parsed))
    prices = wiring.prices(environ)
    through_server = wiring.goes_through_server(environ, by_inputs=False)
    try:
        plan = prepare(inputs, checkout=checkout, prices=prices, through_server=through_server)
    except RequestError as error:
        raise arguments.naming_options(error, parsed) from None
    console.learn(plan.variables)
    launches = parsed.verb in {"run", "deploy"} and not any(map(vars(parsed).get, ("estimate_cost", "dry_run", "yaml")))
    plan = wiring.on_usable_clouds(plan, environ, prices, by_inputs=False, asks_role=launches)
    return wiring.within_month(plan, checkout, environ)


def _elsewhere(parsed: argparse.Namespace) -> str:
    """Return the checkout's folder. --workdir and --task may lie in another checkout than the current one."""
    return str(parsed.workdir or parsed.task or ".")


# ---- many legs ----------------------------------------------------------------------------------------------


def _run_matrix_verb(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    from cvl_ci.inputs.verb_inputs import of_matrix_verb
    from cvl_ci.wiring import matrix

    caller = matrix.MatrixCaller(
        folder=Path.cwd(), prices=wiring.prices(environ), say=console.say, tell=console.tell, environ=environ
    )
    values = verb_options.read(parsed, options.verb_options(parsed.verb))
    return matrix.VERBS[parsed.verb](of_matrix_verb(values), caller)


# ---- run ----------------------------------------------------------------------------------------------------


def _run(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    from cvl_ci.commands.run import run as running
    from cvl_ci.local.clock import SystemClock
    from cvl_ci.local.staging import LocalStaging
    from cvl_ci.result.no_follow import refuse_links
    from cvl_ci.result.summary import to_json
    from cvl_ci.wiring.models import models_of_run

    plan = _prepared(parsed, environ, console)
    if parsed.estimate_cost:
        return _say_estimate(plan, environ, console)
    wiring.require_credentials(environ, [location.cloud for location in plan.machines.locations])
    if parsed.json_summary:
        refuse_links(Path(parsed.json_summary))
    terminal = console.terminal()
    owner = _owner(environ)
    outputs = Path(parsed.outputs_dir or Path("cvl-outputs") / owner.name)
    log = outputs / f"{owner.name}.log"
    terminal.keep_in(log)
    stopping = Stopping(terminal.warning)
    ports = running.RunPorts(
        clouds=wiring.OpenClouds(environ, keep_sandbox=parsed.keep_sandbox, **wiring.of_plan(plan)),
        records=wiring.open_records(environ, terminal),
        staging=LocalStaging(),
        reporter=terminal,
        prices=wiring.prices(environ),
        clock=SystemClock(),
        models=models_of_run(environ),
        locks=wiring.key_locks(environ),
        interruptible=stopping.again if sys.stderr.isatty() else None,
    )
    try:
        with stopping, wiring.run_logs(environ).announced(owner.name, log):
            outcome = running.run(plan, owner=owner, outputs=outputs, ports=ports)
    finally:
        terminal.close()
    if parsed.json_summary:
        summary = to_json(console.cleaned(outcome), commit=environ.get("GITHUB_SHA", ""))
        text = json.dumps(summary, indent=2, allow_nan=False)
        return _write_summary(Path(parsed.json_summary), text, outcome.exit_code, console)
    return outcome.exit_code


def _write_summary(path: Path, text: str, exit_code: int, console: Console) -> int:
    """Return the exit code.

    A requested summary that is missing turns a success into a failure; a failure keeps its own code.
    """
    from cvl_ci.result.no_follow import write_text

    try:
        write_text(path, text + "\n")
    except (CvlError, OSError) as error:
        console.tell(
            f"The summary could not be written to {path}: {getattr(error, 'what', error)}\nThe run itself is over."
        )
        return exit_code or CvlError.exit_code
    return exit_code


def _owner(environ: Mapping[str, str]) -> Owner:
    from cvl_ci.model.owner import Owner

    return Owner(
        repository=environ.get("GITHUB_REPOSITORY") or str(Path.cwd()),
        run=environ.get("GITHUB_RUN_ID") or secrets.token_hex(4),
        attempt=environ.get("GITHUB_RUN_ATTEMPT") or "1",
        job=environ.get("GITHUB_JOB") or "",
        step=secrets.token_hex(4),
    )


def _queue(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    from cvl_ci.cli.queue import queue

    return queue(parsed, environ, console, owner=_owner(environ))


def _deploy(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    from cvl_ci.cli import deploy, open_services

    if parsed.down_name or open_services.is_asked_for(parsed):
        open_services.refuse_mistakes(parsed)
    if parsed.down_name:
        parsed.names, parsed.all = [parsed.down_name], False
        return _down(parsed, environ, console)
    if open_services.is_asked_for(parsed):
        return open_services.show(parsed, environ, console)
    return deploy.deploy(parsed, environ, console, owner=_owner(environ), prepare=_prepared)


# ---- down ---------------------------------------------------------------------------------------------------


def _down(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    from cvl_ci.commands.reap import down as taking_down
    from cvl_ci.commands.reap import down_text
    from cvl_ci.commands.reap import reap as reaping
    from cvl_ci.errors import NotProvedGone
    from cvl_ci.local.clock import SystemClock

    if not parsed.names and not parsed.all:
        raise RequestError([InputProblem(field="NAME", value="", problem="is missing: name a lease, or say --all")])
    terminal = console.terminal()
    regions = wiring.prices(environ).regions
    locations, _ = reaping.read_request(parsed.cloud or "", grace="0", regions=regions, dashes="--")
    ports = taking_down.DownPorts(
        clouds=wiring.OpenClouds(environ, by_record=True),
        records=wiring.open_records(environ, terminal),
        reporter=terminal,
        clock=SystemClock(),
    )
    try:
        with Stopping(terminal.warning):
            downed = taking_down.down(
                parsed.names, everything=parsed.all, locations=locations, user_id=_owner(environ).user_id, ports=ports
            )
    finally:
        terminal.close()
    console.say(*down_text.lines(downed, locations=locations))
    return 0 if downed.proved else NotProvedGone.exit_code


# ---- reap ---------------------------------------------------------------------------------------------------


def _reap(parsed: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    from cvl_ci.commands.reap.text import lines, verdict

    terminal = console.terminal()
    try:
        with Stopping(terminal.warning):
            reaped = wiring.reap(
                environ,
                reporter=terminal,
                cloud=parsed.cloud or "",
                owner=parsed.owner,
                all_owners=parsed.all_owners,
                grace=parsed.grace,
                dry_run=bool(parsed.dry_run),
                dashes="--",
            )
    finally:
        terminal.close()
    for line in lines(reaped):
        console.say(line)
    error = verdict(reaped)
    if error is not None:
        raise error
    return 0


# ---- sandbox ------------------------------------------------------------------------------------------------


def _sandbox(parsed: argparse.Namespace, environ: Mapping[str, str], _console: Console) -> int:
    from cvl_ci.sandbox import command

    return command.execute(parsed, environment=environ, machine_types=wiring.machine_types(), out=sys.stdout)


# ---- what a person sees -------------------------------------------------------------------------------------


def _bug(environ: Mapping[str, str], console: Console) -> int:
    """Report an error of cvl-ci itself in three sentences, and write the traceback to a file."""
    details = console.hide(traceback.format_exc())
    console.tell(
        f"A mistake in cvl-ci itself stopped this. {wiring.keep_details(environ, details)}\n"
        "cvl-ci tried to take down everything that it had started, but a machine may still run and cost money.\n"
        "Take the rest down with `cvl-ci down --all`. Then report this mistake with that file."
    )
    return 70


VERBS: Mapping[str, Callable[[argparse.Namespace, Mapping[str, str], Console], int]] = {
    "plan": _plan,
    "run": _run,
    "models": stored_models.models,
    "matrix": _run_matrix_verb,
    "report": _run_matrix_verb,
    "history": _run_matrix_verb,
    "down": _down,
    "status": lookups.status,
    "logs": lookups.logs,
    "check": lookups.check,
    "prices": money.prices,
    "cost": money.cost,
    "completion": lookups.completion,
    "schema": lookups.schema,
    "collect": cli_collect.collect,
    "reap": _reap,
    "drill": cli_drill.drill,
    "queue": _queue,
    "deploy": _deploy,
    "sandbox": _sandbox,
}
