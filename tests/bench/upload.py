"""One upload by our client as a process of its own, so that its memory can be measured: what came of it, as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import resource
import sys
import time
from pathlib import Path

from cvl_ci.github.artifact import WorkflowArtifacts
from cvl_ci.local.clock import SystemClock


def main(name: str, root: str) -> None:
    artifacts = WorkflowArtifacts(
        environ=os.environ,
        leg="",
        clock=SystemClock(),
        random=random.random,
        mask=lambda secret: None,
        warn=lambda text: print(text, file=sys.stderr),
    )
    began = time.monotonic()
    done = artifacts.upload(name, root=Path(root), paths=["."])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({**dataclasses.asdict(done), "peak_rss_bytes": peak, "seconds": time.monotonic() - began}))


if __name__ == "__main__":
    main(*sys.argv[1:])
