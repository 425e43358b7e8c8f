"""What the image holds, and what an idle post of it costs each job of everybody."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from cvl_ci.sandbox.docker import LABEL
from tests.action.job import Job

PYTHON = "/opt/cvl-ci/bin/python3"
TIMED = (
    "for i in 1 2 3 4 5; do a=$(date +%s%N); /post-entrypoint || exit; b=$(date +%s%N); echo $(((b-a)/1000000)); done"
)


@pytest.fixture
def job(image: str, tmp_path: Path) -> Job:
    return Job(image=image, folder=tmp_path, given={"INPUT_CLOUD": "sandbox", "INPUT_COMMAND": "true"})


def inside(job: Job, program: str, *words: str) -> str:
    environ = job.environment()
    command = job.command(program, environ, rest=words)
    given = [f"{word}={environ[word]}" if word in environ else word for word in command]
    return subprocess.run(given, capture_output=True, text=True, check=True, timeout=120).stdout


def test_an_idle_post_takes_less_than_half_a_second_from_within(job: Job) -> None:
    """The quickest of five: what else the machine does is not counted."""
    taken = [int(line) for line in inside(job, "sh", "-c", TIMED).splitlines()]
    assert min(taken) < 500, taken


def test_an_idle_post_adds_less_than_half_a_second_to_its_container(job: Job) -> None:
    def seconds(entrypoint: str) -> float:
        began = time.monotonic()
        inside(job, entrypoint)
        return time.monotonic() - began

    empty, post = (min(seconds(each) for _ in range(3)) for each in ("true", "/post-entrypoint"))
    assert post - empty < 0.5, (post, empty)


def test_an_idle_post_loads_nothing_of_a_cloud_or_of_github(job: Job) -> None:
    program = (
        "import sys; from cvl_ci import action; code = action.called_as('/post-entrypoint')\n"
        "print(code, *sorted({'sky', 'github', 'requests', 'boto3', 'actions_toolkit', 'moto'} & {*sys.modules}))"
    )
    assert inside(job, PYTHON, "-I", "-c", program) == "0\n"


def test_all_that_a_run_loads_is_compiled(job: Job) -> None:
    """SkyPilot's import takes twice as long otherwise, at every run."""
    program = (
        "import sys, pathlib, cvl_ci.engine.inprocess, cvl_ci.sandbox.emulator_cloud, cvl_ci.sandbox.emulator_servers\n"
        "files = [(m.__file__, m.__cached__) for m in [*sys.modules.values()] if getattr(m, '__cached__', None)]\n"
        "print(*(file for file, cached in files if file and not pathlib.Path(cached).exists()))"
    )
    assert inside(job, PYTHON, "-I", "-B", "-c", program) == "\n"


def test_what_a_run_calls_is_there(job: Job) -> None:
    for program in ("git", "ssh", "rsync", "setpriv", "tini", "docker"):
        assert inside(job, "which", program).startswith("/usr/bin/")
    assert inside(job, "/opt/cvl-ci/bin/aws", "--version").startswith("aws-cli/")
    packed = inside(
        job, "/opt/cvl-ci/bin/aws", "ec2", "describe-vpcs", "--region", "us-east-1", "--generate-cli-skeleton"
    )
    assert "VpcIds" in packed


def test_its_docker_command_is_new_enough_for_every_runner(job: Job) -> None:
    """Docker Engine 29 turns away a client whose API is older than 1.44; this one comes down to what the engine has."""
    version = json.loads(inside(job, "docker", "version", "--format", "{{json .Client}}"))
    newest = version.get("DefaultAPIVersion") or version["ApiVersion"]
    assert tuple(map(int, newest.split("."))) >= (1, 44)
    assert inside(job, "docker", "ps", "--quiet", "--filter", f"label={LABEL}=none") == ""


def test_an_edit_of_ours_changes_only_a_small_last_layer(image: str) -> None:
    sizes = docker("history", "--no-trunc", "--human=false", "--format", "{{.Size}}", image).split()
    assert int(sizes[0]) < 10e6
    assert int(docker("image", "inspect", "--format", "{{.Size}}", image)) < 900e6


def test_it_runs_as_the_runner_wants_it(image: str) -> None:
    """GitHub: no USER, and no WORKDIR but the one it sets."""
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image))
    assert (config.get("User"), config.get("WorkingDir")) in {("", ""), (None, ""), (None, None)}
    assert config["Entrypoint"] == ["/entrypoint"]


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.strip()
