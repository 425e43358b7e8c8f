"""Determine the machine that an example needs, by its declaration in any form, and by a table of GPUs. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from cvl_ci.inputs import accelerators, machine_sizes
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.resource_request import ResourceRequest
from cvl_ci.planning import alternatives
from cvl_ci.planning.example_schema import (
    NO_WORDS,
    NUMBER,
    PRESET_KEYS,
    RESOURCE_KEYS,
    TOP_KEYS,
    YES_WORDS,
)

LEAST_DISK_GB = 100
IMAGE_GB = 60
"""An example's `disk_gb` does not include its image: 15 to 25 GB, twice during its build."""

# GB per GPU up to and including → the default, then GPUs that also fit. SkyPilot takes the cheapest free one.
_SMALL = ("T4", "L4", "A10G", "A10")
_TABLE = (
    (15.0, _SMALL),
    (24.0, ("L4", "A10G", "A10")),
    (40.0, ("A100", "L40S", "A6000", "A100-80GB")),
    (48.0, ("L40S", "A6000", "A100-80GB")),
    (80.0, ("A100-80GB", "H100")),
    (141.0, ("H200", "B200")),
    (180.0, ("B200", "MI300X")),
    (192.0, ("MI300X",)),
    (288.0, ("B300",)),
)
_LARGEST_USUAL_GB = 141.0
"""If several GPUs have more than this, the value counts as the sum over all of them."""
_UNKNOWN_GB = 24.0
_COMPARES = re.compile(r"(?:==|!=|\bis\b|\bis not\b|\bin\b)[^\n]*bfloat16|bfloat16\s*(?:==|!=)", re.IGNORECASE)
"""Library code that checks the type it received does not need that type."""
_LLAMA_CPP = re.compile(r"llama[-_.]?cpp|llama-(?:server|cli)\b|\bggml|\bgguf\b", re.IGNORECASE)
_FLASH_PACKAGE = re.compile(
    r"(?:import|from)\s+flash_attn|flash[-_]attn\s*[=<>~]=|install[^\n]*flash[-_]attn|flash_attention_2"
)
_LLAMA_FLASH = re.compile(r"-{0,2}flash[-_ ]?attn|flash[-_ ]?attention", re.IGNORECASE)
"""llama.cpp has flash attention of its own, for a T4 too: ggml/src/ggml-cuda/fattn.cu."""
_GGUF_FILE = re.compile(r"[\w./-]+(?:\.gguf\b|-gguf:\w+)", re.IGNORECASE)
"""llama.cpp converts the weights of a file, such as `model-BF16.gguf`, to types that the GPU has."""
_NEEDS_AMPERE = re.compile(r"bf16|bfloat16|flash[-_ ]?attn|flash[-_ ]?attention|fp8|float8", re.IGNORECASE)
_OTHER_NAMES = {
    "gpu_type": "gpu",
    "gpu_name": "gpu",
    "vram": "vram_gb",
    "min_vram_gb": "vram_gb",
    "cpu": "cpu_cores",
    "cpus": "cpu_cores",
    "ram": "ram_gb",
    "memory": "ram_gb",
    "memory_gb": "ram_gb",
    "disk": "disk_gb",
    "disk_size": "disk_gb",
}
_COUNT = re.compile(r"\s*\d+(?:\.0*)?\s*")
_CLOSE = 0.8
_MOST_KEYS, _MOST_NOTES = 100, 20
"""The unknown keys of a mapping that are compared, and the warnings about them."""
_PROSE_KEYS = frozenset({"path_args", "tasks", "tags", "outputs"})
"""Keys of the field that resemble a known key and mean something else."""
_YES, _NO = frozenset(YES_WORDS), frozenset(NO_WORDS)


