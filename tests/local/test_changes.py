"""The paths that changed, asked of a git whose repository names a program wherever git allows one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvl_ci.local.git.changes import ancestors, changed_paths
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.local.git.commit_copy import write_commit
from cvl_ci.local.git.committed import changed_files, untracked_files
from cvl_ci.local.git.git import Git
from tests.support.git import git

SETTINGS = {
    **{f"filter.{name}.{key}": "cat" for name in ("mine", "a=b") for key in ("clean", "smudge", "process")},
    "diff.mine.command": "true",
    "diff.mine.textconv": "cat",
    "diff.external": "true",
    "core.fsmonitor": "true",
    "core.sshCommand": "false",
    "core.alternateRefsCommand": "true",
    "core.gitProxy": "false",
    "credential.helper": "!false",
    "core.pager": "cat",
    "gpg.program": "false",
    "remote.origin.uploadpack": "false",
    "log.showSignature": "true",
}
"""Of git-config(1): each names a program, or lets git call one. The values end as the real programs would."""


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    return tmp_path / "ran"


def arm(root: Path, ran: Path) -> None:
    """Let each setting leave its name in a folder when git obeys it."""
    ran.mkdir(exist_ok=True)
    for name, ending in SETTINGS.items():
        program = ran.parent / f"program-{name}".replace("=", "-")
        program.write_text(f"#!/bin/sh\ntouch '{ran}/{name}'\n{ending.removeprefix('!')}\n")
        program.chmod(0o755)
        is_program = name != "log.showSignature"
        git(root, "config", name, ("!" if ending.startswith("!") else "") + (str(program) if is_program else ending))


@pytest.fixture
def root(tmp_path: Path, ran: Path) -> Path:
    """A checkout with a submodule. Each tracked file has a filter and a driver, and is newer than git's index."""
    inner = tmp_path / "inner"
    for folder in (inner, tmp_path / "root"):
        folder.mkdir()
        git(folder, "init", "-q", "-b", "main")
        (folder / "train.py").write_text("first\n")
        (folder / "other.py").write_text("same\n")
        (folder / ".gitattributes").write_text("*.py filter=mine diff=mine\nother.py filter=a=b\n")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", "first")
    root = tmp_path / "root"
    git(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "module")
    git(root, "commit", "-qm", "module")
    for folder in (root, root / "module"):
        arm(folder, ran)
        (folder / "train.py").write_text("other\n")
        (folder / "other.py").touch()
    return root


def test_no_program_of_the_repository_or_of_a_submodule_runs(root: Path, ran: Path, tmp_path: Path) -> None:
    assert changed_paths(root, since="HEAD~1") == [".gitmodules", "module", "train.py"]
    assert changed_files(root) == ["train.py"]
    assert untracked_files(root, [str(root)]) == ["module"]
    assert len(ancestors(root, of="HEAD")) == 2
    for checkout in (open_checkout(root), open_checkout(root).at("HEAD~1")):
        assert {entry.path for entry in checkout.files(".")} >= {"train.py", "other.py"}
        assert checkout.read("other.py", limit=99) == b"same\n"
        checkout.left_behind(".")
    own = Git.at(root, need="this test needs it")
    (tmp_path / "copy").mkdir()
    write_commit(own.commit_of("HEAD"), git=own, folder=".", into=tmp_path / "copy")
    assert sorted(path.name for path in ran.iterdir()) == []


@pytest.mark.parametrize("address", ["ext::sh -c 'touch {ran}/ext'", "ssh://nowhere.invalid/x", "{path}"])
def test_a_partial_clone_runs_nothing_to_fetch_what_it_lacks(
    root: Path, ran: Path, tmp_path: Path, address: str
) -> None:
    lacking = git(root, "rev-parse", "HEAD:train.py")
    (root / ".git/objects" / lacking[:2] / lacking[2:]).unlink()
    git(root, "config", "protocol.ext.allow", "always")
    git(root, "config", "remote.origin.url", address.format(ran=ran, path=tmp_path / "inner"))
    git(root, "config", "remote.origin.promisor", "true")
    git(root, "config", "extensions.partialClone", "origin")
    git(root, "config", "core.repositoryFormatVersion", "1")
    assert not Git.at(root, need="this test needs it").run("cat-file", "blob", lacking).is_success
    assert sorted(path.name for path in ran.iterdir()) == []


def test_a_bare_repository_among_the_files_is_none(root: Path) -> None:
    """Git would take its configuration where a command starts in it."""
    git(root, "init", "-q", "--bare", "planted")
    assert not Git.at(root / "planted", need="this test needs it").run("rev-parse", "--git-dir").is_success


def test_another_commit_of_a_submodule_is_a_change(root: Path) -> None:
    git(root / "module", "-c", "core.fsmonitor=false", "commit", "--allow-empty", "-qm", "second")
    assert changed_paths(root, since="HEAD") == ["module", "train.py"]
