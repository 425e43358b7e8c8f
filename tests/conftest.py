"""Quick tests run first, and no test sees this machine's home, credentials or leases.

Several processes share the tests, more than there are cores: a test on the sandbox waits a third of its time. A file is
the unit of work, or several that share a server. A test on the sandbox is a unit of its own, unless its file shares a
fixture of the module. A test that only waits, for a machine that ends itself, gives its place to another test:
tests/support/places.py.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.support import aws_descriptions, shared
from tests.support.places import PLACES
from tests.support.programs import BARE_PYTHON

COST = ("sandbox", "flood", "peers", "sky")
"""Markers of tests that take long, the longest first: a mistake in the rest is seen before they begin."""

APART = (
    *("tests/e2e/", "tests/chaos/test_runs.py", "tests/action/test_act.py", "tests/action/test_cancelled.py"),
    *("tests/action/test_compare.py", "tests/action/test_nightly.py"),
    "tests/engine/test_supervise.py",
)
"""Paths of tests of minutes, or of files of minutes: any process takes any of their tests, so no long file is last."""
TOGETHER = ("tests/e2e/test_emulator.py", "tests/e2e/test_api_server.py")
"""Files among them whose tests share one fixture."""
SHARED = (
    tuple(f"tests/commands/models/test_{name}.py" for name in ("cache", "hostile_manifest", "kills")),
    ("tests/commands/models/",),
    tuple(f"tests/clouds/credentials/test_{name}.py" for name in ("policies", "what_skypilot_reads")),
    tuple(f"tests/github/test_{name}.py" for name in ("artifact", "fetched_names", "publishing")),
)
"""Paths of tests that share what a process starts once: a bucket, a storage, a loaded SkyPilot. One takes them all."""
QUICK = ("tests/e2e/test_emulator.py", "tests/e2e/test_up_and_down.py", "tests/action/test_image.py")
"""Files on the sandbox whose tests take seconds. They come last: no process is left with long ones."""
A_LAUNCH = 2.0
"""Minutes of a test that launches a machine, where it has no marker."""
EARLY = 2
"""Number of the longest tests that begin before the quick ones: they wait while the quick ones compute."""

os.environ["MOTO_AMIS_PATH"] = str(Path(__file__).parent / "support" / "images.json")
"""moto's EC2 has one machine image, and not its own 1,300: they are made anew for each region of each test."""

os.environ["GIT_TEMPLATE_DIR"] = ""
"""A new repository has no examples of hooks: twenty files, in each of hundreds."""

BARE_PYTHON.provide()

NO_DOCKER = Path(__file__).parent / "support" / "no_docker"
OF_THE_USER = ("AWS_", "AZURE_", "GOOGLE_", "SKYPILOT_", "CVL_", "GITHUB_", "ACTIONS_", "INPUT_", "NO_COLOR")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage meanwhile, nor look at what is loaded again: it stays until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (_cost(item), -_minutes(item)))
    early = sorted((item for item in items if _minutes(item)), key=_minutes, reverse=True)[:EARLY]
    items[:] = [*early, *(item for item in items if item not in early)]
    if not docker_answers() and not in_ci():
        no_docker = pytest.mark.skip(reason="no Docker Engine answers: script/bootstrap starts one")
        for item in items:
            if item.get_closest_marker("sandbox"):
                item.add_marker(no_docker)


def pytest_collection_finish() -> None:
    aws_descriptions.share()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Generator[None, bool | None, bool | None]:
    """Before the test's time limit begins to count."""
    PLACES.acquire()
    try:
        return (yield)
    finally:
        PLACES.give_back()


def pytest_unconfigure() -> None:
    PLACES.remove()
    BARE_PYTHON.remove()
    shared.remove()


class Units(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types here
    """Work for the processes: a file, files that share a server, or a single test of minutes."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Units:
    config.option.loadscopereorder = False  # the order of the collection is the order of the work
    return Units(config, log)


def unit_of(nodeid: str) -> str:
    """Return the name of the unit that this test belongs to."""
    for paths in SHARED:
        if nodeid.startswith(paths):
            return paths[0]
    return nodeid if nodeid.startswith(APART) and not nodeid.startswith(TOGETHER) else nodeid.split("::", 1)[0]


def in_ci() -> bool:
    return bool(os.environ.get("CI"))


def _cost(item: pytest.Item) -> int:
    return next((len(COST) - rank for rank, name in enumerate(COST) if item.get_closest_marker(name)), 0)


def _minutes(item: pytest.Item) -> float:
    """Return how long a test takes, as its marker `minutes` says; 0 for a quick one."""
    marker = item.get_closest_marker("minutes")
    if marker:
        return float(marker.args[0])
    return A_LAUNCH if item.get_closest_marker("sandbox") and not item.nodeid.startswith(QUICK) else 0.0


def docker_answers() -> bool:
    """In CI nobody asks: there, a missing Docker fails the tests that need it."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=30).returncode == 0


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders that were HOME so far: the last one is empty, or not there yet."""
    return [tmp_path_factory.mktemp("homes") / "0"]


@pytest.fixture(autouse=True)
def an_empty_home(homes: list[Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test that wants credentials or a HOME of its own makes them. Most leave it empty, and the next test gets it."""
    home = homes[-1]
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(home))
    for name in _to_forget(list(os.environ)):
        monkeypatch.delenv(name)
    yield
    if not home.is_dir() or any(home.iterdir()):
        shutil.rmtree(home, ignore_errors=True)  # a program of the test may still write to it
        homes.append(home.with_name(str(len(homes))))


@pytest.fixture(autouse=True)
def no_docker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of a machine end its containers. Here, those would be the machines of other tests."""
    if request.node.get_closest_marker("sandbox") is None:
        monkeypatch.setenv("PATH", f"{NO_DOCKER}:{os.environ['PATH']}")


def _to_forget(names: Sequence[str]) -> list[str]:
    keep = ("AWS_CA_BUNDLE",)
    return [name for name in names if name.startswith(OF_THE_USER) and name not in keep]