@dataclass(frozen=True, kw_only=True)
class Declared:
    """Content of an example.yaml. `gpus` None: it has no readable value."""

    gpus: int | None
    vram_gb: float | None
    cpus: float | None
    memory_gib: float | None
    disk_gb: float | None
    named: Mapping[str, float] | None = None
    """GPUs by name, as `gpu: L4:2` or a list has them, not yet in SkyPilot's spelling."""
    unreadable: Wrong | None = None
    """The reason why the GPUs by name cannot be read."""
    notes: tuple[str, ...] = ()
    """Warnings about how the file was read."""


def declared(document: Mapping[str, Any]) -> Declared:
    """Read the machine that an example.yaml declares."""
    resources = _mapping(document.get("resources"))
    hardware = _mapping(document.get("hardware"))
    docker = _mapping(document.get("docker"))
    named, unreadable = _named(resources)
    gpu = None if named is not None else resources.get("gpu")
    nested = _mapping(gpu)
    count = _gpus(gpu, resources=resources, hardware=hardware, docker=docker)
    vram = _first(nested.get("vram_gb"), resources.get("vram_gb"), hardware.get("min_vram_gb"), docker.get("vram_gb"))
    notes = _unread(document, resources)
    if vram and count and count > 1 and vram > _LARGEST_USUAL_GB:
        notes.append(f"vram_gb {vram:g} is read as the sum of {count} GPUs: {vram / count:g} GB each.")
        vram = vram / count
    return Declared(
        gpus=1 if named else 0 if named is not None else count,
        vram_gb=vram,
        cpus=_first(resources.get("cpu_cores"), hardware.get("min_cpu_cores")),
        memory_gib=_first(resources.get("ram_gb"), hardware.get("min_ram_gb")),
        disk_gb=_first(resources.get("disk_gb")),
        named=named,
        unreadable=unreadable,
        notes=tuple(notes),
    )


def request(declaration: Declared, *, sources: Iterable[str] = (), known_gpus: Collection[str] = ()) -> ResourceRequest:
    """Return the machine for a declaration. Raise Wrong if no single GPU is enough, or a name is unknown.

    `sources`: the example's own text, searched only if it decides. `known_gpus`: SkyPilot's names.
    """
    if declaration.unreadable is not None:
        raise declaration.unreadable
    named = accelerators.canonical(declaration.named, known_gpus) if declaration.named else None
    _refuse_too_large(declaration)
    needed = ResourceRequest(
        cpus=declaration.cpus,
        memory_gib=declaration.memory_gib,
        disk_gb=max(LEAST_DISK_GB, int((declaration.disk_gb or 0) + IMAGE_GB + 0.5)),
    )
    return alternatives.with_gpus(needed, _accelerators(declaration, sources) if named is None else named)


def _refuse_too_large(declaration: Declared) -> None:
    """Raise Wrong for a machine that no cloud sells."""
    sizes = (
        ("vCPUs", declaration.cpus, machine_sizes.vcpus),
        ("memory", declaration.memory_gib, machine_sizes.memory),
        ("disk", declaration.disk_gb and float(int(declaration.disk_gb + IMAGE_GB + 0.5)), machine_sizes.disk),
    )
    for word, number, read in sizes:
        try:
            if number:
                read(number)
        except Wrong as wrong:
            raise Wrong(f"declares {word} {number:g}, which {wrong.problem}") from None


def _named(resources: Mapping[str, Any]) -> tuple[Mapping[str, float] | None, Wrong | None]:
    """Return GPUs by name, and why they cannot be read; None: the file names none."""
    for key in ("gpu", "gpus", "accelerators"):
        value = resources.get(key)
        if isinstance(value, str):
            is_name = value.strip().lower() not in _YES | _NO and not _COUNT.fullmatch(value)
        elif isinstance(value, Mapping):
            is_name = bool(value) and not {"count", "vram_gb"}.intersection(value)
        else:
            is_name = isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)
        if is_name:
            try:
                return accelerators.read(value), None
            except Wrong as wrong:
                return None, Wrong(f"declares {key}: {value!r}, which {wrong.problem}", near=wrong.near)
    return None, None


