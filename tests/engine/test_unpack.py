"""What a machine packed is hostile: archives as an attacker would make them, and what must not come out of them."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from cvl_ci.engine.unpack import unpack


def pack(folder: Path, *members: tarfile.TarInfo | tuple[str, bytes], rank: int = 0, name: str = "root.tar") -> None:
    (folder / str(rank)).mkdir(exist_ok=True, parents=True)
    with tarfile.open(folder / str(rank) / name, "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                info.mode, info.uid, info.uname = 0o4777, 0, "root"
                tar.addfile(info, io.BytesIO(member[1]))


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def test_files_of_the_example_come_to_the_top_and_others_where_they_can_be_told(archive: Path, tmp_path: Path) -> None:
    pack(archive, ("./examples/a/outputs/metrics.json", b"{}"), ("./cvlization/cache.bin", b"x"))
    pack(archive, ("./prediction.png", b"p"), name="work.tar")
    pack(archive, ("./examples/a/outputs/metrics.json", b"{1}"), rank=1)
    fetched = unpack(archive, into=tmp_path / "out", directory="examples/a")
    assert [file.path for file in fetched.files] == [
        "outputs/metrics.json",
        "cvl-root/cvlization/cache.bin",
        "cvl-work/prediction.png",
        "node-1/outputs/metrics.json",
    ]
    assert (tmp_path / "out" / "node-1" / "outputs" / "metrics.json").read_bytes() == b"{1}"
    assert fetched.refused == () and fetched.problem is None


def test_owner_and_special_bits_of_the_machine_do_not_come_along(archive: Path, tmp_path: Path) -> None:
    pack(archive, ("./tool", b"#!"))
    unpack(archive, into=tmp_path / "out", directory=".")
    status = (tmp_path / "out" / "tool").stat()
    assert status.st_uid == os.getuid()
    assert status.st_mode & 0o7777 == 0o755


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (("../../escaped", b"x"), "leads out"),
        (("/etc/cron.d/escaped", b"x"), "leads out"),
        (("a/../../escaped", b"x"), "leads out"),
        (("evil\x1b]0;title\x07", b"x"), "control characters"),
        (("new\nline", b"x"), "control characters"),
        (link("out", "/etc/passwd"), "a link that leads out"),
        (link("out", "../../../etc/passwd"), "a link that leads out"),
        (link("out", "../../secret", tarfile.LNKTYPE), "a link that leads out"),
        (link("pipe", "", tarfile.FIFOTYPE), "neither a file nor a link"),
        (link("disk", "", tarfile.BLKTYPE), "neither a file nor a link"),
    ],
)
def test_hostile_members_are_refused_by_name(
    archive: Path, tmp_path: Path, member: tarfile.TarInfo | tuple[str, bytes], why: str
) -> None:
    pack(archive, member, ("./kept", b"k"))
    fetched = unpack(archive, into=tmp_path / "deep" / "out", directory=".")
    assert len(fetched.refused) == 1
    assert why in fetched.refused[0]
    assert [file.path for file in fetched.files] == ["kept"]
    assert not any("escaped" in path.name for path in tmp_path.rglob("*"))


def test_a_file_behind_a_link_that_leads_out_is_not_written(archive: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    into = tmp_path / "out"
    into.mkdir()
    (into / "door").symlink_to(outside)
    pack(archive, ("./door/file", b"x"))
    fetched = unpack(archive, into=into, directory=".")
    assert list(outside.iterdir()) == []
    assert "leads out" in fetched.refused[0]


def test_a_link_to_a_neighbour_is_kept_as_a_link(archive: Path, tmp_path: Path) -> None:
    pack(archive, ("./checkpoints/step_100.pt", b"w"), link("./checkpoints/latest", "step_100.pt"))
    fetched = unpack(archive, into=tmp_path / "out", directory=".")
    assert fetched.refused == ()
    assert (tmp_path / "out" / "checkpoints" / "latest").read_bytes() == b"w"


def test_a_damaged_archive_is_a_problem_and_no_crash(archive: Path, tmp_path: Path) -> None:
    pack(archive, ("./big", b"x" * 100_000))
    whole = (archive / "0" / "root.tar").read_bytes()
    (archive / "0" / "root.tar").write_bytes(whole[:50_000])
    assert "damaged" in str(unpack(archive, into=tmp_path / "out", directory=".").problem)
