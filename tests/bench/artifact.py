"""One upload by our client and by the official one, alternating, through the same server: how long, as ratios.

The server is azurite behind the tests' front, on this machine, so both are measured with it: what is compared is what
a client costs beside the network. The file is sparse; both store it, neither deflates.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.peers import node, results
from tests.peers.results import Results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gigabytes", type=float, default=0.3)
    parser.add_argument("--only-ours", action="store_true", help="the memory of one large upload")
    given = parser.parse_args()
    if problem := node.missing():
        raise SystemExit(problem)
    with tempfile.TemporaryDirectory(prefix="cvl-ci-bench-") as folder:
        large = Path(folder) / "outputs" / "checkpoint.pt"
        large.parent.mkdir()
        with large.open("wb") as file:
            file.truncate(int(given.gigabytes * 1e9))
        (Path(folder) / "azurite").mkdir()
        with node.azurite(Path(folder) / "azurite") as port, results.serving(port) as service:
            measure(service, large, rounds=given.rounds, official=not given.only_ours)


def measure(service: Results, large: Path, *, rounds: int, official: bool) -> None:
    ratios = []
    for number in range(rounds):
        seconds = {}
        order = (_theirs, _ours) if number % 2 == 0 else (_ours, _theirs)
        for client in order if official else (_ours,):
            began = time.monotonic()
            peak = client(service, f"round{number}", large)
            seconds[client] = time.monotonic() - began
            name = "ours" if client is _ours else "official"
            print(f"round {number + 1} {name}: {seconds[client]:.2f} s, {peak / 1e6:.0f} MB at most", flush=True)
        if official:
            ratios.append(seconds[_theirs] / seconds[_ours])
    if ratios:
        print(f"official ÷ ours, above 1 we are faster: median {statistics.median(ratios):.2f}", end=" ")
        print(f"[{min(ratios):.2f} – {max(ratios):.2f}]")
    assert service.wrong == [], service.wrong


def _ours(service: Results, name: str, large: Path) -> int:
    command = [sys.executable, "-m", "tests.bench.upload", name, str(large.parent)]
    environ = {**service.environ, "PATH": os.environ["PATH"]}
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    return int(json.loads(done.stdout)["peak_rss_bytes"])


def _theirs(service: Results, name: str, large: Path) -> int:
    said = node.run_alone("upload.mjs", f"{name}-official", large.parent, large, environ=service.environ)
    return int(str(said["peak_rss_bytes"]))


if __name__ == "__main__":
    main()
