"""The emulator as a container: made as we are made, found by its label alone, ended politely first."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path

from cvl_ci.sandbox import emulator_container
from cvl_ci.sandbox.docker.in_container import Container
from tests.sandbox.docker_stand_in import docker_that

US = Container(id="us", network="us", image="sha256:1", mounts=())


def test_it_is_of_our_image_and_mounts_and_knows_nothing_of_the_steps_secrets(tmp_path: Path) -> None:
    docker = docker_that(tmp_path, f'echo "$@" >> {tmp_path}/said')
    environment = {"HOME": "/github/home", "INPUT_SECRETS": "TOKEN=hush", "AWS_SECRET_ACCESS_KEY": "hush"}
    place = Path("/github/home/s")
    name = emulator_container.start(
        docker, US, "0badcafe", directory=place, environment=environment, devices=["/dev/fuse"]
    )
    text = (tmp_path / "said").read_text()
    assert name == "cvl-ci-0badcafe-emulator"
    assert "--network host --volumes-from us" in text
    assert "--label cvl-ci-sandbox-emulator=0badcafe" in text
    assert "--label cvl-ci-sandbox=0badcafe" in text
    main = "cvl_ci.sandbox.emulator.main"
    assert text.endswith(f"--entrypoint {sys.executable} sha256:1 -m {main} --in-front /github/home/s\n")
    assert "--device /dev/fuse" in text
    assert "hush" not in text
    assert "--env HOME " in text, "by its name: its value stays off the command line"


def test_it_is_asked_first_and_removed_then_and_gone_by_itself_is_gone(tmp_path: Path) -> None:
    script = f"""echo "$@" >> {tmp_path}/said
    case "$1" in
    ps) [ -e {tmp_path}/gone ] || echo it;;
    stop) touch {tmp_path}/gone;;
    rm) echo "Error: No such container: it" >&2; exit 1;;
    esac"""
    emulator_container.end(docker_that(tmp_path, script), "0badcafe", seconds=3)
    own = "label=cvl-ci-sandbox-emulator=0badcafe"
    ask = f"ps --all --filter {own} --format {{{{.Names}}}}"
    assert (tmp_path / "said").read_text().splitlines() == [ask, "stop --time 3 it", "rm --force --volumes it", ask]


def test_what_is_no_container_any_more_is_not_alive(tmp_path: Path) -> None:
    assert emulator_container.alive(docker_that(tmp_path, "echo true"), "it")
    assert not emulator_container.alive(docker_that(tmp_path, "echo false"), "it")
    assert not emulator_container.alive(docker_that(tmp_path, "echo 'No such container' >&2; exit 1"), "it")


def test_the_host_is_looked_at_from_its_own_network(tmp_path: Path) -> None:
    result = '{"routes": ["10.0.0.0/8"], "ports": [7, 8, 9], "devices": ["/dev/fuse"]}'
    docker = docker_that(tmp_path, f"echo \"$@\" >> {tmp_path}/said; echo '{result}'")
    taken = emulator_container.probe_host(docker, US, "0badcafe", preferred=(7,))
    assert taken == emulator_container.HostState(
        routes=(IPv4Network("10.0.0.0/8"),), ports=(7, 8, 9), devices=("/dev/fuse",)
    )
    text = (tmp_path / "said").read_text()
    assert text.startswith("run --rm ")
    assert "--network host" in text
    assert text.endswith("-m cvl_ci.sandbox.emulator.host_probe /host-devices 7\n")


def test_what_is_looked_for_on_the_host_is_free_and_there(tmp_path: Path) -> None:
    program = [sys.executable, "-m", emulator_container.HOST_PROBE]
    (tmp_path / "fuse").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        message = subprocess.run([*program, str(tmp_path), port], capture_output=True, text=True, check=True).stdout
    document = json.loads(message)
    assert document["devices"] == ["/dev/fuse"]
    assert len(document["ports"]) == 3
    assert int(port) not in document["ports"]
    assert all(IPv4Network(item) for item in document["routes"])
    again = [str(item) for item in document["ports"]]
    message = subprocess.run([*program, "/nowhere", *again], capture_output=True, text=True, check=True).stdout
    assert json.loads(message)["ports"] == document["ports"], "those of last time, if they are free"
    assert json.loads(message)["devices"] == []
