"""The keys of a cvl-ci.yml with their forms, as JSON Schema. Its reader, rules.py, takes its keys from here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvl_ci.planning.example_schema import DRAFT
from cvl_ci.result.benchmark.direction import Direction

Schema = Mapping[str, Any]

_SHARE: Schema = {
    "description": "How much worse a metric may be, as a share of its base: 5% or 0.05.",
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "string", "pattern": r"^\s*(?:(?:100(?:\.0+)?|\d{1,2}(?:\.\d+)?)\s*%|0?\.\d+|[01](?:\.0+)?)\s*$"},
        {"type": "null"},
    ],
}
_TARGET = Direction.TARGET.value
RULE_KEYS: Mapping[str, Schema] = {
    "direction": {
        "description": "The better direction. `ignore`: shown, and never a failure.",
        "enum": [direction.value for direction in Direction],
    },
    "tolerance": _SHARE,
    "target": {"description": "The best value, with the direction `target`.", "type": "number"},
}
_RULE: Schema = {
    "anyOf": [
        {"enum": [direction.value for direction in Direction if direction is not Direction.TARGET]},
        {
            "type": "object",
            "properties": dict(RULE_KEYS),
            "additionalProperties": False,
            "if": {"required": ["target"]},
            "then": {"properties": {"direction": {"const": _TARGET}}},
            "else": {"properties": {"direction": {"not": {"const": _TARGET}}}},
        },
    ]
}
BRANCH_PATTERN = r"[A-Za-z0-9][\w./-]{0,200}"
_DOLLARS: Schema = {
    "description": "The most that all runs of the repository may cost in a calendar month (UTC), in US dollars. "
    "`plan` and `run` refuse a run that could exceed it.",
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "pattern": r"^\s*\$?\s*\d+(?:\.\d+)?\s*$"},
        {"type": "null"},
    ],
}
KEYS: Mapping[str, Schema] = {
    "monthly_budget": _DOLLARS,
    "history_branch": {
        "description": "The branch with the runs that monthly_budget counts. The verb `history` writes it.",
        "type": ["string", "null"],
        "pattern": f"^{BRANCH_PATTERN}$",
        "default": "cvl-ci-history",
    },
    "metrics": {
        "description": "Names of metrics or patterns, with their rules. The first that fits counts.",
        "type": ["object", "null"],
        "additionalProperties": _RULE,
    },
    "tolerance": _SHARE,
}

SCHEMA: Schema = {
    "$schema": DRAFT,
    "title": "cvl-ci.yml",
    "type": ["object", "null"],
    "properties": dict(KEYS),
    "additionalProperties": False,
}
