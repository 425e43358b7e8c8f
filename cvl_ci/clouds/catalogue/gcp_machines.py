"""The machines of Google Cloud in SkyPilot's catalogue, which prices hosts and GPUs separately. Pure.

Which host goes with which GPU stands in SkyPilot's code, not in its data: sky/catalog/gcp_catalog.py, 0.14.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from cvl_ci.clouds.catalogue.machine_row import MachineRow

_FIXED: Mapping[str, Mapping[int, Sequence[str]]] = {
    "A100": {**{n: (f"a2-highgpu-{n}g",) for n in (1, 2, 4, 8)}, 16: ("a2-megagpu-16g",)},
    "A100-80GB": {n: (f"a2-ultragpu-{n}g",) for n in (1, 2, 4, 8)},
    "L4": {
        1: tuple(f"g2-standard-{cpus}" for cpus in (4, 8, 12, 16, 32)),
        **{n: (f"g2-standard-{12 * n}",) for n in (2, 4, 8)},
    },
    "H100": {n: (f"a3-highgpu-{n}g",) for n in (1, 2, 4, 8)},
    "H100-MEGA": {8: ("a3-megagpu-8g",)},
    "H200": {8: ("a3-ultragpu-8g",)},
    "B200": {8: ("a4-highgpu-8g",)},
    "RTXPRO6000": {n: (f"g4-standard-{48 * n}",) for n in (1, 2, 4, 8)},
}
"""GPUs that only certain hosts have."""

_CPUS: Mapping[str, Mapping[int, int]] = {
    "K80": {1: 4, 2: 8, 4: 16, 8: 32, 16: 64},
    "T4": {1: 4, 2: 8, 4: 48},
}
"""As _USUAL_CPUS, for the GPUs that have numbers of their own."""
_USUAL_CPUS = {1: 8, 2: 16, 4: 32, 8: 64, 16: 128}
"""The least vCPUs of the host that SkyPilot attaches a GPU to, by the number of GPUs."""

_ATTACHED_TO = "n1-"
_GIB_PER_VCPU = 4.0

FAMILIES = ("n2-standard-", "n2-highmem-", "n2-highcpu-", "n4-standard-", "n4-highcpu-", "n4-highmem-")
"""Of machines without GPU SkyPilot chooses only these by itself."""


def hosts_of(accelerator: str) -> Sequence[str]:
    """Return the names, or the beginning of the names, of the hosts of a GPU."""
    fixed = _FIXED.get(accelerator)
    return tuple(name for hosts in fixed.values() for name in hosts) if fixed else (_ATTACHED_TO,)


def gpu_of(instance_type: str) -> str | None:
    """Return the GPU that comes with a host, or None for a host without one."""
    for accelerator, by_count in _FIXED.items():
        if any(instance_type in hosts for hosts in by_count.values()):
            return accelerator
    return None


def paired(
    hosts: Iterable[MachineRow], gpus: Iterable[MachineRow], *, is_host_named: bool = False
) -> Iterator[MachineRow]:
    """Yield each host with each GPU that it can have, at their prices together.

    `is_host_named`: the request names the host, so that one with fewer vCPUs than usual counts too.
    """
    by_region: dict[str, list[MachineRow]] = {}
    for host in hosts:
        by_region.setdefault(host.region, []).append(host)
    for gpu in gpus:
        for host in by_region.get(gpu.region, ()):
            if _fits(host, gpu, is_host_named=is_host_named):
                yield replace(
                    host,
                    accelerator=gpu.accelerator,
                    count=gpu.count,
                    price=_sum(host.price, gpu.price),
                    spot=_sum(host.spot, gpu.spot),
                    spot_most=_sum(host.spot_most, gpu.spot_most),
                )


def _fits(host: MachineRow, gpu: MachineRow, *, is_host_named: bool) -> bool:
    fixed = _FIXED.get(gpu.accelerator or "")
    if fixed is not None:
        return host.name in fixed.get(int(gpu.count), ())
    if is_host_named:
        return host.name.startswith(_ATTACHED_TO)
    least = _CPUS.get(gpu.accelerator or "", _USUAL_CPUS).get(int(gpu.count))
    # The host is the cheapest with the usual sizes: sizes that a run names only make it larger.
    return (
        least is not None
        and host.name.startswith(_ATTACHED_TO)
        and host.vcpus >= least
        and host.memory_gib >= _GIB_PER_VCPU * least
    )


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else round(one + other, 6)
