"""Render a preset as shell lines, for the machine's own Docker or for one image. Pure: text in, text out."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.planning import downloads, image, presets
from cvl_ci.planning.example import Example
from cvl_ci.planning.presets import BUILD, Preset

_NEVER_END = {"serve", "server", "demo", "ui", "webui", "app", "gradio", "streamlit"}
_ENDS = {"predict", "predictions", "train", "test", "eval", "evaluate", "benchmark", "build", "download", "inference"}
"""A preset with such a name ends, even if its description names a server."""
_STARTS_A_SERVER = re.compile(
    r"(launch|start|serve|run)\b.*\b(server|dashboard|web ?ui|gunicorn|demo app)\b", re.IGNORECASE
)
_ON_THE_MACHINE = re.compile(r"(\./|bash\s|sh\s|docker\s|make\s|cog\s)")
_RUNS_DOCKER = re.compile(r"^[^#\n]*\bdocker\s+(?:run|exec|compose|build)\b|[\"']docker[\"']", re.MULTILINE)
_WANTS_A_TERMINAL = re.compile(r"\bdocker\s+run\s(?:[^\n]*\s)?-(?:it|ti|t)\s")


@dataclass(frozen=True, kw_only=True)
class Lines:
    setup: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    needs_docker: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Around:
    """Facts that the lines depend on besides the preset. `texts`: sources by path. `variables`: names to pass on."""

    example: Example
    texts: Mapping[str, str]
    has_gpu: bool = False
    variables: Collection[str] = ()


def on_docker(preset: Preset, *, around: Around, args: tuple[str, ...]) -> Lines:
    """Return the lines for the machine's Docker, the default: `build` first makes the image that the scripts run."""
    example = around.example
    build = build_preset(example)
    is_build = build is not None and preset.name == build.name
    setup = downloads.lines(example.resources) if build and preset.docker else ()
    if build and preset.docker and not is_build:
        setup += (build_line(build),)
    name = _image_name(around, build)
    run = _run_line(preset, around=around, args=args, image_name=name if preset.docker else None)
    env = {"CVL_IMAGE": name} if name and preset.docker else {}
    return Lines(
        setup=setup,
        run=(run,),
        env={**env, **preset.env},
        needs_docker=(build is not None and preset.docker) or _uses_docker(run, preset, around.texts),
        warnings=without_an_end(preset),
    )


def in_image(preset: Preset, *, around: Around, args: tuple[str, ...]) -> Lines:
    """Return the lines for one image, which has no Docker. A command is written for that, a script perhaps not."""
    warnings = without_an_end(preset)
    text = around.texts.get(preset.script or "", "")
    if preset.script and _RUNS_DOCKER.search(text):
        if preset.command:
            preset = Preset(name=preset.name, command=preset.command, args=preset.args, env=preset.env)
        else:
            problem = f"{preset.script} calls docker, which the requested image does not have: it will likely fail."
            warnings += (problem,)
    run = _plain(preset, args, texts=around.texts)
    return Lines(run=(run,), env=dict(preset.env), warnings=warnings)


def interpreter(script: str, text: str) -> str:
    """Return the interpreter by ending and first line, so that a script without the run bit runs as well."""
    first = text.split("\n", 1)[0]
    return "python3" if script.endswith(".py") or (first.startswith("#!") and "python" in first) else "bash"


def _plain(preset: Preset, args: tuple[str, ...], *, texts: Mapping[str, str]) -> str:
    if preset.script is None:
        return " ".join([preset.command or "true", *map(shlex.quote, (*preset.args, *args))])
    command = [interpreter(preset.script, texts.get(preset.script, "")), preset.script]
    return shlex.join([*command, *preset.args, *args])


def _run_line(preset: Preset, *, around: Around, args: tuple[str, ...], image_name: str | None) -> str:
    line = _plain(preset, args, texts=around.texts)
    text = around.texts.get(preset.script or "", "")
    if preset.script is None:
        inside = image_name is not None and not _ON_THE_MACHINE.match(line)
    else:
        # A Python program that starts no containers itself needs the packages in the image.
        is_python = interpreter(preset.script, text) == "python3"
        inside = image_name is not None and is_python and not _RUNS_DOCKER.search(text)
    if inside and image_name:
        return _in_container(line, preset=preset, around=around, image_name=image_name)
    if _WANTS_A_TERMINAL.search(re.sub(r"\\\r?\n", " ", text)):
        return f"script -qec {shlex.quote(line)} /dev/null"  # `docker run -t` refuses to begin without a terminal
    return line


def _in_container(line: str, *, preset: Preset, around: Around, image_name: str) -> str:
    """Return the line in a container, with the mounts of the field's own scripts.

    These are the example, repository, caches and working directory.
    """
    up = posixpath.relpath(".", around.example.directory)
    binds = [
        'src="$PWD",dst=/workspace',
        f'src="$(cd {up} && pwd)",dst=/cvlization_repo,readonly',
        'src="$HOME/.cache/huggingface",dst=/root/.cache/huggingface',
        'src="$HOME/.cache/cvlization",dst=/root/.cache/cvlization',
        'src="$CVL_WORK_DIR",dst=/mnt/cvl/workspace',
    ]
    variables = [
        "PYTHONPATH=/cvlization_repo",
        "PYTHONUNBUFFERED=1",
        "CVL_INPUTS=/mnt/cvl/workspace",
        "CVL_OUTPUTS=/mnt/cvl/workspace",
        *sorted({*preset.env, *around.variables}),
    ]
    return " ".join(
        [
            "docker run --rm",
            *(["--gpus all"] if around.has_gpu else []),
            "--shm-size 16G --workdir /workspace",
            *(f"--mount type=bind,{bind}" for bind in binds),
            *(f"--env {variable}" for variable in variables),
            f"--entrypoint bash {shlex.quote(image_name)} -c {shlex.quote(line)}",
        ]
    )


def build_preset(example: Example) -> Preset | None:
    """Return the preset `build`, else an undeclared build.sh. Raise Wrong if the declaration cannot run."""
    definition = example.presets.get(BUILD)
    if BUILD not in example.presets and "build.sh" not in example.files:
        return None
    try:
        return presets.read(BUILD, definition, files=example.files)
    except Wrong as wrong:
        raise Wrong(f"needs the preset {BUILD} first, which {wrong.problem}", near=wrong.near) from None


def build_line(build: Preset) -> str:
    """Return the line of the setup that builds the example's image."""
    line = _plain(build, (), texts={})
    assigned = [f"{name}={shlex.quote(value)}" for name, value in build.env.items()]
    return " ".join(["env", *assigned, line]) if assigned else line


def _image_name(around: Around, build: Preset | None) -> str | None:
    """Return the tag of the build, else the declared image, else the example's name; None without an image."""
    example = around.example
    if build is not None:
        text = around.texts.get(build.script or "", build.command or "")
        return image.tagged(text, expected=example.image) or example.image or example.name.lower()
    return example.image


def _uses_docker(line: str, preset: Preset, texts: Mapping[str, str]) -> bool:
    return "docker " in line or bool(_RUNS_DOCKER.search(texts.get(preset.script or "", "")))


def without_an_end(preset: Preset) -> tuple[str, ...]:
    own = {*re.split(r"[-_]", preset.name.lower())}
    if own & _ENDS:
        return ()
    names = {*own, *re.split(r"[-_./]", (preset.script or "").lower())}
    if names & _NEVER_END or _STARTS_A_SERVER.match(preset.description):
        return (f"The preset {preset.name} probably never ends: it is stopped at max_runtime.",)
    return ()
