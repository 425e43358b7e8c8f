"""How the tests are dealt out to the processes of script/test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cvl_ci.engine.machine import supervise
from tests.conftest import APART, NO_DOCKER, TOGETHER, unit_of

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("test", "unit"),
    [
        ("tests/result/test_masks.py::test_a", "tests/result/test_masks.py"),
        ("tests/result/test_masks.py::test_a[x::y]", "tests/result/test_masks.py"),
        ("tests/e2e/test_endings.py::test_a[x]", "tests/e2e/test_endings.py::test_a[x]"),
        ("tests/e2e/test_emulator.py::test_a", "tests/e2e/test_emulator.py"),
        ("tests/sandbox/test_sky_home.py::test_a", "tests/sandbox/test_sky_home.py"),
        ("tests/chaos/test_runs.py::test_a[1]", "tests/chaos/test_runs.py::test_a[1]"),
        ("tests/chaos/test_table.py::test_a", "tests/chaos/test_table.py"),
        ("tests/github/test_artifact.py::test_a", "tests/github/test_artifact.py"),
        ("tests/github/test_publishing.py::test_a", "tests/github/test_artifact.py"),
        ("tests/github/test_artifact_files.py::test_a", "tests/github/test_artifact_files.py"),
        ("tests/commands/models/test_hostile_manifest.py::test_a", "tests/commands/models/test_cache.py"),
        ("tests/commands/models/test_upload.py::test_a", "tests/commands/models/"),
        ("tests/engine/test_contract.py::test_a[x]", "SkyPilot"),
        ("tests/engine/server/test_serve_jobs.py::test_a", "SkyPilot"),
        ("tests/engine/worker/test_job_driver.py::test_a", "SkyPilot"),
    ],
)
def test_a_unit_is_a_file_or_the_files_of_a_server_or_a_test_on_the_sandbox(test: str, unit: str) -> None:
    assert unit_of(test) == unit


def test_a_file_that_shares_a_fixture_stays_together() -> None:
    files = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    sharing = {name for name, text in files.items() if name.startswith(APART) and 'scope="module"' in text}
    assert sharing == set(TOGETHER)


def test_the_programs_of_a_machine_find_no_container_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a time limit they end each container that is new since the job began: also a machine of the sandbox."""
    monkeypatch.setattr(supervise, "_processes", lambda: ({}, {7: "dockerd"}))
    assert shutil.which("docker") == str(NO_DOCKER / "docker")
    assert supervise.containers() == (["docker"], set())
