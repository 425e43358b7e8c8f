"""A marked test runs elsewhere, and ends here as it ended there. Elsewhere is a copy of the folder on this computer."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.pytest import REPORT, _case
from cvl_ci.result.run_result import RunResult
from tests.result.outcomes import SUCCEEDED

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
CANCELLED = """
import pytest

@pytest.mark.cvl_gpu("T4:1")
def test_cancelled():
    pass

@pytest.mark.cvl_gpu("L4:1")
def test_next():
    raise AssertionError("it ran")
"""
LEAKS = """
import pytest

@pytest.mark.cvl_gpu("L4:2")
def test_skips():
    pytest.skip("no such GPU")

@pytest.mark.cvl_gpu("L4:2")
def test_fails():
    raise AssertionError("arithmetic")

@pytest.mark.cvl_gpu("L4:2")
def test_passes():
    pass
"""
SECRETS = """
import os, pytest

@pytest.mark.cvl_gpu("L4:1")
def test_fails():
    print("token <" + os.environ["HF_TOKEN"] + "> and\\x9b2J the rest")
    assert os.environ["HF_TOKEN"] == "another"

@pytest.mark.cvl_gpu("L4:1")
def test_skips():
    pytest.skip("the token " + os.environ["HF_TOKEN"])
"""
TOKEN = "hf_not_a_real_token_0123456789"
CONFTEST = """
import os, shutil, subprocess, tempfile
from dataclasses import replace
from pathlib import Path
import cvl_ci.runner
from cvl_ci.model.outcome import Ending
from cvl_ci.result.run_result import RunResult
from tests.result.outcomes import GONE, SUCCEEDED

# A project on a machine may install cvl-ci, whose plugin pytest then loads there too.
MACHINE = {"ELSEWHERE": "1", "CVL_CI_LEASE": "cvl-3f9a1c", "PYTEST_PLUGINS": os.environ["PLUGINS_THERE"]}
NO_FILES = replace(SUCCEEDED.files, fetched=(), directory="")

class Local(cvl_ci.runner.SkyPilotRunner):
    def run(self, command, workdir, *, outputs, gpu, setup, **inputs):
        if gpu == "H100:8":
            return RunResult(replace(SUCCEEDED, ending=Ending.NEVER_STARTED, exit_code=75, reason="no capacity",
                                     files=NO_FILES))
        if gpu == "T4:1":
            return RunResult(replace(SUCCEEDED, ending=Ending.CANCELLED, exit_code=130, reason="by Ctrl-C",
                                     files=NO_FILES))
        folder = Path(tempfile.mkdtemp()) / "work"
        shutil.copytree(self._checkout, folder, ignore=shutil.ignore_patterns("conftest.py"))
        done = subprocess.run(command, shell=True, cwd=folder, env={**os.environ, **MACHINE}, capture_output=True)
        ending = Ending.SUCCEEDED if done.returncode == 0 else Ending.FAILED
        outcome = replace(SUCCEEDED, ending=ending, exit_code=done.returncode,
                          files=replace(SUCCEEDED.files, directory=str(folder)))
        if gpu == "L4:2":
            outcome = replace(outcome, exit_code=79, release=replace(GONE, gone=False))
        return RunResult(outcome)

