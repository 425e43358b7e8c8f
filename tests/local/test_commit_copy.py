"""The repository on the machine: git answers there as it does here, and holds no secret and no file contents."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cvl_ci.local.git.commit_copy import write_commit
from cvl_ci.local.git.git import Git
from tests.support.field import plant
from tests.support.git import GIT, git

TOKEN = "ghs_" + "x" * 36


def copied(root: Path, into: Path, *, folder: str = ".", without: tuple[str, ...] = ()) -> Path:
    """Stand-in for staging: the folder's files and the copy of HEAD beside them."""
    source = root / folder
    shutil.copytree(source, into, ignore=shutil.ignore_patterns(".git", *without))
    write_commit(git(root, "rev-parse", "HEAD"), git=Git(root, program=GIT), folder=folder, into=into)
    return into


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with two tags, and two commits after the second of them."""
    root = plant(tmp_path / "here", {"setup.py": "x = 1\n", "src/mylib/a.py": "a\n", "big.bin": "0" * 5000})
    git(root, "tag", "v1.0")
    for number in range(4):
        (root / "src" / "mylib" / "a.py").write_text(f"{number}\n")
        git(root, "commit", "-qam", f"change {number}")
        if number == 1:
            git(root, "tag", "-a", "v1.1", "-m", "the second")
    git(root, "remote", "add", "origin", f"https://x-access-token:{TOKEN}@github.com/us/mylib.git")
    return root


def test_git_answers_on_the_machine_as_it_does_here(root: Path, tmp_path: Path) -> None:
    there = copied(root, tmp_path / "there")
    for words in (
        ("rev-parse", "HEAD"),
        ("rev-parse", "--abbrev-ref", "HEAD"),
        ("describe", "--tags", "--long", "--dirty"),
        ("describe", "--dirty", "--tags", "--long", "--match", "*[0-9]*"),  # as setuptools_scm 8 asks
        ("status", "--porcelain"),
        ("log", "-1", "--format=%an %s"),
        ("rev-parse", "--show-prefix"),
    ):
        assert git(there, *words) == git(root, *words), words
    assert git(there, "describe", "--tags").startswith("v1.1-2-g")
    (there / "setup.py").write_text("x = 2\n")
    assert git(there, "status", "--porcelain") == "M setup.py"
    assert git(there, "describe", "--tags", "--dirty").endswith("-dirty")


def test_every_tag_of_a_commit_is_there(root: Path, tmp_path: Path) -> None:
    """setuptools_scm takes the one that looks like a version."""
    for name in ("v2.0", "latest", "nightly"):
        git(root, "tag", name)
    there = copied(root, tmp_path / "there")
    assert git(there, "tag", "--points-at", "HEAD") == git(root, "tag", "--points-at", "HEAD")
    words = ("describe", "--dirty", "--tags", "--long", "--match", "*[0-9]*")
    assert git(there, *words) == git(root, *words)


def test_a_change_that_goes_along_is_a_change_there_and_a_file_that_stays_is_not(root: Path, tmp_path: Path) -> None:
    (root / "setup.py").write_text("changed = True\n")
    there = copied(root, tmp_path / "there", without=("big.bin",))
    assert git(there, "status", "--porcelain") == "M setup.py"


def test_it_holds_no_token_no_contents_and_no_older_history(root: Path, tmp_path: Path) -> None:
    there = copied(root, tmp_path / "there")
    held = [path for path in (there / ".git").rglob("*") if path.is_file()]
    assert not [path for path in held if TOKEN.encode() in path.read_bytes()]
    assert git(there, "config", "remote.origin.url") == "https://github.com/us/mylib.git"
    kinds = git(there, "cat-file", "--batch-check=%(objecttype)", "--batch-all-objects").split()
    assert set(kinds) == {"commit", "tree", "tag"}
    assert (kinds.count("commit"), kinds.count("tag")) == (3, 1), "v1.1 and two after it"


def test_a_folder_of_the_repository_has_the_commit_too(root: Path, tmp_path: Path) -> None:
    there = copied(root, tmp_path / "there", folder="src")
    assert git(there, "rev-parse", "HEAD") == git(root, "rev-parse", "HEAD")
    assert git(there, "describe", "--tags") == git(root, "describe", "--tags")


def test_links_and_submodules_are_no_changes(root: Path, tmp_path: Path) -> None:
    (root / "link.py").symlink_to("setup.py")
    git(root, "add", "link.py")
    git(root, "update-index", "--add", "--cacheinfo", f"160000,{'a' * 40},vendored")
    git(root, "commit", "-qm", "a link and a submodule")
    there = copied(root, tmp_path / "there", without=("link.py",))
    shutil.copy(root / "setup.py", there / "link.py")  # as staging does
    assert git(there, "status", "--porcelain") == ""


@pytest.mark.parametrize("depth", [1, 2])
def test_a_shallow_checkout_without_tags(root: Path, tmp_path: Path, depth: int) -> None:
    """As actions/checkout makes it."""
    shallow = tmp_path / "shallow"
    subprocess.run([GIT, "clone", "-q", "--no-tags", f"--depth={depth}", f"file://{root}", str(shallow)], check=True)
    there = copied(shallow, tmp_path / "there")
    assert git(there, "rev-parse", "HEAD") == git(root, "rev-parse", "HEAD")
    assert git(there, "status", "--porcelain") == ""


def test_a_merge_after_the_tag(root: Path, tmp_path: Path) -> None:
    git(root, "checkout", "-qb", "side", "v1.0")
    (root / "side.py").write_text("s\n")
    git(root, "add", "side.py")
    git(root, "commit", "-qm", "side")
    git(root, "checkout", "-q", "-")
    git(root, "merge", "-q", "--no-edit", "side")
    there = copied(root, tmp_path / "there")
    assert git(there, "describe", "--tags", "--long", "--dirty") == git(root, "describe", "--tags", "--long", "--dirty")
    assert git(there, "rev-list", "--count", "HEAD") == "5", "the merge, two, one of the side, and the tagged one"
