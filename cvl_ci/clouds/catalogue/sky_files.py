"""SkyPilot's catalogue files, if it has fetched them, in the columns of our own table. Files only, no SDK."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path

# GCP's file prices hosts and accelerators separately. SkyPilot's code, not its data, pairs them.
_UNREADABLE = {"gcp"}
# Of machines without GPU SkyPilot chooses only these families by itself (sky/catalog/{aws,azure}_catalog.py, 0.14.1).
_WITHOUT_GPU = {"aws": re.compile(r"[mcr]6i\."), "azure": re.compile(r"Standard_[DE]\d+s_v5")}


def date(directory: Path, cloud: str) -> str | None:
    """Return the day on which SkyPilot fetched the prices, or None without readable ones."""
    file = _file(directory, cloud)
    if cloud in _UNREADABLE or not file.is_file():
        return None
    return datetime.fromtimestamp(file.stat().st_mtime, tz=timezone.utc).strftime("%Y-%m-%d")


def rows(directory: Path, cloud: str) -> Iterable[Mapping[str, str]]:
    """Yield one row a type and region, with the cheapest spot price of its zones, as SkyPilot would choose."""
    by_key: dict[tuple[str, str], dict[str, str]] = {}
    with _file(directory, cloud).open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            if not line.get("InstanceType") or not line.get("vCPUs") or not line.get("MemoryGiB"):
                continue
            count = float(line.get("AcceleratorCount") or 0)
            if count != int(count):
                continue  # a slice of a GPU: no request can name one
            if not count and cloud in _WITHOUT_GPU and not _WITHOUT_GPU[cloud].match(line["InstanceType"]):
                continue
            key = line["InstanceType"], line["Region"]
            cheapest = by_key.setdefault(key, _translated(line))
            for own_column, sky_column in (("price_usd_per_hour", "Price"), ("spot_usd_per_hour", "SpotPrice")):
                cheapest[own_column] = _lower(cheapest[own_column], line.get(sky_column) or "")
    return by_key.values()


def _translated(line: Mapping[str, str]) -> dict[str, str]:
    return {
        "instance_type": line["InstanceType"],
        "accelerator": line.get("AcceleratorName") or "",
        "accelerator_count": line.get("AcceleratorCount") or "0",
        "vcpus": line["vCPUs"],
        "memory_gib": line["MemoryGiB"],
        "region": line["Region"],
        "price_usd_per_hour": line.get("Price") or "",
        "spot_usd_per_hour": line.get("SpotPrice") or "",
    }


def _lower(one: str, other: str) -> str:
    return min((price for price in (one, other) if price), key=float, default="")


def _file(directory: Path, cloud: str) -> Path:
    return directory / cloud / "vms.csv"
