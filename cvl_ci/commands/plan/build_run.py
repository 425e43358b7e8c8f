"""Build the plan of one run from inputs, the checkout and the prices. All mistakes are raised at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial

from cvl_ci.commands.plan import machine_types, pairing
from cvl_ci.commands.plan.example_files import Belonging, subject
from cvl_ci.commands.plan.folder_files import (
    LARGEST_STAGE_BYTES,
    Sent,
    below,
    commit_copy,
    folder_files,
    staged,
    warnings_of,
    warnings_of_credentials,
)
from cvl_ci.commands.plan.mounts import with_mounts
from cvl_ci.commands.plan.named_files import with_missing_file
from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.inputs.locations import CLOUDS
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.reader import Inputs
from cvl_ci.model.location import SANDBOX, Location
from cvl_ci.model.plan import FilePlan, MachinePlan, RunPlan, VariablePlan, WorkPlan
from cvl_ci.model.resource_request import ResourceRequest, Spot
from cvl_ci.model.staged_files import StagedFile
from cvl_ci.planning import (
    alternatives,
    build_plan,
    checkpoint_rules,
    detach_rules,
    example,
    lookup,
    presets,
    resources,
    reuse_rules,
    safe_yaml,
    shell,
    task_file,
    task_paths,
)
from cvl_ci.planning.example import Example
from cvl_ci.ports import Checkout, CheckoutFile, Prices

_LARGEST_SOURCE = 512 * 1024
_SOURCES = (".sh", ".py", ".yaml", ".yml", ".txt", ".toml", ".cfg", ".ini", ".ipynb", ".json")
_NAME_BYTES = 4096

Draft = tuple[RunPlan | None, list[InputProblem]]


def prepare(inputs: Inputs, *, checkout: Checkout, prices: Prices, through_server: bool = False) -> RunPlan:
    """Build the plan. Raises RequestError with all mistakes: in the words, in the example, and in their combination.

    `through_server`: the run goes through a SkyPilot API server.
    """
    plan = _one_side(inputs, checkout=checkout, prices=prices, through_server=through_server)
    return (
        pairing.with_base(plan, inputs, checkout=checkout, of=partial(_one_side, prices=prices, has_mounts=False))
        if inputs.trials.compare
        else plan
    )


def _one_side(
    inputs: Inputs, *, checkout: Checkout, prices: Prices, has_mounts: bool = True, through_server: bool = False
) -> RunPlan:
    kind, wrong = build_plan.asked_for(inputs)
    gpu, wrong_gpu = build_plan.named_gpu(inputs, prices.accelerators())
    mistakes = [*inputs.mistakes, *wrong, *wrong_gpu, *build_plan.wrong_regions(inputs, prices.regions)]
    draft: RunPlan | None = None
    if kind == "example":
        draft, wrong = _example(inputs, checkout, explicit_gpu=gpu, known_gpus=prices.accelerators())
    elif kind == "command":
        draft, wrong = _command(inputs, checkout)
    elif kind == "task":
        draft, wrong = _task(inputs, checkout, prices)
    if kind:
        mistakes += wrong
    if draft is not None:
        plan = build_plan.plan(inputs, draft, gpu=gpu)
        mistakes += build_plan.impossible(inputs, plan)
        mistakes += detach_rules.mistakes(inputs, plan, through_server=through_server)
        mistakes += checkpoint_rules.mistakes_through_server(inputs) if through_server else []
        if has_mounts:
            plan, wrong = with_mounts(plan, inputs, checkout, through_server=through_server)
            mistakes += wrong
        mistakes += reuse_rules.mistakes(inputs, plan, through_server=through_server)
        mistakes += machine_types.mistakes(inputs, plan, prices)
        if not mistakes:
            plan = _with_the_types_gpus(_only_offered(plan, prices), prices)
            return replace(plan, warnings=(*plan.warnings, *machine_types.without_gpu(plan, inputs.spelling.of)))
    raise RequestError(mistakes)


def _example(
    inputs: Inputs, checkout: Checkout, *, explicit_gpu: Mapping[str, float] | None, known_gpus: Collection[str]
) -> Draft:
    name_typed = inputs.work.example or ""
    try:
        directory = find_example(name_typed, checkout)
        entries = checkout.files(directory)
        described = read_example(directory, entries, checkout)
    except Wrong as wrong:
        return None, [inputs.mistake("example", name_typed, wrong.problem, near=wrong.near)]
    texts = read_texts(directory, entries, checkout)
    mistakes: list[InputProblem] = []
    needed = ResourceRequest()
    try:
        needed = resources.request(described.declared, sources=described.code(texts), known_gpus=known_gpus)
    except Wrong as wrong:
        if explicit_gpu is None:
            problem = f"names the GPU {wrong.display!r}, which {wrong.problem}" if wrong.display else wrong.problem
            mistakes.append(inputs.mistake("example", name_typed, problem, near=wrong.near))
    name = inputs.work.preset or presets.only(described.presets) or ""
    if not name:
        return None, [*mistakes, inputs.mistake("example", name_typed, presets.missing(described.presets))]
    try:
        name = presets.find(name, described.presets, example=described.name)
        preset = presets.read(name, described.presets[name], files=described.files)
        around = shell.Around(
            example=described,
            texts=texts,
            has_gpu=bool(needed.accelerators if explicit_gpu is None else explicit_gpu),
            variables={*inputs.variables.env, *inputs.variables.secrets},
        )
        script = shell.in_image if inputs.machine.image else shell.on_docker
        lines = script(preset, around=around, args=inputs.work.args)
    except Wrong as wrong:
        return None, [*mistakes, inputs.mistake("preset", name, wrong.problem, near=wrong.near)]
    try:
        files, warnings = _stage(described, texts, inputs.work.files, checkout)
    except Wrong as wrong:
        return None, [*mistakes, inputs.mistake("example", name_typed, wrong.problem)]
    draft = RunPlan(
        title=f"{described.name} {name}",
        work=WorkPlan(
            example=described.name,
            preset=name,
            example_path=described.yaml_path,
            directory=directory,
            setup_commands=lines.setup,
            run_commands=lines.run,
            needs_docker=lines.needs_docker,
            missing_scripts=tuple(sorted(described.unseen & {preset.script or ""})),
        ),
        files=FilePlan(staged=files, commits=commit_copy(checkout, ".")),
        variables=VariablePlan(env=lines.env),
        machines=MachinePlan(needs=needed),
        warnings=(*described.warnings(gpu_given=inputs.machine.gpu is not None), *lines.warnings, *warnings),
    )
    return draft, mistakes


def _command(inputs: Inputs, checkout: Checkout) -> Draft:
    folder = inputs.work.workdir or "."
    command = inputs.work.command or ""
    try:
        sent = folder_files(folder, inputs, checkout)
    except Wrong as wrong:
        return None, [inputs.mistake("workdir", folder, wrong.problem)]
    variables = inputs.variables
    mounts = {"file_mounts": inputs.work.file_mounts} if inputs.work.file_mounts else {}
    filled = task_paths.filled_in(mounts, {k: v for k, v in variables.env.items() if k not in variables.secrets})
    unset = task_paths.unset(filled, secrets=variables.secrets)
    extra = task_paths.with_absolute_sources(filled, locate=checkout.locate, root=str(checkout.root))
    draft = RunPlan(
        title=_title(command),
        work=WorkPlan(run_commands=(command,), fail_fast=True, task_extra=extra),
        files=sent.plan,
        warnings=sent.warnings,
    )
    draft = with_missing_file(draft, inputs)
    return draft, [inputs.mistake("command", command, problem) for problem in unset]


def _title(command: str) -> str:
    """Return the command's first words. No word is cut: no mask recognizes half a secret."""
    line = command.splitlines()[0]
    return line if len(line) <= 60 else line[:61].rpartition(" ")[0] or line[:60]


