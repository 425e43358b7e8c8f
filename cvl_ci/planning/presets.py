"""Read one preset in any form of example.yaml: a script with arguments and environment, or a command. Pure."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cvl_ci.inputs import sendable_text, variables
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.suggest import folded, similar

BUILD = "build"
_UNDECLARED = (BUILD, "train", "predict", "run")
_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<value>.*)", re.DOTALL)
_INTERPRETERS = ("bash", "sh", "python", "python3")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One preset. `script`: a file of the example, relative to it. `docker` False: it runs on the machine itself."""

    name: str
    script: str | None = None
    args: tuple[str, ...] = ()
    command: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    docker: bool = True
    description: str = ""


def mentioned(presets: object) -> set[str]:
    """Return the scripts that presets name."""
    by_name = declared(presets, files=())
    scripts: set[str] = set()
    for name, one in by_name.items():
        form = one if isinstance(one, Mapping) else {"script": one}
        words = re.split(r"[\s\[\]',]+", str(form.get("script") or form.get("command") or f"{name}.sh"))
        scripts |= {posixpath.normpath(word) for word in words if word.endswith((".sh", ".py"))}
    return scripts


def declared(presets: object, *, files: Collection[str]) -> dict[str, object]:
    """Return name → declaration. Without declarations, the scripts with the usual names are the presets."""
    if isinstance(presets, Mapping):
        return {str(name): definition for name, definition in presets.items()}
    if isinstance(presets, Sequence) and not isinstance(presets, str):
        return dict(_entry(entry) for entry in presets)
    return {name: None for name in _UNDECLARED if f"{name}.sh" in files}


def commands(presets: Mapping[str, object]) -> str:
    """Return the commands of all presets, a line each, for a reader of commands."""
    lines = []
    for definition in presets.values():
        form = definition if isinstance(definition, Mapping) else {"script": definition}
        for key in ("script", "command", "args"):
            value = form.get(key) or ""
            words = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
            lines.append(" ".join(map(str, words)))
        lines += [f"{name}={value}" for name, value in _mapping(form.get("env")).items()]
    return "\n".join(lines)


def missing(presets: Mapping[str, object]) -> str:
    """Return the problem of a request without a preset that needs one."""
    if presets:
        return f"needs a preset: {', '.join(presets)}"
    scripts = ", ".join(f"{name}.sh" for name in _UNDECLARED)
    return f"needs a preset, and has none: its example.yaml declares none, and none of {scripts} is there"


def find(words: str, presets: Mapping[str, object], *, example: str) -> str:
    """Return the preset that the user means, with any mix of `-`, `_` and case.

    Raises Wrong with the existing presets.
    """
    if words in presets:
        return words
    alike = [name for name in presets if folded(name) == folded(words)]
    if len(alike) == 1:
        return alike[0]
    existing = f"it has {', '.join(presets)}" if presets else "it has none"
    raise Wrong(f"is not a preset of {example}: {existing}", near=similar(words, presets))


def only(presets: Mapping[str, object]) -> str | None:
    """Return the preset to run if the user names none: the only one, not counting `build`."""
    names = [name for name in presets if name != BUILD] or list(presets)
    return names[0] if len(names) == 1 else None


def read(name: str, definition: object, *, files: Collection[str]) -> Preset:
    """Read a preset. Raises Wrong if its script is not a file, or its form is unknown."""
    form = _form(definition)
    env, script, words = _script(form.get("script"), name=name, files=files)
    command = _command(form.get("command"))
    if script is None and command is None:
        raise Wrong(f"has neither a script nor a command, and there is no {name}.sh")
    if form.get("script") is None and command and not _is_file(f"{name}.sh", files):
        script = None
    alone = _lone_script(command, files) if script is None else None
    args = (*words, *_args(form.get("args")))
    for text in (command or "", *args):
        if problem := sendable_text.problem_of(text):
            raise Wrong(problem)
    return Preset(
        name=name,
        script=script or alone,
        command=None if alone else command,
        args=args,
        env=_environment({**env, **_mapping(form.get("env"))}),
        docker=form.get("docker") is not False,
        description=str(form.get("description") or "").strip(),
    )


def _form(definition: object) -> Mapping[str, Any]:
    """Return a mapping unchanged, a list as a script with arguments, text as a script, and nothing as `{name}.sh`."""
    if isinstance(definition, Mapping):
        return definition
    if isinstance(definition, Sequence) and not isinstance(definition, str):
        return {"script": shlex.join(str(word) for word in definition)} if definition else {}
    if definition is None or isinstance(definition, str):
        return {"script": definition}
    raise Wrong(f"is declared as {definition!r}, which is neither a script nor a mapping")


def _script(
    definition: object, *, name: str, files: Collection[str]
) -> tuple[dict[str, str], str | None, tuple[str, ...]]:
    """Split `PORT=8050 serve.sh -- --stage x` into environment, file and arguments."""
    if definition is None:
        file = f"{name}.sh"
        return {}, (file if _is_file(file, files) else None), ()
    words = _split(definition)
    env = {}
    while words and (assigned := _ASSIGNMENT.fullmatch(words[0])):
        env[assigned["name"]] = assigned["value"]
        words = words[1:]
    if len(words) > 1 and words[0] in _INTERPRETERS and _is_file(words[1], files):
        words = words[1:]
    if not words:
        raise Wrong(f"has the script {str(definition)!r}, which names no file")
    if not _is_file(words[0], files):
        scripts = [path for path in files if path.endswith((".sh", ".py"))]
        raise Wrong(f"runs {words[0]!r}, which is not a file of the example", near=similar(words[0], scripts))
    rest = words[1:]
    if rest[:1] == ["--"]:
        rest = rest[1:]
    return env, posixpath.normpath(words[0]), tuple(rest)


def _lone_script(command: str | None, files: Collection[str]) -> str | None:
    """Return the script of a command such as `./build.sh`, which then also runs without the run bit."""
    if command and not re.search(r"\s", command) and _is_file(command, files):
        return posixpath.normpath(command)
    return None


def _entry(entry: object) -> tuple[str, object]:
    """Read `- train`, `- name: train`, `- train: {...}`."""
    if isinstance(entry, Mapping):
        if "name" in entry:
            return str(entry["name"]), {key: value for key, value in entry.items() if key != "name"}
        if len(entry) == 1:
            name, definition = next(iter(entry.items()))
            return str(name), definition
    return str(entry), None


def _split(text: object) -> list[str]:
    if not isinstance(text, str):
        raise Wrong(f"has the script {text!r}, which is not text")
    try:
        return shlex.split(text)
    except ValueError as error:
        raise Wrong(f"has the script {text!r}: {str(error).lower()}") from None


def _args(value: object) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise Wrong(f"has the arguments {value!r}: {str(error).lower()}") from None
    elif isinstance(value, Sequence):
        words = [_text(word) for word in value]
    else:
        words = [str(value)]
    return words[1:] if words[:1] == ["--"] else words


def _command(value: object) -> str | None:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return shlex.join(str(word) for word in value) or None
    return value.strip() or None if isinstance(value, str) else None


def _is_file(path: str, files: Collection[str]) -> bool:
    return posixpath.normpath(path) in files


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _environment(values: Mapping[str, Any]) -> dict[str, str]:
    try:
        return variables.environment({str(key): _text(value) for key, value in values.items()})
    except Wrong as wrong:
        problems = [f"has env {one.display}, which {one.problem}" for one in (wrong, *wrong.further)]
        raise Wrong("; ".join(problems)) from None


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
