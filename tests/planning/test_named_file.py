"""The file that a plain command begins with: found only where nothing else could be meant."""

from __future__ import annotations

import pytest

from cvl_ci.planning.named_file import NamedFile, has_file, named_file


@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("python nope.py", "nope.py"),
        ("python3 -u ./src/nope.py --epochs 3", "src/nope.py"),
        ("python3.11 nope.py", "nope.py"),
        ("EPOCHS=3 python 'two words.py'", "two words.py"),
        ("python nope.py && echo done > log.txt", "nope.py"),
        ("python nope.py\necho done", "nope.py"),
        ("bash scripts/nope.sh", "scripts/nope.sh"),
        ("./nope.sh --fast", "nope.sh"),
    ],
)
def test_a_plain_command_names_its_file(command: str, path: str) -> None:
    assert named_file(command) == NamedFile(path=path, is_certain=True)


def test_a_shell_finds_a_bare_name_in_path_too() -> None:
    assert named_file("bash -e nope.sh") == NamedFile(path="nope.sh", is_certain=False)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "true",
        "python",
        "python -m package.train",
        "python -c 'print(1)'",
        "python -W ignore nope.py",
        "python -",
        "python nope.py || true",
        "python nope.py; true",
        "python $SCRIPT",
        "python *.py",
        "python <<EOF\nprint(1)\nEOF",
        "python /opt/nope.py",
        "python ../nope.py",
        "python ~/nope.py",
        "python .",
        "python ''",
        "python 'nope.py",
        "cd src && python nope.py",
        "git clone https://example.com/x x && python x/nope.py",
        "curl -O https://example.com/nope.py\npython nope.py",
        "torchrun nope.py",
        "bash -c nope.sh",
        "bash",
        "A=1",
    ],
)
def test_another_command_names_none(command: str) -> None:
    assert named_file(command) is None


def test_a_folder_is_a_program_of_python() -> None:
    assert has_file("package", {"package/__main__.py"})
    assert not has_file("pack", {"package/__main__.py"})
