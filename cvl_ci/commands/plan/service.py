"""Add the service to the plan of a deployment: its port and probe from the example's files, its end, its callers."""

from __future__ import annotations

import secrets
import shlex
import time
from collections.abc import Mapping
from dataclasses import replace

from cvl_ci.commands.plan import replicas, tls
from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.inputs.deploy_inputs import DeployInputs
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.reader import Spelling
from cvl_ci.model.checkpoint_plan import CheckpointPlan
from cvl_ci.model.location import SANDBOX
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.secret import Secret
from cvl_ci.model.service import READY_SECONDS, TTL_MINUTES, WORLD, Probe, ServicePlan, token_digest
from cvl_ci.planning import answer_schema, safe_yaml
from cvl_ci.planning import service as servers
from cvl_ci.ports import Checkout

CLOUDS = ("aws", SANDBOX)
"""The clouds on which cvl-ci opens a port, as a resource of the lease, and proves its end."""
SHORTEST_TOKEN, LONGEST_TOKEN = 24, 200
_LARGEST_SOURCE = 512 * 1024
_MOST_SOURCES = 40


def new_token() -> str:
    """Return a token of 32 random bytes."""
    return secrets.token_urlsafe(32)


def checked_token(token: str, *, variable: str) -> str:
    """Return a token that a person chose. Raise RequestError for an easy one; its text stays hidden."""
    is_plain = token.isascii() and token.isprintable() and not any(letter in token for letter in " :\"'\\")
    if SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN and is_plain:
        return token
    problem = f"is not a token of {SHORTEST_TOKEN} to {LONGEST_TOKEN} letters, digits and signs without spaces"
    raise RequestError([InputProblem(field=variable, value="***", problem=problem)])


def runtime_minutes(inputs: DeployInputs) -> float:
    """Return the longest time of the server on its machine: until it is ready, and then its ttl."""
    ready = READY_SECONDS / 60 if inputs.ready_timeout is None else inputs.ready_timeout
    return ready + (inputs.ttl or TTL_MINUTES)


def with_service(
    plan: RunPlan,
    inputs: DeployInputs,
    checkout: Checkout,
    *,
    token: str,
    spelling: Spelling = Spelling.FLAG,
    starts: bool = True,
    through_server: bool = False,
) -> RunPlan:
    """Return the plan with its service. Raise RequestError with all mistakes.

    `starts`: the plan will be carried out. A plan that is only shown may have several replicas. `through_server`: an
    API server is given, whose controller starts several replicas.
    """
    mistakes = _impossible(plan, spelling)
    service: ServicePlan | None = None
    try:
        files = _files(plan, checkout)
        service = servers.find_service(files, port=inputs.port, path=inputs.ready, requested_replicas=inputs.replicas)
        mistakes += replicas.mistakes(
            plan, inputs, service, spelling=spelling, starts=starts, through_server=through_server
        )
    except Wrong as wrong:
        name = plan.work.example or plan.title
        mistakes.append(InputProblem(field="example", value=name, problem=wrong.problem, near=wrong.near))
    schema = None
    if inputs.smoke_schema:
        try:
            schema = _schema(plan, checkout, inputs.smoke_schema)
        except Wrong as wrong:
            field = spelling.of("smoke_schema")
            mistakes.append(InputProblem(field=field, value=inputs.smoke_schema, problem=wrong.problem))
    now = time.time()
    encryption, of_encryption = tls.read(
        inputs, now=now, until=now + plan.limits.longest_minutes * 60, spelling=spelling
    )
    mistakes += of_encryption
    if mistakes or service is None:
        raise RequestError(mistakes)
    probe = _probe(service, plan, inputs)
    if through_server:
        plan, service = replicas.started(plan, service, probe_token=Secret(new_token()))
    return replace(
        plan,
        service=replace(
            service,
            probe=probe,
            ttl_minutes=inputs.ttl or TTL_MINUTES,
            allow=inputs.allow or WORLD,
            token_digest=token_digest(token),
            smoke_schema=schema,
            tls=encryption,
            sources=(*service.sources, *([f"each smoke answer matches {inputs.smoke_schema}"] if schema else [])),
        ),
        machines=replace(plan.machines, recoveries=0),
        checkpoints=CheckpointPlan(),
        limits=replace(plan.limits, keep_minutes=0),
        warnings=tuple(text for text in plan.warnings if "probably never ends" not in text),
    )


