"""The steps of `deploy`, each alone: image, models, yaml, up, smoke. A line tells the state of each."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci import wiring
from cvl_ci.errors import EngineError, InputProblem, RequestError
from cvl_ci.inputs import verb_options
from cvl_ci.inputs.option import options_of
from cvl_ci.inputs.rollout_inputs import IMAGE, MODELS, SMOKE, STEPS, UP, YAML, RolloutInputs, StepsInputs
from cvl_ci.local.console.streams import Console
from cvl_ci.model.service import TOKEN_VARIABLE

if TYPE_CHECKING:
    from cvl_ci.inputs.deploy_inputs import DeployInputs
    from cvl_ci.model.owner import Owner
    from cvl_ci.model.plan import RunPlan
    from cvl_ci.ports import Checkout


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The steps that a person asks for. `named`: by `--steps`; empty: all that the other options ask for."""

    named: tuple[str, ...]
    url: str
    rollout: RolloutInputs
    is_dry: bool

    def has(self, step: str) -> bool:
        return step in (self.named or STEPS)

    @property
    def starts(self) -> bool:
        return self.has(UP)

    @property
    def smokes_alone(self) -> bool:
        return self.named == (SMOKE,)


def read(parsed: argparse.Namespace) -> Steps:
    """Return the steps. Raise RequestError with all mistakes."""
    alone = argparse.Namespace(**{**vars(parsed), "words": []})
    values = verb_options.read(alone, (*options_of(RolloutInputs), *options_of(StepsInputs)))
    rollout = RolloutInputs(**{one.name: values[one.name] for one in options_of(RolloutInputs) if one.name in values})
    steps = Steps(
        named=values.get("steps", ()),
        url=values.get("url") or "",
        rollout=rollout,
        is_dry=bool(parsed.dry_run or parsed.yaml),
    )
    mistakes = []
    if IMAGE in steps.named and rollout.registry is None:
        problem = "is missing: the step image pushes to it, such as ghcr.io/owner/images"
        mistakes.append(InputProblem(field="--registry", value="", problem=problem))
    if steps.smokes_alone != bool(steps.url):
        problem = "works only with `--steps smoke`, which needs it"
        mistakes.append(InputProblem(field="--url", value=steps.url, problem=problem))
    if SMOKE in steps.named and not steps.starts and not steps.smokes_alone:
        problem = "has smoke without up: the other steps start no service to ask"
        mistakes.append(InputProblem(field="--steps", value=",".join(steps.named), problem=problem))
    if getattr(parsed, "smoke_schema", None) and not steps.has(SMOKE):
        problem = "works only with the step smoke, which sends the requests"
        mistakes.append(InputProblem(field="--smoke-schema", value=parsed.smoke_schema, problem=problem))
    if mistakes:
        raise RequestError(mistakes)
    return steps


def prepare(
    plan: RunPlan, steps: Steps, checkout: Checkout, environ: Mapping[str, str], console: Console, *, owner: Owner
) -> RunPlan:
    """Carry out the steps before the machine, and return the plan for it. Raise CvlError."""
    from cvl_ci.wiring import images

    registry = steps.rollout.registry
    if registry is not None and (steps.has(IMAGE) or steps.has(YAML) or steps.starts):
        plan = images.with_image(
            plan, registry, checkout, environ, tell=console.tell, builds=steps.has(IMAGE), is_dry=steps.is_dry
        )
    if steps.has(MODELS) and (steps.named or plan.models.names):
        _models(plan, steps, environ, console, owner=owner)
    if steps.has(YAML):
        _yaml(plan, steps, environ, console)
    if plan.service is not None and not steps.has(SMOKE):
        plan = replace(plan, service=replace(plan.service, smokes=False))
    return plan


