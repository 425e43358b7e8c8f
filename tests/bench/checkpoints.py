"""The share of one processor core that the store of checkpoints takes from a job.

    .venv/bin/python -m tests.bench.checkpoints --megabytes 200

Seconds are of the processor, which a busy machine does not stretch. The program of the machine runs as on a machine,
and its bucket is emulated by this process. It fails when the share is more than 2 % at the default interval.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

from cvl_ci.engine.task import checkpoints
from cvl_ci.model.checkpoint_plan import EVERY_SECONDS

MOST_SHARE = 0.02
INTERVAL_SECONDS = 10.0
WARM_SECONDS = 8.0
"""A start costs the same for a job of any length, so it does not count."""
PROGRAM = "import sys; sys.path.insert(0, sys.argv.pop(1)); from checkpoints import main; main.main(*sys.argv[1:])"
MACHINE = Path(__file__).parents[2] / "cvl_ci/engine/machine"


def main(megabytes: int, seconds: float) -> int:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    idle = measure(f"http://{host}:{port}", megabytes=0, seconds=seconds)
    busy = measure(f"http://{host}:{port}", megabytes=megabytes, seconds=seconds)
    server.stop()
    each = max(0.0, busy - idle) / (seconds / INTERVAL_SECONDS)
    share = idle / seconds + each / EVERY_SECONDS
    print(f"{idle / seconds:.2%} of a core without a new checkpoint; {each:.2f} s for one of {megabytes} MB")
    print(f"{share:.2%} of a core at one checkpoint every {EVERY_SECONDS:.0f} s; at most {MOST_SHARE:.0%}")
    return int(share > MOST_SHARE)


def measure(endpoint: str, *, megabytes: int, seconds: float) -> float:
    """Return the processor's seconds of the program while a job writes a checkpoint in each interval."""
    keys = {"AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t", "AWS_ENDPOINT_URL": endpoint}
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="t", aws_secret_access_key="t"
    )
    client.create_bucket(Bucket="bench")
    with tempfile.TemporaryDirectory() as name:
        state, root = Path(name, "state"), Path(name, "root")
        (state / "sync").mkdir(parents=True)
        root.mkdir()
        request: dict[str, object] = {
            "bucket": "bench",
            "work": "w",
            "run": "r",
            "keep": 3,
            "resume": "run",
            "attempt": 1,
        }
        request |= {"every": INTERVAL_SECONDS, "rules": checkpoints.rules(("*.ckpt",), directory=".")}
        (state / "sync/known.json").write_text("{}")
        words = [sys.executable, "-I", "-c", PROGRAM, str(MACHINE), "watch", str(state), str(root), str(root)]
        variables = {**os.environ, **keys, checkpoints.VARIABLE: json.dumps(request)}
        process = subprocess.Popen([*words, "0", "1", str(os.getpid())], env=variables, stdout=subprocess.DEVNULL)
        time.sleep(WARM_SECONDS)
        before = processor_seconds(process.pid)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if megabytes:
                (root / "half.tmp").write_bytes(os.urandom(1 << 20) * megabytes)
                (root / "half.tmp").rename(root / "last.ckpt")
            time.sleep(min(INTERVAL_SECONDS, max(0.0, end - time.monotonic())))
        taken = processor_seconds(process.pid) - before
        process.kill()
        process.wait()
    return taken


def processor_seconds(pid: int) -> float:
    """Return the processor's time of a process and its threads: proc(5), /proc/PID/stat, utime and stime."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    sys.exit(main(options.megabytes, options.seconds))
