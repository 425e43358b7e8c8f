"""SkyPilot takes the wheel that it was given, by its own code, and builds none."""

from __future__ import annotations

import importlib
import os
import subprocess
import time
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

NAME = f"skypilot-{metadata.version('skypilot')}-py3-none-any.whl"


def provide(folder: Path) -> None:
    """Import it now: it imports SkyPilot, and each process of the tests loads this file."""
    from cvl_ci.engine.worker import skypilot_wheel

    skypilot_wheel.provide(folder)


@pytest.fixture(scope="module")
def wheel_utils() -> ModuleType:
    """SkyPilot's module. Its import takes seconds, so only the process that runs these tests loads it."""
    return importlib.import_module("sky.backends.wheel_utils")


@pytest.fixture
def wheels(wheel_utils: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where SkyPilot looks. It is not there yet."""
    folder = tmp_path / "home/.sky/wheels"
    folder.parent.mkdir(parents=True)
    monkeypatch.setattr(wheel_utils, "WHEEL_DIR", folder)
    monkeypatch.setattr(wheel_utils, "_WHEEL_LOCK_PATH", folder.parent / ".wheels_lock")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The image's folder, whose wheel is older than a folder of SkyPilot can be."""
    wheel = tmp_path / "image/0123/" / NAME
    wheel.parent.mkdir(parents=True)
    wheel.write_bytes(b"wheel")
    os.utime(wheel, (1, 1))
    return tmp_path / "image"


def test_skypilot_takes_it_and_builds_none(
    wheel_utils: ModuleType, wheels: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheel_utils, "SKY_PACKAGE_PATH", package := wheels.parent / "sky")
    (package / "skylet").mkdir(parents=True)
    monkeypatch.setattr(wheel_utils, "_build_sky_wheel", lambda: pytest.fail("it builds another one"))
    provide(image)
    (package / "skylet/__pycache__").mkdir()  # what its import writes, after the copy
    os.utime(package / "skylet", (time.time() + 60,) * 2)
    folder, digest = wheel_utils.build_sky_wheel()
    assert (digest, [path.read_bytes() for path in folder.iterdir()]) == ("0123", [b"wheel"])
    assert [path.name for path in (wheels / "0123").iterdir()] == [NAME]


def test_one_that_skypilot_built_stays(wheels: Path, image: Path) -> None:
    own = wheels / "4567" / NAME
    own.parent.mkdir(parents=True)
    own.touch()
    provide(image)
    assert [*wheels.glob("*/*")] == [own]


def test_one_of_another_version_keeps_none_out(wheel_utils: ModuleType, wheels: Path, image: Path) -> None:
    old = wheels / "4567/skypilot-0.0.1-py3-none-any.whl"
    old.parent.mkdir(parents=True)
    old.touch()
    provide(image)
    assert wheel_utils.build_sky_wheel()[1] == "0123"
    assert not old.exists()


def test_without_the_image_s_there_is_none(wheels: Path, tmp_path: Path) -> None:
    provide(tmp_path / "none")
    assert not wheels.exists()


def test_it_is_one_that_the_locked_tools_build_without_pypi(
    wheel_utils: ModuleType, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the action's image does, whose build has the same lock."""
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("PIP_RETRIES", "0")
    built: list[list[str]] = []
    run = subprocess.run

    def recorded(command: list[str], **options: object) -> object:
        built.append(command)
        return run(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", recorded)
    folder, _ = wheel_utils.build_sky_wheel()
    assert len(built) == 1
    assert [path.name for path in folder.glob("*.whl")] == [NAME]
