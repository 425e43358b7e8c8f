"""A run that leaves its machine alone with the job, and another process that collects it: real engine, EC2 and S3."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.sandbox.emulator.containers import INSTANCE_LABEL
from tests.e2e.cloud import docker, eventually
from tests.e2e.conftest import Terminal
from tests.e2e.metering import assert_told_as_metered
from tests.e2e.test_storage import s3_of

PLACE = "s3://results/of/ci"
TOKEN = "hf_correct-horse-battery-staple"
JOB = (
    "echo one; echo its token is $HF_TOKEN; until [ -e /tmp/go ]; do sleep 0.2; done; "
    "mkdir out; seq 1 5000 > out/numbers.txt; echo two; exit 7"
)
"""The job ends some seconds after its run: the test lets it go on."""


def record_of(home: Path, lease: str) -> Path:
    return home / ".local/state/cvl-ci/leases" / f"{lease}.json"


class Sides:
    """The terminal that detaches the runs, and another one that has nothing but their records."""

    def __init__(self, terminal: Terminal, home: Path) -> None:
        self.first = terminal
        self.other = Terminal(
            home=home, directory=terminal.directory, sandbox=terminal.sandbox, checkout=terminal.checkout
        )
        self.folder = home / "collected"

    def detach(self, *options: str) -> str:
        """Start a run, assert that its process ended while the job runs, and return its lease."""
        before = set(self.first.machines())
        words = ["--command", JOB, "--gpu", "none", "--outputs", "out/**", "--max-runtime", "20m"]
        words += ["--secrets", f"HF_TOKEN={TOKEN}", "--env", "AWS_PROFILE=of-another-account"]
        ran = self.first.run(*words, *options, "--detach", "--detach-to", PLACE)
        assert (ran.code, ran.summary["ending"]) == (0, "detached"), ran.err + ran.out
        lease = str(ran.summary["cluster"])
        assert f"cvl-ci collect {lease}" in " ".join(ran.err.split())
        assert len(set(self.first.machines()) - before) == 1, "its machine runs on without it"
        record = record_of(self.other.home, lease)
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_bytes(record_of(self.first.home, lease).read_bytes())
        return lease

    def summary(self, lease: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.folder / f"{lease}.json").read_text())
        return told


@pytest.mark.minutes(8)
def test_detached_runs_are_collected_by_another_process_whether_their_machine_ended_itself_or_was_lost(
    terminal: Terminal, tmp_path: Path
) -> None:
    s3_of(terminal).create_bucket(Bucket="results")
    sides = Sides(terminal, tmp_path / "other")
    ended = sides.detach()
    early = terminal.type("collect", ended)
    assert early.returncode == 75, early.stderr + early.stdout
    assert "its job still runs" in early.stdout and "Nothing was taken down" in early.stdout
    [machine] = terminal.machines()
    docker("exec", container_of(machine), "touch", "/tmp/go")

    lost = sides.detach("--spot", "true")
    [second] = set(terminal.machines()) - {machine}
    terminal.sandbox.interrupt(second, notice_seconds=0.0)
    eventually(lambda: terminal.machines() == [], within=300.0)
    assert terminal.machines() == [], "the machine of the first run did not end itself"

    collected = sides.other.type("collect", "all", "--outputs-dir", str(sides.folder))
    assert collected.returncode == 7, collected.stderr + collected.stdout
    assert_whole(sides, ended, collected)
    told = sides.summary(lost)
    assert (told["ending"], told["exit_code"], told["released"]["gone"]) == ("preempted", 75, True)
    assert "no end of its job" in told["reason"]
    case = "preempted: spot, taken from a detached run"
    assert_told_as_metered(told, terminal.sandbox, case=case, taken={second})
    free = [entry["usd"] for entry in told["ledger"] if entry["kind"] == "machine"]
    assert free == [0] and told["cost_usd"] > 0, "AWS bills its disk and its address alone"
    again = sides.other.type("collect", "all")
    assert (again.returncode, "No detached run waits" in again.stdout) == (0, True), again.stderr


def assert_whole(sides: Sides, lease: str, collected: subprocess.CompletedProcess[str]) -> None:
    told = sides.summary(lease)
    assert (told["ending"], told["exit_code"], told["released"]["gone"]) == ("failed", 7, True)
    assert [line for line in collected.stdout.splitlines() if line in {"one", "two"}][:2] == ["one", "two"]
    assert "its token is ***" in collected.stdout, "the other terminal does not know it"
    numbers = "".join(f"{number}\n" for number in range(1, 5001))
    assert (sides.folder / lease / "out/numbers.txt").read_text() == numbers
    assert_told_as_metered(told, sides.first.sandbox, case="detached, failed, and told by collect")


def container_of(machine: str) -> str:
    return docker("ps", "--quiet", "--filter", f"label={INSTANCE_LABEL}={machine}").strip()
