"""A repository whose example says how long it took: two seconds, or a fifth more."""

from __future__ import annotations

from pathlib import Path

from tests.support.field import plant

EXAMPLE = "examples/timing"
WORK = f"{EXAMPLE}/work.py"
_WORKING = "import json, pathlib, time\nbegan = time.perf_counter()\ntime.sleep({seconds})\n"
_MEASURED = """
pathlib.Path("outputs").mkdir()
took = time.perf_counter() - began
pathlib.Path("outputs/metrics.json").write_text(json.dumps({"latency_ms": took * 1000, "accuracy": 0.9}))
"""
SLOWER = _WORKING.format(seconds=2.4) + _MEASURED


def timing(folder: Path) -> Path:
    """It is committed there; in a copy without outputs alone does it run."""
    files = {
        f"{EXAMPLE}/example.yaml": (
            "name: timing\nresources: {gpu: 0}\npresets: {train: {script: train.sh, docker: false}}\n"
        ),
        f"{EXAMPLE}/train.sh": '#!/bin/bash\ncd "$(dirname "$0")"\n[ ! -e outputs ] && python3 work.py\n',
        WORK: _WORKING.format(seconds=2.0) + _MEASURED,
    }
    return plant(folder, files)
