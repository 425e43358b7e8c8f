"""A change and its base on one real machine, in turn: a fifth slower is called worse, and what is the same is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.field import plant, run_git
from tests.sandbox.conftest import Terminal

EXAMPLE = "examples/timing"
PRESETS = "presets: {train: {script: train.sh, docker: false}}\n"
WORKING = "import json, pathlib, time\nbegan = time.perf_counter()\ntime.sleep({seconds})\n"
MEASURED = """
pathlib.Path("outputs").mkdir()
took = time.perf_counter() - began
pathlib.Path("outputs/metrics.json").write_text(json.dumps({"latency_ms": took * 1000, "accuracy": 0.9}))
"""
SLOWER = WORKING.format(seconds=2.4) + MEASURED


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    files = {
        f"{EXAMPLE}/example.yaml": f"name: timing\nresources: {{gpu: 0}}\n{PRESETS}",
        f"{EXAMPLE}/train.sh": '#!/bin/bash\ncd "$(dirname "$0")"\n[ ! -e outputs ] && python3 work.py\n',
        f"{EXAMPLE}/work.py": WORKING.format(seconds=2.0) + MEASURED,
    }
    return plant(tmp_path / "repository", files)


def test_what_got_slower_is_told_and_fails_it(terminal: Terminal, repository: Path) -> None:
    work = repository / EXAMPLE / "work.py"
    work.write_text(SLOWER)
    (repository / "unrelated").write_text("x")
    run_git(repository, "add", "unrelated")
    ran = terminal.run("timing", "--compare", "HEAD", "--fail-on-regression", checkout=repository)
    assert ran.code == 1, ran.err
    told = ran.summary["beside"]
    assert sorted(told["order"]) == sorted(f"{side}-{turn}" for side in ("head", "base") for turn in range(1, 6))
    found = {change["metric"]: change["verdict"] for change in told["changes"]}
    assert found["accuracy"] == "same"
    assert found["latency_ms"] == "worse", told
    assert (len(ran.summary["samples"]["latency_ms"]), len(ran.summary["samples"]["time.turn"])) == (5, 5)
    kept = [f"{side}-{turn}/outputs/metrics.json" for side in ("base", "head") for turn in range(1, 6)]
    assert sorted(each["path"] for each in ran.summary["files"]) == kept
    assert work.read_text() == SLOWER, "the working tree is as it was"
    assert terminal.machines() == []
