"""Shell completion, tried in the shells themselves: what a person types, and which words the shell then offers."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvl_ci.inputs.completion.scripts import SHELLS
from tests.conftest import in_ci

PROGRAM = Path(sys.executable).parent / "cvl-ci"
HOSTILE = "$(touch run-by-the-shell)"

LINES = {
    "cvl-ci sta": {"status"},
    "cvl-ci sandbox in": {"interrupt"},
    "cvl-ci sandbox faults --api-down ": {"closed", "503"},
    "cvl-ci run --js": {"--json-summary"},
    "cvl-ci plan --js": {"--json"},
    "cvl-ci run --cloud sand": {"sandbox"},
    "cvl-ci run --cloud aws,sand": {"aws,sandbox"},
    "cvl-ci plan --gpu A100-80GB-": {"A100-80GB-SXM"},
    "cvl-ci run --spot f": {"false", "fallback"},
    "cvl-ci drill --phase set": {"setup"},
    "cvl-ci drill --kill SIGK": {"SIGKILL"},
    "cvl-ci plan --region eu-north": {"eu-north-1"},
    "cvl-ci run --gpu L4 mod": {"models/tiny"},
    "cvl-ci down cvl-1": {"cvl-1-aaaa"},
    "cvl-ci plan --compare v1": {"v1.2"},
    "cvl-ci completion z": {"zsh"},
    "cvl-ci schema exa": {"example.yaml"},
    "cvl-ci run --command x --max-runtime ": set(),
    "cvl-ci run --checkpoint-to r": {"runner"},
    "cvl-ci queue models/tiny/ex": {"models/tiny/example.yaml"},
    "cvl-ci queue F": set(),
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        result = subprocess.run([PROGRAM, "completion", shell], capture_output=True, text=True, check=True, timeout=60)
        (folder / shell).write_text(result.stdout, encoding="utf-8")
    return {shell: folder / shell for shell in SHELLS}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with two examples, one of a hostile name, a tag, and a record of a lease."""
    for name in ("models/tiny", f"hostile/{HOSTILE}"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "example.yaml").touch()
    record = tmp_path / "home/.local/state/cvl-ci/leases/cvl-1-aaaa.json"
    record.parent.mkdir(parents=True)
    record.touch()
    git = ["git", "-c", "user.name=x", "-c", "user.email=x", "-C", str(tmp_path)]
    for words in (["init", "-q"], ["add", "models"], ["commit", "-qm", "x"], ["tag", "v1.2"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    return tmp_path


def program(shell: str) -> str:
    path = shutil.which(shell)
    if path is None and not in_ci():
        pytest.skip(f"no {shell} is installed: script/bootstrap --with-peers installs one")
    assert path is not None, f"no {shell} is installed"
    return path


def environment(checkout: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(checkout / "home"), "TERM": "dumb", "LANG": "C.UTF-8"}


def offered(words: list[str], checkout: Path) -> set[str]:
    result = subprocess.run(
        words, cwd=checkout, env=environment(checkout), capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, result.stderr) == (0, "")
    return {line.partition("\t")[0].rstrip() for line in result.stdout.splitlines() if line}


def by_bash(script: Path, checkout: Path, line: str) -> set[str]:
    """Call the function as readline does: the words so far, `=` among them, and the place of the cursor."""
    words = re.findall(r"=|[^\s=]+", line) + [""] * line.endswith((" ", "="))
    array = f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}"
    call = f'. {shlex.quote(str(script))}; {array}; _cvl_ci; printf "%s\\n" "${{COMPREPLY[@]}}"'
    return offered([program("bash"), "--norc", "-c", call], checkout)


@pytest.mark.parametrize("line", LINES)
def test_bash_offers(scripts: dict[str, Path], checkout: Path, line: str) -> None:
    assert by_bash(scripts["bash"], checkout, line) == LINES[line]


def test_bash_offers_files_and_folders(scripts: dict[str, Path], checkout: Path) -> None:
    assert by_bash(scripts["bash"], checkout, "cvl-ci run --outputs-dir mo") == {"models"}
    assert by_bash(scripts["bash"], checkout, "cvl-ci run --task=models/tiny/ex") == {"models/tiny/example.yaml"}
    assert by_bash(scripts["bash"], checkout, "cvl-ci run models/tiny train -- mo") == {"models"}


def test_a_hostile_name_is_offered_as_a_word_and_never_run(scripts: dict[str, Path], checkout: Path) -> None:
    [word] = by_bash(scripts["bash"], checkout, "cvl-ci run hostile")
    assert shlex.split(word) == [f"hostile/{HOSTILE}"]
    assert not list(checkout.rglob("run-by-the-shell"))


@pytest.mark.peers
@pytest.mark.parametrize("line", LINES)
def test_fish_offers(scripts: dict[str, Path], checkout: Path, line: str) -> None:
    call = f"source {shlex.quote(str(scripts['fish']))}; complete -C {shlex.quote(line)}"
    assert offered([program("fish"), "--no-config", "-c", call], checkout) == LINES[line]


class Shell:
    """A shell on a terminal of its own, as a person has it."""

    def __init__(self, words: list[str], checkout: Path) -> None:
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(checkout)
            os.execve(words[0], words, environment(checkout))

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def read_until(self, text: str) -> None:
        """Read the output up to this text. Fail after a minute without it."""
        output, end = "", time.monotonic() + 60
        while text not in output:
            readable, _, _ = select.select([self._terminal], [], [], max(0.0, end - time.monotonic()))
            assert readable, f"{text!r} did not come: {output!r}"
            output += os.read(self._terminal, 65536).decode(errors="replace")

    def close(self) -> None:
        os.close(self._terminal)
        os.waitpid(self._pid, 0)


@pytest.fixture
def interactive(request: pytest.FixtureRequest, scripts: dict[str, Path], checkout: Path) -> Iterator[Shell]:
    name: str = request.param
    options = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}[name]
    shell = Shell([program(name), *options], checkout)
    shell.type({"bash": "", "zsh": "autoload -U compinit; compinit -u; unsetopt zle_bracketed_paste; "}[name])
    shell.type(f". {scripts[name]}; echo load''ed\r")
    shell.read_until("loaded")
    yield shell
    shell.close()


