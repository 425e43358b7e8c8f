"""What is staged is what was wanted, byte for byte, and gone afterwards."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cvl_ci.errors import CvlError
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.local.git.commit_copy import IGNORE_NOTHING
from cvl_ci.local.staging import LocalStaging
from cvl_ci.model.staged_files import CommitCopy, StagedFile
from cvl_ci.ports import Staging
from tests.support.field import plant
from tests.support.git import git


def wanted(root: Path, *prefixes: str) -> list[StagedFile]:
    entries = open_checkout(root).files(*prefixes)
    return [StagedFile(path=entry.path, source=entry.source, bytes=entry.bytes) for entry in entries]


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_tracked_files_that_a_gitignore_names_arrive_byte_for_byte(tmp_path: Path) -> None:
    """The rule `data/*` hits at any depth: SkyPilot would drop every one of these."""
    files = {
        ".gitignore": "data/*\n*.bin\n",
        "examples/x/.gitignore": "requirements.txt\n",
        "examples/x/requirements.txt": "numpy\n",
        "examples/x/data/a.csv": "1,2\r\n",
        "cvlization/data/deep/er.py": "",
        "weights.bin": "\x00\ufeff\n",
    }
    root = plant(tmp_path / "repository", files)
    staging: Staging = LocalStaging(parent=tmp_path)
    with staging.staged(wanted(root, ".")) as folder:
        arrived = content(folder)
        assert arrived.pop(IGNORE_NOTHING).startswith(b"#")
        assert arrived == {path: text.encode() for path, text in files.items()}
    assert not folder.exists()


def test_permission_bits_are_kept_and_others_given_up(tmp_path: Path) -> None:
    root = plant(tmp_path / "x", {"run.sh": "x", "plain": "x", "odd": "x"}, git=False)
    (root / "run.sh").chmod(0o755)
    (root / "plain").chmod(0o644)
    (root / "odd").chmod(0o4750)
    with LocalStaging().staged(wanted(root, ".")) as folder:
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert (modes["run.sh"], modes["plain"], modes["odd"]) == (0o755, 0o644, 0o750)


def test_every_skyignore_is_a_comment_alone(tmp_path: Path) -> None:
    root = plant(tmp_path / "x", {".skyignore": "*\n", "a/.skyignore": "b\n", "a/b": "b"})
    with LocalStaging().staged(wanted(root, ".")) as folder:
        for path in (IGNORE_NOTHING, f"a/{IGNORE_NOTHING}"):
            assert all(line.startswith("#") for line in (folder / path).read_text().splitlines())
        assert (folder / "a/b").read_text() == "b"


def test_a_file_that_changed_or_vanished_meanwhile_is_an_error(tmp_path: Path) -> None:
    root = plant(tmp_path / "x", {"a": "one", "b": "two"}, git=False)
    files = wanted(root, ".")
    (root / "a").write_text("longer")
    with (
        pytest.raises(CvlError, match="changed during staging"),
        LocalStaging(parent=tmp_path).staged(files),
    ):
        pass
    (root / "a").unlink()
    with pytest.raises(CvlError, match="cannot be read now"), LocalStaging(parent=tmp_path).staged(files):
        pass
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("cvl-ci-")] == []


def test_a_file_that_became_a_link_or_a_pipe_is_not_followed(tmp_path: Path) -> None:
    root = plant(tmp_path / "x", {"a": "one"}, git=False)
    files = wanted(root, ".")
    (root / "a").unlink()
    (root / "a").symlink_to("/etc/hostname")
    with pytest.raises(CvlError, match="cannot be read"), LocalStaging().staged(files):
        pass
    (root / "a").unlink()
    os.mkfifo(root / "a")
    with pytest.raises(CvlError, match="cannot be read"), LocalStaging().staged(files):
        pass


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x"])
def test_nothing_is_staged_outside(tmp_path: Path, path: str) -> None:
    (tmp_path / "a").write_text("x")
    file = StagedFile(path=path, source=str(tmp_path / "a"), bytes=1)
    with pytest.raises(CvlError, match="is not a path inside"), LocalStaging().staged([file]):
        pass


def test_it_is_gone_when_what_it_was_for_fails(tmp_path: Path) -> None:
    root = plant(tmp_path / "x", {"a": "one"}, git=False)
    with pytest.raises(ZeroDivisionError), LocalStaging(parent=tmp_path).staged(wanted(root, ".")) as folder:
        _ = 1 / 0
    assert not folder.exists()


def test_the_commit_is_written_beside_the_files_and_a_missing_one_stops_nothing(tmp_path: Path) -> None:
    root = plant(tmp_path / "x", {"a/b.py": "x", "other.py": "x", ".skyignore": "other.py\n"})
    head = git(root, "rev-parse", "HEAD")
    copies = [
        CommitCopy(path=".", root=str(root), commit=head),
        CommitCopy(path="lost", root=str(root), commit="0" * 40),
    ]
    with LocalStaging().staged(wanted(root, "a"), commits=copies) as folder:
        assert git(folder, "rev-parse", "HEAD") == head
        assert git(folder, "status", "--porcelain") == ""
        assert not (folder / "lost" / ".git").exists()
