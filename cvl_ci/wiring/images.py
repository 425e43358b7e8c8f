"""The step `image` of a deployment, with this computer's Docker and the real registries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci.errors import CredentialsError, ImageError, InputProblem, RequestError
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.reader import Spelling
from cvl_ci.model.container_image import ImageName, image_name, is_loopback
from cvl_ci.model.staged_files import StagedFile
from cvl_ci.planning import build_script, dockerfile, pushed_image, shell

if TYPE_CHECKING:
    from cvl_ci.commands.deploy.image_step import ImageContent, ImagePorts
    from cvl_ci.model.container_image import RegistryLogin
    from cvl_ci.model.plan import RunPlan
    from cvl_ci.planning.presets import Preset
    from cvl_ci.ports import Checkout

_LARGEST_FILE = 512 * 1024
SANDBOX_REGISTRY = "CVL_CI_SANDBOX_REGISTRY"
"""The variable with the registry of this computer from which a sandbox's machines may pull."""


def with_image(
    plan: RunPlan,
    repository: ImageName,
    checkout: Checkout,
    environ: Mapping[str, str],
    *,
    tell: Callable[[str], None],
    builds: bool,
    is_dry: bool = False,
    spelling: Spelling = Spelling.FLAG,
) -> RunPlan:
    """Return the plan with the image of its example. Raise CvlError.

    `builds`: the image is built and pushed if its registry lacks it. Else that is an error. `is_dry`: only look.
    """
    from cvl_ci.commands.deploy import image_step

    build = _require_possible(plan, repository, checkout, spelling)
    with _content(plan, checkout, build) as content:
        ports = _ports(content, repository, environ, tell)
        if is_dry or not builds:
            image = image_step.find(repository, content, ports)
            name = image.reference if image.digest else image.name
            if not image.digest and not is_dry:
                raise ImageError(
                    f"The registry has no {image.name}, which is the image of these files.",
                    next_step="Build and push it first, with the same options and `--steps image`.",
                )
            state = "is in its registry already" if image.digest else "would be built and pushed"
            tell(f"step image: {name} {state}")
        else:
            name = image_step.ensure(repository, content, ports)
        if not is_dry:
            image_step.require_readable(name, ports.registry, has_login=pushed_image.has_login(plan))
    return pushed_image.with_image(plan, name, builds=_builds(plan, build))


