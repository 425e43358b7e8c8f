"""One Docker network a region, each with a free range of addresses. moto would give all regions the same range."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.docker.engine import LABEL, Docker, DockerFailed

REGION_LABEL = f"{LABEL}-region"
PREFIX = 20
"""4096 addresses a region: a /24 for each of up to sixteen zones."""
POOLS = tuple(ipaddress.IPv4Network(pool) for pool in ("10.128.0.0/9", "172.20.0.0/14", "192.168.128.0/17"))


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network. The gateway is the address of this host as its machines see it: the emulator listens there."""

    region: str
    name: str
    cidr: str
    gateway: str


def guest_range(cidr: str) -> ipaddress.IPv4Network:
    """Return the range for containers that join the network, which no instance uses."""
    return list(ipaddress.IPv4Network(cidr).subnets(new_prefix=24))[-1]


def ensure(
    docker: Docker, identity: str, regions: Sequence[str], routes: Sequence[ipaddress.IPv4Network]
) -> list[Network]:
    """Return the networks of one sandbox, and create those that are missing."""
    existing = {network.region: network for network in _existing(docker, identity)}
    candidates = free_ranges(identity, routes)
    return [existing.get(region) or _create(docker, identity, region, candidates) for region in regions]


def remove(docker: Docker, identity: str) -> None:
    for network in docker.lines("network", "ls", "--quiet", "--filter", f"label={LABEL}={identity}"):
        try:
            # First disconnect each container that joined, such as one of the action: Docker removes no network in use.
            for name in docker.run(
                "network", "inspect", network, "--format", "{{range .Containers}}{{.Name}} {{end}}"
            ).split():
                docker.run("network", "disconnect", "--force", network, name)
            docker.run("network", "rm", network)
        except DockerFailed as error:
            if "no such" not in error.output.lower() and "not found" not in error.output.lower():
                raise


def host_routes(table: Path = Path("/proc/net/route")) -> list[ipaddress.IPv4Network]:
    """Return the ranges that this host already routes, without its default route. Our range must not hide one."""
    routes = []
    for line in table.read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        address, mask = (int.from_bytes(bytes.fromhex(fields[column]), "little") for column in (1, 7))
        if mask:
            routes.append(ipaddress.IPv4Network((address, mask.bit_count())))
    return routes


def free_ranges(identity: str, routes: Sequence[ipaddress.IPv4Network]) -> Iterator[ipaddress.IPv4Network]:
    """Yield free ranges in an order that depends on the sandbox, so that two sandboxes rarely try the same one."""
    shuffle = random.Random(identity)  # noqa: S311  # a choice of addresses, not a secret
    for pool in POOLS:
        ranges = list(pool.subnets(new_prefix=PREFIX))
        shuffle.shuffle(ranges)
        yield from (candidate for candidate in ranges if not any(candidate.overlaps(other) for other in routes))


def _existing(docker: Docker, identity: str) -> Iterator[Network]:
    region, range_ = f'{{{{index .Labels "{REGION_LABEL}"}}}}', "{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}}"
    names = docker.lines("network", "ls", "--quiet", "--filter", f"label={LABEL}={identity}")
    form = f"{region} {{{{.Name}}}} {range_}"
    for line in docker.lines("network", "inspect", "--format", form, *names) if names else []:
        region, name, cidr, gateway = line.split()
        yield Network(region=region, name=name, cidr=cidr, gateway=gateway)


def _create(docker: Docker, identity: str, region: str, candidates: Iterator[ipaddress.IPv4Network]) -> Network:
    for chosen in candidates:
        # Docker takes the first of several networks, by name, for a container's outgoing traffic. A runner's networks
        # are called github_network_…: ours comes after them. So the outgoing traffic of an action's container does not
        # move when it joins our network or leaves it.
        name = f"sandbox-cvl-ci-{identity}-{region}"
        network = Network(region=region, name=name, cidr=str(chosen), gateway=str(chosen[1]))
        labels: Mapping[str, str] = {LABEL: identity, REGION_LABEL: region}
        try:
            docker.run(
                "network", "create", "--driver", "bridge", "--subnet", network.cidr, "--gateway", network.gateway,
                "--ip-range", str(guest_range(network.cidr)),
                *(word for key, value in labels.items() for word in ("--label", f"{key}={value}")),
                network.name,
            )  # fmt: skip
        except DockerFailed as error:
            if "overlap" in error.output.lower():
                continue
            raise
        return network
    raise SandboxError(
        "There is no free range of private addresses for the sandbox's network.",
        next_step="Remove unused networks (docker network prune), then try again.",
    )
