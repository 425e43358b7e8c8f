"""A process is known by its number and its start, never by its number alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox import control, emulator_process, sandbox_spec


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_process_that_runs_is_alive_and_one_that_was_killed_is_not(sleeper: subprocess.Popen[bytes]) -> None:
    process = emulator_process.Process(pid=sleeper.pid, start_time=emulator_process.start_time(sleeper.pid) or "")
    assert process.alive
    emulator_process.kill(process)
    assert not process.alive, "even while nobody has collected it"


def test_another_process_with_the_same_number_is_not_taken_for_it(sleeper: subprocess.Popen[bytes]) -> None:
    assert not emulator_process.Process(pid=sleeper.pid, start_time="yesterday/1").alive


def test_a_name_with_brackets_and_spaces_confuses_nobody(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    fields = " ".join(str(number) for number in range(4, 53))
    (tmp_path / "7/stat").write_text(f"7 (a ) Z (b) S {fields}\n")
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text("this-boot\n")
    assert emulator_process.start_time(7, tmp_path) == "this-boot/22"
    assert emulator_process.start_time(8, tmp_path) is None


def test_an_emulator_is_found_by_the_words_it_was_started_with(tmp_path: Path) -> None:
    stand_in = tmp_path / "emulator"
    words = [sys.executable, "-m", emulator_process.MODULE, str(stand_in)]
    assert emulator_process.find(stand_in) is None
    fake = tmp_path / "proc"
    (fake / "42").mkdir(parents=True)
    (fake / "42/cmdline").write_bytes(b"\0".join(word.encode() for word in words) + b"\0")
    (fake / "42/stat").write_text("42 (python) S " + " ".join("0" * 49))
    (fake / "sys/kernel/random").mkdir(parents=True)
    (fake / "sys/kernel/random/boot_id").write_text("boot")
    assert emulator_process.find(stand_in, fake) == emulator_process.Process(pid=42, start_time="boot/0")
    assert emulator_process.find(tmp_path / "another", fake) is None


def test_an_emulator_that_cannot_start_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="holds no specification of a sandbox"):
        emulator_process.start(tmp_path, dict(os.environ))


def test_last_words_are_the_end_of_the_log(tmp_path: Path) -> None:
    assert emulator_process.log_tail(tmp_path) == "  (there is no log)"
    (tmp_path / sandbox_spec.LOG).write_text("first\nsecond\nthird\n")
    assert emulator_process.log_tail(tmp_path, lines=2) == "  second\n  third"


def test_where_nothing_listens_there_is_no_answer() -> None:
    import socket

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(control.NoEmulatorAnswer):
            control.EmulatorClient(host=control.LOOPBACK, port=unused.getsockname()[1], key="").ask("health", timeout=1)


def test_a_plan_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    from tests.sandbox.test_sky_home import GPUS, PLAIN

    plan = sandbox_spec.SandboxSpec(
        id=sandbox_spec.identity(tmp_path), image="i", networks=(), port=1, metadata_port=2, skypilot_port=3,
        machine_types=(PLAIN, GPUS),
    )  # fmt: skip
    sandbox_spec.save(tmp_path, plan)
    assert sandbox_spec.load(tmp_path) == plan
    (tmp_path / sandbox_spec.FILE).write_text('{"id": "old", "layout": "of another version"}')
    assert sandbox_spec.load(tmp_path) is None


def test_a_sandbox_is_its_directory_however_that_is_written(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("here")
    assert sandbox_spec.identity(tmp_path / "here") == sandbox_spec.identity(tmp_path / "link/../here")
    assert sandbox_spec.identity(tmp_path / "here") != sandbox_spec.identity(tmp_path / "there")
