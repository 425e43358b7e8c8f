"""A commit is read as a clean checkout of it would be, whatever the working tree holds by now."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.local.staging import LocalStaging
from cvl_ci.model.staged_files import StagedFile
from cvl_ci.ports import Checkout
from tests.support.field import plant, run_git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = plant(tmp_path / "repository")
    (root / "cvlization" / "tool").write_bytes(bytes(range(256)))
    (root / "cvlization" / "tool").chmod(0o755)
    for name, target in {"to-file": "README.md", "to-folder": "cvlization", "twice": "to-file", "lost": "gone"}.items():
        (root / name).symlink_to(target)
    (root / "out").symlink_to("/etc/hostname")
    (root / "round").symlink_to("round")
    (root / "examples" / "up").symlink_to("../cvlization/tool")
    run_git(root, "add", "-A")
    run_git(root, "commit", "-qm", "links")
    return root


def tree(checkout: Checkout, folder: Path, *prefixes: str) -> dict[str, tuple[bytes, int]]:
    """Path → content and mode of all that would go to a machine."""
    entries = checkout.files(*prefixes)
    files = [StagedFile(path=entry.path, source=entry.source, bytes=entry.bytes) for entry in entries]
    with LocalStaging(parent=folder).staged(files) as root:
        return {
            path.relative_to(root).as_posix(): (path.read_bytes(), path.stat().st_mode & 0o100)
            for path in root.rglob("*")
            if path.is_file()
        }


def test_it_is_what_a_clean_checkout_holds_byte_for_byte(repository: Path, tmp_path: Path) -> None:
    clean = open_checkout(repository)
    examples, files = clean.examples(), tree(clean, tmp_path, ".")
    behind = set(clean.left_behind("."))
    commit = clean.head
    (repository / "README.md").write_text("changed")
    (repository / "cvlization" / "tool").unlink()
    plant(repository, {"new/example.yaml": "name: new\n"})
    there = open_checkout(repository).at("HEAD~1")
    assert there.head == commit
    assert list(there.examples()) == list(examples)
    assert tree(there, tmp_path, ".") == files
    assert set(there.left_behind(".")) == behind == {"lost", "out", "round"}
    assert there.read("README.md", limit=3) == files["README.md"][0][:3]
    assert there.read("twice", limit=100) == files["README.md"][0]
    assert (repository / "README.md").read_text() == "changed"


def test_a_folder_of_it_is_that_folder(repository: Path, tmp_path: Path) -> None:
    there = open_checkout(repository).at("HEAD")
    result = tree(there, tmp_path, "to-folder", "examples/up")
    assert sorted(result) == [
        ".skyignore",
        "examples/up",
        "to-folder/__init__.py",
        "to-folder/data/tiny.py",
        "to-folder/tool",
    ]
    assert there.files("examples/visio") == []


def test_where_this_checkout_left_a_branch_counts_not_its_tip(repository: Path) -> None:
    start = open_checkout(repository).head
    run_git(repository, "branch", "ours")
    plant(repository, {"theirs": "x"})
    run_git(repository, "branch", "theirs")
    run_git(repository, "checkout", "-q", "ours")
    plant(repository, {"mine": "x"})
    assert open_checkout(repository).at("theirs").head == start


def test_what_is_not_there_cannot_be_read(repository: Path) -> None:
    there = open_checkout(repository).at("HEAD")
    for path in ("nowhere", "cvlization", "lost", "out"):
        with pytest.raises(OSError):
            there.read(path, limit=10)


def test_no_commit_no_git_and_words_like_options_are_refused(repository: Path, tmp_path: Path) -> None:
    for ref in ("nowhere", "--help", "-x", "HEAD:README.md", ""):
        with pytest.raises(Wrong, match="not a commit here"):
            open_checkout(repository).at(ref)
    (tmp_path / "plain").mkdir()
    with pytest.raises(Wrong, match="no git repository"):
        open_checkout(tmp_path / "plain").at("HEAD")


def test_git_runs_nothing_of_the_repository(repository: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    script = tmp_path / "filter"
    script.write_text(f"#!/bin/sh\ntouch {ran}\ncat\n")
    script.chmod(0o755)
    (repository / ".gitattributes").write_text("* filter=x\n")
    run_git(repository, "add", ".gitattributes")
    run_git(repository, "commit", "-qm", "attributes")
    run_git(repository, "config", "filter.x.smudge", str(script))
    run_git(repository, "config", "filter.x.clean", str(script))
    assert "README.md" in tree(open_checkout(repository).at("HEAD"), tmp_path, ".")
    assert not ran.exists()
