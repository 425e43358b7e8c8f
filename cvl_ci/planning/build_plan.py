"""Build the one exact RunPlan from the inputs and the work. Mistakes are collected, not raised. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cvl_ci.errors import InputProblem
from cvl_ci.inputs import accelerators
from cvl_ci.inputs import locations as places
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.reader import Inputs, Spelling
from cvl_ci.model.limits import Limits
from cvl_ci.model.location import SANDBOX, Location
from cvl_ci.model.model_plan import ModelPlan
from cvl_ci.model.plan import FEWEST_TRIALS, TRIALS, MachinePlan, RunPlan, TrialPlan, VariablePlan
from cvl_ci.model.resource_request import ResourceRequest, Spot
from cvl_ci.planning import alternatives, checkpoint_rules, detach_rules, idle_rules, reuse_rules
from cvl_ci.planning.recovery_rules import with_recovery

KINDS = ("example", "command", "task")

_NOT_OF_AN_EXAMPLE = {
    "include": "takes its files from files",
    "exclude": "takes its files from files",
    "setup": "has its preset `build`",
    "file_mounts": "takes its files from files",
}

KEPT_MINUTES = 10
"""SkyPilot users know this default of idle_minutes_to_autostop: the runner that this library replaces has it."""

# sky/clouds/*.py of SkyPilot 0.14.1, `_unsupported_features_for_resources`.
NO_SEVERAL_NODES = {"hyperbolic", "primeintellect", "runpod", "seeweb", "shadeform", "verda", "vsphere", "yotta"}
NO_SEVERAL_NODES |= {"vast"}
NO_IMAGE = {"cudo", "hyperbolic", "ibm", "oci", "primeintellect", "scp", "shadeform", "verda", "vsphere"}
NO_DOCKER = {"kubernetes", "runpod", "vast"}
NO_AUTODOWN = {"hyperbolic", "primeintellect", "verda", "yotta"}


def asked_for(inputs: Inputs) -> tuple[str | None, list[InputProblem]]:
    """Return which one of example, command and task the inputs name, and the mistakes in their combination."""
    named_kinds = [name for name in KINDS if inputs.value(name)]
    mistakes = [
        inputs.mistake(
            name, inputs.value(name), f"cannot be combined with {inputs.spelling.of(named_kinds[0])}: give one of them"
        )
        for name in named_kinds[1:]
    ]
    if not named_kinds:
        kinds = {inputs.spelling.of(name) for name in KINDS}
        if not any(kinds & {mistake.field, *mistake.near[:1]} for mistake in inputs.mistakes):
            mistakes.append(
                inputs.mistake("example", "", f"is missing: give an example, {_flags(inputs, 'command', 'task')}")
            )
        return None, mistakes
    for name in ("preset", "args"):
        if inputs.value(name) and named_kinds == ["command"]:
            value = inputs.value(name)
            words = value if isinstance(value, str) else " ".join(value)
            mistakes.append(inputs.mistake(name, words, "works only with an example, not with a command"))
    if inputs.work.files and named_kinds != ["example"]:
        problem = "works only with an example: a command has its workdir, and a task its own"
        mistakes.append(inputs.mistake("files", " ".join(inputs.work.files), problem))
    for name, own in _NOT_OF_AN_EXAMPLE.items():
        if inputs.value(name) and named_kinds == ["example"]:
            value = inputs.value(name)
            words = value if isinstance(value, str) else " ".join(value)
            mistakes.append(inputs.mistake(name, words, f"works only with a command or a task: an example {own}"))
    if inputs.work.workdir and named_kinds == ["example"]:
        problem = "works only with a command: an example has its own"
        mistakes.append(inputs.mistake("workdir", inputs.work.workdir, problem))
    return named_kinds[0], mistakes


def named_gpu(inputs: Inputs, known_names: Collection[str]) -> tuple[Mapping[str, float] | None, list[InputProblem]]:
    """Return the requested GPU in SkyPilot's own names. A user's own cluster may have names of its own."""
    if inputs.machine.gpu is None:
        return None, []
    allows_own = bool(inputs.location.cloud) and places.are_own_clusters(inputs.location.cloud or ())
    try:
        return accelerators.canonical(inputs.machine.gpu, known_names, allows_own=allows_own), []
    except Wrong as wrong:
        own = f" ({accelerators.OWN_NAME} with {inputs.spelling.of('cloud')})"
        return None, [inputs.mistake("gpu", wrong.display, f"{wrong.problem}{own}", near=wrong.near)]


def wrong_regions(inputs: Inputs, regions: Callable[[str], Sequence[str]]) -> list[InputProblem]:
    mistakes = []
    for place in inputs.location.cloud or ():
        try:
            places.check_regions(place, regions)
        except Wrong as wrong:
            # The place of the cloud holds the region, and the person may have written it alone.
            name = "region" if inputs.location.region else "cloud"
            mistakes.append(inputs.mistake(name, wrong.display, wrong.problem, near=wrong.near))
    return mistakes


def impossible(inputs: Inputs, plan: RunPlan) -> list[InputProblem]:
    """Return the parts that a requested cloud cannot provide, before any cost."""
    mistakes = []
    named = (*plan.machines.locations, *(one.location for one in plan.machines.needs.alternatives if one.location))
    for cloud in dict.fromkeys(place.cloud for place in named if place.cloud in plan.machines.unfit_clouds):
        if plan.machines.num_nodes > 1 and cloud in NO_SEVERAL_NODES:
            mistakes.append(inputs.mistake("num_nodes", plan.machines.num_nodes, f"is more than {cloud} runs together"))
        if plan.work.image and cloud in NO_IMAGE:
            mistakes.append(inputs.mistake("image", plan.work.image, f"cannot be used on {cloud}: it runs no images"))
        if plan.work.needs_docker and not plan.work.image and cloud in NO_DOCKER:
            problem = "gives no machine with a Docker of its own, which this runs: give image, or another cloud"
            mistakes.append(inputs.mistake("cloud", cloud, problem))
        if cloud in NO_AUTODOWN:
            problem = "has no machine that ends by itself when its time is over, so it could be left running"
            mistakes.append(inputs.mistake("cloud", cloud, problem))
    for name in ("repeat", "compare"):
        if plan.machines.num_nodes > 1 and inputs.value(name) not in (None, 1):
            problem = "works only with one machine: several would not begin their trials together"
            mistakes.append(inputs.mistake(name, inputs.value(name), problem))
    if plan.models.names and plan.models.cache is None:
        names = ", ".join(map(str, plan.models.names))
        problem = f"needs the bucket of models: {_flags(inputs, 'hf_cache')}"
        mistakes.append(inputs.mistake("models", names, problem))
    mistakes += [*_gate(inputs, plan), *checkpoint_rules.mistakes(inputs, plan), *idle_rules.mistakes(inputs, plan)]
    return [*mistakes, *_keeping(inputs, plan)]


def _keeping(inputs: Inputs, plan: RunPlan) -> list[InputProblem]:
    """Return the mistakes of the inputs that keep a machine after its job."""
    keep, mistakes = inputs.keep, []
    keeps_always = keep.down is False
    if keeps_always and keep.keep_on_failure:
        other = inputs.spelling.of("keep_on_failure")
        problem = f"cannot be combined with {other}: it keeps the machine after a failure too"
        mistakes.append(inputs.mistake("down", "false", problem))
    for_person = plan.limits.keep_minutes and keep.reuse is None
    if for_person and inputs.spelling is Spelling.INPUT and not plan.machines.public_key:
        problem = (
            "keeps a machine without a way in, because the runner's key is lost with the runner: give ssh_public_key"
        )
        name, value = ("down", "false") if keeps_always else ("keep_on_failure", str(keep.keep_on_failure))
        mistakes.append(inputs.mistake(name, value, problem))
    return mistakes


def _gate(inputs: Inputs, plan: RunPlan) -> list[InputProblem]:
    if not inputs.trials.fail_on_regression:
        return []
    if not inputs.trials.compare:
        return [inputs.mistake("fail_on_regression", "true", f"works only with {_flags(inputs, 'compare')}")]
    if plan.trials.repeat >= FEWEST_TRIALS:
        return []
    problem = f"is too few to tell whether a number got worse, so fail_on_regression could not fail: give {TRIALS}"
    return [inputs.mistake("repeat", plan.trials.repeat, problem)]


def plan(inputs: Inputs, draft: RunPlan, *, gpu: Mapping[str, float] | None) -> RunPlan:
    """Return the plan. `draft`: what an example, a command or a task asks for; explicit inputs replace its values."""
    locations = draft.machines.locations if inputs.location.cloud is None else inputs.location.cloud
    image = inputs.machine.image or draft.work.image
    setup = (inputs.work.setup,) if inputs.work.setup else draft.work.setup_commands
    built = replace(
        draft,
        work=replace(draft.work, setup_commands=setup, image=image),
        files=replace(draft.files, outputs=inputs.files.outputs),
        variables=_variables(inputs, draft.variables),
        machines=MachinePlan(
            needs=_resource_request(inputs, draft.machines.needs, gpu, is_spot=draft.machines.spot is Spot.ALWAYS),
            num_nodes=inputs.machine.num_nodes or draft.machines.num_nodes,
            locations=locations,
            has_region_alone=draft.machines.has_region_alone and inputs.location.cloud is None,
            unfit_clouds=_unfit_clouds(inputs, draft),
            spot=inputs.machine.spot or draft.machines.spot,
            recoveries=draft.machines.recoveries if inputs.machine.recover is None else inputs.machine.recover,
            public_key=inputs.keep.ssh_public_key,
            reuse=reuse_rules.reuse_plan(inputs),
        ),
        limits=replace(_limits(inputs, locations), idle=idle_rules.idle_policy(inputs, draft.limits.idle)),
        trials=TrialPlan(
            repeat=inputs.trials.repeat or (TRIALS if inputs.trials.compare else 1),
            fail_on_regression=bool(inputs.trials.fail_on_regression),
        ),
        models=ModelPlan(cache=inputs.models.hf_cache, names=inputs.models.models),
        checkpoints=checkpoint_rules.checkpoint_plan(inputs),
        detach=detach_rules.detach_plan(inputs),
        warnings=(
            *draft.warnings,
            *_not_kept(inputs, locations),
            *_other_words(inputs),
            *_hardly_gated(inputs),
            *_no_cache(inputs, locations),
        ),
    )
    return detach_rules.without_recovery(with_recovery(built) if inputs.machine.recover is None else built)


def _no_cache(inputs: Inputs, places: Sequence[Location]) -> tuple[str, ...]:
    """Return a warning for places whose machines get neither boto3 nor rights for a bucket of AWS from SkyPilot."""
    clouds = sorted({place.cloud for place in places} - {"aws", SANDBOX})
    if not inputs.models.hf_cache or not clouds:
        return ()
    return (f"hf_cache works on machines of AWS alone: a job on {', '.join(clouds)} asks the hub.",)


def _variables(inputs: Inputs, drafted: VariablePlan) -> VariablePlan:
    """Return the variables. A name is a variable or a secret, as the inputs say."""
    own, env = inputs.variables, {**drafted.env, **inputs.variables.env}
    secrets = {name: secret for name, secret in drafted.secrets.items() if name not in own.env}
    return VariablePlan(
        env={name: value for name, value in env.items() if name not in own.secrets},
        secrets={**secrets, **own.secrets},
    )


def _not_kept(inputs: Inputs, places: Sequence[Location]) -> tuple[str, ...]:
    if not _kept_minutes(inputs) or not _sandbox_in_a_runner(inputs, places):
        return ()
    name = "keep_on_failure" if inputs.keep.keep_on_failure else "down: false"
    return (f"{name} is ignored: a sandbox's machines are inside the runner, where no person reaches them.",)


def _kept_minutes(inputs: Inputs) -> float:
    keep, reuse = inputs.keep, reuse_rules.reuse_plan(inputs)
    if reuse is not None:
        return reuse.idle_minutes
    if keep.down is not False:
        return keep.keep_on_failure or 0
    return KEPT_MINUTES if keep.idle_minutes_to_autostop is None else keep.idle_minutes_to_autostop


def _other_words(inputs: Inputs) -> tuple[str, ...]:
    """Tell which words of SkyPilot have another meaning here, or none."""
    texts = []
    if inputs.machine.cluster_name:
        texts.append(
            f"cluster_name {inputs.machine.cluster_name!r} is a name for people: the machine has its lease's name."
        )
    if inputs.keep.idle_minutes_to_autostop and inputs.keep.down is not False:
        texts.append(
            "idle_minutes_to_autostop is not used: the machine ends right after its job, without `down: false`."
        )
    return tuple(texts)


def _hardly_gated(inputs: Inputs) -> tuple[str, ...]:
    """Warn about a gate that a noisy metric can never close."""
    trials = inputs.trials
    if not (trials.fail_on_regression and trials.compare and FEWEST_TRIALS <= (trials.repeat or TRIALS) < TRIALS):
        return ()
    start = f"fail_on_regression with repeat {trials.repeat} fails only by a metric that is the same in every digit"
    return (f"{start} each time, or that is lost: of any other {trials.repeat} samples cannot tell. Give {TRIALS}.",)


def _unfit_clouds(inputs: Inputs, draft: RunPlan) -> frozenset[str]:
    """Return the clouds that cannot run the work, or cannot end by themselves."""
    image = inputs.machine.image or draft.work.image
    return frozenset(
        NO_AUTODOWN
        | (NO_SEVERAL_NODES if (inputs.machine.num_nodes or draft.machines.num_nodes) > 1 else set())
        | (NO_IMAGE if image else set())
        | checkpoint_rules.unfit_clouds(inputs, places.CLOUDS)
        | (set(places.CLOUDS) - detach_rules.CLOUDS if inputs.keep.detach or inputs.keep.managed else set())
        | (NO_DOCKER if draft.work.needs_docker and not image else set())
    )


def _resource_request(
    inputs: Inputs, declared: ResourceRequest, gpu: Mapping[str, float] | None, *, is_spot: bool
) -> ResourceRequest:
    """Return the requirements. `is_spot`: what the work itself says of spot."""
    if inputs.machine.instance_type:
        # An instance type fixes GPUs, vCPUs and memory.
        return ResourceRequest(
            accelerators=gpu or {},
            cpus=inputs.machine.cpus,
            memory_gib=inputs.machine.memory,
            disk_gb=inputs.machine.disk_size or declared.disk_gb,
            instance_type=inputs.machine.instance_type,
        )
    if not declared.alternatives and gpu is not None and accelerators.of(gpu).has_several_counts:
        declared = alternatives.alone(declared, is_spot=is_spot)
    if declared.alternatives:
        return alternatives.with_inputs(declared, inputs, gpu=gpu)
    changed = replace(
        declared,
        cpus=inputs.machine.cpus or declared.cpus,
        memory_gib=inputs.machine.memory or declared.memory_gib,
        disk_gb=inputs.machine.disk_size or declared.disk_gb,
        memory_per_vcpu=None if inputs.machine.memory else declared.memory_per_vcpu,
        exact=declared.exact
        - {name for name, least in (("cpus", inputs.machine.cpus), ("memory_gib", inputs.machine.memory)) if least},
    )
    if gpu is None:
        return changed
    return alternatives.with_gpus(replace(changed, instance_type=None), gpu)


def _sandbox_in_a_runner(inputs: Inputs, places: Sequence[Location]) -> bool:
    return inputs.spelling is Spelling.INPUT and any(place.cloud == SANDBOX for place in places)


def _limits(inputs: Inputs, places: Sequence[Location]) -> Limits:
    minutes_by_name: dict[str, Any] = {
        "max_runtime_minutes": inputs.limits.max_runtime,
        "provisioning_minutes": inputs.limits.provision_timeout,
        "heartbeat_minutes": inputs.limits.heartbeat_minutes,
        "keep_minutes": 0 if _sandbox_in_a_runner(inputs, places) else _kept_minutes(inputs),
    }
    minutes = Limits(**{name: minutes for name, minutes in minutes_by_name.items() if minutes is not None})
    keeps_always = inputs.keep.down is False or inputs.keep.reuse is not None
    return replace(minutes, keeps_after_success=keeps_always, max_cost_usd=inputs.limits.max_cost)


def _flags(inputs: Inputs, *names: str) -> str:
    return " or ".join(inputs.spelling.of(name) for name in names)
