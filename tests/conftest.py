"""Quick tests run first, and no test sees this machine's home, credentials or leases."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

COST = ("sandbox", "flood", "peers", "sky")
"""Markers of tests that take long, the longest first: a mistake in the rest is seen before they begin."""

OF_THE_USER = ("AWS_", "AZURE_", "GOOGLE_", "SKYPILOT_", "CVL_", "GITHUB_", "ACTIONS_", "INPUT_", "NO_COLOR")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_cost)
    if not docker_answers() and not in_ci():
        no_docker = pytest.mark.skip(reason="no Docker Engine answers: script/bootstrap starts one")
        for item in items:
            if item.get_closest_marker("sandbox"):
                item.add_marker(no_docker)


def in_ci() -> bool:
    return bool(os.environ.get("CI"))


def _cost(item: pytest.Item) -> int:
    return next((len(COST) - rank for rank, name in enumerate(COST) if item.get_closest_marker(name)), 0)


def docker_answers() -> bool:
    """In CI nobody asks: there, a missing Docker fails the tests that need it."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=30).returncode == 0


@pytest.fixture(autouse=True)
def an_empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that wants credentials or a HOME of its own makes them."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in _to_forget(list(os.environ)):
        monkeypatch.delenv(name)


def _to_forget(names: Sequence[str]) -> list[str]:
    keep = ("AWS_CA_BUNDLE",)
    return [name for name in names if name.startswith(OF_THE_USER) and name not in keep]
