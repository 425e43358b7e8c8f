"""The verb `deploy`: one server under one lease, with a token, a URL and an end."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci import wiring
from cvl_ci.cli import deploy_steps, deploy_update
from cvl_ci.cli.stopping import Stopping, interruptible
from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.inputs import verb_options
from cvl_ci.inputs.deploy_inputs import DeployInputs
from cvl_ci.inputs.option import options_of
from cvl_ci.local.console.streams import Console
from cvl_ci.model.service import TOKEN_VARIABLE

if TYPE_CHECKING:
    from cvl_ci.model.outcome import Outcome
    from cvl_ci.model.owner import Owner
    from cvl_ci.model.plan import RunPlan
    from cvl_ci.model.service import ServiceResult
    from cvl_ci.ports import Prices

NOT_OF_CVL_CI = (
    "# For `sky serve up`. SkyPilot starts this service, not cvl-ci. It has no token, no end and no limit of money.",
    "# `sky serve down` ends its replicas. Its controller stops later, and its disk costs money until `sky down`.",
)
"""The first lines of the task: YAML comments."""
Prepare = Callable[[argparse.Namespace, Mapping[str, str], Console], "RunPlan"]


def deploy(
    parsed: argparse.Namespace, environ: Mapping[str, str], console: Console, *, owner: Owner, prepare: Prepare
) -> int:
    """Deploy one example and return the exit code of its run. Raise CvlError before anything is started."""
    from cvl_ci.commands.plan import service as services
    from cvl_ci.local.git.checkout import open_checkout
    from cvl_ci.local.interruption import Interruption
    from cvl_ci.planning.service import SERVE

    inputs, steps = _inputs(parsed, console), deploy_steps.read(parsed)
    if steps.smokes_alone:
        return deploy_steps.smoke(inputs, steps, environ, console)
    token = _token(environ)
    if len(parsed.words) == 1 and not parsed.command:
        parsed.words = [*parsed.words, SERVE]
    parsed.max_runtime = f"{services.runtime_minutes(inputs):g}"
    parsed.cloud = parsed.cloud or ("" if parsed.runner else "aws")
    plan = prepare(parsed, environ, console)
    checkout = open_checkout(Path.cwd(), at=str(parsed.workdir or "."))
    is_shown = parsed.dry_run or parsed.yaml
    through_server = wiring.goes_through_server(environ, by_inputs=False)
    starts = steps.starts and not is_shown
    plan = services.with_service(plan, inputs, checkout, token=token, starts=starts, through_server=through_server)
    console.masks.add(*(plan.service.secrets if plan.service is not None else ()))
    with interruptible():
        plan = deploy_steps.prepare(plan, steps, checkout, environ, console, owner=owner)
    if is_shown:
        _show(plan, wiring.prices(environ), console, as_yaml=parsed.yaml)
        return 0
    if not steps.starts:
        console.tell("Nothing was started.")
        return 0
    if parsed.update_name:
        return deploy_update.update(parsed, plan, environ, console, owner=owner, token=token)
    terminal = console.terminal()
    outputs = Path("cvl-outputs") / owner.name
    log = outputs / f"{owner.name}.log"
    terminal.keep_in(log)
    try:
        with Stopping(terminal.warning), wiring.run_logs(environ).announced(owner.name, log):
            outcome = wiring.carry_out(
                plan,
                environ=environ,
                owner=owner,
                outputs=outputs,
                reporter=terminal,
                interruption=Interruption(),
                token=token,
            )
    finally:
        terminal.close()
    if parsed.json_summary:
        _write(Path(parsed.json_summary), console, outcome)
    if outcome.exit_code == 0 and outcome.machines.service is not None:
        console.say(*_handed_over(outcome.machines.service, token, environ, name=owner.name))
    return outcome.exit_code


def _show(plan: RunPlan, prices: Prices, console: Console, *, as_yaml: bool) -> None:
    """Show the plan, or the task for `sky serve up`."""
    from cvl_ci.commands.plan import quote as quoting
    from cvl_ci.commands.plan import quote_text, replicas
    from cvl_ci.engine.task import task
    from cvl_ci.inputs.reader import Spelling

    if as_yaml and plan.has_replicas:
        problem = "cannot be combined with an API server: cvl-ci sends it this task itself, with its end and its tokens"
        raise RequestError([InputProblem(field="--yaml", value="true", problem=problem)])
    if as_yaml:
        if mistakes := replicas.mixed(plan, Spelling.FLAG):
            raise RequestError(mistakes)
        offers = quoting.offers_of(plan, prices, spot=plan.machines.spot)
        console.say(*NOT_OF_CVL_CI, task.render(plan, offers=offers).removesuffix("\n"))
        return
    console.say(quote_text.as_text(plan, quoting.quote(plan, prices), prices), "", "Nothing was started.")


def _inputs(parsed: argparse.Namespace, console: Console) -> DeployInputs:
    """Return the inputs of the service. Somebody may give the text of a key in place of its file: it is hidden."""
    from cvl_ci.commands.plan import tls

    fields = options_of(DeployInputs)
    alone = argparse.Namespace(**{**vars(parsed), "words": []})
    inputs = DeployInputs(**verb_options.read(alone, fields))
    console.masks.add(*tls.secret_of(inputs))
    return inputs


def _token(environ: Mapping[str, str]) -> str:
    """Return the token of the environment, else a new one. A log of GitHub would show a new one to all its readers."""
    from cvl_ci.commands.plan import service as services

    own = environ.get(TOKEN_VARIABLE, "")
    if own:
        return services.checked_token(own, variable=TOKEN_VARIABLE)
    if environ.get("GITHUB_ACTIONS") == "true":
        problem = "is missing: set it to a secret of the repository, because a workflow's log is not secret"
        raise RequestError([InputProblem(field=TOKEN_VARIABLE, value="", problem=problem)])
    return services.new_token()


def _handed_over(service: ServiceResult, token: str, environ: Mapping[str, str], *, name: str) -> list[str]:
    """Return the lines about the URL, and the token, which is shown this one time."""
    from cvl_ci.result.service_text import dns_line

    key = f"the value of {TOKEN_VARIABLE}" if environ.get(TOKEN_VARIABLE) else token
    return [
        f"url    {service.url}",
        *(f"dns    {line}" for line in dns_line(service.url, service.address)),
        f"token  {key}",
        f"stop   cvl-ci deploy --down {name}",
        "Send the token as `Authorization: Bearer TOKEN`; a browser takes it as the password of any user.",
        "The connection is encrypted with your certificate."
        if service.is_encrypted
        else "The connection is not encrypted: a person who reads the network's traffic reads the token too.",
    ]


def _write(path: Path, console: Console, outcome: Outcome) -> None:
    from cvl_ci.result.no_follow import write_text
    from cvl_ci.result.summary import to_json

    text = json.dumps(to_json(console.cleaned(outcome)), indent=2, allow_nan=False)
    try:
        write_text(path, text + "\n")
    except OSError as error:
        console.tell(f"The summary could not be written to {path}: {error}")
