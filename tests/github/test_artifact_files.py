"""What goes into an artifact and under which names: nothing hidden, nothing from outside, nothing twice."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from cvl_ci.github.artifacts.name import REPORT, artifact_name, artifact_stem, entry_name
from cvl_ci.github.artifacts.zip_stream import HIDDEN, OUTSIDE, choose, write_zip
from cvl_ci.result.matrix.source import step_of


def zipped(root: Path, *paths: str) -> dict[str, bytes]:
    into = io.BytesIO()
    assert write_zip(into, root, choose(root, paths or (".",)).files) == {}
    with zipfile.ZipFile(into) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "sub" / "b.txt").write_text("b")
    (tmp_path / "secret").write_text("of another")
    return root


def test_all_files_below_a_folder_are_in_it(root: Path) -> None:
    assert zipped(root) == {"a.txt": b"a", "sub/b.txt": b"b"}
    assert zipped(root, "sub") == {"sub/b.txt": b"b"}


def test_a_file_named_twice_is_in_it_once(root: Path) -> None:
    assert zipped(root, "sub", "sub/b.txt", "./sub") == {"sub/b.txt": b"b"}


def test_hidden_files_and_folders_are_left_out(root: Path) -> None:
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("a token")
    (root / ".env").write_text("a token")
    (root / "shown").symlink_to(".env")
    chosen = choose(root, [".", ".env", ".git"])
    assert set(chosen.files) == {"a.txt", "sub/b.txt"}
    assert {chosen.left_out[path] for path in (".env", ".git", "shown")} == {HIDDEN}


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", ".."])
def test_links_out_of_the_root_are_left_out(root: Path, target: str) -> None:
    (root / "link").symlink_to(target)
    (root / "sub" / "deep").symlink_to(Path("..") / target if not target.startswith("/") else target)
    chosen = choose(root, ["."])
    assert set(chosen.files) == {"a.txt", "sub/b.txt"}
    assert chosen.left_out["link"] == OUTSIDE


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "sub/../../secret"])
def test_paths_out_of_the_root_are_left_out(root: Path, path: str) -> None:
    chosen = choose(root, [path])
    assert chosen.files == {} and set(chosen.left_out.values()) == {OUTSIDE}


def test_a_link_inside_the_root_stands_for_its_content(root: Path) -> None:
    (root / "latest").symlink_to("sub/b.txt")
    assert zipped(root)["latest"] == b"b"


def test_a_ring_of_links_is_not_walked(root: Path) -> None:
    (root / "sub" / "ring").symlink_to(root)
    assert set(zipped(root)) == {"a.txt", "sub/b.txt"}


def test_a_file_that_becomes_a_link_out_of_the_root_after_it_was_chosen_is_not_read(root: Path) -> None:
    chosen = choose(root, ["."])
    (root / "a.txt").unlink()
    (root / "a.txt").symlink_to("../secret")
    (root / "sub" / "b.txt").unlink()
    (root / "sub").rmdir()
    (root / "sub").symlink_to(root.parent)
    (root.parent / "b.txt").write_text("of another")
    into = io.BytesIO()
    assert set(write_zip(into, root, chosen.files)) == {"a.txt", "sub/b.txt"}
    assert b"of another" not in into.getvalue()


def test_pipes_and_vanished_files_are_left_out(root: Path) -> None:
    os.mkfifo(root / "pipe")
    chosen = choose(root, [".", "gone"])
    assert {"pipe", "gone"} == set(chosen.left_out)
    (root / "a.txt").unlink()
    assert set(write_zip(io.BytesIO(), root, chosen.files)) == {"a.txt"}


def test_modes_are_kept_and_links_and_set_uid_bits_are_none(root: Path) -> None:
    (root / "a.txt").chmod(0o4755)
    into = io.BytesIO()
    write_zip(into, root, choose(root, ["a.txt"]).files)
    with zipfile.ZipFile(into) as archive:
        assert archive.infolist()[0].external_attr >> 16 == 0o100755


def test_names_in_the_zip_hold_nothing_forbidden_and_stay_different(root: Path) -> None:
    for name in ("x:y", "x?y", "x\ny", "x\\y", os.fsdecode(b"x\xffy")):
        (root / name).write_text(name, errors="surrogateescape")
    names = set(zipped(root)) - {"a.txt", "sub/b.txt"}
    assert names == {"x_y", "x_y_2", "x_y_3", "x_y_4", "x_y_5"}


def test_an_entry_never_takes_a_name_that_is_taken() -> None:
    taken = {"a_b_2"}
    assert [entry_name(item, used_names=taken) for item in ("a:b", "a?b", "a*b")] == ["a_b", "a_b_3", "a_b_4"]


FORBIDDEN = ['a"b', "a:b", "a<b", "a>b", "a|b", "a*b", "a?b", "a\rb", "a\nb", "a\\b", "a/b", "", "..", "x" * 500]


@pytest.mark.parametrize("name", [*FORBIDDEN, "\u202egnp.exe", "\x1b[31m", "\ud800"])
def test_an_artifacts_name_holds_nothing_forbidden(name: str) -> None:
    stem = artifact_stem(name, job=name, leg=[name], attempt="1")
    for result in (artifact_name(name), artifact_name(f"{stem}-log", again=2)):
        assert result and not set('"<>|*?:\\/\r\n\x1b\u202e') & set(result) and len(result.encode()) < 250
        assert not result.startswith(".")
    assert "-log" in artifact_name(f"{stem}-log", again=2)


@pytest.mark.parametrize("end", ["cost", "log", "checkpoints", "cost-2"])
def test_a_job_s_outputs_never_pass_for_a_summary(end: str) -> None:
    """A leg of a matrix may be called anything, and a report believes what an artifact is called."""
    for values, leg, job in (("", [f"low-{end}"], "legs"), (f"x-{end}", [], "legs"), ("", [], f"x-{end}")):
        stem = artifact_stem(values, job=job, leg=leg, attempt="1")
        assert not any(step_of(artifact_name(stem, again=again)) for again in (1, 2))
        assert step_of(artifact_name(f"{stem}-cost")) == stem
    assert artifact_stem("", job="report", leg=[], attempt="1") != REPORT
    assert artifact_stem(REPORT, job="report", leg=[], attempt="1") == REPORT


def test_legs_attempts_and_repeats_never_share_a_name() -> None:
    names = [
        artifact_name(artifact_stem(values, job="train", leg=leg, attempt=attempt), again=again)
        for values in ("", "digits")
        for leg in ([], ["L4:1"], ["L4/1"], ["L4_1"], ["y" * 300], ["y" * 301])
        for attempt in ("1", "2")
        for again in (1, 2)
    ]
    assert len({name.lower() for name in names}) == len(names)


@pytest.mark.parametrize(
    ("value", "leg", "attempt", "stem"),
    [
        ("", [], "1", "cvl-train"),
        ("", ["L4", "fit"], "1", "cvl-train-L4-fit"),
        ("", ["L4"], "3", "cvl-train-L4-attempt3"),
        ("digits", [], "1", "digits"),
        ("digits", ["L4", "fit"], "", "digits-L4-fit"),
        ("digits of L4", ["L4", "fit"], "2", "digits of L4-fit-attempt2"),
    ],
)
def test_a_name_tells_what_another_step_would_look_for(value: str, leg: list[str], attempt: str, stem: str) -> None:
    assert artifact_stem(value, job="train", leg=leg, attempt=attempt) == stem
