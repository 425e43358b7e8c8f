"""A marked test runs elsewhere, and ends here as it ended there. Elsewhere is a copy of the folder on this computer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import os, pathlib, pytest

@pytest.fixture
def machine():
    assert os.environ.get("ELSEWHERE"), "a fixture ran here"
    return "gpu"

@pytest.mark.cvl_gpu("L4:1", max_cost=1)
def test_passes(machine):
    print("printed there")
    assert machine == "gpu"

@pytest.mark.cvl_gpu("L4:1", max_cost=1, num_nodes=1)
def test_fails(machine):
    print("before the failure")
    assert 1 + 1 == 3, "arithmetic"

@pytest.mark.cvl_gpu("L4:1")
def test_skips():
    pytest.skip("no such GPU")

@pytest.mark.cvl_gpu("H100:8")
def test_never_starts():
    raise AssertionError("it ran")

def test_local():
    assert "ELSEWHERE" not in os.environ
"""
CONFTEST = """
import os, shutil, subprocess, tempfile
from dataclasses import replace
from pathlib import Path
import cvl_ci.runner
from cvl_ci.model.outcome import Ending
from cvl_ci.result.run_result import RunResult
from tests.result.outcomes import SUCCEEDED

class Local:
    def __init__(self, *, checkout, outputs):
        self.checkout = checkout

    def run(self, command, workdir, *, outputs, gpu, setup, **inputs):
        if gpu == "H100:8":
            return RunResult(replace(SUCCEEDED, ending=Ending.NEVER_STARTED, exit_code=75, reason="no capacity",
                                     files=replace(SUCCEEDED.files, fetched=(), directory="")))
        folder = Path(tempfile.mkdtemp()) / "work"
        shutil.copytree(self.checkout, folder, ignore=shutil.ignore_patterns("conftest.py"))
        done = subprocess.run(command, shell=True, cwd=folder, env={**os.environ, "ELSEWHERE": "1"})
        ending = Ending.SUCCEEDED if done.returncode == 0 else Ending.FAILED
        files = replace(SUCCEEDED.files, directory=str(folder))
        return RunResult(replace(SUCCEEDED, ending=ending, exit_code=done.returncode, files=files))

cvl_ci.runner.SkyPilotRunner = Local
"""
ROOT = Path(__file__).parents[1]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_gpu.py").write_text(TESTS)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = [sys.executable, "-m", "pytest", "-p", "cvl_ci.pytest", "-rs", "-p", "no:cacheprovider", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(program, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=110)


def test_with_the_option_each_test_ends_as_it_ended_there(tmp_path: Path) -> None:
    out = run(tmp_path, "--cvl-gpu").stdout
    assert "2 failed, 2 passed, 1 skipped" in out
    assert "assert (1 + 1) == 3" in out and "AssertionError: arithmetic" in out
    assert "before the failure" in out, "its output is shown with it"
    assert "printed there" not in out, "that of a test that passed is not"
    assert "no such GPU" in out
    assert "never_started: no capacity" in out


def test_without_the_option_each_is_skipped_with_the_reason(tmp_path: Path) -> None:
    out = run(tmp_path).stdout
    assert "1 passed, 4 skipped" in out
    assert "it runs on a cloud machine: give --cvl-gpu" in out


@pytest.mark.parametrize("heavy", ["sky", "boto3", "yaml", "requests", "cvl_ci.runner", "cvl_ci.wiring"])
def test_to_load_the_plugin_loads_nothing_heavy(heavy: str) -> None:
    program = f"import sys, cvl_ci.pytest; raise SystemExit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60, cwd=ROOT).returncode == 0
