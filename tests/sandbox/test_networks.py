"""Ranges of addresses: free on this host, different for every region, seldom the same for two sandboxes."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import islice
from pathlib import Path

import pytest

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.docker import networks
from tests.sandbox.docker_stand_in import docker_that

ROUTES = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0100000A	0003	0	0	0	00000000	0	0	0
eth0	0000000A	00000000	0001	0	0	0	0000FFFF	0	0	0
tun0	00000080	00000000	0001	0	0	0	000000FF	0	0	0
"""


def test_the_hosts_routes_are_read_without_the_default_one(tmp_path: Path) -> None:
    (tmp_path / "route").write_text(ROUTES)
    assert networks.host_routes(tmp_path / "route") == [IPv4Network("10.0.0.0/16"), IPv4Network("128.0.0.0/8")]


def test_a_range_that_the_host_routes_is_never_offered() -> None:
    taken = [IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12")]
    offered = list(networks.free_ranges("0badcafe", taken))
    assert offered
    assert not any(item.overlaps(other) for item in offered for other in taken)


def test_each_sandbox_begins_somewhere_else_and_always_there() -> None:
    first = {identity: next(networks.free_ranges(identity, [])) for identity in ("a", "b", "c")}
    assert len(set(first.values())) == 3
    assert first["a"] == next(networks.free_ranges("a", []))
    assert all(item.prefixlen == 20 for item in islice(networks.free_ranges("a", []), 5))


CREATE = """
case "$2" in
  ls) ;;
  create) {create} ;;
esac
"""


def test_a_range_another_network_has_is_passed_over(tmp_path: Path) -> None:
    once = (
        f"if [ ! -e {tmp_path}/once ]; then touch {tmp_path}/once; echo 'Pool overlaps with other one' >&2; exit 1; fi"
    )
    docker = docker_that(tmp_path, CREATE.format(create=once))
    (result,) = networks.ensure(docker, "0badcafe", ["us-east-1"], [])
    _, second = islice(networks.free_ranges("0badcafe", []), 2)
    assert (result.cidr, result.gateway) == (str(second), str(second[1]))
    assert result.name == "sandbox-cvl-ci-0badcafe-us-east-1"
    assert result.name > "github_network_", "or whoever joins it would go out through it"


def test_when_no_range_is_free_it_says_what_to_do(tmp_path: Path) -> None:
    docker = docker_that(tmp_path, CREATE.format(create="true"))
    everything = [IPv4Network("0.0.0.0/0")]
    with pytest.raises(SandboxError, match="no free range") as error:
        networks.ensure(docker, "0badcafe", ["us-east-1"], everything)
    assert "network prune" in error.value.next_step
