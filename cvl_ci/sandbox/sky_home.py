"""A HOME for AWS clients, SkyPilot above all, never the user's own: sandbox keys, an endpoint, fixed prices."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox import keys
from cvl_ci.sandbox.machine_types import MachineType, regions_of
from cvl_ci.sandbox.sandbox_spec import SandboxSpec

CATALOGUE = Path(".sky/catalogs/v8")
WHEELS = Path(".sky/wheels")
"""The folder in which SkyPilot keeps its own wheel (sky/backends/wheel_utils.py)."""
CPU_IMAGE = "ami-05a4dbc0c0ffee001"
GPU_IMAGE = "ami-05a4dbc0c0ffee002"
IMAGES = {
    "skypilot:custom-cpu-ubuntu": CPU_IMAGE,
    "skypilot:custom-gpu-ubuntu-cuda13": GPU_IMAGE,
    "skypilot:custom-gpu-ubuntu": GPU_IMAGE,
    "skypilot:k80-ubuntu-2004": GPU_IMAGE,
    "skypilot:neuron-ubuntu-2204": GPU_IMAGE,
}
"""The names under which SkyPilot requests machine images. All of them mean the sandbox's one image."""
ZONES_SOLD = 3
"""Enough for failover, few enough that trying all of them is quick."""


@dataclass(frozen=True, kw_only=True)
class SkyAccess:
    """Everything that a client needs.

    `environment` has no AWS_*: SkyPilot would take such variables as its credentials.
    """

    home: Path
    environment: Mapping[str, str]
    endpoint_url: str
    regions: tuple[str, ...]
    access_key_id: str
    secret_access_key: str = field(repr=False)


def access(directory: Path, spec: SandboxSpec) -> SkyAccess:
    home = directory / "home"
    own_keys = keys.load(directory)
    if own_keys is None:
        raise SandboxError(
            f"The keys of this sandbox cannot be read: {directory / keys.FOLDER / keys.FILE}.",
            next_step="They belong to the user who started it. Stop it as that user, then start it again.",
        )
    return SkyAccess(
        home=home,
        environment={
            "HOME": str(home),
            "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
            # SkyPilot takes any server on its usual port as its own, even if it started with another HOME.
            "SKYPILOT_API_SERVER_LOCAL_PORT": str(spec.skypilot_port),
        },
        endpoint_url=spec.endpoint_url,
        regions=spec.regions,
        access_key_id=own_keys.client.id,
        secret_access_key=own_keys.client.secret,
    )


def write(access_data: SkyAccess, types: Sequence[MachineType], zones: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """Write the home of a sandbox. `zones`: for each region, (name, id) of its zones."""
    _put(access_data.home / ".aws/credentials", mode=0o600, lines=[
        "[default]",
        f"aws_access_key_id = {access_data.access_key_id}",
        f"aws_secret_access_key = {access_data.secret_access_key}",
        # Here and not in .aws/config: SkyPilot copies this file to its machines.
        f"endpoint_url = {access_data.endpoint_url}",
    ])  # fmt: skip
    _put(access_data.home / ".aws/config", lines=["[default]", f"region = {access_data.regions[0]}", "output = json"])
    _put(access_data.home / ".sky/config.yaml", lines=["allowed_clouds: [aws]"])
    for name, table in catalogue(types, zones).items():
        path = access_data.home / CATALOGUE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(table)


def forget_skypilot(home: Path) -> None:
    """Remove SkyPilot's records of machines that no longer exist.

    Other files of the user stay in this home. So does SkyPilot's own wheel, which it copies to its machines: a build
    takes ten seconds, and SkyPilot builds another one when its own files change.
    """
    for path in (home / "sky_logs", home / ".aws", *(home / WHEELS.parent).glob("*")):
        if path == home / WHEELS:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    with suppress(OSError):  # absent, or not empty
        (home / WHEELS.parent).rmdir()


def catalogue(
    types: Sequence[MachineType], zones: Mapping[str, Sequence[tuple[str, str]]]
) -> dict[str, list[Sequence[object]]]:
    """Return SkyPilot's own tables, v8. Without checksums SkyPilot uses them unchanged and never refreshes them."""
    accelerators = {machine_type.accelerator: machine_type for machine_type in types if machine_type.accelerator}
    return {
        "aws/vms.csv": [_VMS, *_vms(types, zones)],
        "aws/images.csv": [
            ("Tag", "Region", "OS", "OSVersion", "ImageId", "CreationDate", "BaseImageId"),
            *(
                (tag, region, "ubuntu", "22.04", image, "20250101", image)
                for tag, image in IMAGES.items()
                for region in regions_of(types)
            ),
        ],
        "aws/instance_quota_mapping.csv": [
            ("InstanceType", "OnDemandInstanceCode", "SpotInstanceCode"),
            *((name, "L-1216C47A", "L-34B43A08") for name in _unique(machine_type.name for machine_type in types)),
        ],
        "common/accelerators.csv": [("AcceleratorName", "Clouds"), *((name, "['AWS']") for name in accelerators)],
        "common/metadata.csv": [
            ("GPU", "MemoryGB", "Manufacturer"),
            *((name, row.accelerator_memory_gib, "NVIDIA") for name, row in accelerators.items()),
        ],
    }


_VMS = (
    "InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "GpuInfo", "Price", "SpotPrice",
    "Region", "AvailabilityZone", "Arch", "LocalDiskType", "NVMeSupported", "LocalDiskSize", "LocalDiskCount",
    "MaximumEfaInterfaces",
)  # fmt: skip


def _vms(types: Sequence[MachineType], zones: Mapping[str, Sequence[tuple[str, str]]]) -> Iterator[Sequence[object]]:
    for row in types:
        # Zones appear by id here; SkyPilot translates an id to the account's name for the zone.
        for _, zone_id in zones[row.region][:ZONES_SOLD]:
            yield (
                row.name, row.accelerator or "", float(row.accelerator_count) if row.accelerator else "",
                float(row.vcpus), float(row.memory_gib), _gpu_info(row), row.hourly_usd,
                "" if row.spot_hourly_usd is None else row.spot_hourly_usd, row.region, zone_id, "x86_64",
                "", "", "", "", "",
            )  # fmt: skip


def _gpu_info(machine_type: MachineType) -> str:
    if not machine_type.accelerator:
        return ""
    mebibytes = int(machine_type.accelerator_memory_gib * 1024)
    gpu = {
        "Name": machine_type.accelerator,
        "Manufacturer": "NVIDIA",
        "Count": machine_type.accelerator_count,
        "MemoryInfo": {"SizeInMiB": mebibytes},
    }
    return str({"Gpus": [gpu], "TotalGpuMemoryInMiB": machine_type.accelerator_count * mebibytes})


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _put(path: Path, *, lines: Sequence[str], mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