def _task(inputs: Inputs, checkout: Checkout, prices: Prices) -> Draft:
    name_typed = inputs.work.task or ""
    path = checkout.locate(name_typed)
    if path is None:
        return None, [inputs.mistake("task", name_typed, "is outside the repository")]
    try:
        content = checkout.read(path, limit=safe_yaml.LARGEST_BYTES + 1)
        task = task_file.read(content, known_gpus=prices.accelerators(), clouds_with=partial(clouds_with, prices))
    except OSError:
        return None, [inputs.mistake("task", name_typed, "is not a readable file")]
    except safe_yaml.Unreadable as error:
        return None, [inputs.mistake("task", name_typed, str(error))]
    secrets = inputs.variables.secrets
    variables = {
        name: value for name, value in {**task.variables.env, **inputs.variables.env}.items() if name not in secrets
    }
    extra = task.work.task_extra
    if inputs.work.file_mounts:
        mounts = extra.get("file_mounts")
        extra = {**extra, "file_mounts": {**(mounts if isinstance(mounts, Mapping) else {}), **inputs.work.file_mounts}}
    filled = task_paths.filled_in(extra, variables)
    unset = task_paths.unset(filled, secrets={*task.variables.secrets, *inputs.variables.secrets, *task.needs_value})
    mistakes = [inputs.mistake("task", name_typed, problem) for problem in (*task.problems(inputs), *unset)]
    sent = Sent()
    workdir = inputs.work.workdir or task_paths.filled(task.workdir, variables)
    if workdir:
        try:
            sent = folder_files(workdir, inputs, checkout)
        except Wrong as wrong:
            mistakes.append(inputs.mistake("workdir", workdir, wrong.problem))
    extra = task_paths.with_absolute_sources(filled, locate=checkout.locate, root=str(checkout.root))
    draft = task.draft(inputs)
    draft = replace(
        draft,
        work=replace(draft.work, task_extra=extra),
        files=sent.plan,
        warnings=(*draft.warnings, *sent.warnings),
    )
    return with_missing_file(draft, inputs), mistakes


