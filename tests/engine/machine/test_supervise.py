"""A command on a machine: its end is the end, its processes go with it, and its log is kept whole."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.engine.machine import supervise
from cvl_ci.engine.sky_errors import read_end, read_sums
from cvl_ci.engine.task import script
from cvl_ci.engine.whole_log import LogSum
from cvl_ci.model.plan import PairedBase
from tests.engine.task.test_script import LEASE, Node, plan
from tests.support import probed

FOREVER = str(900_000_000 + os.getpid())
"""Seconds that a process of these tests sleeps. No test that runs at the same time has the same number."""
QUICK = {"GRACE_SECONDS = 5.0": "GRACE_SECONDS = 0.4", "LIMIT_GRACE_SECONDS = 30.0": "LIMIT_GRACE_SECONDS = 1.0"}
IN_PLACE = f"until pgrep -fx 'sleep {FOREVER}' > /dev/null; do sleep 0.05; done"
"""On a busy machine a shell takes its time to become the program that it starts."""
HOSTILE_IN_PLACE = f"until pgrep -fx './::error::.x..y. {FOREVER}' > /dev/null; do sleep 0.05; done"
WAYS = {
    "plain": (f"sleep {FOREVER} &", {"sleep"}),
    "in a session of its own": (f"setsid sleep {FOREVER} &", {"sleep"}),
    "whose parent is gone": (f"(setsid nohup sleep {FOREVER} > /dev/null 2>&1 &)", {"sleep"}),
    "deaf to SIGTERM": (f"bash -c 'trap \"\" TERM; while :; do sleep {FOREVER}; done' &", {"bash", "sleep"}),
    "two, with hostile names": (
        (
            f"ln -s $(command -v sleep) './::error::[x](y)'; './::error::[x](y)' {FOREVER} & sleep {FOREVER} &\n"
            f"{HOSTILE_IN_PLACE}"
        ),
        {"::error::?x??y?", "sleep"},
    ),
}


class QuickNode(Node):
    """A node that gives less grace, so that a test need not wait for it; `patient`: the grace of a real one."""

    def __init__(self, home: Path, *, patient: bool = False) -> None:
        super().__init__(home)
        self._quick = {} if patient else QUICK

    def run(self, text: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """From a file, as SkyPilot does it."""
        done = subprocess.run(
            ["bash", self.file(text)],
            cwd=self.workdir,
            env=self.environment(env),
            capture_output=True,
            check=False,
            timeout=60,
        )
        out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode()
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """A job that runs while the test goes on."""
        values = script.environment(plan("true"), lease=LEASE, deadline=time.time() + 3600)
        words = ["bash", self.file(script.run(plan(command), lease=LEASE))]
        return subprocess.Popen(words, cwd=self.workdir, env=self.environment(values), stdout=subprocess.PIPE)

    def file(self, text: str) -> str:
        for word, quick in self._quick.items():
            text = text.replace(word, quick)
        text = probed.briefly(text)
        path = self.home / "script"
        path.write_text(text)
        return str(path)

    def environment(self, env: dict[str, str]) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": self.path, **env}

    def told(self) -> str:
        command = script.end(lease=LEASE)
        done = subprocess.run(
            ["sh", "-c", command], env={"HOME": str(self.home)}, capture_output=True, text=True, check=False
        )
        return done.stdout


@pytest.fixture
def node(tmp_path: Path) -> QuickNode:
    return QuickNode(tmp_path / "node")


@pytest.fixture
def patient(tmp_path: Path) -> QuickNode:
    """A node for commands that end by themselves: it waits for them as long as a real one."""
    return QuickNode(tmp_path / "node", patient=True)


def living(home: Path) -> list[str]:
    """Processes that were started with this HOME."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and f"HOME={home}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("code", [0, 7])
def test_what_a_command_left_in_the_background_is_ended_and_named(node: QuickNode, way: str, code: int) -> None:
    text, names = WAYS[way]
    done = node.job(plan(f"{text}\n{IN_PLACE}\necho done; exit {code}"))
    assert (done.returncode, node.end()["exit_code"], node.end()["timed_out"]) == (code, str(code), "0")
    assert done.stdout.splitlines()[-1] == "done"
    assert set(read_end(0, node.told()).left_behind) == names
    assert living(node.home) == []


def test_it_holds_for_setup_and_for_every_trial(node: QuickNode) -> None:
    (node.workdir / ".cvl-ci-base").mkdir()
    leaving = f"sleep {FOREVER} & {IN_PLACE}; echo went on"
    done = node.job(plan("true", setup=(leaving,)))
    assert (done.returncode, read_end(0, node.told()).left_behind) == (0, ("sleep",))
    against = PairedBase(ref="main", commit="c" * 40, directory=".", setup_commands=(), run_commands=(leaving,))
    began = time.monotonic()
    done = node.job(replace(plan(leaving), trials=replace(plan(leaving).trials, repeat=1, base=against)))
    took = time.monotonic() - began
    assert (done.returncode, done.stdout.splitlines().count("went on")) == (0, 2), done.stderr
    assert [name.partition("-")[0] for name, _ in sorted(read_end(0, node.told()).trials)] == ["base", "head"]
    measured = sum(seconds for _, seconds in read_end(0, node.told()).trials)
    assert took - measured > 2 * 0.4, "the grace that both trials needed is not a part of a sample"
    assert living(node.home) == []