def _schema(plan: RunPlan, checkout: Checkout, name: str) -> Mapping[str, object]:
    try:
        content = checkout.read(_joined(plan.work.directory, name), limit=answer_schema.LARGEST_BYTES + 1)
    except OSError:
        raise Wrong(f"is not a file of {plan.work.directory}") from None
    return answer_schema.read(content)


def _probe(service: ServicePlan, plan: RunPlan, inputs: DeployInputs) -> Probe:
    """Return the probe of the service with the longest time until its first answer."""
    own = service.probe.initial_delay_seconds
    seconds = own if inputs.ready_timeout is None else inputs.ready_timeout * 60
    return replace(service.probe, initial_delay_seconds=min(seconds, _ready_seconds(plan, inputs)))


def _ready_seconds(plan: RunPlan, inputs: DeployInputs) -> float:
    """Return the part of the time on the machine that its ttl leaves."""
    return max(60.0, (plan.limits.max_runtime_minutes - (inputs.ttl or TTL_MINUTES)) * 60)


def _impossible(plan: RunPlan, spelling: Spelling) -> list[InputProblem]:
    mistakes = []
    for place in plan.machines.locations:
        if place.cloud not in CLOUDS:
            problem = f"opens no port for a service yet: give {' or '.join(CLOUDS)}"
            mistakes.append(InputProblem(field=spelling.of("cloud"), value=str(place), problem=problem))
    if not plan.machines.locations:
        problem = f"is missing: name the cloud of the service, {' or '.join(CLOUDS)}"
        mistakes.append(InputProblem(field=spelling.of("cloud"), value="", problem=problem))
    if plan.trials.has_samples:
        problem = "cannot be combined with deploy, which starts a server once"
        mistakes.append(InputProblem(field=spelling.of("repeat"), value=str(plan.trials.repeat), problem=problem))
    if plan.machines.num_nodes > 1:
        nodes, problem = str(plan.machines.num_nodes), "is more than one machine, and deploy starts one"
        mistakes.append(InputProblem(field=spelling.of("num_nodes"), value=nodes, problem=problem))
    return mistakes


def _files(plan: RunPlan, checkout: Checkout) -> servers.ServerFiles:
    directory, paths = plan.work.directory, checkout.paths()
    line = "\n".join(plan.work.run_commands)
    words = _words(line)
    scripts = [_joined(directory, word) for word in words if paths.is_file(_joined(directory, word))]
    own = [_joined(directory, name) for name in sorted(paths.children(directory)) if name.endswith(".py")]
    document = _read_yaml(checkout, _joined(directory, "example.yaml"))
    # The script's own arguments follow its name.
    after = next((at + 1 for at, word in enumerate(words) if _joined(directory, word) in scripts), len(words))
    return servers.ServerFiles(
        script="\n".join([line, *(_text(checkout, path) for path in scripts)]),
        args=words[after:],
        dockerfile=_text(checkout, _joined(directory, "Dockerfile")),
        env=plan.variables.env,
        about=_about(document, plan.work.preset or ""),
        sources=[_text(checkout, path) for path in own[:_MOST_SOURCES]],
        service=document.get("service"),
    )


def _about(document: Mapping[str, object], preset: str) -> str:
    """Return the description of the preset."""
    presets = document.get("presets")
    one = presets.get(preset) if isinstance(presets, Mapping) else None
    return str(one.get("description") or "") if isinstance(one, Mapping) else ""


def _read_yaml(checkout: Checkout, path: str) -> Mapping[str, object]:
    try:
        return safe_yaml.load_mapping(checkout.read(path, limit=safe_yaml.LARGEST_BYTES + 1))
    except (OSError, safe_yaml.Unreadable):
        return {}


def _text(checkout: Checkout, path: str) -> str:
    try:
        return checkout.read(path, limit=_LARGEST_SOURCE).decode(errors="replace")
    except OSError:
        return ""


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _joined(directory: str, name: str) -> str:
    name = name.removeprefix("./")
    return name if directory == "." else f"{directory}/{name}"
