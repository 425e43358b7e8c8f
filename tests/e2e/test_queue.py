"""A queue whose jobs share a machine, on the sandbox: killed in the middle, resumed, and nothing of it is left."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import PROGRAM, Terminal
from tests.e2e.metering import assert_told_as_metered
from tests.support.field import plant

QUEUE = """
defaults: {gpu: none, max_runtime: 5m}
jobs:
  - id: prepare
    machine: one
    command: |
      echo "ran prepare"; echo 1 > data.txt
      setsid nohup sleep 987 > /dev/null 2>&1 &
      sudo -n sh -c 'echo root > owned-by-root.txt'
  - {id: broken, machine: one, needs: prepare, soft_fail: false, command: "echo ran broken; cat data.txt; exit 7"}
  - {id: after-broken, needs: broken, command: "echo ran after-broken"}
  - id: train
    machine: one
    inputs: {from: prepare}
    command: |
      echo "ran train"; echo "got $(cat inputs/prepare/data.txt)"
      pgrep -c -f 'sleep 98[7]' || echo "no process is left"
      echo 2 > model.txt; echo "mark" > "$CVL_WORK_DIR/mark.txt"; sleep 15
  - id: evaluate
    machine: one
    needs: train
    command: 'echo "ran evaluate"; echo "found $(cat model.txt) $(cat "$CVL_WORK_DIR/mark.txt")"; ls'
"""


def begin(terminal: Terminal, folder: Path) -> subprocess.Popen[str]:
    words = ["queue", "queue.yaml", "--cloud", "sandbox", "--outputs-dir", str(folder)]
    process = subprocess.Popen(
        [PROGRAM, *words],
        cwd=terminal.checkout,
        env=terminal.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    terminal.processes.append(process)
    return process


def kill_when(process: subprocess.Popen[str], text: str) -> str:
    """Kill a queue at a line of its output, and return the output until then."""
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if text in line:
            process.kill()
            break
    process.stdout.close()
    process.wait()
    return said


def record(folder: Path) -> Mapping[str, Any]:
    jobs: Mapping[str, Any] = json.loads((folder / "queue.json").read_text())["jobs"]
    return jobs


def summaries(folder: Path, *names: str) -> list[Mapping[str, Any]]:
    """Return the summary of the last attempt of each job, in this order."""
    jobs = record(folder)
    return [json.loads(Path(f"{jobs[name]['folder']}.json").read_text()) for name in names]


@pytest.fixture
def project(terminal: Terminal, tmp_path: Path) -> Terminal:
    terminal.checkout = plant(tmp_path / "project", {"queue.yaml": QUEUE})
    return terminal


def test_a_killed_queue_goes_on_and_its_jobs_share_a_machine(project: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "queue"
    said = kill_when(begin(project, folder), "train | ran train")
    assert len(project.machines()) == 1, said
    assert {name: one["state"] for name, one in record(folder).items()} == {
        "prepare": "succeeded",
        "broken": "failed",
        "after-broken": "skipped",
        "train": "running",
    }, said
    assert len({record(folder)[name]["lease"] for name in ("prepare", "broken", "train")}) == 1
    assert not record(folder)["prepare"]["is_gone"], "no proof while the machine goes on"
    assert "broken | 1\n" in said, "it found the file of the job that it needs"

    second = begin(project, folder)
    out, _ = second.communicate(timeout=800)
    assert second.returncode == 7, out
    assert project.machines() == [], out
    ran = [name for name in ("prepare", "broken", "after-broken", "train", "evaluate") if f"ran {name}\n" in out]
    assert ran == ["prepare", "broken", "train", "evaluate"], "broken needs the files of prepare on the new machine"
    assert "train | got 1\n" in out
    assert "train | no process is left\n" in out
    assert "evaluate | found 2 mark\n" in out
    assert "it needs broken (failed)" in out
    assert_shared(folder, out, project)


def assert_shared(folder: Path, out: str, project: Terminal) -> None:
    """Assert that the jobs had one machine, each its own files, and shares that add up to its bill."""
    jobs = record(folder)
    assert all(one["is_gone"] for one in jobs.values()), out
    assert jobs["evaluate"]["lease"] == jobs["train"]["lease"] == jobs["prepare"]["lease"]

    told = summaries(folder, "prepare", "broken", "train", "evaluate")
    assert [one["exit_code"] for one in told] == [0, 7, 0, 0]
    assert all(one["released"]["gone"] for one in told)
    assert {file["path"] for file in told[0]["files"]} == {"data.txt", "owned-by-root.txt"}
    assert {file["path"] for file in told[2]["files"]} == {"model.txt", "cvl-work/mark.txt"}
    assert told[3]["files"] == [], "the files of the jobs before are not its own"
    whole = {
        **told[-1],
        "cost_usd": sum(one["cost_usd"] for one in told),
        "files": [file for one in told for file in one["files"]],
        "ledger": [],
    }
    assert_told_as_metered(whole, project.sandbox, case="several jobs on one machine")
    cold, warm = told[0]["phases"]["provisioning"], told[2]["phases"]["provisioning"]
    print(f"the job begins {cold:.1f} s after the request for a machine, and {warm:.1f} s after it goes to a warm one")
    assert warm < cold / 3, "a further job waits for no machine"
