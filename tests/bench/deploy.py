"""An example with a Dockerfile on the sandbox: built, pushed, served, and replaced while clients send requests.

    .venv/bin/python -m tests.bench.deploy --requests 10000

The figures: the build and the push, and the same again; the time to the address by that of a bare `sky launch` of the
same server until it answers, which pulls the image too; and the requests that failed during the update. The program
fails where one of them failed, or where the provider shows a machine at the end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from cvl_ci.sandbox import SkyAccess
from tests.bench.launch import BESIDE, _for_sky, _sky
from tests.e2e.conftest import Terminal
from tests.e2e.test_deploy import IN_PERL, TOKEN, Caller, get, step, with_registry

CLIENTS = 8
LONGEST_SECONDS = 600.0
TASK = """\
resources: {{cpus: 2+}}
run: |
  docker run --rm --network host {image} > /dev/null 2>&1 &
  until curl -fs http://127.0.0.1:8124/health; do sleep 0.1; done
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/bench deploy", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, metavar="N", help="the least requests of the update")
    least = parser.parse_args().requests
    with tempfile.TemporaryDirectory(prefix="cvl-ci-bench-") as folder:
        place = Path(folder)
        with with_registry(place, wheels=place) as terminal:
            return measure(terminal, place, least=least)


def measure(terminal: Terminal, folder: Path, *, least: int) -> int:
    registry = f"{terminal.variables['CVL_CI_SANDBOX_REGISTRY']}/images"
    image = ("deploy", "packed", "--cloud", "sandbox", "--registry", registry, "--steps", "image")
    times = [timed(lambda: terminal.type(*image)) for _ in range(2)]
    print(f"image: built and pushed in {times[0]:.1f} s; the second time {times[1]:.1f} s", flush=True)
    bare = bare_seconds(terminal, folder, f"{registry}:{tag_of(terminal, registry)}")
    inputs = {"example": "packed", "ttl": "20m", "deploy_token": TOKEN, "registry": registry}
    began = time.monotonic()
    _, first = step(terminal, "/entrypoint", run=100, home=folder / "first", **inputs)
    ours = time.monotonic() - began
    print(f"address after {ours:.1f} s, bare `sky launch` and wait {bare:.1f} s: {ours / bare:.2f}", flush=True)
    callers = [Caller(first["url"], folder / "second" / "outputs", pause=0.0) for _ in range(CLIENTS)]
    (terminal.checkout / "examples/packed/server.pl").write_text(IN_PERL.replace("VERSION", "2"))
    _, second = step(terminal, "/entrypoint", run=101, home=folder / "second", drain="5s", **inputs)
    until = time.monotonic() + LONGEST_SECONDS
    while sum(caller.answers.total() for caller in callers) < least and time.monotonic() < until:
        time.sleep(0.5)
    for caller in callers:
        caller.close()
    answers = sum((caller.answers for caller in callers), Counter())
    failed = answers.total() - answers["1"] - answers["2"]
    print(
        f"update: {answers.total()} requests, {answers['1']} by the old and {answers['2']} by the new, {failed} failed"
    )
    assert get(f"{second['url']}/health", f"Bearer {TOKEN}")[0] == 200
    step(terminal, "/entrypoint", run=102, home=folder / "third", down="true")
    left = terminal.machines()
    print(f"down: {len(left)} machines left")
    return 0 if not failed and not left and answers.total() >= least else 1


def timed(work: Callable[[], subprocess.CompletedProcess[str]]) -> float:
    began = time.monotonic()
    done = work()
    assert done.returncode == 0, done.stdout + done.stderr
    return time.monotonic() - began


def tag_of(terminal: Terminal, registry: str) -> str:
    words = ("image", "ls", "--format", "{{.Tag}}", registry)
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.split()[0]


def bare_seconds(terminal: Terminal, folder: Path, image: str) -> float:
    """Return the seconds of `sky launch` until the server answers on its machine, with SkyPilot's API server warm."""
    access: SkyAccess = terminal.sandbox.access()
    task = folder / "bare.yaml"
    task.write_text(TASK.format(image=image))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SKYPILOT_"))}
    _sky(access, kept, "api", "start")
    began = time.monotonic()
    words = [str(BESIDE / "sky"), "launch", "-y", "-c", "bench", str(task)]
    subprocess.run(words, env=_for_sky(access, kept), check=True, capture_output=True, timeout=1_200)
    seconds = time.monotonic() - began
    _sky(access, kept, "down", "-y", "bench")
    _sky(access, kept, "api", "stop")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
