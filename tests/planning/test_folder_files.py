"""Which files of a folder go to the machine: a table of cases for the pure rule."""

from __future__ import annotations

import pytest

from cvl_ci.planning.folder_files import EXCLUDED, IGNORED, REPOSITORY, VIRTUAL_ENVIRONMENT, FolderRule


@pytest.mark.parametrize(
    ("lines", "path", "stays"),
    [
        ("data", "data/a.csv", True),
        ("data", "src/data/a.csv", True),
        ("/data", "src/data/a.csv", False),
        ("/data/", "data/a.csv", True),
        ("*.bin", "deep/er/x.bin", True),
        ("a/b", "x/a/b/c", True),
        ("/a/*.bin", "a/x.bin", True),
        ("/a/*.bin", "a/b/x.bin", False),
        ("# data", "data/a", False),
        ("data\n!data/keep.csv", "data/keep.csv", False),
        ("", "anything", False),
    ],
)
def test_a_skyignore_means_what_skypilot_takes_it_for(lines: str, path: str, stays: bool) -> None:
    assert FolderRule(skyignore=lines).reason(path) == (IGNORED if stays else None)


@pytest.mark.parametrize(
    ("path", "names", "reason"),
    [
        (".git", {"HEAD"}, REPOSITORY),
        ("vendored/.git", {"HEAD"}, REPOSITORY),
        (".venv", {"pyvenv.cfg", "bin"}, VIRTUAL_ENVIRONMENT),
        ("any/name", {"conda-meta"}, VIRTUAL_ENVIRONMENT),
        ("venv", {"requirements.txt"}, None),
        (".mypy_cache", {"CACHEDIR.TAG", "3.11"}, "a cache"),
        ("src/__pycache__", set(), "byte code"),
        ("cvl-outputs", set(), "outputs of earlier runs"),
        ("data", {"a"}, EXCLUDED),
        ("src", {"a"}, None),
    ],
)
def test_a_folder_stays_as_a_whole(path: str, names: set[str], reason: str | None) -> None:
    assert FolderRule(exclude=["data"]).reason_for_folder(path, names) == reason


def test_include_names_files_that_go_all_the_same() -> None:
    rule = FolderRule(include=["data/tiny.csv", "*.env"], exclude=["data"])
    assert [rule.includes(path) for path in ("data/tiny.csv", "a/b.env", "data/big.csv")] == [True, True, False]
    assert rule.has_includes and not FolderRule().has_includes
