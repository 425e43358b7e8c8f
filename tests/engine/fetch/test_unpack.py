"""What a machine packed is hostile: archives as an attacker would make them, and what must not come out of them."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.engine.fetch import tarball, unpack_process
from cvl_ci.engine.fetch.member_paths import DEEPEST, LONGEST_PATH
from cvl_ci.engine.fetch.unpack import MOST_REFUSALS, UnpackLimits, unpack
from cvl_ci.ports import Fetched, UnpackStopped
from tests import golden
from tests.support.cases import generated
from tests.support.processor import within

MESSAGES = golden.Messages(__name__)


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


def named(name: str, **values: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    ("member", "why"),
    [
        (link("hard", "nothing", tarfile.LNKTYPE), "a hard link to a file that did not arrive"),
        (link("hard", "hard", tarfile.LNKTYPE), "a hard link to a file that did not arrive"),
        (link("loop", "loop"), "a link to a file that did not arrive"),
        (link("loop", "./x/../loop"), "a link to a file that did not arrive"),
        (link("gone", "not/here"), "a link to a file that did not arrive"),
        (link("up", "a/../../kept"), "a link that leads out"),
        (link("absolute", "/kept"), "a link that leads out"),
        (link("absolute", "/./../kept"), "a link that leads out"),
        (link("absolute", "/./gone"), "a link to a file that did not arrive"),
        (link("empty", ""), "a link that leads out"),
        (("d/" * 1100 + "f", b"x"), f"more than {DEEPEST} folders deep"),
        (("n" * 300, b"x"), "its path is longer"),
        (("d/" * 20 + "n" * 250 + "/" + "m" * 250 + "/" + "o" * 250 + "/" + "p" * 250, b"x"), "its path is longer"),
        (("n" * 1_000_000, b"x"), "its name or its attributes take more than 64 KiB"),
        (("", b"x"), "has no name"),
        (("kept", b"again"), "another file of this name came before it"),
        (("kept/inner", b"x"), "its folder leads out by a link, or is a file"),
        (named("c1\x9b31m"), "control characters"),
    ],
    ids=range(18),
)
def test_each_odd_member_is_refused_by_itself(
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    member: tarfile.TarInfo | tuple[str, bytes],
    why: str,
) -> None:
    """With a folder as a run has it: relative to where it stands."""
    monkeypatch.chdir(tmp_path)
    pack(archive, ("./kept", b"k"), member, ("./last", b"l"))
    fetched = unpack(archive, into=Path("cvl-outputs/cvl-1"), directory=".")
    assert [file.path for file in fetched.files] == ["kept", "last"]
    assert len(fetched.refused) == 1 and why in fetched.refused[0], fetched
    assert len(fetched.refused[0]) < 400


@pytest.mark.parametrize("mtime", [2**63, 1e300, float("inf"), float("nan"), -1, 2**40])
def test_a_time_that_is_none_is_left_out(archive: Path, tmp_path: Path, mtime: float) -> None:
    info = named("f", pax_headers={"mtime": str(mtime)})
    pack(archive, info)
    began = time.time()
    fetched = unpack(archive, into=tmp_path / "out", directory=".")
    assert [file.path for file in fetched.files] == ["f"]
    assert (tmp_path / "out/f").stat().st_mtime >= began - 60


def header(*, size: bytes = b"0" * 11 + b"\0", kind: bytes = b"0", name: bytes = b"f") -> bytes:
    block = bytearray(512)
    block[: len(name)], block[100:108], block[124:136], block[156:157] = name, b"0000644\0", size, kind
    block[257:265] = b"ustar  \0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


NEGATIVE = b"\xff" * 11 + b"\x00"


@pytest.mark.parametrize(
    "content",
    [
        header(size=NEGATIVE) + b"\0" * 1024,
        header(size=b"-0000000512\0") + b"\0" * 1024,
        header(size=b"\x80" + b"\xff" * 11) + b"\0" * 1024,
        header(kind=b"L", size=b"77777777777\0") + b"x" * 512,
        header(kind=b"x", size=b"00000000020\0") + b"9999999 size=-512\n".ljust(512, b"\0") + header() + b"\0" * 1024,
        header(kind=b"x", size=b"00000000017\0") + b"15 size=-51200\n".ljust(512, b"\0") + header() + b"\0" * 1024,
        header()[:400],
        header(),
        b"x" * 5000,
        b"",
    ],
    ids=range(10),
)
def test_a_header_that_lies_is_a_damage_and_no_endless_loop(archive: Path, tmp_path: Path, content: bytes) -> None:
    pack(archive, ("./kept", b"k"))
    before = (archive / "0" / "root.tar").read_bytes()[:1024] if content else b""
    (archive / "0" / "root.tar").write_bytes(before + content)
    pack(archive, ("./work", b"w"), name="work.tar")
    began = time.process_time()
    fetched = unpack(archive, into=tmp_path / "out", directory=".")
    assert within(time.process_time() - began, 5)
    assert "root.tar of node 0 is damaged" in str(fetched.problem)
    kept = {file.path for file in fetched.files}
    assert kept >= {"cvl-work/work"} and (not before or "kept" in kept), "what stood before it came"


def test_what_is_written_is_counted_and_hard_links_too(archive: Path, tmp_path: Path) -> None:
    pack(archive, ("a", b"x" * 400), *(link(f"hard{number}", "a", tarfile.LNKTYPE) for number in range(5)), ("b", b"y"))
    fetched = unpack(archive, into=tmp_path / "out", directory=".", limits=UnpackLimits(bytes_free=1000))
    assert {file.path: file.bytes for file in fetched.files} == {"a": 400, "hard0": 400, "b": 1}
    assert "no room for its 400 bytes" in fetched.refused[0]
    assert "more bytes than fit on the disk" in str(fetched.problem)


def test_files_links_folders_and_refusals_are_counted(archive: Path, tmp_path: Path) -> None:
    pack(archive, *((f"{number}/f", b"") for number in range(30)))
    fetched = unpack(archive, into=tmp_path / "out", directory=".", limits=UnpackLimits(files=20))
    assert len(fetched.files) == 20 and "more than 20 files and links" in str(fetched.problem)
    pack(archive, *(("../x", b"") for _ in range(MOST_REFUSALS + 50)))
    refused = unpack(archive, into=tmp_path / "more", directory=".").refused
    assert len(refused) == MOST_REFUSALS + 1 and refused[-1] == "and 50 more"


def test_links_inside_come_and_are_told_by_their_own_way(archive: Path, tmp_path: Path) -> None:
    pack(
        archive,
        ("./ex/hub/blobs/abc", b"w"),
        link("./ex/hub/snapshots/1/model", "../../blobs/abc"),
        link("./ex/latest", "hub/./snapshots/1"),
        ("./shared/data", b"d"),
        link("./ex/data", "../shared/data"),
        rank=1,
    )
    into = tmp_path / "out"
    fetched = unpack(archive, into=into, directory="ex")
    assert (fetched.refused, fetched.problem) == ((), None)
    assert (into / "node-1/hub/snapshots/1/model").readlink() == Path("../../blobs/abc")
    assert (into / "node-1/latest/model").read_bytes() == b"w"
    assert (into / "node-1/data").readlink() == Path("cvl-root/shared/data")


@pytest.mark.parametrize("left", ["link", "device", "folder", "link to a folder"])
def test_what_was_brought_is_opened_only_as_a_file(archive: Path, tmp_path: Path, left: str) -> None:
    pack(archive, ("./kept", b"k"))
    path = archive / "0" / "root.tar"
    path.rename(tmp_path / "secret.tar")
    if left == "link":
        path.symlink_to(tmp_path / "secret.tar")
    elif left == "link to a folder":
        (archive / "0").rename(tmp_path / "elsewhere")
        (tmp_path / "secret.tar").rename(tmp_path / "elsewhere" / "root.tar")
        (archive / "0").symlink_to(tmp_path / "elsewhere")
    elif left == "device":
        os.mkfifo(path)
    else:
        path.mkdir()
    fetched = unpack(archive, into=tmp_path / "out", directory=".")
    assert fetched.files == ()
    assert left == "link to a folder" or fetched.problem is not None


@pytest.mark.parametrize("where", ["cvl-outputs", "cvl-outputs/cvl-1"])
def test_a_checkouts_link_in_the_outputs_place_is_not_written_through(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    Path(where).parent.mkdir(exist_ok=True)
    Path(where).symlink_to(tmp_path / "elsewhere")
    pack(archive, ("./kept", b"k"))
    fetched = unpack(archive, into=Path("cvl-outputs/cvl-1"), directory=".")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert "is a link to another place" in str(fetched.problem)


def test_what_the_real_tar_packs_is_read(archive: Path, tmp_path: Path) -> None:
    """GNU's tar, in each of its formats: long names, hard links, big times, names that are not UTF-8."""
    tree = tmp_path / "tree"
    (tree / ("long" * 20) / ("name" * 20)).mkdir(parents=True)
    (tree / ("long" * 20) / ("name" * 20) / "ü.bin").write_bytes(os.urandom(5000))
    (tree / "a").write_bytes(b"a" * 1024)
    (tree / "hard").hardlink_to(tree / "a")
    (tree / "link").symlink_to("a")
    (tree / "tool").write_text("#!")
    (tree / "tool").chmod(0o700)
    Path(os.fsdecode(os.fsencode(tree) + b"/caf\xe9")).write_text("x")
    for number, form in enumerate(("gnu", "posix")):
        (archive / str(number)).mkdir(parents=True)
        command = ["tar", f"--format={form}", "-C", str(tree), "-cf", str(archive / str(number) / "root.tar")]
        subprocess.run([*command, "--no-recursion", *_below(tree)], check=True)
    fetched = unpack(archive, into=tmp_path / "out", directory=".")
    assert (fetched.problem, fetched.refused) == (None, ())
    for top in ("", "node-1/"):
        assert (tmp_path / f"out/{top}a").stat().st_mtime == pytest.approx((tree / "a").stat().st_mtime, abs=1.1)
        for path in tree.rglob("*.bin"):
            assert (tmp_path / "out" / top / path.relative_to(tree)).read_bytes() == path.read_bytes()
        assert (tmp_path / f"out/{top}link").readlink() == Path("a")
        assert (tmp_path / f"out/{top}tool").stat().st_mode & 0o777 == 0o755
        assert (tmp_path / f"out/{top}hard").read_bytes() == b"a" * 1024
        assert (tmp_path / f"out/{top}caf%E9").read_text() == "x"


