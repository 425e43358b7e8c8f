"""A HOME for AWS clients, SkyPilot first, never the user's own: keys of the sandbox, an endpoint, fixed prices."""

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
from cvl_ci.sandbox.sandbox_spec import Blueprint

CATALOGUE = Path(".sky/catalogs/v8")
WHEELS = Path(".sky/wheels")
"""Where SkyPilot keeps the wheel of itself (sky/backends/wheel_utils.py)."""
CPU_IMAGE = "ami-05a4dbc0c0ffee001"
GPU_IMAGE = "ami-05a4dbc0c0ffee002"
IMAGES = {
    "skypilot:custom-cpu-ubuntu": CPU_IMAGE,
    "skypilot:custom-gpu-ubuntu-cuda13": GPU_IMAGE,
    "skypilot:custom-gpu-ubuntu": GPU_IMAGE,
    "skypilot:k80-ubuntu-2004": GPU_IMAGE,
    "skypilot:neuron-ubuntu-2204": GPU_IMAGE,
}
"""The machine images SkyPilot asks for by these names; all of them are the sandbox's one image."""
ZONES_SOLD = 3
"""Enough to fail over between, few enough that trying them all is quick."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """All a client needs. `environment` leaves AWS_* out: with it SkyPilot would take other credentials for its own."""

    home: Path
    environment: Mapping[str, str]
    endpoint_url: str
    regions: tuple[str, ...]
    access_key_id: str
    secret_access_key: str = field(repr=False)


def access(directory: Path, plan: Blueprint) -> Access:
    home = directory / "home"
    known = keys.load(directory)
    if known is None:
        raise SandboxError(
            f"The keys of this sandbox cannot be read: {directory / keys.FOLDER / keys.FILE}.",
            next_step="They are for the user who brought it up. Take it down as that user, then bring it up again.",
        )
    return Access(
        home=home,
        environment={
            "HOME": str(home),
            "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
            # SkyPilot takes any server on its usual port for its own, whatever HOME that one was started with.
            "SKYPILOT_API_SERVER_LOCAL_PORT": str(plan.skypilot_port),
        },
        endpoint_url=plan.endpoint_url,
        regions=plan.regions,
        access_key_id=known.client.id,
        secret_access_key=known.client.secret,
    )


def write(given: Access, types: Sequence[MachineType], zones: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """`zones`: by region, the (name, id) of each."""
    _put(given.home / ".aws/credentials", mode=0o600, lines=[
        "[default]",
        f"aws_access_key_id = {given.access_key_id}",
        f"aws_secret_access_key = {given.secret_access_key}",
        # Here and not in .aws/config: this is the file SkyPilot takes along to its machines.
        f"endpoint_url = {given.endpoint_url}",
    ])  # fmt: skip
    _put(given.home / ".aws/config", lines=["[default]", f"region = {given.regions[0]}", "output = json"])
    _put(given.home / ".sky/config.yaml", lines=["allowed_clouds: [aws]"])
    for name, table in catalogue(types, zones).items():
        path = given.home / CATALOGUE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(table)


def forget_skypilot(home: Path) -> None:
    """Remove what SkyPilot remembers of machines that are gone.

    Other things that a user keeps in this home stay. So does the wheel of itself that SkyPilot takes to its machines:
    building it takes ten seconds, and SkyPilot builds another one when its own files change.
    """
    for path in (home / "sky_logs", home / ".aws", *(home / WHEELS.parent).glob("*")):
        if path == home / WHEELS:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    with suppress(OSError):  # it is not there, or not empty
        (home / WHEELS.parent).rmdir()


def catalogue(
    types: Sequence[MachineType], zones: Mapping[str, Sequence[tuple[str, str]]]
) -> dict[str, list[Sequence[object]]]:
    """SkyPilot's own tables, v8. Without checksums beside them it uses them as they are and never refreshes them."""
    accelerators = {each.accelerator: each for each in types if each.accelerator}
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
            *((name, "L-1216C47A", "L-34B43A08") for name in _unique(each.name for each in types)),
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
    for each in types:
        # A zone is named by its id here, which SkyPilot translates to the account's name for it.
        for _, zone_id in zones[each.region][:ZONES_SOLD]:
            yield (
                each.name, each.accelerator or "", float(each.accelerator_count) if each.accelerator else "",
                float(each.vcpus), float(each.memory_gib), _gpu_info(each), each.hourly_usd,
                "" if each.spot_hourly_usd is None else each.spot_hourly_usd, each.region, zone_id, "x86_64",
                "", "", "", "", "",
            )  # fmt: skip


def _gpu_info(each: MachineType) -> str:
    if not each.accelerator:
        return ""
    mebibytes = int(each.accelerator_memory_gib * 1024)
    gpu = {
        "Name": each.accelerator,
        "Manufacturer": "NVIDIA",
        "Count": each.accelerator_count,
        "MemoryInfo": {"SizeInMiB": mebibytes},
    }
    return str({"Gpus": [gpu], "TotalGpuMemoryInMiB": each.accelerator_count * mebibytes})


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _put(path: Path, *, lines: Sequence[str], mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
