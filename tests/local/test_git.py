"""The one class that runs git: its limits, its environment and its answers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cvl_ci.errors import CvlError
from cvl_ci.local.git import git as git_module
from cvl_ci.local.git.git import Git


def program(folder: Path, script: str) -> Git:
    """A git that does this instead."""
    path = folder / "git"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return Git(folder, program=str(path), seconds=20.0)


def test_a_git_that_hangs_ends_at_its_time_limit(tmp_path: Path) -> None:
    git = program(tmp_path, "exec sleep 600")
    hanging = Git(tmp_path, program=str(tmp_path / "git"), seconds=0.2)
    with pytest.raises(CvlError, match=r"git fetch took longer than 0\.2 s"):
        hanging.run("fetch")
    with pytest.raises(CvlError, match="took longer"):
        hanging.read("fetch")
    assert git.root == tmp_path


def test_more_output_than_allowed_is_an_error_and_no_part_of_it_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_module, "MOST_BYTES", 1000)
    git = program(tmp_path, "head -c 1001 /dev/zero")
    with pytest.raises(CvlError, match="printed 1001 bytes"):
        git.run("ls-files")


def test_a_long_complaint_is_cut(tmp_path: Path) -> None:
    answer = program(tmp_path, "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 3").run("push")
    assert (answer.code, answer.is_success, len(answer.errors)) == (3, False, git_module.MOST_ERROR_BYTES)


def test_git_gets_its_input_and_only_its_own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    git = program(tmp_path, "cat; env")
    text = git.run("mktree", stdin=b"question\n", environ={"GIT_AUTHOR_NAME": "cvl-ci"}).text
    assert text.startswith("question\n")
    assert {"GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=cvl-ci"} <= {*text.splitlines()}
    assert "hf_secret" not in text
    assert "GIT_DIR" not in text


def test_a_blob_is_read_to_its_limit_and_copied_whole(tmp_path: Path) -> None:
    git = Git.at(tmp_path, need="this test needs it")
    assert git.run("init", "--quiet").is_success
    name = git.run("hash-object", "-w", "--stdin", stdin=b"0123456789").text.strip()
    assert git.blob(name, limit=4) == b"0123"
    with (tmp_path / "copy").open("xb") as file:
        assert git.copy_blob(name, file) == 10
    assert (tmp_path / "copy").read_bytes() == b"0123456789"
    assert git.commit_of("HEAD") == ""
    with pytest.raises(CvlError, match="git cat-file failed"):
        git.blob("f" * 40)


def test_no_hook_of_the_repository_runs(tmp_path: Path) -> None:
    git = Git.at(tmp_path, need="this test needs it")
    git.read("init", "--quiet")
    hook = tmp_path / ".git" / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    hook.chmod(0o755)
    who = {f"GIT_{role}_{what}": "x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    tree = git.run("mktree").text.strip()
    commit = git.run("commit-tree", tree, "-m", "x", environ=who).text.strip()
    git.read("update-ref", "refs/heads/x", commit)
    assert not (tmp_path / "hooked").exists()
    subprocess.run(["git", "-C", str(tmp_path), "update-ref", "refs/heads/y", commit], check=True)
    assert (tmp_path / "hooked").exists(), "the hook is one that git runs"
