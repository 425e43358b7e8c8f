"""The real image in real containers, called as the runner calls it. A test that uses an image needs a Docker Engine."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cvl_ci.sandbox.docker import image as docker_image
from cvl_ci.sandbox.docker.engine import LABEL, NAME_LABEL, Docker
from tests.action import github
from tests.action import image as building
from tests.action.job import Job
from tests.github.api import Api

ROOT = Path(__file__).parents[2]
IMAGES = {"image", "machine_image"}
"""Fixtures that build an image."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        uses_image = not IMAGES.isdisjoint(getattr(item, "fixturenames", ()))
        if uses_image and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.sandbox)
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    return building.ensure(tmp_path_factory.mktemp("workshop"))


@dataclass(frozen=True)
class Runner:
    """A runner whose HOME of container actions holds a sandbox that is up for all its jobs, as a person's would be."""

    image: str
    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "_temp/_github_home"

    def job(self) -> Job:
        job = Job(image=self.image, folder=self.folder, name=uuid.uuid4().hex[:8])
        shutil.copytree(ROOT / "examples", job.workspace / "examples")
        return job

    def cvl_ci(self, *words: str) -> str:
        return self.job().inside("cvl-ci", *words, within=800)


@pytest.fixture(scope="session")
def machine_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    workshop = tmp_path_factory.mktemp("machine")
    return docker_image.ensure(Docker(environ), workshop=workshop, environment=environ, say=print)


@pytest.fixture(scope="session")
def runner(image: str, machine_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    folder = tmp_path_factory.mktemp("runner")
    runner = Runner(image, folder)
    runner.cvl_ci("sandbox", "up")
    yield runner
    runner.cvl_ci("sandbox", "down")
    left = docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}", "--filter", f"volume={runner.home}")
    give_back(image, folder)
    assert left == ""


def give_back(image: str, folder: Path) -> None:
    """What containers wrote is root's; whoever runs the tests need not be."""
    owner = f"{os.geteuid()}:{os.getegid()}"
    docker("run", "--rm", "-v", f"{folder}:/folder", "--entrypoint", "chown", image, "-R", owner, "/folder")


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def api_url(api: Api) -> Iterator[str]:
    """On the address that containers of Docker's own bridge have for this computer: the first, where none is told."""
    [network] = json.loads(docker("network", "inspect", "bridge", "--format", "{{json .IPAM.Config}}"))[:1]
    gateway = network.get("Gateway") or str(next(ipaddress.ip_network(network["Subnet"]).hosts()))
    with github.serving(api, gateway) as url:
        yield url


def machines_of(lease: str) -> list[str]:
    """What Docker has of a lease's machines, alive or dead."""
    form = f'{{{{.Names}}}} {{{{.Label "{NAME_LABEL}"}}}}'
    every = docker("ps", "--all", "--filter", f"label={NAME_LABEL}", "--format", form).splitlines()
    return [name for name, _, machine in (line.partition(" ") for line in every) if machine.startswith(lease)]


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.strip()
