"""One sandbox for all tests of a session, and the command line against it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cvl_ci import wiring
from cvl_ci.sandbox import Faults, Sandbox, emulator_process
from tests.github.conftest import azurite, official, service
from tests.support import keyboard
from tests.support.field import plant
from tests.support.wheels import seed

__all__ = ["azurite", "official", "service"]

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).parent / "cvl-ci"
Started = tuple[subprocess.Popen[str], Iterator[str], Callable[[], None]]
"""A program, the lines of its stderr, and Ctrl-C."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = f"{Path(__file__).parent}{os.sep}"
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.sandbox)
            item.add_marker(pytest.mark.timeout(1800))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the emulator's log next to a failure: it tells which machine ended, when, and why."""
    report = yield
    used = getattr(item, "funcargs", {}).get("sandbox")
    if report.failed and used is not None:
        report.sections.append(("The emulator's log", emulator_process.log_tail(used[1], lines=60)))
    return report


@dataclass
class Ran:
    """One run, over: exit code, the job's lines (stdout), ours (stderr), and the summary."""

    code: int
    out: str
    err: str
    summary: Mapping[str, Any]
    folder: Path


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
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that all processes of the tests share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Iterator[tuple[Sandbox, Path]]:
    directory = tmp_path_factory.mktemp("sandbox")
    seed(directory / "home", store=wheels)
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
