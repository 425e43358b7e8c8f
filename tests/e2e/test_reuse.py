"""A machine that waits between runs of several runners, on the sandbox: entered, clean, one user at a time, and ended.

Each run has an empty home folder, and only the repository's secret in common with the others.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cloud import eventually
from tests.e2e.conftest import PROGRAM, Terminal
from tests.support.field import plant
from tests.support.places import only_wait

SECRET = "zebra-token-7781"
REUSE_KEY = "b7e1c5" * 8
LEAVE = f"""
echo "first line"
test "$TOKEN" = {SECRET[:6]}"{SECRET[6:]}" && echo "has its secret"
echo "$TOKEN" > ~/of-the-job.txt; echo "$TOKEN" > ~/.netrc; echo "$TOKEN" > /tmp/of-the-job; echo out > result.txt
echo 'export FROM_JOB=1' >> ~/.bashrc
mkdir -p ~/.cache/huggingface/hub ~/.cache/of-the-job
echo "$TOKEN" > ~/.cache/huggingface/token; echo model > ~/.cache/huggingface/hub/model; echo x > ~/.cache/of-the-job/x
sudo -n sh -c 'echo x > /dev/shm/of-the-job; echo x > /root-of-job'
setsid nohup sleep 987 > /dev/null 2>&1 &
sudo -n setsid nohup sleep 986 > /dev/null 2>&1 &
docker run -d -v of-the-job:/data debian:bookworm-slim sleep 985 > /dev/null && echo "has a container"
options="-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
at_home="ssh -i $HOME/.ssh/sky-cluster-key $options $(id -un)@localhost"
$at_home 'setsid nohup sleep 984 > /dev/null 2>&1 & sleep 983' > /dev/null 2>&1 < /dev/null &
for _ in $(seq 100); do [ "$(pgrep -cx -f 'sleep 98[34]')" != 2 ] || break; sleep 0.2; done
echo "$(pgrep -cx -f 'sleep 98[34]') of its own login"
"""
HAD = ("has its secret", "has a container", "2 of its own login")
LOOK = f"""
echo "first line"
ls ~ ~/.cache /tmp /dev/shm | grep of-the-job || echo "no file"
test -e result.txt -o -e "$CVL_WORK_DIR/result.txt" || echo "no output"
test -e ~/.netrc || echo "no netrc"
grep -c FROM_JOB ~/.bashrc || echo "bashrc as it was"
pgrep -f 'sleep 98[3-7]' || echo "no process"
test -z "$(docker ps --all --quiet)$(docker volume ls --quiet)" && echo "no container"
found="$(sudo -n grep -rlsF "{REUSE_KEY[:9]}""{REUSE_KEY[9:]}" ~ /root /etc /tmp /var/lib/cvl-ci /dev/shm || true)"
test -z "$found" && echo "no reuse key"
found="$(sudo -n grep -lzsF CVL_CI_REUSE_KEY /proc/[0-9]*/environ || true)"
test -z "$found" && echo "no reuse key in memory"
sudo -n grep -rlF "{SECRET[:6]}""{SECRET[6:]}" ~ /tmp /dev/shm /var/tmp 2> /dev/null || echo "no secret"
cat ~/.cache/huggingface/hub/model
echo second > second.txt; sleep 15
"""


@dataclass
class Typed:
    """A run that is under way: its lines so far, and the seconds until its job's first one."""

    process: subprocess.Popen[str]
    summary: Path
    out: str = ""
    err: str = ""
    first_line_seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._readers = [threading.Thread(target=self._read_out), threading.Thread(target=self._read_err)]
        self._has_line = threading.Event()
        for reader in self._readers:
            reader.start()

    def _read_out(self) -> None:
        for line in self.process.stdout or ():
            self.out += line
            if "first line" in line:
                self.first_line_seconds = time.monotonic() - self.began
                self._has_line.set()

    def _read_err(self) -> None:
        for line in self.process.stderr or ():
            self.err += line

    def until_first_line(self) -> Typed:
        while not self._has_line.wait(1):
            assert self.process.poll() is None, self.err
        return self

    def to_the_end(self) -> dict[str, Any]:
        self.process.wait(timeout=1200)
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        assert self.process.returncode == 0, self.err
        summary: dict[str, Any] = json.loads(self.summary.read_text())
        return summary


def begin(terminal: Terminal, command: str, *options: str, idle: str = "5m") -> Typed:
    """Begin a run on a runner of its own, which has an empty home folder."""
    folder = terminal.home / f"run-{time.time_ns()}"
    home = folder.with_suffix(".home")
    home.mkdir()
    words = ["run", "--cloud", "sandbox", "--gpu", "none", "--max-runtime", "5m", "--reuse", "trainer", "--idle", idle]
    where = ["--outputs-dir", str(folder), "--json-summary", f"{folder}.json"]
    process = subprocess.Popen(
        [PROGRAM, *words, *where, *options, "--command", command],
        cwd=terminal.checkout,
        env={**terminal.environment, "HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    terminal.processes.append(process)
    return Typed(process=process, summary=Path(f"{folder}.json"))


@pytest.fixture
def project(terminal: Terminal, tmp_path: Path) -> Terminal:
    terminal.checkout = plant(tmp_path / "project", {"train.py": "print(1)\n"})
    terminal.variables |= {"TOKEN": SECRET, "CVL_CI_REUSE_KEY": REUSE_KEY}
    return terminal


@pytest.mark.minutes(3)
def test_a_second_runner_gets_the_machine_of_the_first_clean_and_it_ends_itself(project: Terminal) -> None:
    cold = begin(project, LEAVE, "--secrets", "TOKEN").until_first_line()
    first = cold.to_the_end()
    assert [line for line in HAD if line not in cold.out.splitlines()] == [], cold.out + cold.err
    print(f"first line of a new machine: {cold.first_line_seconds:.1f} s")
    (machine,) = [one for one in project.sandbox.status().instances if one.state != "terminated"]
    assert machine.tags["cvl-ci-use"].startswith("idle-1-"), machine.tags
    assert machine.tags["cvl-ci-kept"] == machine.tags["cvl-ci-deadline"]

    warm = begin(project, LOOK).until_first_line()
    waits = begin(project, "echo 'first line'; ls", idle="2m")
    print(f"first line of a warm machine: {warm.first_line_seconds:.1f} s")
    second, third = warm.to_the_end(), waits.to_the_end()
    lines = (
        "no reuse key",
        "no reuse key in memory",
        "no file",
        "no output",
        "no netrc",
        "bashrc as it was",
        "no process",
        "no container",
        "no secret",
        "model",
    )
    assert [line for line in lines if line not in warm.out.splitlines()] == [], warm.out
    assert [one["cluster"] for one in (second, third)] == [first["cluster"]] * 2
    assert project.machines() == [machine.id], "two at once: one machine"
    assert [one["reuse"]["number"] for one in (first, second, third)] == [1, 2, 3]
    assert third["phases"]["waiting"] > 0
    assert not [one for one in (cold, warm, waits) if REUSE_KEY in one.out + one.err]
    assert "this run waits for it" in waits.err and "second.txt" not in waits.out
    assert [one["path"] for one in second["files"]] == ["second.txt"], "its own files alone"

    status = project.type("status", "--cloud", "sandbox").stdout
    assert "next run of reuse trainer, after 3 uses" in status, status
    assert project.type("reap", "--cloud", "sandbox", "--grace", "0").returncode == 0
    assert project.machines() == [machine.id], "the reaper knows that it waits"
    only_wait()
    assert eventually(lambda: project.machines() == [], within=420), "it ended itself"
