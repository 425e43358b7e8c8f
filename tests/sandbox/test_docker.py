"""Whatever is wrong with Docker is one message that says what to do next."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.docker.engine import Docker, DockerFailed
from tests.sandbox.docker_stand_in import docker_that


def test_no_docker_at_all(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="no `docker` command") as error:
        Docker({"PATH": str(tmp_path)}).check()
    assert "apt-get install docker.io" in error.value.next_step


@pytest.mark.parametrize(
    ("text", "what", "next_step"),
    [
        (
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
            "may not use it",
            "usermod -aG docker",
        ),
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
            "not running",
            "systemctl start docker",
        ),
    ],
)
def test_a_docker_that_does_not_answer_us(tmp_path: Path, text: str, what: str, next_step: str) -> None:
    for docker in (
        docker_that(tmp_path, f"echo '{text}' >&2; exit 1"),
        docker_that(tmp_path, f"""echo '{{"ServerErrors": ["{text}"]}}'"""),
    ):
        with pytest.raises(SandboxError, match=what) as error:
            docker.check()
        assert next_step in error.value.next_step


@pytest.mark.parametrize(
    "info", ['{"OperatingSystem": "Docker Desktop"}', '{"SecurityOptions": ["name=seccomp", "name=rootless"]}']
)
def test_a_docker_whose_containers_are_out_of_reach(tmp_path: Path, info: str) -> None:
    with pytest.raises(SandboxError, match="cannot reach the containers") as error:
        docker_that(tmp_path, f"echo '{info}'").check()
    assert "DOCKER_HOST" in error.value.next_step


def test_a_computer_that_is_no_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match="needs Linux, and this is darwin") as error:
        docker_that(tmp_path, "exit 1").check()
    assert "ubuntu-latest" in error.value.next_step


def test_an_engine_that_answers_is_enough(tmp_path: Path) -> None:
    docker_that(tmp_path, """echo '{"OperatingSystem": "Debian", "SecurityOptions": ["name=seccomp"]}'""").check()


def test_a_failure_keeps_dockers_last_word(tmp_path: Path) -> None:
    with pytest.raises(DockerFailed, match="docker run failed: it is broken") as error:
        docker_that(tmp_path, "echo first >&2; echo it is broken >&2; exit 125").run("run")
    assert error.value.output == "it is broken"


def test_dockers_last_word_is_not_its_advice(tmp_path: Path) -> None:
    text = """printf "it is broken\\n\\nRun 'docker run --help' for more information\\n" >&2; exit 125"""
    with pytest.raises(DockerFailed, match="docker run failed: it is broken"):
        docker_that(tmp_path, text).run("run")


def test_a_command_that_hangs_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(DockerFailed, match="no answer within 0 s"):
        docker_that(tmp_path, "exec sleep 60").run("info", timeout=0.2)


def test_a_command_that_is_read_does_not_outlive_its_block(tmp_path: Path) -> None:
    docker = docker_that(tmp_path, f"echo $$ > {tmp_path}/pid; echo line; exec sleep 60")
    with docker.reading("events") as events:
        assert next(events.lines()) == "line\n"
    pid = (tmp_path / "pid").read_text().strip()
    assert subprocess.run(["kill", "-0", pid], capture_output=True, check=False).returncode != 0


def test_containers_and_volumes_of_one_sandbox_alone_are_removed(tmp_path: Path) -> None:
    docker = docker_that(
        tmp_path,
        f'echo "$@" >> {tmp_path}/said; case "$*" in "ps --all"*) echo one; echo two;; "volume ls"*) echo disk;; esac',
    )
    messages: list[str] = []
    assert docker.remove_all("0badcafe", messages.append) == ("one", "two")
    assert messages == ["removing 2 containers: one, two"]
    lines = (tmp_path / "said").read_text().splitlines()
    own = "--filter label=cvl-ci-sandbox=0badcafe"
    assert lines == [
        f"ps --all {own} --format {{{{.Names}}}}",
        "rm --force --volumes one two",
        f"volume ls --quiet {own}",
        "volume rm --force disk",
    ]


def test_of_one_sandbox_only_the_containers_of_one_kind_are_removed_when_that_is_said(tmp_path: Path) -> None:
    docker_that(tmp_path, f'echo "$@" >> {tmp_path}/said').remove_all("0badcafe", print, only="machine")
    lines = (tmp_path / "said").read_text().splitlines()
    own = "--filter label=cvl-ci-sandbox=0badcafe"
    assert lines[0] == f"ps --all {own} --filter label=machine --format {{{{.Names}}}}"