def _below(tree: Path) -> list[bytes]:
    names = [os.fsencode(path) for path in tree.rglob("*") if path.is_file() or path.is_symlink()]
    return [b"." + name.removeprefix(os.fsencode(tree)) for name in sorted(names)]


# ---- in a process that can be ended ----------------------------------------------------------------------------------


def apart(archive: Path, into: Path, **options: float) -> Fetched:
    return unpack_process.unpack(archive, into=into, directory=".", environment={"PATH": os.environ["PATH"]}, **options)


def test_apart_it_is_the_same(archive: Path, tmp_path: Path) -> None:
    pack(archive, ("./kept", b"k"), link("out", "/etc/passwd"), ("caf\udce9", b"x"))
    assert apart(archive, tmp_path / "a") == unpack(archive, into=tmp_path / "b", directory=".")


@pytest.mark.parametrize("end", ["time", "failure", "Ctrl-C"])
def test_one_that_is_ended_keeps_what_it_took_and_says_so(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    lines = '{"path": "kept", "bytes": 1}\n{"refusal": "r"}\n{"path": "ha'
    program = tmp_path / "python"
    after = "echo MemoryError >&2; exit 1" if end == "failure" else "exec sleep 60"
    program.write_text(f"#!/bin/sh\nprintf '%s' '{lines}'; {after}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    if end == "Ctrl-C":
        monkeypatch.setattr(subprocess, "Popen", Stopped)
        with pytest.raises(UnpackStopped) as stopped:
            apart(archive, tmp_path / "out")
        fetched = stopped.value.fetched
        assert Stopped.made.returncode == -signal.SIGTERM
    else:
        fetched = apart(archive, tmp_path / "out", seconds=0.5 if end == "time" else 60)
    assert [file.path for file in fetched.files] == ["kept"]
    assert fetched.refused == ("r",)
    said = {"time": "took longer than 0.5 s", "failure": "failed (status 1: MemoryError)", "Ctrl-C": "was stopped"}[end]
    assert fetched.problem is not None and said in fetched.problem
    MESSAGES.check("the rest is lost", golden.sentence(fetched.problem, "the rest is lost"))


class Stopped(subprocess.Popen[bytes]):
    """A process whose first wait a person's Ctrl-C interrupts."""

    made: Stopped

    def wait(self, timeout: float | None = None) -> int:
        if not hasattr(Stopped, "made"):
            Stopped.made = self
            time.sleep(0.5)
            raise KeyboardInterrupt
        return super().wait(timeout)


def test_an_unpacking_that_is_ended_leaves_no_file_in_part(archive: Path, tmp_path: Path) -> None:
    large = tarfile.TarInfo("large")
    large.size = 2 << 30
    (archive / "0").mkdir(parents=True)
    with (archive / "0/root.tar").open("wb") as file:  # sparse: nothing is written but the header
        file.write(large.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + large.size + 1024)
    words = [sys.executable, "-m", "cvl_ci.engine.fetch.worker_unpack", str(archive), str(tmp_path / "out"), "."]
    process = subprocess.Popen([*words, str(os.getpid())], stdout=subprocess.PIPE)
    while not (tmp_path / "out/large").exists() and process.poll() is None:
        time.sleep(0.005)
    process.terminate()
    assert process.communicate(timeout=60)[0] == b""
    assert process.returncode == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_an_end_between_a_file_and_its_descriptor_leaves_none(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(archive, ("./half", b"h" * 1000))
    real = os.open

    def ended(path: str, flags: int, *others: Any, **options: Any) -> int:
        descriptor = real(path, flags, *others, **options)
        if flags & os.O_CREAT:
            os.close(descriptor)
            sys.exit(1)  # as the handler of SIGTERM does, before the caller has the descriptor
        return descriptor

    monkeypatch.setattr(os, "open", ended)
    with pytest.raises(SystemExit):
        unpack(archive, into=tmp_path / "out", directory=".")
    assert list((tmp_path / "out").iterdir()) == []


# ---- archives that nobody thought of ---------------------------------------------------------------------------------

SEEDS, ARCHIVES_OF_A_SEED = 6, 400
EACH = generated(ARCHIVES_OF_A_SEED)
PARTS = ("a", "b", "..", ".", "", "d", "link", "\x07", "caf\udce9", "x" * 120, "ü", "cvl-root", "node-1")
BYTES = (b"\xff", b"\0", b"9", b"\x80", b" ", b"L", b"K", b"x", b"1", b"2", b"7")


def odd(dice: random.Random) -> tarfile.TarInfo:
    def name() -> str:
        return "/".join(dice.choice(PARTS) for _ in range(dice.choice([1, 1, 2, 3, 5, 80])))

    info = tarfile.TarInfo(name() or "x")
    info.type = dice.choice(
        [tarfile.REGTYPE] * 4 + [tarfile.SYMTYPE] * 4 + [tarfile.LNKTYPE, b"3", b"5", b"6", b"7", b"S"]
    )
    info.linkname = dice.choice([name(), "/" + name(), "../" * dice.randint(0, 4) + name(), "link/" + name()])
    info.mode = dice.choice([0, 0o644, 0o4777])
    info.mtime = dice.choice([0, 1e9, 2**33 - 1])
    if dice.random() < 0.2:
        info.pax_headers = {dice.choice(["path", "linkpath", "mtime", "size", "GNU.sparse.name", "odd"]): name() or "1"}
    return info


def built(dice: random.Random) -> bytes:
    """An archive by the rules, and then often not by the rules."""
    out = io.BytesIO()
    form = dice.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for _ in range(dice.randint(0, 12)):
            info = odd(dice)
            content = b"c" * dice.choice([0, 1, 511, 512, 513, 3000]) if info.isreg() else b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    whole = bytearray(out.getvalue()[: None if dice.random() < 0.8 else dice.randint(0, 4000)])
    for _ in range(dice.choice([0, 0, 1, 3])):
        if whole:
            at = dice.randrange(len(whole))
            at = at - at % 512 + dice.choice([124, 130, 135, 156, 0, 345, 257]) if dice.random() < 0.7 else at
            whole[at : at + 1] = dice.choice(BYTES) if at < len(whole) else b""
            if dice.random() < 0.7:
                _sum(whole, at - at % 512)
    return bytes(whole)


def _sum(content: bytearray, at: int) -> None:
    """A changed header counts only when its checksum is right."""
    if at + 512 <= len(content):
        content[at + 148 : at + 156] = b" " * 8
        content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_archive_raises_writes_outside_exceeds_limits_or_goes_on_for_ever(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    began = time.process_time()
    base = tmp_path / "base"
    for number in range(EACH):
        archives, into = base / f"in{number}", base / "deep" / f"out{number}"
        (archives / "0").mkdir(parents=True)
        (archives / "0" / "root.tar").write_bytes(built(dice))
        outside = _snapshot(base, but=into)
        limits = UnpackLimits(files=8, bytes_free=dice.choice([600, 5000]))
        fetched = unpack(archives, into=into, directory=dice.choice([".", "a", "a/b"]), limits=limits)
        assert _snapshot(base, but=into) == outside
        _check(into, fetched, limits)
        shutil.rmtree(base)
    assert within(time.process_time() - began, 60)


def _snapshot(base: Path, *, but: Path) -> list[str]:
    found = (Path(where, name) for where, folders, names in os.walk(base) for name in (*folders, *names))
    return sorted(str(path) for path in found if path != but.parent and not path.is_relative_to(but))


def _check(into: Path, fetched: Fetched, limits: UnpackLimits) -> None:
    root = into.resolve()
    written = [Path(where, name) for where, folders, names in os.walk(into) for name in (*folders, *names)]
    files = [path for path in written if path.is_file() and not path.is_symlink()]
    assert {str(path.relative_to(into)) for path in files} == {file.path for file in fetched.files}
    assert len([path for path in written if path.is_symlink()]) + len(files) <= limits.files
    assert sum(path.stat().st_size for path in files) <= (limits.bytes_free or 0)
    for path in written:
        assert path.resolve().is_relative_to(root)
        assert len(str(path.relative_to(into)).encode()) <= LONGEST_PATH
    for text in (*fetched.refused, fetched.problem or "", *(file.path for file in fetched.files)):
        text.encode()
        assert len(text) < 2 * LONGEST_PATH


def test_the_reader_agrees_with_pythons_own_on_what_is_whole() -> None:
    """On archives by the rules, which is what an honest machine sends."""
    dice = random.Random(7)
    for _ in range(200):
        out = io.BytesIO()
        names = [f"{dice.choice('abc')}/{'n' * dice.randint(1, 140)}{number}" for number in range(dice.randint(0, 9))]
        with tarfile.open(fileobj=out, mode="w", format=dice.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])) as tar:
            for name in names:
                info = named(name, size=dice.randint(0, 2000), mtime=dice.choice([1, 1e9, 1.5e9 + 0.25]))
                tar.addfile(info, io.BytesIO(b"c" * int(info.size)))
        out.seek(0)
        with tarfile.open(fileobj=out) as tar:
            theirs = [(each.name, each.size, each.offset_data, each.mtime) for each in tar]
        found = tarball.members(out, length=len(out.getvalue()))
        assert [(each.name.decode(), each.size, each.offset, each.mtime) for each in found] == theirs
