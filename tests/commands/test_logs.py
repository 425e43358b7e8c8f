"""`logs`: every line once and in order, while the run lives and after it; names and secrets as everywhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cvl_ci.cli import main
from cvl_ci.commands import logs
from cvl_ci.local.run_logs import RunLogs
from cvl_ci.ports import RunLog
from tests import golden
from tests.support.fakes import FakeClock

MESSAGES = golden.Messages(__name__)

NAME, OTHER = "cvl-123-0a1b2c3d", "cvl-456-4e5f6a7b"


@dataclass
class Run(FakeClock):
    """A run that writes one more piece each time a reader sleeps, and dies after the last one."""

    path: Path = Path()
    pieces: list[bytes] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        with self.path.open("ab") as file:
            file.write(self.pieces.pop(0))

    def shown(self, *, is_following: bool = True) -> list[str]:
        log = RunLog(path=self.path, is_alive=lambda: bool(self.pieces))
        return [line for batch in logs.lines(log, clock=self, is_following=is_following) for line in batch]


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"one\n", b"two\n"], ["one", "two"]),
        ([b"o", b"ne\ntw", b"o\n"], ["one", "two"]),
        ([b"one\n", b"", b"no end"], ["one", "no end"]),
        ([b"\n\n", b"\xff\n"], ["", "", "\ufffd"]),
        ([b"x\n" * 2500], ["x"] * 2500),
        ([b""], []),
    ],
)
def test_each_line_comes_once_and_whole(tmp_path: Path, pieces: list[bytes], lines: list[str]) -> None:
    assert Run(path=tmp_path / "log", pieces=pieces).shown() == lines


def test_a_line_without_an_end_comes_in_pieces(tmp_path: Path) -> None:
    shown = Run(path=tmp_path / "log", pieces=[b"x" * (logs.LONGEST_PIECE + 10)]).shown()
    assert list(map(len, shown)) == [logs.LONGEST_PIECE, 10]


def test_without_following_the_lines_until_now_are_shown(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("one\ntwo")
    assert Run(path=tmp_path / "log", pieces=[b"later"]).shown(is_following=False) == ["one", "two"]


def test_a_log_that_does_not_exist_has_no_lines(tmp_path: Path) -> None:
    assert Run(path=tmp_path / "log").shown() == []


def test_a_log_is_alive_while_a_process_holds_it_and_is_found_afterwards(tmp_path: Path) -> None:
    """Killed, so that no line of the run's own could say that it is over."""
    program = (
        "import sys; from pathlib import Path; from cvl_ci.local.run_logs import RunLogs\n"
        "with RunLogs(Path(sys.argv[1])).announced(sys.argv[2], Path('a.log')): print('held', flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "leases", NAME],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    known = RunLogs(tmp_path / "leases")
    log = known.find(NAME)
    assert log is not None
    assert [log.is_alive(), log.is_alive()] == [True, True], "to ask takes no lock away"
    assert log.path == tmp_path / "a.log"
    holder.kill()
    holder.communicate()
    assert not log.is_alive()
    assert known.names() == (NAME,)
    assert [path.name for path in (tmp_path / "leases").iterdir()] == [f"{NAME}.log"]


def test_a_folder_that_cannot_be_written_ends_no_run(tmp_path: Path) -> None:
    (tmp_path / "leases").touch()
    with RunLogs(tmp_path / "leases").announced(NAME, tmp_path / "log"):
        pass
    assert RunLogs(tmp_path / "leases").names() == ()


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The command line in a HOME with one ended run and one record without a log."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    leases = tmp_path / ".local/state/cvl-ci/leases"
    with RunLogs(leases).announced(NAME, tmp_path / "job.log"):
        (leases / f"{OTHER}.json").touch()

    def type_(*words: str, code: int) -> str:
        assert main.main(["logs", *words]) == code
        shown = capsys.readouterr()
        return shown.out if code == 0 and shown.out else shown.err

    return type_


def test_an_ended_run_has_its_log_without_secrets_and_without_orders_to_the_terminal(
    typed: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "hunter-2-and-more")
    (tmp_path / "job.log").write_text("hi hunter-2-and-more\n\x1b]0;title\x07\x1b[31mred\x1b[0m\n")
    assert typed(NAME, code=0) == "hi ***\n\x1b[31mred\x1b[0m\n"
    assert typed(NAME, "--no-follow", code=0) == "hi ***\n\x1b[31mred\x1b[0m\n"


def test_a_run_that_printed_nothing_says_so(typed: Callable[..., str]) -> None:
    assert "job.log does not exist: the job printed" in typed(NAME, code=0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cvl-123-0a1b2c3e"], f"is not a lease of this computer. Did you mean {NAME}?"),
        (["../../job"], "is not a lease of this computer"),
        ([NAME, OTHER], "is not a lease of this computer"),
        ([], "is missing: name a lease"),
        ([OTHER], "has no log on this computer"),
        ([NAME, "--nofollow"], "Did you mean --no-follow?"),
    ],
)
def test_any_other_name_is_a_wrong_request(typed: Callable[..., str], words: list[str], message: str) -> None:
    assert message in typed(*words, code=64)


def test_a_live_run_that_printed_nothing_yet_says_so(typed: Callable[..., str], tmp_path: Path) -> None:
    with RunLogs(tmp_path / ".local/state/cvl-ci/leases").announced(NAME, tmp_path / "other.log"):
        MESSAGES.check("no line yet", typed(NAME, "--no-follow", code=0))


def test_a_second_terminal_follows_until_the_run_ends(typed: Callable[..., str], tmp_path: Path) -> None:
    log = tmp_path / "live.log"
    with RunLogs(tmp_path / ".local/state/cvl-ci/leases").announced(NAME, log):
        log.write_text("one\n")
        follower = subprocess.Popen(
            [Path(sys.executable).parent / "cvl-ci", "logs", NAME], stdout=subprocess.PIPE, text=True
        )
        assert follower.stdout is not None
        assert follower.stdout.readline() == "one\n"
        with log.open("a") as file:
            file.write("two\n")
        assert follower.stdout.readline() == "two\n"
        assert follower.poll() is None
        with log.open("a") as file:
            file.write("three")
    assert follower.communicate(timeout=60)[0] == "three\n"
    assert follower.returncode == 0