def _unread(document: Mapping[str, Any], resources: Mapping[str, Any]) -> list[str]:
    """Return a warning for each key that resembles a known key, and for each unknown key of the machine."""
    return list(islice(dict.fromkeys(_notes_of_keys(document, resources)), _MOST_NOTES))


def _notes_of_keys(document: Mapping[str, Any], resources: Mapping[str, Any]) -> Iterator[str]:
    presets = [preset for preset in _mapping(document.get("presets")).values() if isinstance(preset, Mapping)]
    levels: list[tuple[str, Mapping[str, Any], Collection[str]]] = [
        ("", document, TOP_KEYS),
        ("resources.", resources, RESOURCE_KEYS),
        *(("a preset's ", preset, PRESET_KEYS) for preset in presets),
    ]
    for prefix, keys, schema in levels:
        other_names = _OTHER_NAMES if prefix == "resources." else {}
        unknown = (str(key) for key in keys if str(key) not in schema and str(key) not in _PROSE_KEYS)
        for key in islice(unknown, _MOST_KEYS):
            close = difflib.get_close_matches(key, [*schema, *other_names], n=1, cutoff=_CLOSE)
            likely = other_names.get(key) or (other_names.get(close[0], close[0]) if close else None)
            question = f" Did you mean {prefix}{likely}?" if likely else ""
            if likely or prefix == "resources.":
                yield f"{prefix}{key} in its example.yaml is not read.{question}"


def _accelerators(declaration: Declared, sources: Iterable[str]) -> dict[str, int]:
    if not declaration.gpus:
        return {}
    gigabytes = declaration.vram_gb or _UNKNOWN_GB
    for most, names in _TABLE:
        if gigabytes <= most:
            modern = names is _SMALL and any(map(_needs_ampere, sources))
            return dict.fromkeys(names[1:] if modern else names, declaration.gpus)
    raise Wrong(f"declares {gigabytes:g} GB a GPU, and the largest has {_TABLE[-1][0]:g}: name the GPU with gpu")


def _needs_ampere(text: str) -> bool:
    """Tell whether a source needs more than a T4, which lacks bfloat16, fp8, and the flash-attention package."""
    text = _GGUF_FILE.sub(" gguf ", _COMPARES.sub("", text))
    if _LLAMA_CPP.search(text) and not _FLASH_PACKAGE.search(text):
        text = _LLAMA_FLASH.sub("", text)
    return bool(_NEEDS_AMPERE.search(text))


def _gpus(
    gpu: object, *, resources: Mapping[str, Any], hardware: Mapping[str, Any], docker: Mapping[str, Any]
) -> int | None:
    hardware_gpu = hardware.get("gpu_required", bool(_number(hardware.get("min_vram_gb"))) or None)
    docker_gpu = docker.get("gpu", bool(_number(docker.get("vram_gb"))) or None)
    for value in (gpu, resources.get("gpu_count"), hardware_gpu, docker_gpu):
        count = _count(value)
        if count is not None:
            return count
    return None


def _count(value: object) -> int | None:
    if isinstance(value, Mapping):
        number = _number(value.get("count"))
        return 1 if number is None else int(number)
    if isinstance(value, str) and value.strip().lower() in _YES | _NO:
        return int(value.strip().lower() in _YES)
    if isinstance(value, bool):
        return int(value)
    number = _number(value)
    return None if number is None else int(number)


def _first(*values: object) -> float | None:
    return next((number for one in values if (number := _number(one))), None)


def _number(value: object) -> float | None:
    """Return the number of a value such as `4`, `"4"`, `"16GB"`, `"16+"`; None for other values."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value) if 0 <= value < 1e6 else None
    if isinstance(value, str):
        match = re.fullmatch(NUMBER, value)
        return float(match[1]) if match else None
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
