"""Which files are not those of the commit, however they came there; and nothing of the repository runs meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cvl_ci.errors import CvlError
from cvl_ci.local.git.committed import changed_files, sources_of, untracked_files
from cvl_ci.model.plan import FilePlan, RunPlan, WorkPlan
from cvl_ci.model.staged_files import Blob, StagedFile
from tests.support.git import git


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    for name in ("train.py", "other.py", "tool"):
        (root / name).write_text(name)
    (root / "link").symlink_to("train.py")
    (root / ".gitignore").write_text("*.cache\n")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return root


def staged_only(root: Path) -> None:
    (root / "train.py").write_text("patched")
    git(root, "add", "train.py")
    (root / "train.py").write_text("train.py")


def same_size_and_time(root: Path) -> None:
    before = (root / "train.py").stat()
    (root / "train.py").write_text("TRAIN.PY")
    os.utime(root / "train.py", ns=(before.st_atime_ns, before.st_mtime_ns))


PATCHES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: (root / "train.py").write_text("patched"),
    "content of one size, at one time": same_size_and_time,
    "staged": staged_only,
    "mode": lambda root: (root / "train.py").chmod(0o755),
    "gone": lambda root: (root / "train.py").unlink(),
    "a link": lambda root: (root / "link").replace(root / "train.py"),
}


@pytest.mark.parametrize("patch", PATCHES)
def test_a_patch_over_the_commit_is_named(root: Path, patch: str) -> None:
    assert changed_files(root) == []
    PATCHES[patch](root)
    assert "train.py" in changed_files(root)


def test_a_file_staged_for_another_commit_is_named(root: Path) -> None:
    (root / "new.py").write_text("x")
    assert changed_files(root) == []
    git(root, "add", "new.py")
    assert changed_files(root) == ["new.py"]


@pytest.mark.parametrize("name", ["mine", "a=b", "two words"])
def test_no_filter_of_the_repository_runs(root: Path, tmp_path: Path, name: str) -> None:
    (root / ".gitattributes").write_text(f"* filter={name}\n")
    for key in ("clean", "smudge", "process"):
        git(root, "config", f"filter.{name}.{key}", f"touch {tmp_path}/ran; cat")
    git(root, "config", f"filter.{name}.required", "true")
    git(root, "config", "core.fsmonitor", f"touch {tmp_path}/ran")
    (root / "train.py").write_text("patched!")
    (root / "other.py").touch()
    assert changed_files(root) == ["train.py"]
    assert not (tmp_path / "ran").exists()


def test_what_git_does_not_track_is_named_where_it_would_go_along(root: Path) -> None:
    for name in ("new.py", "data.cache", "folder/inner.py"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    every = [str(root / name) for name in ("train.py", "link", "new.py", "data.cache", "folder")]
    assert untracked_files(root, every) == ["data.cache", "folder/inner.py", "new.py"]
    assert untracked_files(root, [str(root / "train.py"), "/etc/hostname"]) == []
    assert untracked_files(root, [str(root)]) == ["data.cache", "folder/inner.py", "new.py"]


def test_a_submodule_below_a_mounted_folder_is_named(root: Path) -> None:
    git(root, "update-index", "--add", "--cacheinfo", f"160000,{'a' * 40},folder/module")
    (root / "folder").mkdir()
    assert untracked_files(root, [str(root / "folder")]) == ["folder/module"]


def test_the_sources_of_a_plan_are_its_files_and_its_mounts() -> None:
    mounts = {"/a": "/here/a", "/b": "s3://b", "/c": {"source": ["/here/c", "/here/d"]}, "/d": {"name": "bucket"}}
    files = (
        StagedFile(path="x", source="/here/x", bytes=1),
        StagedFile(path="y", source=Blob(root="/here", id="a"), bytes=1),
    )
    plan = RunPlan(title="t", files=FilePlan(staged=files), work=WorkPlan(task_extra={"file_mounts": mounts}))
    assert list(sources_of(plan)) == ["/here/x", "/here/a", "/here/c", "/here/d"]


def test_where_git_answers_nothing_nothing_is_known(tmp_path: Path) -> None:
    with pytest.raises(CvlError, match="git status failed"):
        changed_files(tmp_path)