TYPED = {
    "cvl-ci stat": ["status"],
    "cvl-ci run --cloud sandb": ["run", "--cloud", "sandbox"],
    "cvl-ci run --cloud aws,sandb": ["run", "--cloud", "aws,sandbox"],
    "cvl-ci run --gpu L4 mod": ["run", "--gpu", "L4", "models/tiny"],
    "cvl-ci sandbox inter": ["sandbox", "interrupt"],
    "cvl-ci drill --kill SIGK": ["drill", "--kill", "SIGKILL"],
    "cvl-ci plan --compare v1": ["plan", "--compare", "v1.2"],
    "cvl-ci run hosti": ["run", f"hostile/{HOSTILE}"],
}


@pytest.mark.parametrize(
    "interactive", ["bash", pytest.param("zsh", marks=pytest.mark.peers)], indirect=True, ids=["bash", "zsh"]
)
def test_the_tab_key_completes_the_line(interactive: Shell, checkout: Path) -> None:
    """After the tab key the line gets `printf` before it, so that the shell itself prints which words it holds."""
    for arguments, words in TYPED.items():
        interactive.type(f"{arguments}\t\x01printf '<%s>' \r")
        interactive.read_until("".join(f"<{word}>" for word in ["cvl-ci", *words]))
    assert not list(checkout.rglob("run-by-the-shell"))


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_free_of_mistakes_where_its_shell_can_say_so(scripts: dict[str, Path], shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} is installed, so its script was NOT checked")
    result = subprocess.run([shell, "-n", scripts[shell]], capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


def test_every_option_of_every_verb_is_in_every_script(scripts: dict[str, Path]) -> None:
    from cvl_ci.inputs import command_line
    from cvl_ci.inputs.completion import vocabulary
    from cvl_ci.sandbox.command import add_arguments

    every = dict(vocabulary.walk(vocabulary.read(command_line.build(sandbox=add_arguments))))
    assert {("run",), ("sandbox", "up"), ("completion",)} <= set(every)
    for path in scripts.values():
        text = path.read_text(encoding="utf-8")
        for verb in every.values():
            for option in verb.options:
                assert all(flag.lstrip("-") in text for flag in option.flags)


@pytest.mark.parametrize(("line", "problem"), [([], "is missing"), (["bsh"], "Did you mean bash"), (["a", "b"], "a b")])
def test_another_shell_is_a_wrong_request(line: list[str], problem: str) -> None:
    result = subprocess.run([PROGRAM, "completion", *line], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 64
    assert problem in result.stderr
