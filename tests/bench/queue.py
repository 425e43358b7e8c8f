"""Jobs in turn on one warm machine of the sandbox, against bare ssh to such a machine: what each further job costs.

The first job waits for its machine: cold. A further one waits for its files, its submission and its setup: warm. Bare
ssh runs the same command on a machine that `sky launch` made, with a new connection each time.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from cvl_ci import wiring
from cvl_ci.sandbox import Access, Sandbox
from tests.bench.launch import BESIDE, MARK, TASK, _for_sky, _say, _sky


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=10)
    jobs = parser.parse_args().jobs
    with tempfile.TemporaryDirectory(prefix="cvl-ci-bench-") as folder:
        directory = Path(folder) / "sandbox"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SKYPILOT_"))}
        sandbox = Sandbox(directory, machine_types=wiring.machine_types(), environment=kept, progress=_say)
        try:
            access = sandbox.up()
            bare = _bare(access, Path(folder), kept, count=jobs)
            sandbox.reset()
            cold, warm = _queue(directory, Path(folder), kept, count=jobs)
        finally:
            sandbox.down()
    each, by_ssh = statistics.median(warm), statistics.median(bare)
    print(
        f"\nfirst line of a job: cold {cold:.1f} s, warm {each:.1f} s [{min(warm):.1f} – {max(warm):.1f}], {jobs} jobs."
    )
    print(f"warm ÷ cold {each / cold:.2f}; a further job ÷ bare ssh {each / by_ssh:.1f} ({by_ssh:.2f} s)")


def _bare(access: Access, folder: Path, environ: dict[str, str], *, count: int) -> list[float]:
    """Return the seconds of each command by ssh."""
    task = folder / "task.yaml"
    task.write_text(TASK)
    _sky(access, environ, "launch", "-y", "-c", "bench", str(task))
    env = _for_sky(access, environ)
    config = str(Path(env["HOME"]) / ".ssh/config")
    seconds = []
    for _ in range(count):
        began = time.monotonic()
        words = ["ssh", "-F", config, "-o", "ControlMaster=no", "-o", "ControlPath=none", "bench", f"echo '{MARK}'"]
        subprocess.run(words, env=env, capture_output=True, check=True)
        seconds.append(time.monotonic() - began)
    _sky(access, environ, "down", "-y", "bench")
    _sky(access, environ, "api", "stop")
    return seconds


def _queue(directory: Path, folder: Path, environ: dict[str, str], *, count: int) -> tuple[float, list[float]]:
    """Return the seconds to the first line of the first job, and from each job's line to the next one's."""
    jobs = "".join(f"  - {{id: j{n}, machine: one, gpu: none, command: \"echo '{MARK}'\"}}\n" for n in range(count))
    (folder / "queue.yaml").write_text(f"jobs:\n{jobs}")
    words = [str(BESIDE / "cvl-ci"), "queue", "queue.yaml", "--cloud", "sandbox", "--outputs-dir", str(folder / "q")]
    began, moments = time.monotonic(), []
    with subprocess.Popen(
        words,
        cwd=folder,
        env={**environ, "CVL_CI_SANDBOX_DIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        lines = []
        for line in process.stdout or []:
            lines.append(line)
            if f"| {MARK}" in line:
                moments.append(time.monotonic())
    if process.returncode or len(moments) != count:
        raise SystemExit(f"the queue failed ({process.returncode}):\n{''.join(lines[-30:])}")
    return moments[0] - began, [after - before for before, after in itertools.pairwise(moments)]


if __name__ == "__main__":
    main()
