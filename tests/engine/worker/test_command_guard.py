"""The commands of a worker end with it, and one process takes care of all of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cvl_ci.engine.worker import command_guard
from tests.support import sky_process

WORKER = """
import json, os, subprocess, sys
from cvl_ci.engine.worker import command_guard

asked = []
guard = command_guard.CommandGuard(lambda pid, **options: asked.append(pid))
commands = [subprocess.Popen(words, start_new_session=True) for words in json.loads(sys.argv[1])]
for command in commands:
    guard.guard(command.pid)
print(json.dumps({"commands": [command.pid for command in commands], "asked": asked}), flush=True)
sys.stdin.read()
"""
SLEEP = ["/bin/sleep", "1000"]
SHELL = ["/bin/sh", "-c", "sleep 1000 & sleep 1000; true"]


@pytest.fixture
def workers() -> Iterator[list[subprocess.Popen[str]]]:
    workers: list[subprocess.Popen[str]] = []
    yield workers
    for worker in workers:
        with worker:
            worker.kill()


def started(workers: list[subprocess.Popen[str]], *commands: list[str]) -> list[int]:
    words = [sys.executable, "-c", WORKER, json.dumps(commands)]
    workers.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    output = workers[-1].stdout
    assert output is not None
    told = json.loads(output.readline())
    assert not told["asked"], "SkyPilot's way was taken"
    return list(told["commands"])


def comes_true(fact: Callable[[], bool]) -> bool:
    until = time.monotonic() + 60
    while not fact() and time.monotonic() < until:
        time.sleep(0.02)
    return fact()


def members(group: int) -> list[int]:
    """Return the live processes of a group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, owner = path.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(owner) == group and state not in "ZX":
            found.append(int(path.parent.name))
    return found


def guards(worker: int) -> list[int]:
    """Return the live guards of a worker."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if command_guard.__file__.encode() in words and str(worker).encode() in words:
            found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("way", ["killed", "ended"])
def test_the_commands_of_a_worker_end_with_it(workers: list[subprocess.Popen[str]], way: str) -> None:
    groups = started(workers, SLEEP, SHELL)
    assert comes_true(lambda: [len(members(group)) for group in groups] == [1, 3])
    worker = workers[0]
    assert len(guards(worker.pid)) == 1
    assert worker.stdin is not None
    worker.kill() if way == "killed" else worker.stdin.close()
    worker.wait(60)
    assert comes_true(lambda: not any(members(group) for group in groups))
    assert comes_true(lambda: not guards(worker.pid)), "the guard stayed"


def test_a_guard_is_no_child_of_its_worker(workers: list[subprocess.Popen[str]]) -> None:
    started(workers, SLEEP)
    (guard,) = guards(workers[0].pid)
    parent = int(Path(f"/proc/{guard}/stat").read_text().rpartition(")")[2].split()[1])
    assert parent != workers[0].pid
    assert os.getsid(guard) != os.getsid(workers[0].pid)


def test_a_command_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_guard, "GRACE_SECONDS", 0.3)
    text = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, start_new_session=True) as command:
        assert command.stdout is not None
        command.stdout.readline()
        command_guard.end([(command.pid, command_guard.start_of(command.pid))])
        assert command.wait(60) == -signal.SIGKILL


def test_a_later_process_of_the_same_number_stays() -> None:
    with subprocess.Popen(SLEEP, start_new_session=True) as command:
        command_guard.end([(command.pid, "1")])
        assert command.poll() is None
        command.kill()


def test_a_command_that_has_ended_needs_no_guard() -> None:
    with subprocess.Popen(["/bin/true"]) as command:
        command.wait()
    guard = command_guard.CommandGuard(pytest.fail)
    guard.guard(command.pid)
    assert not guards(os.getpid())


def test_without_the_guard_skypilots_way_follows() -> None:
    asked: list[tuple[int, bool]] = []
    guard = command_guard.CommandGuard(lambda pid, use_kill_pg: asked.append((pid, use_kill_pg)))
    with subprocess.Popen(SLEEP, start_new_session=True) as command:
        guard.guard(command.pid, use_kill_pg=False)
        (program,) = guards(os.getpid())
        os.kill(program, signal.SIGKILL)
        assert comes_true(lambda: not guards(os.getpid()))
        guard.guard(command.pid, use_kill_pg=True)
        assert asked == [(command.pid, True)]
        command.kill()


PROGRAM = """
import json, os, subprocess
from pathlib import Path
from sky.skylet import log_lib
from sky.utils import subprocess_utils
from cvl_ci.engine.worker import command_guard

command_guard.provide()
command_guard.provide()
count = f"ps -eo args | grep -c '[s]ubprocess_daemon.py --parent-pid {os.getpid()} '"
texts = [f"echo {number}; {count}" for number in (1, 2)]
said = [log_lib.run_with_log(text, os.devnull, require_outputs=True, shell=True)[1] for text in texts]
subprocess_utils.kill_children_processes()
said += [log_lib.run_with_log("sleep 0.3; " + texts[0], os.devnull, require_outputs=True, shell=True)[1]]
guards = subprocess.run(["pgrep", "-f", f"command_guard.py {os.getpid()} "], capture_output=True, text=True).stdout
print(json.dumps({"said": said, "guards": len(guards.split())}))
"""


def test_skypilots_commands_have_one_guard() -> None:
    """Its own end of a set-up, which ends all children of the process, leaves the guard alive."""
    env = {"HOME": str(sky_process.empty_home()), "PATH": os.environ["PATH"]}
    ended = sky_process.run(PROGRAM, env=env, loaded=True)
    told = json.loads(ended.stdout.splitlines()[-1]) if ended.returncode == 0 else ended.stderr
    assert told == {"said": ["1\n0\n", "2\n0\n", "1\n0\n"], "guards": 1}
