"""Which machine an example needs: its declaration in any of the field's forms, and the table of GPUs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.plan import Needs

LEAST_DISK_GB = 100
IMAGE_GB = 60
"""An example's `disk_gb` leaves out its image, 15 to 25 GB, twice while it is built."""

# GB per GPU up to and including → the default, then what would do as well. SkyPilot takes the cheapest that is free.
_SMALL = ("T4", "L4", "A10G", "A10")
_TABLE = (
    (15.0, _SMALL),
    (24.0, ("L4", "A10G", "A10")),
    (40.0, ("A100", "L40S", "A6000", "A100-80GB")),
    (48.0, ("L40S", "A6000", "A100-80GB")),
    (80.0, ("A100-80GB", "H100")),
    (141.0, ("H200", "B200")),
)
_UNKNOWN_GB = 24.0
_NEEDS_AMPERE = re.compile(r"bf16|bfloat16|flash[-_ ]?attn|flash[-_ ]?attention|fp8|float8", re.IGNORECASE)
_YES = {"required", "true", "yes"}
_NO = {"none", "no", "false", "optional", "0", ""}


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What an example.yaml says. `gpus` None: nothing that can be understood."""

    gpus: int | None
    vram_gb: float | None
    cpus: float | None
    memory_gib: float | None
    disk_gb: float | None


def declared(document: Mapping[str, Any]) -> Declared:
    resources = _mapping(document.get("resources"))
    hardware = _mapping(document.get("hardware"))
    docker = _mapping(document.get("docker"))
    gpu = resources.get("gpu")
    nested = _mapping(gpu)
    return Declared(
        gpus=_gpus(gpu, resources=resources, hardware=hardware, docker=docker),
        vram_gb=_first(
            nested.get("vram_gb"), resources.get("vram_gb"), hardware.get("min_vram_gb"), docker.get("vram_gb")
        ),
        cpus=_first(resources.get("cpu_cores"), hardware.get("min_cpu_cores")),
        memory_gib=_first(resources.get("ram_gb"), hardware.get("min_ram_gb")),
        disk_gb=_first(resources.get("disk_gb")),
    )


def needs(said: Declared, *, sources: Iterable[str] = ()) -> Needs:
    """`sources`: the example's own text, looked at only where it decides. Raises Wrong when no single GPU is enough."""
    return Needs(
        accelerators=_accelerators(said, sources),
        cpus=said.cpus,
        memory_gib=said.memory_gib,
        disk_gb=max(LEAST_DISK_GB, int((said.disk_gb or 0) + IMAGE_GB + 0.5)),
    )


def _accelerators(said: Declared, sources: Iterable[str]) -> dict[str, int]:
    if not said.gpus:
        return {}
    wanted = said.vram_gb or _UNKNOWN_GB
    for most, names in _TABLE:
        if wanted <= most:
            # A T4 has neither bfloat16 nor what flash-attention and fp8 stand on.
            modern = names is _SMALL and any(_NEEDS_AMPERE.search(text) for text in sources)
            return dict.fromkeys(names[1:] if modern else names, said.gpus)
    raise Wrong(f"declares {wanted:g} GB a GPU, more than any single GPU has: say which with gpu")


def _gpus(
    gpu: object, *, resources: Mapping[str, Any], hardware: Mapping[str, Any], docker: Mapping[str, Any]
) -> int | None:
    hardware_gpu = hardware.get("gpu_required", bool(_number(hardware.get("min_vram_gb"))) or None)
    docker_gpu = docker.get("gpu", bool(_number(docker.get("vram_gb"))) or None)
    for said in (gpu, resources.get("gpu_count"), hardware_gpu, docker_gpu):
        count = _count(said)
        if count is not None:
            return count
    return None


def _count(said: object) -> int | None:
    if isinstance(said, Mapping):
        number = _number(said.get("count"))
        return 1 if number is None else int(number)
    if isinstance(said, str) and said.strip().lower() in _YES | _NO:
        return int(said.strip().lower() in _YES)
    if isinstance(said, bool):
        return int(said)
    number = _number(said)
    return None if number is None else int(number)


def _first(*said: object) -> float | None:
    return next((number for one in said if (number := _number(one))), None)


def _number(said: object) -> float | None:
    """A number that means something: `4`, `"4"`, `"16GB"`, `"16+"`."""
    if isinstance(said, bool):
        return None
    if isinstance(said, (int, float)):
        return float(said) if 0 <= said < 1e6 else None
    if isinstance(said, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:gi?b?)?\s*\+?\s*", said.lower())
        return float(found[1]) if found else None
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
