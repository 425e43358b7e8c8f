"""Figures of GPUs by name, from the vendor's data sheets, and the share of them that a fit GPU reaches.

Half precision with 32-bit sums, dense, in TFLOPS; the bus to the host in GB/s, one way. Sheets: nvidia.com/data-center
(T4, V100, A10, A30, A40, A100, L4, L40, L40S, H100, H200, B200), aws.amazon.com/ec2/instance-types/g5 (A10G), the
architecture papers "NVIDIA Turing", "Ampere GA102" and "Ada" (RTX). A sheet with sparsity is halved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

PCIE_3, PCIE_4, PCIE_5 = 15.75, 31.5, 63.0
"""GB/s of 16 lanes: pcisig.com, "Specifications"."""


class Figures(NamedTuple):
    tflops: float
    bus_gbs: float


SHEET = {
    "T4": Figures(65.0, PCIE_3),
    "V100": Figures(112.0, PCIE_3),
    "A10": Figures(125.0, PCIE_4),
    "A10G": Figures(70.0, PCIE_4),
    "A30": Figures(165.0, PCIE_4),
    "A40": Figures(149.7, PCIE_4),
    "A100": Figures(312.0, PCIE_4),
    "A6000": Figures(154.8, PCIE_4),
    "L4": Figures(121.0, PCIE_4),
    "L40": Figures(181.0, PCIE_4),
    "L40S": Figures(362.0, PCIE_4),
    "3090": Figures(71.0, PCIE_4),
    "4090": Figures(165.2, PCIE_4),
    "H100": Figures(756.0, PCIE_5),
    "H200": Figures(989.0, PCIE_5),
    "B200": Figures(2250.0, PCIE_5),
}
"""Of a name with several forms, the slowest one: V100 and H100 on PCIe."""

LEAST_SHARE = {7: 0.4, 8: 0.4, 9: 0.25, 10: 0.1}
"""By the major compute capability. The probe multiplies with `wmma`, which reaches about 63 % of the sheet on Hopper
(arXiv 2402.13499, table of mma instructions) and less on Blackwell, whose full rate needs other instructions. A T4 at
its 70 W holds about 60 % of its sheet. These shares were tried on no card here, so they catch only a GPU far below its
sheet, such as one at its lowest clock (a fifth).
"""
LEAST_BUS_SHARE = 0.15
"""A virtual machine may have 8 of 16 lanes, and a host of two sockets another half."""


def model_of(name: str) -> str:
    """Return the model in a vendor's name (`NVIDIA A100-SXM4-80GB` → `A100`) that this table has; else empty."""
    words = [word.upper() for word in re.split(r"[^A-Za-z0-9]+", name)]
    return next((word for word in words if word in SHEET), "")


def asked_model(name: str) -> str:
    """Return the model in SkyPilot's name (`RTX4090` → `4090`, `A100-80GB` → `A100`) that this table has."""
    first = re.split(r"[^A-Za-z0-9]+", name.upper())[0]
    return next((word for word in (first, re.sub(r"^RTX", "", first)) if word in SHEET), "")


def asked_gpus(text: str) -> list[tuple[str, int]]:
    """Return name and count of each alternative in `L4:1,A100-80GB:8`. Only whole GPUs of this vendor's names count."""
    pairs = (part.rpartition(":") for part in text.split(",") if part)
    return [(name, int(count)) for name, _, count in pairs if count.isdecimal() and int(count) > 0]


def expectation(text: str, names: Sequence[str]) -> str | None:
    """Return what speaks against these GPUs, if the task asked for others.

    None: they are as requested, or cannot be compared.
    """
    requested = asked_gpus(text)
    if not requested:
        return None
    shown_gpus = f"{len(names)} x {', '.join(sorted(set(names))) or 'no GPU'}"
    if len(names) < min(count for _, count in requested):
        return f"the task asked for {text}, and the machine shows {shown_gpus}"
    models = {model_of(name) for name in names}
    fits = [
        (name, count)
        for name, count in requested
        if len(names) >= count and ("" in models or not asked_model(name) or models == {asked_model(name)})
    ]
    return None if fits else f"the task asked for {text}, and the machine shows {shown_gpus}"


def too_slow(gpu: Mapping[str, Any], *, capability: int) -> Sequence[str]:
    """Return in words each figure of a GPU that is far below its sheet. A GPU without a sheet has none."""
    figures = SHEET.get(model_of(str(gpu.get("name", ""))))
    if figures is None:
        return []
    words = []
    share, tflops = LEAST_SHARE.get(capability), gpu.get("tflops")
    if share is not None and tflops is not None and tflops < share * figures.tflops:
        words.append(f"{tflops:.0f} TFLOPS in half precision, of {figures.tflops:.0f} on its sheet")
    for key, way in (("to_gbs", "to"), ("from_gbs", "from")):
        rate = gpu.get(key)
        if rate is not None and rate < LEAST_BUS_SHARE * figures.bus_gbs:
            words.append(f"{rate:.1f} GB/s {way} it, of {figures.bus_gbs:.0f} on its sheet")
    return words