def clouds_with(prices: Prices, region: str, needs: ResourceRequest) -> list[str]:
    """Return the clouds that have this region, and of those the ones with such a machine in it."""
    clouds = [cloud for cloud in CLOUDS if cloud != SANDBOX and region in prices.regions(cloud)]

    def is_offered(cloud: str) -> bool:
        return bool(prices.offers(needs, locations=[Location(cloud=cloud, region=region)], spot=Spot.NEVER))

    return [cloud for cloud in clouds if is_offered(cloud)] or clouds


def find_example(words: str, checkout: Checkout) -> str:
    """Return the example's directory. Raises Wrong, with similar names."""

    def name_of(directory: str) -> str | None:
        try:
            return example.peek_name(checkout.read(_joined(directory, example.FILE_NAME), limit=_NAME_BYTES))
        except OSError:
            return None

    return lookup.find(words, checkout.examples(), root=checkout.root.as_posix(), name_of=name_of)


def read_example(directory: str, entries: Iterable[CheckoutFile], checkout: Checkout) -> Example:
    """Read an example. Raises Wrong."""
    names = {below(entry.path, directory) for entry in entries}
    try:
        content = checkout.read(_joined(directory, example.FILE_NAME), limit=safe_yaml.LARGEST_BYTES + 1)
        return example.read(content, directory=directory, files=names)
    except OSError as error:
        raise Wrong(f"has an example.yaml that cannot be read ({error.strerror or error})") from None
    except safe_yaml.Unreadable as error:
        raise Wrong(f"has an example.yaml that {error}") from None


def read_texts(directory: str, entries: Iterable[CheckoutFile], checkout: Checkout) -> dict[str, str]:
    """Return the example's own sources, by path below it.

    Prose does not count: a README may name something that the code never uses.
    """
    texts = {}
    for entry in entries:
        name = entry.path.rpartition("/")[2]
        if entry.bytes <= _LARGEST_SOURCE and (name.endswith(_SOURCES) or name.startswith(("Dockerfile", "Makefile"))):
            content = checkout.read(entry.path, limit=_LARGEST_SOURCE)
            texts[below(entry.path, directory)] = content.decode(errors="replace")
    return texts


def _stage(
    described: Example, texts: Mapping[str, str], globs: tuple[str, ...] | None, checkout: Checkout
) -> tuple[tuple[StagedFile, ...], tuple[str, ...]]:
    """Return the files of the example, each at its place in the repository. Raises Wrong."""
    belongs = Belonging(subject(described, texts=texts, globs=globs, checkout=checkout), checkout=checkout)
    entries = belongs.entries()
    if sum(entry.bytes for entry in entries) > LARGEST_STAGE_BYTES:
        raise Wrong("needs more than 2 GiB of the repository: name fewer files, and put large data into a bucket")
    unmatched = [f"No file matches {glob!r} of the input files." for glob in belongs.unmatched()]
    return staged(entries), (
        *warnings_of(checkout.left_behind(described.directory)),
        *warnings_of_credentials(entries, checkout),
        *unmatched,
    )


def _only_offered(plan: RunPlan, prices: Prices) -> RunPlan:
    """Leave out the GPUs of a requested memory, such as `80GB+`, that no place of the plan offers."""

    def is_offered(needs: ResourceRequest) -> bool:
        return bool(prices.offers(needs, locations=plan.machines.locations, spot=plan.machines.spot))

    return replace(
        plan, machines=replace(plan.machines, needs=alternatives.only_offered(plan.machines.needs, is_offered))
    )


def _with_the_types_gpus(plan: RunPlan, prices: Prices) -> RunPlan:
    """Add the GPUs of an instance type that the user named."""
    if not plan.machines.needs.instance_type or plan.machines.needs.accelerators:
        return plan
    offers = prices.offers(plan.machines.needs, locations=plan.machines.locations, spot=Spot.NEVER)
    if not offers:
        return plan
    gpus = offers[0].accelerators
    needs = replace(plan.machines.needs, accelerators=gpus, unnamed=frozenset(gpus))
    return replace(plan, machines=replace(plan.machines, needs=needs))


def _joined(directory: str, name: str) -> str:
    return name if directory == "." else f"{directory}/{name}"