cvl_ci.runner.SkyPilotRunner = Local
"""
ROOT = Path(__file__).parents[1]


def run(
    folder: Path,
    *words: str,
    tests: str = TESTS,
    ini: str = "addopts = --strict-markers",
    plugins_there: str = "cvl_ci.pytest",
) -> subprocess.CompletedProcess[str]:
    (folder / "test_gpu.py").write_text(tests)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text(f"[pytest]\n{ini}\n")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = [sys.executable, "-m", "pytest", "-p", "cvl_ci.pytest", "-rs", "-p", "no:cacheprovider", *words]
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": path,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "HF_TOKEN": TOKEN,
        "PLUGINS_THERE": plugins_there,
    }
    return subprocess.run(program, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=110)


def test_with_the_option_each_test_ends_as_it_ended_there(tmp_path: Path) -> None:
    out = run(tmp_path, "--cvl-gpu").stdout
    assert "2 failed, 2 passed, 1 skipped" in out
    assert "assert (1 + 1) == 3" in out and "AssertionError: arithmetic" in out
    assert "before the failure" in out, "its output is shown with it"
    assert "printed there" not in out, "that of a test that passed is not"
    assert "no such GPU" in out
    assert "never_started: no capacity" in out


@pytest.mark.parametrize("ini", ["filterwarnings = error", "strict_markers = true"])
def test_a_machine_without_the_plugin_knows_no_marker_and_runs_the_test(tmp_path: Path, ini: str) -> None:
    out = run(tmp_path, "--cvl-gpu", "-k", "passes", ini=ini, plugins_there="").stdout
    assert "1 passed" in out


def test_the_plugin_has_one_name_by_itself_and_by_p() -> None:
    """pytest refuses a module that it knows by another name."""
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    (entry,) = lines[lines.index("[project.entry-points.pytest11]") + 1 :][1:2]
    assert entry == '"cvl_ci.pytest" = "cvl_ci.pytest"'


def test_a_machine_that_may_still_run_hides_behind_no_end_of_the_test(tmp_path: Path) -> None:
    out = run(tmp_path, "--cvl-gpu", tests=LEAKS).stdout
    assert "3 failed" in out
    assert out.count("A MACHINE MAY STILL BE RUNNING") >= 3
    assert "down cvl-3f9a1c-digits --cloud aws" in out
    assert "AssertionError: arithmetic" in out and "skipped, but its run did not succeed" in out


@pytest.mark.parametrize("words", [(), ("--pdb",)])
def test_a_cancelled_run_ends_the_session_and_launches_no_next_machine(tmp_path: Path, words: tuple[str, ...]) -> None:
    result = run(tmp_path, "--cvl-gpu", *words, tests=CANCELLED)
    assert result.returncode == pytest.ExitCode.INTERRUPTED
    assert "cancelled: by Ctrl-C" in result.stdout and "no tests ran" in result.stdout
    assert "it ran" not in result.stdout


def test_words_of_the_machine_show_no_secret_and_no_control(tmp_path: Path) -> None:
    out = run(tmp_path, "--cvl-gpu", tests=SECRETS).stdout
    assert "1 failed, 1 skipped" in out
    assert "token <***> and the rest" in out and "the token ***" in out
    assert TOKEN not in out and "\x9b" not in out


@pytest.mark.parametrize(
    "report",
    [
        '<!DOCTYPE a [<!ENTITY b "c">]><testsuite><testcase name="&b;"/></testsuite>',
        '<?xml version="1.0" encoding="no-such"?><testsuite><testcase/></testsuite>',
        '<?xml version="1.0" encoding="utf-32"?><testsuite><testcase/></testsuite>',
        "<testsuite><testcase>",
        "",
    ],
)
def test_a_hostile_report_is_no_report(tmp_path: Path, report: str) -> None:
    (tmp_path / REPORT).write_text(report)
    result = RunResult(replace(SUCCEEDED, files=replace(SUCCEEDED.files, directory=str(tmp_path))))
    assert _case(result) is None


def test_without_the_option_each_is_skipped_with_the_reason(tmp_path: Path) -> None:
    out = run(tmp_path).stdout
    assert "1 passed, 4 skipped" in out
    assert "on a cloud machine: give --cvl-gpu" in out


@pytest.mark.parametrize("heavy", ["sky", "boto3", "yaml", "requests", "cvl_ci.runner", "cvl_ci.wiring"])
def test_to_load_the_plugin_loads_nothing_heavy(heavy: str) -> None:
    program = f"import sys, cvl_ci.pytest; raise SystemExit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60, cwd=ROOT).returncode == 0
