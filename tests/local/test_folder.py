"""A folder that a person names: all of it goes along but what a rule leaves out, and each reason is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cvl_ci.errors import CvlError
from cvl_ci.local import folder_walk
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.planning.folder_files import FolderRule
from tests.support.field import plant
from tests.support.git import git

FILES = {
    ".gitignore": "build/\n*.whl\nkeys/\n",
    ".skyignore": "data/raw\n",
    "train.py": "x\n",
    "data/raw/huge.bin": "x\n",
    "data/tiny.csv": "1\n",
}
NEW = {
    "build/wheel.whl": "x\n",
    "scratch.py": "y\n",
    ".hidden": "z\n",
    ".venv/pyvenv.cfg": "home = /usr\n",
    ".venv/lib/site.py": "x\n",
    "__pycache__/train.pyc": "x\n",
    "keys/id_rsa": "-----BEGIN OPENSSH PRIVATE KEY-----\n",
    ".env": "TOKEN=x\n",
    "cvl-outputs/old.json": "{}\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = plant(tmp_path / "repository", FILES)
    for name, text in NEW.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def sent(
    root: Path, *, path: str = ".", include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> tuple[set[str], dict[str, str]]:
    """Return what goes along from a folder, and the reasons of what stays."""
    ignore = root / path / ".skyignore"
    rule = FolderRule(include=include, exclude=exclude, skyignore=ignore.read_text() if ignore.exists() else "")
    result = open_checkout(root).folder(path, rule)
    return {entry.path for entry in result.entries}, dict(result.reasons)


@pytest.mark.parametrize("has_git", [True, False])
def test_all_goes_but_what_a_rule_leaves_out(root: Path, tmp_path: Path, has_git: bool) -> None:
    if not has_git:
        (root / ".git").rename(tmp_path / "elsewhere")
    names, reasons = sent(root)
    expected = {*FILES, "build/wheel.whl", "scratch.py", ".hidden"} - {"data/raw/huge.bin"}
    assert names == expected
    assert set(reasons) - {".git/"} == {*(".venv/", "__pycache__/", "data/raw/", "cvl-outputs/", "keys/id_rsa", ".env")}
    assert (".git/" in reasons) == has_git
    assert "credentials" in reasons[".env"] and "credentials" in reasons["keys/id_rsa"]


def test_a_folder_that_git_ignores_is_sent(root: Path) -> None:
    assert sent(root, path="build")[0] == {"build/wheel.whl"}


def test_include_and_exclude_change_it(root: Path) -> None:
    names, reasons = sent(root, include=[".env", ".venv/lib/*.py"], exclude=["*.csv"])
    assert {".env", ".venv/lib/site.py"} <= names and "data/tiny.csv" not in names
    assert reasons["data/tiny.csv"] == "named by exclude" and ".venv/pyvenv.cfg" in reasons


def test_an_include_brings_no_repository_along(root: Path) -> None:
    """Its configuration may hold a token, also in a package that pip installed from git."""
    inner = root / ".venv" / "src" / "package"
    plant(inner, {"setup.py": "x\n"})
    names, reasons = sent(root, include=[".venv/src/**", "config"])
    assert ".venv/src/package/setup.py" in names
    assert not [name for name in names if ".git/" in name] and ".venv/src/package/.git/" in reasons


def test_what_git_tracks_goes_along_and_is_known_as_that(root: Path) -> None:
    git(root, "add", "-f", ".env")
    result = open_checkout(root).folder(".", FolderRule())
    assert ".env" in {entry.path for entry in result.entries}
    assert ".env" in result.tracked and "scratch.py" not in result.tracked


def test_a_submodule_goes_along_without_its_repository(root: Path) -> None:
    plant(root / "vendored", {"lib.py": "x\n"})
    git(root, "add", "vendored")
    names, reasons = sent(root)
    assert "vendored/lib.py" in names and "vendored/.git/" in reasons


def test_links_are_followed_inside_the_repository_alone(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret\n")
    (root / "work").mkdir()
    (root / "work" / "data").symlink_to("../data")
    (root / "work" / "one.py").symlink_to("../train.py")
    (root / "work" / "out").symlink_to(tmp_path / "outside")
    (root / "work" / "round").symlink_to("..")
    (root / "work" / "key").symlink_to("../keys/id_rsa")
    (root / "work" / "meta").symlink_to("../.git")
    (root / "work" / "config").symlink_to("../.git/config")
    names, reasons = sent(root, path="work")
    assert names == {"work/data/tiny.csv", "work/data/raw/huge.bin", "work/one.py"}
    assert {*reasons} == {"work/out", "work/round", "work/key", "work/meta", "work/config"}
    assert "credentials" in reasons["work/key"]


def test_too_many_files_are_refused_with_what_to_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_walk, "MOST_FILES", 3)
    with pytest.raises(CvlError, match="more than 3 files") as error:
        sent(root)
    assert "exclude" in str(error.value.next_step)


def test_at_another_commit_the_rule_is_the_same(root: Path) -> None:
    there = open_checkout(root).at("HEAD").folder(".", FolderRule(exclude=["*.csv"], skyignore="data/raw\n"))
    assert {entry.path for entry in there.entries} == {".gitignore", ".skyignore", "train.py"}
    assert set(there.reasons) == {"data/tiny.csv", "data/raw/huge.bin"}
