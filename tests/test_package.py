"""What is installed from a wheel is what stands here, data files included."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built by the locked hatchling, from the network nothing is taken."""
    into = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(into)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "0"})
    return zipfile.ZipFile(next(into.glob("*.whl")))


def test_the_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    """Scripts for the machine, prices and the sandbox's image are data: they are easily forgotten."""
    here = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "cvl_ci").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert here - set(wheel.namelist()) == set()
    assert any(name.endswith(".sh") for name in here)


def test_the_wheel_holds_nothing_else_but_its_own_description(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0] for name in wheel.namelist()} <= {"cvl_ci", "cvl_ci-0.1.0.dist-info"}


def test_the_wheel_is_licensed_typed_and_has_its_command(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert "cvl_ci/py.typed" in names
    assert "cvl_ci-0.1.0.dist-info/licenses/LICENSE" in names
    assert "cvl-ci = cvl_ci.cli.main:main" in wheel.read("cvl_ci-0.1.0.dist-info/entry_points.txt").decode()


@pytest.mark.parametrize("name", ["requirements.lock", "requirements.action.lock", "requirements.build.lock"])
def test_a_lock_names_hashes_and_no_index(name: str) -> None:
    lock = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in lock
    assert "index" not in lock
    pinned = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert all("==" in line and line.endswith("\\") for line in pinned)


def test_the_lock_holds_every_requirement_of_the_project_and_its_sandbox() -> None:
    """Whoever adds a dependency to pyproject.toml runs script/lock."""
    expected = [Requirement(text) for text in requires("cvl-ci") or []]
    used = {
        canonicalize_name(one.name)
        for one in expected
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("sandbox", "aws"))
    }
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = {canonicalize_name(line.split("==")[0].partition("[")[0]) for line in lock if "==" in line}
    assert used - locked - {"cvl-ci"} == set()
