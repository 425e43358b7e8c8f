"""The same task by bare `sky launch` and by `cvl-ci run` on the sandbox, alternating: what we add, as ratios.

Cold: SkyPilot's HOME is empty and no API server runs. Warm: the round after it. The task prints one line and writes
one file; `sky launch` is followed by `sky down`, since a run of ours ends with the machine gone. Ours does more in
that time (fetches the outputs, asks the provider for proof), and the bare one starts an API server where it is cold.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cvl_ci import wiring
from cvl_ci.sandbox import Sandbox, SkyAccess

MARK = "first line of the job"
TASK = f"resources:\n  cpus: 2+\nrun: |\n  echo '{MARK}'; echo done > done.txt\n"
BESIDE = Path(sys.executable).parent


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Seconds from the command's start to the job's first line, and until the machine is gone."""

    first_line: float
    total: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="cvl-ci-bench-") as folder:
        directory = Path(folder) / "sandbox"
        task = Path(folder) / "task.yaml"
        task.write_text(TASK)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SKYPILOT_"))}
        sandbox = Sandbox(directory, machine_types=wiring.machine_types(), environment=kept, progress=_say)
        try:
            measure(sandbox, directory, task, rounds=rounds, environ=kept)
        finally:
            sandbox.down()


def measure(sandbox: Sandbox, directory: Path, task: Path, *, rounds: int, environ: dict[str, str]) -> None:
    times: dict[tuple[str, str], list[Timed]] = {}
    for number in range(rounds):
        order = ("bare", "ours") if number % 2 == 0 else ("ours", "bare")
        for who in order:
            access = sandbox.up()
            sandbox.reset()
            for state in ("cold", "warm"):
                timed = _bare(access, task, environ) if who == "bare" else _ours(directory, task, environ)
                times.setdefault((who, state), []).append(timed)
                _say(
                    f"round {number + 1} {state} {who}: {timed.first_line:.1f} s to the first line, {timed.total:.1f} s"
                )
            if who == "bare":
                _sky(access, environ, "api", "stop")
    print(f"\n{rounds} rounds; ours ÷ bare, below 1 is faster. Median [lowest – highest].")
    for state in ("cold", "warm"):
        bare, ours = times["bare", state], times["ours", state]
        print(f"{state}: first line {_ratios([o.first_line / b.first_line for o, b in zip(ours, bare, strict=True)])}")
        print(f"{state}: total      {_ratios([o.total / b.total for o, b in zip(ours, bare, strict=True)])}")


def _bare(access: SkyAccess, task: Path, environ: dict[str, str]) -> Timed:
    began = time.monotonic()
    first = _first_line([str(BESIDE / "sky"), "launch", "-y", "-c", "bench", str(task)], _for_sky(access, environ))
    _sky(access, environ, "down", "-y", "bench")
    return Timed(first_line=first - began, total=time.monotonic() - began)


def _ours(directory: Path, task: Path, environ: dict[str, str]) -> Timed:
    began = time.monotonic()
    command = [str(BESIDE / "cvl-ci"), "run", "--task", str(task), "--cloud", "sandbox"]
    outputs = ["--outputs-dir", str(task.parent / "outputs")]
    first = _first_line([*command, *outputs], {**environ, "CVL_CI_SANDBOX_DIR": str(directory)})
    return Timed(first_line=first - began, total=time.monotonic() - began)


def _first_line(command: Sequence[str], env: dict[str, str]) -> float:
    """The moment of the job's first line; raises when there was none or the command failed."""
    first = None
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        lines = []
        for line in process.stdout or []:
            lines.append(line)
            if MARK in line and "echo" not in line and first is None:
                first = time.monotonic()
    if first is None or process.returncode:
        raise SystemExit(f"{' '.join(command)} failed ({process.returncode}):\n{''.join(lines[-30:])}")
    return first


def _sky(access: SkyAccess, environ: dict[str, str], *words: str) -> None:
    subprocess.run([BESIDE / "sky", *words], env=_for_sky(access, environ), capture_output=True, check=True)


def _for_sky(access: SkyAccess, environ: dict[str, str]) -> dict[str, str]:
    path = os.pathsep.join([str(BESIDE), environ["PATH"]])
    return {**environ, **access.environment, "PATH": path, "SKYPILOT_API_SERVER_LOCAL_PORT": "46599"}


def _ratios(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f} – {max(values):.2f}]"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
