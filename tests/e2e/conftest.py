"""One sandbox for all tests of a session, and the command line against it."""

from __future__ import annotations

import calendar
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cvl_ci import wiring
from cvl_ci.sandbox import Faults, Sandbox
from tests.github.conftest import azurite, official, service
from tests.support import keyboard
from tests.support.field import plant
from tests.support.meter import Meter

__all__ = ["azurite", "official", "service"]

DISK_GB = 100
"""The disk of a run that asks for no other size."""

TRAFFIC_GB = 0.09
"""AWS's dollars for a GB that leaves it."""
ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).parent / "cvl-ci"
Started = tuple[subprocess.Popen[str], Iterator[str], Callable[[], None]]
"""A program, the lines of its stderr, and Ctrl-C."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.sandbox)
            item.add_marker(pytest.mark.timeout(1800))


@dataclass
class Ran:
    """One run, over: exit code, the job's lines (stdout), ours (stderr), and the summary."""

    code: int
    out: str
    err: str
    summary: Mapping[str, Any]
    folder: Path


def assert_told_as_metered(ran: Ran, sandbox: Sandbox, *, disk_gb: float = DISK_GB, slack_seconds: float = 0.0) -> None:
    """Assert that the cost is within 1 % of the emulator's own times × the catalogue, by AWS's rules of billing.

    `slack_seconds`: how many more seconds the ledger itself grants.
    """
    told = ran.summary
    assert not told["released"].get("kept_until"), "a machine that lives on has no last figure"
    taken = {each.id for each in sandbox.status().instances} if told["ending"] == "preempted" else set[str]()
    metered = metered_usd(told, sandbox, disk_gb=disk_gb, taken=taken)
    second_usd = sum(entry["usd"] / entry["billed_seconds"] for entry in told["ledger"] if entry["billed_seconds"])
    allowed = max(0.01 * metered, (slack_seconds + 1) * second_usd if slack_seconds else 0.0)
    assert (told["cost_usd"] or 0.0) == pytest.approx(metered, abs=allowed), told["ledger"]


def metered_usd(told: Mapping[str, Any], sandbox: Sandbox, *, disk_gb: float, taken: Collection[str]) -> float:
    """Return the price of a run's machines by the emulator's own times. `taken`: those that the provider took."""
    status = sandbox.status()
    assert status.up
    meter = Meter(month_hours=calendar.monthrange(*time.gmtime()[:2])[1] * 24)
    prices = {(row.name, row.region): row for row in wiring.machine_types()}
    for machine in status.instances:
        if machine.tags.get("cvl-ci-lease") != told["cluster"]:
            continue
        row = prices[machine.instance_type, machine.region]
        hourly = row.spot_hourly_usd if machine.spot else row.hourly_usd
        assert hourly and machine.ended_at, machine
        born, died = (
            datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S%z").timestamp()
            for moment in (machine.launched_at, machine.ended_at)
        )
        meter.start(machine.id, hourly_usd=hourly, disk_gb=disk_gb, spot=machine.spot, now=born)
        meter.stop(machine.id, now=died, taken=machine.id in taken)
    fetched_bytes: int = sum(each["bytes"] for each in told["files"])
    return meter.usd(0.0) + fetched_bytes / 1e9 * TRAFFIC_GB


@dataclass
class Terminal:
    """A person at a shell in a checkout, with a HOME of their own and a sandbox that is up."""

    home: Path
    directory: Path
    sandbox: Sandbox
    checkout: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    cloud: str = "sandbox"
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: os.environ[name] for name in ("PATH", "LANG", "SSL_CERT_FILE", "DOCKER_HOST") if name in os.environ
        }
        return {
            **kept,
            "HOME": str(self.home),
            "CVL_CI_SANDBOX_DIR": str(self.directory),
            "NO_COLOR": "1",
            **self.variables,
        }

    def type(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *words],
            cwd=self.checkout,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=800,
        )

    def run(
        self,
        *words: str,
        checkout: Path | None = None,
        stop: Callable[[str], bool] | None = None,
        in_terminal: bool = False,
    ) -> Ran:
        """`stop`: asked with each line of ours; when it says yes, the person presses Ctrl-C.

        `in_terminal`: stderr is a terminal, and the key is pressed there, as often as `stop` says yes. Without one, the
        process gets one signal.
        """
        folder = self.home / f"run-{time.time_ns()}"
        options = words.index("--") if "--" in words else len(words)
        arguments = [
            "run",
            *words[:options],
            "--cloud",
            self.cloud,
            "--outputs-dir",
            str(folder),
            "--json-summary",
            f"{folder}.json",
            *words[options:],
        ]
        started = self._at_keyboard if in_terminal else self._in_pipe
        process, lines, press = started([PROGRAM, *arguments], checkout or self.checkout)
        self.processes.append(process)
        assert process.stdout is not None
        out: list[str] = []
        reader = threading.Thread(target=lambda: out.extend(process.stdout or []))
        reader.start()
        err = []
        for line in lines:
            err.append(line)
            if stop is not None and stop(line):
                press()
                stop = stop if in_terminal else None
        code = process.wait()
        reader.join()
        process.stdout.close()
        summary = Path(f"{folder}.json")
        told = json.loads(summary.read_text()) if summary.exists() else {}
        return Ran(code=code, out="".join(out), err="".join(err), summary=told, folder=folder)

    def _at_keyboard(self, words: Sequence[str | Path], folder: Path) -> Started:
        typed = keyboard.start(words, cwd=folder, env=self.environment)
        return typed.process, typed.lines(), typed.press_ctrl_c

    def _in_pipe(self, words: Sequence[str | Path], folder: Path) -> Started:
        pipe = subprocess.PIPE
        process = subprocess.Popen(words, cwd=folder, env=self.environment, stdout=pipe, stderr=pipe, text=True)

        def lines() -> Iterator[str]:
            assert process.stderr is not None
            with process.stderr:
                yield from process.stderr

        return process, lines(), lambda: process.send_signal(signal.SIGINT)

    def machines(self) -> list[str]:
        """What the emulated EC2 still shows, in every region, that is not terminated."""
        return [each.id for each in self.sandbox.status().instances if each.state != "terminated"]


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, Path]]:
    directory = tmp_path_factory.mktemp("sandbox")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    made = Sandbox(directory, machine_types=wiring.machine_types(), environment=kept, progress=print)
    made.up()
    yield made, directory
    made.down()


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with the examples alone: each run stages all that is in it."""
    folder = tmp_path_factory.mktemp("checkout") / "examples-of-cvl"
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__", "outputs"))
    return plant(folder, {})


@pytest.fixture
def terminal(sandbox: tuple[Sandbox, Path], checkout: Path, tmp_path: Path) -> Iterator[Terminal]:
    made, directory = sandbox
    made.set_faults(Faults())
    terminal = Terminal(home=tmp_path, directory=directory, sandbox=made, checkout=checkout)
    yield terminal
    for process in terminal.processes:
        process.kill()
    made.set_faults(Faults())
    left = terminal.machines()
    if left:
        made.reset()
    assert left == [], "a test left machines running"
