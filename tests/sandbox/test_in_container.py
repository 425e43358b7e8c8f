"""A container that wants to be a guest: it knows itself, joins what it has not joined, and says when it cannot."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import pytest

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.docker import in_container
from cvl_ci.sandbox.docker.networks import Network
from tests.sandbox.docker_stand_in import docker_that

OURSELVES = "0123456789abcdef" * 4
ANOTHER = "fedcba9876543210" * 4
EAST = Network(region="us-east-1", name="cvl-ci-0badcafe-us-east-1", cidr="10.9.0.0/20", gateway="10.9.0.1")
KNOWN = {
    "Image": "sha256:1",
    "Mounts": [
        {"Type": "bind", "Source": "/home/runner/work/_temp/_github_home", "Destination": "/github/home"},
        {"Type": "bind", "Source": "/elsewhere", "Destination": "/github/home/deeper"},
        {"Type": "tmpfs", "Source": "", "Destination": "/run"},
    ],
}


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    line = f"1 2 0:3 /var/lib/docker/containers/{OURSELVES}/hostname /etc/hostname rw - ext4 /dev/sda rw"
    (tmp_path / "mountinfo").write_text(f"9 9 0:1 / / rw - overlay overlay rw\n{line}\n")
    return tmp_path / "mountinfo"


def test_a_container_joins_every_network_and_may_have_done_so_before(tmp_path: Path, mounts: Path) -> None:
    docker = docker_that(
        tmp_path, f'echo "$@" >> {tmp_path}/said; echo "endpoint with name x already exists in network" >&2; exit 1'
    )
    in_container.join(docker, [EAST], mounts)
    assert (tmp_path / "said").read_text() == f"network connect cvl-ci-0badcafe-us-east-1 {OURSELVES}\n"


def test_on_the_hosts_network_all_others_are_in_reach_already(tmp_path: Path, mounts: Path) -> None:
    text = "container sharing network namespace with another container or host cannot be connected to any other network"
    in_container.join(docker_that(tmp_path, f"echo '{text}' >&2; exit 1"), [EAST], mounts)


def test_any_other_refusal_is_told(tmp_path: Path, mounts: Path) -> None:
    with pytest.raises(SandboxError, match="no room left"):
        in_container.join(docker_that(tmp_path, "echo 'no room left' >&2; exit 1"), [EAST], mounts)


def test_whoever_is_no_container_is_told_where_to_go(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("9 9 0:1 / / rw - ext4 /dev/sda rw\n")
    with pytest.raises(SandboxError, match="this process cannot reach it"):
        in_container.join(docker_that(tmp_path, "exit 0"), [EAST], tmp_path / "none")


def test_gateways_that_are_no_addresses_of_this_computer_end_it_with_a_way_out() -> None:
    far = Network(region="us-east-1", name="n", cidr="192.0.2.0/24", gateway="192.0.2.1")
    with pytest.raises(SandboxError, match="cannot start here") as error:
        in_container.require_local_gateways([far])
    assert "sandbox up --dir DIR" in error.value.next_step
    in_container.require_local_gateways(
        [Network(region="us-east-1", name="n", cidr="127.0.0.0/8", gateway="127.0.0.1")]
    )


def test_a_container_knows_where_its_host_keeps_what_it_sees(tmp_path: Path, mounts: Path) -> None:
    us = in_container.this_container(docker_that(tmp_path, f"[ $1 = ps ] || echo '{json.dumps(KNOWN)}'"), mounts)
    assert us is not None
    assert (us.id, us.network, us.image) == (OURSELVES, OURSELVES, "sha256:1")
    assert us.on_host(Path("/github/home/a/b")) == PurePosixPath("/home/runner/work/_temp/_github_home/a/b")
    assert us.on_host(Path("/github/home/deeper/b")) == PurePosixPath("/elsewhere/b"), "the nearest mount holds it"
    assert us.on_host(Path("/github/homes")) is None
    assert us.on_host(Path("/run/b")) is None, "it ends with the container"


def test_of_containers_that_share_a_network_the_one_with_our_files_is_us(tmp_path: Path, mounts: Path) -> None:
    script = f"""case "$1" in
    ps) echo "{OURSELVES} bridge"; echo "{ANOTHER} ";;
    cp) case "$2" in {ANOTHER}:/.cvl-ci-*) ;; *) echo "no such file" >&2; exit 1;; esac;;
    container) [ "$5" = {ANOTHER} ] && echo '{json.dumps(KNOWN)}';;
    esac"""
    us = in_container.this_container(docker_that(tmp_path, script), mounts)
    assert us is not None
    assert (us.id, us.network) == (ANOTHER, OURSELVES)


def test_a_container_of_another_engine_is_a_plain_host_to_this_one(tmp_path: Path, mounts: Path) -> None:
    docker = docker_that(tmp_path, "[ $1 = ps ] || { echo 'Error: No such container: x' >&2; exit 1; }")
    assert in_container.this_container(docker, mounts) is None


def test_a_host_on_which_containers_run_is_none_itself_and_asks_nobody(tmp_path: Path) -> None:
    (tmp_path / "host").write_text(
        f"1 2 0:3 / /var/lib/docker/containers/{OURSELVES}/mounts/shm rw - tmpfs shm rw\n"
        f"1 2 0:3 /var/lib/docker/containers/{OURSELVES}/hostname /mnt/etc/hostname rw - ext4 /dev/sda rw\n"
    )
    assert in_container.this_container(docker_that(tmp_path, f"touch {tmp_path}/asked"), tmp_path / "host") is None
    assert not (tmp_path / "asked").exists()
