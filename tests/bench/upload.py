"""One upload by our client as a process of its own, so that its memory can be measured: what came of it, as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from pathlib import Path

from cvl_ci.github.artifacts.upload import WorkflowArtifacts
from cvl_ci.local.clock import SystemClock


def main(name: str, root: str) -> None:
    artifacts = WorkflowArtifacts(
        environ=os.environ,
        clock=SystemClock(),
        mask=lambda secret: None,
    )
    began = time.monotonic()
    done = artifacts.upload(name, root=Path(root), paths=["."])
    seconds = time.monotonic() - began
    print(json.dumps({**dataclasses.asdict(done), "peak_rss_bytes": peak_rss_bytes(), "seconds": seconds}))


def peak_rss_bytes() -> int:
    """Of this program alone: getrusage's ru_maxrss still holds what the parent had when it forked."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