def test_what_ends_by_itself_in_the_grace_is_heard_and_not_named(patient: QuickNode) -> None:
    done = patient.job(plan("(sleep 0.1; echo late) & echo done"))
    assert done.stdout.splitlines()[-2:] == ["done", "late"]
    assert read_end(0, patient.told()).left_behind == ()


def test_at_the_limit_all_of_it_is_ended_and_a_checkpoint_is_written(patient: QuickNode) -> None:
    """By a program whose shell has ended before it: a second later."""
    program = f"trap 'sleep 1; echo saved; exit 0' TERM; setsid sleep {FOREVER} & while :; do sleep 0.05; done"
    done = patient.job(plan(f'bash -c "{program}"; true', minutes=4 / 60))
    assert (done.returncode, patient.end()["timed_out"]) == (124, "1")
    assert done.stdout.splitlines()[-1] == "saved"
    assert living(patient.home) == []


def test_a_command_that_ignores_the_limit_is_killed_and_its_container_and_no_other(node: QuickNode) -> None:
    """Docker's client is killed, and its container would go on."""
    (node.home / "bin").mkdir()
    docker = node.home / "bin" / "docker"
    docker.write_text('#!/bin/sh\ncase "$1" in ps) cat ~/containers ;; kill) echo "$@" >> ~/killed ;; esac\n')
    docker.chmod(0o755)
    (node.home / "containers").write_text("older\n")
    path = f"{docker.parent}:{os.environ['PATH']}"
    job = plan("echo mine >> ~/containers; trap '' TERM; while :; do sleep 0.05; done", minutes=4 / 60)
    with an_engine(node.home):
        assert node.job(job, PATH=path).returncode == 124
    assert (node.end()["timed_out"], living(node.home)) == ("1", [])
    assert (node.home / "killed").read_text() == "kill mine\n"


def test_an_engine_that_does_not_run_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be one that starts with its first client, which takes seconds of every run."""

    def asked(*_: object, **__: object) -> None:
        pytest.fail("it was asked")

    monkeypatch.setattr(supervise, "_processes", lambda: ({}, {7: "containerd"}))
    monkeypatch.setattr(subprocess, "run", asked)
    assert supervise.containers() == ([], set())


@contextmanager
def an_engine(folder: Path) -> Iterator[None]:
    """Let a process of the name of Docker's engine live; nothing answers for it but the stand-in of its client."""
    program = folder / "dockerd"
    shutil.copy("/bin/sleep", program)
    process = subprocess.Popen([program, FOREVER])
    yield
    process.kill()
    process.wait()


def test_a_job_that_ends_pythons_does_not_end_what_watches_it(node: QuickNode) -> None:
    """The pattern names this test's own folder: it must match nothing else on this computer."""
    done = node.job(plan(f"pkill -f -- '-I {node.state}/supervise[.]py' && echo on"))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "on")


def test_it_ends_the_job_when_somebody_else_ends_it(node: QuickNode) -> None:
    """As `sky cancel` does."""
    with node.start(f"setsid sleep {FOREVER} & echo begun; sleep {FOREVER}") as process:
        assert process.stdout is not None
        while process.stdout.readline() != b"begun\n":
            pass
        child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child[0]), signal.SIGTERM)
        assert process.wait(20) == 143
    assert living(node.home) == []


def test_a_command_may_be_longer_than_an_argument(node: QuickNode) -> None:
    done = node.job(plan(f"text='{'x' * 300_000}'; echo ${{#text}}"))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "300000")


def test_a_command_stands_in_no_argument_of_any_process(node: QuickNode) -> None:
    done = node.job(plan("grep -al 'hf_[s]ecret' /proc/[0-9]*/cmdline 2> /dev/null; echo 'hf_secret' > /dev/null"))
    assert done.stdout.splitlines() == [script.JOB_BEGINS]


def test_its_log_is_kept_with_a_sum_of_it(node: QuickNode) -> None:
    node.job(plan("printf 'a\\r\\nb\\n\\303'; printf '\\251\\377'", "echo c >&2", setup=("echo set up",)))
    assert (node.state / "log/running/new").read_bytes() == b"a\r\nb\n\xc3\xa9\xffc\n"
    text = "ab\xe9\ufffdc"
    sums = read_sums(node.told())
    assert sums["running"] == LogSum(characters=len(text), crc=zlib.crc32(text.encode()), dropped_lines=0)
    assert sums["setup"].characters == len("set up")


def test_a_long_log_keeps_its_last_part_and_says_what_it_dropped(node: QuickNode) -> None:
    values = script.environment(plan("true"), lease=LEASE, deadline=time.time() + 3600)
    text = script.run(plan("seq 1 100000"), lease=LEASE).replace("SEGMENT_BYTES = 32 << 20", "SEGMENT_BYTES = 100_000")
    assert node.run(text, values).stdout.count("\n") == 100_001
    kept = (node.state / "log/running/old").read_text() + (node.state / "log/running/new").read_text()
    known = read_sums(node.told())["running"]
    assert 90_000 < len(kept) < 300_000
    assert kept.count("\n") + known.dropped_lines == 100_000
    assert kept.endswith("\n99999\n100000\n")


def test_a_reader_that_is_gone_does_not_stop_the_job(node: QuickNode) -> None:
    with node.start("seq 1 200000; exit 3") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 3
    assert node.end()["exit_code"] == "3"
    assert (node.state / "log/running/new").read_bytes().endswith(b"200000\n")
