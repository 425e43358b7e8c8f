"""A container that wants to be a guest: it knows itself, joins what it has not joined, and says when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox import guest
from cvl_ci.sandbox.networks import Network
from tests.sandbox_room.docker_stand_in import docker_that

OURSELVES = "0123456789abcdef" * 4
EAST = Network(region="us-east-1", name="cvl-ci-0badcafe-us-east-1", cidr="10.9.0.0/20", gateway="10.9.0.1")


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    line = f"1 2 0:3 /var/lib/docker/containers/{OURSELVES}/hostname /etc/hostname rw - ext4 /dev/sda rw"
    (tmp_path / "mountinfo").write_text(f"9 9 0:1 / / rw - overlay overlay rw\n{line}\n")
    return tmp_path / "mountinfo"


def test_a_container_joins_every_network_and_may_have_done_so_before(tmp_path: Path, mounts: Path) -> None:
    docker = docker_that(
        tmp_path, f'echo "$@" >> {tmp_path}/said; echo "endpoint with name x already exists in network" >&2; exit 1'
    )
    guest.join(docker, [EAST], mounts)
    assert (tmp_path / "said").read_text() == f"network connect cvl-ci-0badcafe-us-east-1 {OURSELVES}\n"


def test_whoever_is_no_container_is_told_where_to_go(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("9 9 0:1 / / rw - ext4 /dev/sda rw\n")
    with pytest.raises(SandboxError, match="out of reach from here"):
        guest.join(docker_that(tmp_path, "exit 0"), [EAST], tmp_path / "none")


def test_gateways_that_are_no_addresses_of_this_computer_end_it_with_a_way_out() -> None:
    far = Network(region="us-east-1", name="n", cidr="192.0.2.0/24", gateway="192.0.2.1")
    with pytest.raises(SandboxError, match="cannot be brought up from here") as caught:
        guest.want_gateways_here([far])
    assert "sandbox up --dir DIR" in caught.value.next_step
    guest.want_gateways_here([Network(region="us-east-1", name="n", cidr="127.0.0.0/8", gateway="127.0.0.1")])
