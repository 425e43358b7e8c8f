"""Jobs on machines that live already, on the sandbox: a run on a waiting machine, and the jobs of a queue, as ratios.

`reuse`: the seconds from the command to the job's first line, of runs that enter a waiting machine, by those of the run
that launched it. `queue`: the seconds from one job's beginning to the next one's, of one-second jobs on a shared
machine, by those of `ssh MACHINE sleep 1`. All times of a ratio are of one run on one computer.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from cvl_ci import wiring
from cvl_ci.sandbox import Sandbox
from tests.support.field import plant

PROGRAM = Path(sys.executable).parent / "cvl-ci"
MARK = "first line of the job"
SECONDS = 1.0
"""The length of a queue's job."""
_BEGAN = re.compile(r"^(?P<job>\w+) \| began (?P<at>[\d.]+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class BenchProject:
    """A sandbox, a project and a home folder for the commands."""

    folder: Path
    sandbox_folder: Path

    @property
    def environment(self) -> dict[str, str]:
        names = ("PATH", "LANG", "SSL_CERT_FILE", "DOCKER_HOST")
        inherited = {name: os.environ[name] for name in names if name in os.environ}
        return {**inherited, "HOME": str(self.folder), "CVL_CI_SANDBOX_DIR": str(self.sandbox_folder), "NO_COLOR": "1"}

    def type(self, *words: str) -> tuple[float, str]:
        """Return the seconds until the job's first line (0 without one), and all output. Raises SystemExit."""
        command, first, lines = [str(PROGRAM), *words], 0.0, []
        begin = time.monotonic()
        with subprocess.Popen(
            command,
            cwd=self.folder / "project",
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            for line in process.stdout or ():
                lines.append(line)
                if line.strip() == MARK and not first:
                    first = time.monotonic() - begin
        if process.returncode:
            raise SystemExit(f"{shlex.join(command)} failed ({process.returncode}):\n{''.join(lines[-30:])}")
        return first, "".join(lines)

    def run(self, command: str, *options: str) -> tuple[float, dict[str, Any]]:
        """Return the seconds until the first line of a run, and its summary."""
        summary = self.folder / "summary.json"
        words = ["run", "--cloud", "sandbox", "--gpu", "none", "--max-runtime", "5m", "--json-summary", str(summary)]
        first, _ = self.type(*words, *options, "--command", command)
        told: dict[str, Any] = json.loads(summary.read_text())
        return first, told


def measure_reuse(project: BenchProject, *, rounds: int) -> None:
    """Print the ratio of each further use to the first one."""
    options = ("--reuse", "bench", "--idle", "10m")
    cold, first = project.run(f"echo '{MARK}'", *options)
    _say(f"new machine: {cold:.1f} s to the first line")
    warm = []
    for _ in range(rounds):
        seconds, told = project.run(f"echo '{MARK}'", *options)
        if told["cluster"] != first["cluster"]:
            raise SystemExit("a run did not enter the waiting machine")
        _say(f"warm, use {told['reuse']['number']}: {seconds:.1f} s to the first line")
        warm.append(seconds)
    project.type("down", first["cluster"], "--cloud", "sandbox")
    print(f"first line: new {cold:.1f} s, warm {statistics.median(warm):.1f} s")
    print(f"first line, warm ÷ new: {_ratios([seconds / cold for seconds in warm])}")


def measure_queue(project: BenchProject, *, jobs: int, machines: int) -> None:
    """Print the time of one job in a queue, next to the same command by ssh."""
    entries = [
        {
            "id": f"j{number}",
            "machine": f"m{number % machines}",
            "command": f"echo began $(date +%s.%N); sleep {SECONDS:g}",
        }
        for number in range(jobs)
    ]
    document = {
        "max_parallel": machines,
        "defaults": {"cloud": "sandbox", "gpu": "none", "max_runtime": "2m"},
        "jobs": entries,
    }
    (project.folder / "project/queue.yaml").write_text(json.dumps(document))
    _, said = project.type("queue", "queue.yaml", "--outputs-dir", str(project.folder / "queue"))
    moments: dict[int, list[float]] = {}
    for match in _BEGAN.finditer(said):
        moments.setdefault(int(match["job"][1:]) % machines, []).append(float(match["at"]))
    steps = [after - before for times in moments.values() for before, after in pairwise(sorted(times))]
    if len(steps) != jobs - machines:
        raise SystemExit(f"{len(steps)} of {jobs - machines} steps between jobs were seen:\n{said[-2000:]}")
    bare = _bare_steps(project, count=min(20, jobs))
    queue, ssh = statistics.median(steps), statistics.median(bare)
    print(f"{jobs} jobs of {SECONDS:g} s on {machines} machines: {queue:.2f} s a job; by bare ssh {ssh:.2f} s a job")
    print(f"overhead of a job: {queue - SECONDS:.2f} s; by bare ssh {ssh - SECONDS:.2f} s")
    print(f"a job, queue ÷ bare ssh: {queue / ssh:.2f}")


def _bare_steps(project: BenchProject, *, count: int) -> list[float]:
    """Return the seconds of each command by ssh, one after the other, on a machine that a run left."""
    _, told = project.run("true", "--down", "false", "--idle-minutes-to-autostop", "10")
    (way_in,) = told["released"]["ssh_commands"]
    seconds = []
    for _ in range(count):
        begin = time.monotonic()
        words = [*shlex.split(way_in), f"sleep {SECONDS:g}"]
        subprocess.run(words, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
        seconds.append(time.monotonic() - begin)
    project.type("down", told["cluster"], "--cloud", "sandbox")
    return seconds


def _ratios(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f} – {max(values):.2f}]"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=("reuse", "queue"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--machines", type=int, default=3)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cvl-ci-bench-") as name:
        folder = Path(name)
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SKYPILOT_"))}
        project = BenchProject(folder=folder, sandbox_folder=folder / "sandbox")
        plant(folder / "project", {"train.py": "print(1)\n"})
        sandbox = Sandbox(
            project.sandbox_folder, machine_types=wiring.machine_types(), environment=environ, progress=_say
        )
        try:
            sandbox.up()
            if words.what == "reuse":
                measure_reuse(project, rounds=words.rounds)
            else:
                measure_queue(project, jobs=words.jobs, machines=words.machines)
        finally:
            sandbox.down()


if __name__ == "__main__":
    main()
