"""The keys of an example.yaml with their forms, as JSON Schema. The readers of this package take their keys from here.

The schema is for editors and checks before a run. It refuses what a reader refuses, and also each value that a reader
would silently ignore. A key without an entry is allowed: readers leave it alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DRAFT = "http://json-schema.org/draft-07/schema#"
"""The draft that yaml-language-server, and so most editors, read."""

YES_WORDS = ("required", "true", "yes")
NO_WORDS = ("none", "no", "false", "optional", "0", "")
NUMBER = r"\s*(\d+(?:\.\d+)?)\s*(?:[gG][iI]?[bB]?)?\s*\+?\s*"
"""A number as text, with or without its unit: `16GB`, `16+`."""

_GPU_NAME = r"(?:[A-Za-z][\w .-]*|(?:[A-Za-z]+:)?\d+[gGmMtT][bB]\+?)"
_GPU = rf"\s*['\"]?{_GPU_NAME}['\"]?\s*(?::\s*[1-9]\d*\s*)?"
GPU_NAMES = rf"^(?:{_GPU}(?:,{_GPU})*|\s*\{{{_GPU}(?:,{_GPU})*\}}\s*|\s*[aA][nN][yY]\s*:{_GPU}(?:,{_GPU})*)$"

Schema = Mapping[str, Any]


def _amount(description: str) -> Schema:
    number = {"type": "number", "minimum": 0, "exclusiveMaximum": 1_000_000}
    return {
        "description": description,
        "anyOf": [number, {"type": "string", "pattern": f"^{NUMBER}$"}, {"type": "null"}],
    }


def _mapping(description: str, keys: Mapping[str, Schema]) -> Schema:
    return {"description": description, "type": ["object", "null"], "properties": dict(keys)}


_COUNT: Schema = {"type": "integer", "minimum": 0, "exclusiveMaximum": 10_000}
_NAMED: tuple[Schema, ...] = (
    {"type": "string", "pattern": GPU_NAMES},
    {"type": "array", "items": {"type": "string", "pattern": GPU_NAMES}},
    {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": f"^{_GPU}$"},
        "additionalProperties": {"anyOf": [{**_COUNT, "minimum": 1}, {"type": "null"}]},
    },
)
_WORDS: tuple[Schema, ...] = ({"type": "boolean"}, {"enum": [*YES_WORDS, *NO_WORDS]})
_OF_SIZE: Schema = {
    "type": "object",
    "properties": {"count": _COUNT, "vram_gb": _amount("Memory of one GPU in GB.")},
    "additionalProperties": False,
    "minProperties": 1,
}
_GPUS: tuple[Schema, ...] = (
    {"type": "null"},
    _COUNT,
    {"type": "string", "pattern": r"^\s*\d{1,4}\s*$"},
    *_WORDS,
    *_NAMED,
)

RESOURCE_KEYS: Mapping[str, Schema] = {
    "gpu": {
        "description": "A count, `required`, or names: `L4`, `L4:2`, `80GB+`, a list in order, `{L4, A10G}` for "
        "the cheapest.",
        "anyOf": [*_GPUS, _OF_SIZE],
    },
    "gpus": {"description": "The same as gpu, by name.", "anyOf": list(_NAMED)},
    "accelerators": {"description": "The same as gpu, by name, as SkyPilot writes it.", "anyOf": list(_NAMED)},
    "gpu_count": {"description": "How many GPUs.", "anyOf": [*_GPUS[:3], *_WORDS]},
    "vram_gb": _amount("Memory of one GPU in GB. More than 141 with several GPUs is their sum."),
    "cpu_cores": _amount("The least number of vCPUs."),
    "ram_gb": _amount("The least memory in GiB."),
    "disk_gb": _amount("Disk in GB, without the image. The machine has 60 GB more, and at least 100."),
    "downloads": {
        "description": "Files to fetch before the image is built.",
        "type": ["array", "null"],
        "items": {
            "type": "object",
            "required": ["url", "dest"],
            "properties": {
                "url": {
                    "description": "http(s), gdrive://ID, hf://owner/repository, or hf://owner/repository/file.",
                    "type": "string",
                    "pattern": r"^(?:https?://|gdrive://[\w-]|hf://(?:(?:datasets|spaces)/)?[\w.-]+/[\w.-])",
                },
                "dest": {
                    "description": "A file of the example, or below models/ or data/ of the cache.",
                    "type": "string",
                    "pattern": r"^(?![/~])(?!(?:.*/)?\.\.(?:/|$)).",
                },
            },
        },
    },
}
HARDWARE_KEYS: Mapping[str, Schema] = {
    "gpu_required": {"description": "Whether it needs a GPU.", "anyOf": list(_GPUS[:3]) + list(_WORDS)},
    "min_vram_gb": _amount("The least memory of one GPU in GB."),
    "min_cpu_cores": _amount("The least number of vCPUs."),
    "min_ram_gb": _amount("The least memory in GiB."),
}
DOCKER_KEYS: Mapping[str, Schema] = {
    "image": {"description": "The name of the image.", "type": ["string", "null"]},
    "gpu": {"description": "Whether it needs a GPU.", "anyOf": [*_GPUS[:3], *_WORDS]},
    "vram_gb": _amount("The least memory of one GPU in GB."),
}
_TEXT: Schema = {"type": ["string", "number", "boolean", "null"]}
_LINE: Schema = {
    "anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": {"type": ["string", "number", "boolean"]}}]
}
PRESET_KEYS: Mapping[str, Schema] = {
    "script": {
        "description": "A file of the example, with its arguments; without it, NAME.sh.",
        "type": ["string", "null"],
    },
    "command": {"description": "A shell command to run instead of a script.", **_LINE},
    "args": {"description": "Arguments of the script.", "anyOf": [_TEXT, *_LINE["anyOf"][1:]]},
    "env": {"description": "Environment variables.", "type": ["object", "null"], "additionalProperties": _TEXT},
    "docker": {"description": "`false`: it runs on the machine itself.", "type": "boolean"},
    "description": {"description": "One line for a person.", **_TEXT},
}
_PRESET: Schema = {
    "anyOf": [
        {"type": ["string", "null"]},
        {"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}},
        {"type": "object", "properties": dict(PRESET_KEYS)},
    ]
}
_LISTED_PRESET: Schema = {
    "anyOf": [
        {"type": "string"},
        {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, **PRESET_KEYS}},
        {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": _PRESET},
    ]
}
_GLOB: Schema = {"type": "string", "pattern": r"^[!\s]*(?![/~])(?!(?:.*/)?\.\.(?:/|$))"}
TOP_KEYS: Mapping[str, Schema] = {
    "name": {"description": "Another name for the example than its folder's.", **_TEXT},
    "resources": _mapping("The machine that it needs.", RESOURCE_KEYS),
    "hardware": _mapping("The machine that it needs, in another form.", HARDWARE_KEYS),
    "docker": {
        "description": "Its image, by name or as a mapping.",
        "anyOf": [{"type": ["string", "null"]}, {"type": "object", "properties": dict(DOCKER_KEYS)}],
    },
    "image": {"description": "Its image.", "type": ["string", "null"]},
    "presets": {
        "description": "Named ways to run it. `build` runs first.",
        "anyOf": [
            {"type": "null"},
            {"type": "object", "additionalProperties": _PRESET},
            {"type": "array", "items": _LISTED_PRESET},
        ],
    },
    "files": {
        "description": "All files that it needs, as globs from the root of the repository.",
        "anyOf": [{"type": "null"}, _GLOB, {"type": "array", "items": _GLOB}],
    },
}

SCHEMA: Schema = {
    "$schema": DRAFT,
    "title": "example.yaml of cvl-ci",
    "type": "object",
    "properties": dict(TOP_KEYS),
}