def sandbox_environment(plan: RunPlan, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment in which a sandbox starts that lets its machines pull from a registry of this computer."""
    names = [plan.work.image or "", *(word for line in plan.work.setup_commands for word in line.split())]
    images = [image for name in names if "@sha256:" in name and (image := image_name(name))]
    host = next((image.host for image in images if is_loopback(image.host)), "")
    return {**environ, SANDBOX_REGISTRY: host} if host and plan.machines.is_on_sandbox else environ


def _builds(plan: RunPlan, build: Preset | None) -> bool:
    """Return whether the setup's last command builds the image: planning/shell.py, on_docker."""
    return build is not None and plan.work.setup_commands[-1:] == (shell.build_line(build),)


def _require_possible(plan: RunPlan, repository: ImageName, checkout: Checkout, spelling: Spelling) -> Preset | None:
    """Return the preset that builds the image; None: the example has none. Raise RequestError with all mistakes."""
    from cvl_ci.commands.plan.build_run import read_example

    mistakes = []
    build: Preset | None = None
    registry, name = spelling.of("registry"), plan.work.example or plan.title
    paths, path = checkout.paths(), _below(plan.work.directory, dockerfile.FILE_NAME)
    if not plan.work.example:
        problem = "works only with an example, whose Dockerfile is built"
        mistakes.append(InputProblem(field=registry, value=str(repository), problem=problem))
    elif not paths.is_file(path):
        problem = f"has no {dockerfile.FILE_NAME}, from which `{registry}` builds its image"
        mistakes.append(InputProblem(field="example", value=name, problem=problem))
    else:
        try:
            build = shell.build_preset(read_example(plan.work.directory, checkout.files(plan.work.directory), checkout))
        except Wrong as wrong:
            mistakes.append(InputProblem(field="example", value=name, problem=wrong.problem, near=wrong.near))
        if _builds(plan, build) and len(plan.work.setup_commands) > 1:
            problem = "has downloads before its build, and an image that is built here would lack them"
            mistakes.append(InputProblem(field="example", value=name, problem=problem))
    if plan.work.image:
        problem = f"is an image that exists: give it or {registry}"
        mistakes.append(InputProblem(field=spelling.of("image"), value=plan.work.image, problem=problem))
    if is_loopback(repository.host) and not plan.machines.is_on_sandbox:
        problem = "is a registry of this computer, which machines of a cloud cannot reach"
        mistakes.append(InputProblem(field=registry, value=str(repository), problem=problem))
    elif is_loopback(repository.host) and ":" not in repository.host:
        problem = f"names no port of this computer, such as {repository.host}:5000"
        mistakes.append(InputProblem(field=registry, value=str(repository), problem=problem))
    if mistakes:
        raise RequestError(mistakes)
    return build


@contextmanager
def _content(plan: RunPlan, checkout: Checkout, build: Preset | None) -> Iterator[ImageContent]:
    """Yield a copy of the example's own files, as the machine would get them, with what its Dockerfile begins from."""
    from cvl_ci.commands.deploy.image_step import ImageContent
    from cvl_ci.local.docker_images import make_modes_plain
    from cvl_ci.local.staging import LocalStaging

    directory, name = plan.work.directory, plan.work.example or plan.title
    files = [StagedFile(path=entry.path, source=entry.source, bytes=entry.bytes) for entry in checkout.files(directory)]
    with LocalStaging().staged(files) as root:
        folder = root / directory
        make_modes_plain(folder)
        recipe = (folder / dockerfile.FILE_NAME).read_text(encoding="utf-8", errors="replace")[:_LARGEST_FILE]
        try:
            arguments = build_script.build_arguments(_build_text(folder, build)) if build else {}
            bases = dockerfile.bases(recipe, arguments)
        except Wrong as wrong:
            problem = f"{wrong.problem}: build it with its own script, push it, and give --image"
            raise RequestError([InputProblem(field="example", value=name, problem=problem)]) from None
        yield ImageContent(example=name, folder=folder, arguments=arguments, bases=bases)


def _build_text(folder: Path, build: Preset) -> str:
    """Return what the preset runs: its script, else its command."""
    if build.script is None:
        return " ".join([build.command or "", *build.args])
    return (folder / build.script).read_text(encoding="utf-8", errors="replace")[:_LARGEST_FILE]


def _ports(
    content: ImageContent, repository: ImageName, environ: Mapping[str, str], tell: Callable[[str], None]
) -> ImagePorts:
    from cvl_ci.clouds.child_environment import for_programs
    from cvl_ci.clouds.container_registry import logins
    from cvl_ci.clouds.container_registry.oci import OciRegistry
    from cvl_ci.commands.deploy.image_step import ImagePorts
    from cvl_ci.local.docker_images import DockerImages, own_config

    config, sources = own_config(environ), logins.token_sources(environ)
    login = logins.find(repository.host, environ, config=config, sources=sources)
    without = {name: value for name, value in environ.items() if name not in {logins.USER, logins.PASSWORD}}
    hosts = {name.host for base in content.bases if (name := image_name(base))} - {repository.host}
    own: dict[str, RegistryLogin | None] = {}
    for host in hosts:
        try:
            own[host] = logins.find(host, without, config=config, sources=sources)
        except CredentialsError:
            own[host] = None  # A public base image needs none; the registry refuses a private one.
    return ImagePorts(
        builder=DockerImages(for_programs(environ), config=config),
        registry=OciRegistry(),
        login={**own, repository.host: login},
        tell=tell,
    )


def with_login(environ: Mapping[str, str], *, user: str, password: str, github_token: str) -> Mapping[str, str]:
    """Return the environment with the login of a workflow's inputs, for `with_image` alone.

    `github_token`: for `ghcr.io`, if there is no other login.
    """
    from cvl_ci.clouds.container_registry import logins

    named = {logins.USER: user, logins.PASSWORD: password, "GITHUB_TOKEN": github_token}
    return {**environ, **{name: value for name, value in named.items() if value}}


def _below(directory: str, name: str) -> str:
    return name if directory == "." else f"{directory}/{name}"