def smoke(inputs: DeployInputs, steps: Steps, environ: Mapping[str, str], console: Console) -> int:
    """Send smoke requests to a service that runs. Raise CvlError if one of them fails."""
    from cvl_ci.commands.run.serving import smoke_requests
    from cvl_ci.local.clock import SystemClock
    from cvl_ci.local.http_services import HttpServices
    from cvl_ci.model.service import Probe, ServicePlan
    from cvl_ci.ports import ServiceRequest
    from cvl_ci.result.service_text import smoke_line

    token = environ.get(TOKEN_VARIABLE, "")
    if not token:
        problem = "is missing: it is the token of the service"
        raise RequestError([InputProblem(field=TOKEN_VARIABLE, value="", problem=problem)])
    schema = _schema(inputs.smoke_schema) if inputs.smoke_schema else None
    service = ServicePlan(port=inputs.port or 0, probe=Probe(path=inputs.ready or "/"), smoke_schema=schema)
    if steps.is_dry:
        console.say(f"step smoke: would send requests to {steps.url}{service.probe.path}")
        return 0
    to = ServiceRequest(url=steps.url, token=token, chain=chain_of(inputs.tls_cert))
    result = smoke_requests(service, to=to, services=HttpServices(environ), clock=SystemClock())
    console.say(f"step smoke: {smoke_line(result)}")
    if result.problem or result.mismatch:
        why = result.problem or f"an answer does not match its schema: {result.mismatch}"
        raise EngineError(
            f"The service at {steps.url} did not answer every request as it should: {why}.",
            money="This starts and ends nothing: the machine of the service is billed until its end.",
            next_step="Look at its log, or end it: cvl-ci deploy --list",
        )
    return 0


def chain_of(name: str) -> str:
    """Return the certificates of a service that runs, from this file; empty without a name. Raise RequestError."""
    from cvl_ci.commands.plan import tls
    from cvl_ci.inputs.parsers import Wrong
    from cvl_ci.inputs.reader import Spelling
    from cvl_ci.planning import certificate

    if not name:
        return ""
    try:
        return certificate.as_pem(certificate.read_chain(tls.text_of(name, Spelling.FLAG)))
    except Wrong as wrong:
        raise RequestError([InputProblem(field="--tls-cert", value=name[:80], problem=wrong.problem)]) from None


def _schema(name: str) -> Mapping[str, object]:
    from cvl_ci.inputs.parsers import Wrong
    from cvl_ci.planning import answer_schema

    try:
        with Path(name).open("rb") as file:
            return answer_schema.read(file.read(answer_schema.LARGEST_BYTES + 1))
    except OSError:
        mistake = InputProblem(field="--smoke-schema", value=name, problem="is not a file that cvl-ci can read")
    except Wrong as wrong:
        mistake = InputProblem(field="--smoke-schema", value=name, problem=wrong.problem)
    raise RequestError([mistake])


def _models(plan: RunPlan, steps: Steps, environ: Mapping[str, str], console: Console, *, owner: Owner) -> None:
    from cvl_ci.wiring.models import models_of_run

    if not plan.models.names:
        console.tell("step models: nothing to store; name them with --models and --hf-cache")
        return
    names = ", ".join(map(str, plan.models.names))
    if steps.is_dry:
        console.tell(f"step models: would have {names} in {plan.models.cache}")
        return
    models_of_run(environ)(plan.models, owner.name, console.tell)
    console.tell(f"step models: {names} is in {plan.models.cache}")


def _yaml(plan: RunPlan, steps: Steps, environ: Mapping[str, str], console: Console) -> None:
    """Check the generated task against SkyPilot's schema. Print it if a person asks for this step."""
    from cvl_ci.commands.plan import quote as quoting
    from cvl_ci.engine.task import service_task

    offers = quoting.offers_of(plan, wiring.prices(environ), spot=plan.machines.spot)
    text = service_task.checked(plan, offers=offers)
    console.tell("step yaml: SkyPilot's schema accepts the task")
    if YAML in steps.named:
        console.say(text.removesuffix("\n"))
