"""What the image holds, and what an idle post of it costs each job of everybody."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from statistics import median

import pytest

from cvl_ci.sandbox.docker.engine import LABEL
from tests.action.conftest import docker, give_back
from tests.action.job import Job
from tests.support.processor import within

PYTHON = "/opt/cvl-ci/bin/python3"
TURNS = """
import os, subprocess, time
def taken(*words):
    began = time.monotonic()
    process = subprocess.Popen(words)  # kept: one that nobody holds is waited for by the next one's start
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, words
    return time.monotonic() - began, used.ru_utime + used.ru_stime
for _ in range(10):
    print(*taken("/post-entrypoint"), *taken("/opt/cvl-ci/bin/python3", "-I", "-c", "pass"))
"""
"""In turns, so that what else the machine does is beside both: of each the seconds that passed, and the processor's."""


@pytest.fixture(scope="module")
def job(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """After a main that has told its end itself, as nearly every main has. One for all tests: they only look."""
    folder = tmp_path_factory.mktemp("job")
    job = Job(image=image, folder=folder, given={"INPUT_CLOUD": "aws", "INPUT_COMMAND": "true", "INPUT_VERB": "plan"})
    main = job.main()
    assert main.ended() == 0, main.output
    yield job
    give_back(image, folder)


def test_an_idle_post_takes_less_than_half_a_second(job: Job) -> None:
    """Of the processor, and it waits for nothing: what it takes by the clock is a few starts of an interpreter."""
    turns = [[float(word) for word in line.split()] for line in job.inside(PYTHON, "-I", "-c", TURNS).splitlines()]
    post, worked, interpreter, _ = zip(*turns, strict=True)
    assert within(min(worked), 0.5), turns
    assert median(post) < 15 * median(interpreter), turns  # one start of either may find the machine idle


def test_an_idle_post_loads_nothing_of_a_cloud_or_of_github(job: Job) -> None:
    program = (
        "import sys; from cvl_ci.action import main as action; code = action.called_as('/post-entrypoint')\n"
        "print(code, *sorted({'sky', 'github', 'requests', 'boto3', 'actions_toolkit', 'moto', 'yaml', 'http.client',"
        " 'cvl_ci.action.step', 'cvl_ci.sandbox', 'cvl_ci.wiring.clouds', 'cvl_ci.inputs.reader'} & {*sys.modules}))"
    )
    assert job.inside(PYTHON, "-I", "-c", program) == "0\n"


def test_all_that_a_run_loads_is_compiled(job: Job) -> None:
    """SkyPilot's import takes twice as long otherwise, at every run."""
    program = (
        "import sys, pathlib, cvl_ci.engine.worker.sky_local\n"
        "import cvl_ci.sandbox.emulator.ec2, cvl_ci.sandbox.emulator.servers\n"
        "from sky.backends.cloud_vm_ray_backend import SkyletClient\n"
        "import grpc; SkyletClient(grpc.insecure_channel('unix:/nowhere'))\n"
        "files = [(m.__file__, m.__cached__) for m in [*sys.modules.values()] if getattr(m, '__cached__', None)]\n"
        "print(*(file for file, cached in files if file and not pathlib.Path(cached).exists()))"
    )
    assert job.inside(PYTHON, "-I", "-B", "-c", program) == "\n"


def test_skypilot_s_wheel_is_there_and_no_run_builds_it_or_asks_pypi(job: Job) -> None:
    program = (
        "import subprocess, cvl_ci.engine.worker.sky_local\n"
        "from cvl_ci.engine.worker import skypilot_wheel\n"
        "from sky.backends import wheel_utils\n"
        "subprocess.run = None\n"
        "skypilot_wheel.provide()\n"
        "folder, name = wheel_utils.build_sky_wheel()\n"
        "print(len([*folder.glob('*.whl')]), len(name))"
    )
    assert job.inside(PYTHON, "-I", "-c", program) == "1 32\n"


def test_what_a_run_calls_is_there(job: Job) -> None:
    for program in ("git", "ssh", "rsync", "setpriv", "tini", "docker"):
        assert job.inside("which", program).startswith("/usr/bin/")
    assert job.inside("/opt/cvl-ci/bin/aws", "--version").startswith("aws-cli/")
    packed = job.inside(
        "/opt/cvl-ci/bin/aws", "ec2", "describe-vpcs", "--region", "us-east-1", "--generate-cli-skeleton"
    )
    assert "VpcIds" in packed


def test_its_docker_command_is_new_enough_for_every_runner(job: Job) -> None:
    """Docker Engine 29 turns away a client whose API is older than 1.44; this one comes down to what the engine has."""
    version = json.loads(job.inside("docker", "version", "--format", "{{json .Client}}"))
    newest = version.get("DefaultAPIVersion") or version["ApiVersion"]
    assert tuple(map(int, newest.split("."))) >= (1, 44)
    assert job.inside("docker", "ps", "--quiet", "--filter", f"label={LABEL}=none") == ""


def test_it_builds_what_needs_buildkit(job: Job, image: str) -> None:
    """Docker's classic builder refuses `RUN --mount`."""
    text = f"FROM {image}\\nRUN --mount=type=tmpfs,target=/most touch /most/one && echo /most/* > /seen\\n"
    name = f"cvl-ci-buildkit-{secrets.token_hex(4)}"
    try:
        job.inside("sh", "-c", f"printf '{text}' | docker build --quiet --label {LABEL}=none --tag {name} -")
        assert docker("run", "--rm", "--entrypoint", "cat", name, "/seen") == "/most/one"
    finally:
        docker("image", "rm", "--force", name)


def test_an_edit_of_ours_changes_only_a_small_last_layer(image: str) -> None:
    sizes = docker("history", "--no-trunc", "--human=false", "--format", "{{.Size}}", image).split()
    assert int(sizes[0]) < 10e6
    assert int(docker("image", "inspect", "--format", "{{.Size}}", image)) < 900e6


def test_it_runs_as_the_runner_wants_it(image: str) -> None:
    """GitHub: no USER, and no WORKDIR but the one it sets."""
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image))
    assert (config.get("User"), config.get("WorkingDir")) in {("", ""), (None, ""), (None, None)}
    assert config["Entrypoint"] == ["/entrypoint"]
