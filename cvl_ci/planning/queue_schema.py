"""The keys of a queue file with their forms, as JSON Schema. Its reader, queue_file.py, takes its keys from here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvl_ci.inputs.option import EntryPoint
from cvl_ci.inputs.table import run_options
from cvl_ci.model.queue import RetryCause
from cvl_ci.planning.example_schema import DRAFT

Schema = Mapping[str, Any]

NAME = "queue"
"""The word by which `cvl-ci schema` knows it: a queue file may have any name."""
ID = r"^(?!.*\.(?:json|log)$)[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
MOST_JOBS = 500
MOST_RETRIES = 10
LONGEST_LEG = 300

_ID: Schema = {"type": "string", "pattern": ID}
_REFERENCE: Schema = {"anyOf": [_ID, {"type": "integer", "minimum": 0}]}
_REFERENCES: Schema = {"anyOf": [_REFERENCE, {"type": "array", "items": _REFERENCE}]}
_CAUSES: Schema = {"enum": [cause.value for cause in RetryCause]}
_VALUE: Schema = {"type": ["string", "number", "boolean", "array", "object", "null"]}

RUN_KEYS: Mapping[str, Schema] = {
    name: {"description": option.help, **_VALUE}
    for option in run_options(EntryPoint.LIBRARY)
    for name in (option.name, *option.other_names)
}
"""The inputs of a run, which a job takes by the same names."""

RETRY_KEYS: Mapping[str, Schema] = {
    "on": {
        "description": "The ends after which it starts again.",
        "anyOf": [_CAUSES, {"type": "array", "items": _CAUSES}],
    },
    "limit": {"description": "How many further attempts.", "type": "integer", "minimum": 1, "maximum": MOST_RETRIES},
}
JOB_KEYS: Mapping[str, Schema] = {
    "id": {"description": "Its name in this file; without it, its number from 0.", **_ID},
    "needs": {"description": "Jobs that must succeed before: ids or numbers from 0.", **_REFERENCES},
    "depends_on": {"description": "Another name of needs.", **_REFERENCES},
    "inputs": {
        "description": "`from`: jobs whose files it gets below `inputs/ID` of its folder.",
        "type": "object",
        "required": ["from"],
        "properties": {"from": _REFERENCES},
        "additionalProperties": False,
    },
    "retry": {
        "description": "Further attempts after an end that infrastructure caused.",
        "type": "object",
        "properties": dict(RETRY_KEYS),
        "additionalProperties": False,
    },
    "soft_fail": {"description": "Its failure is not the queue's, and its dependents run.", "type": "boolean"},
    "allow_dependency_failure": {
        "description": "It runs although a job that it needs failed or did not run.",
        "type": "boolean",
    },
    "concurrency_group": {
        "description": "At most one job of a group runs at a time.",
        "type": "string",
        "minLength": 1,
    },
    "machine": {
        "description": "`own`, or a key: jobs with one key run in turn on one machine, in one working directory.",
        **_ID,
    },
    "clean": {
        "description": "With `machine`: the machine is cleaned after the job, and the next job finds nothing of it.",
        "type": "boolean",
    },
    "leg": {
        "description": "The leg of a matrix that it is, as the report names it.",
        "type": "string",
        "minLength": 1,
        "maxLength": LONGEST_LEG,
    },
}
OWN_MACHINE = "own"
"""The word for a machine of its own, which is the default."""
TOP_KEYS: Mapping[str, Schema] = {
    "jobs": {
        "description": "The jobs.",
        "type": "array",
        "minItems": 1,
        "maxItems": MOST_JOBS,
        "items": {
            "type": "object",
            "properties": {**JOB_KEYS, **RUN_KEYS},
            "additionalProperties": False,
        },
    },
    "defaults": {
        "description": "Inputs of every job that does not give them itself.",
        "type": "object",
        "properties": dict(RUN_KEYS),
        "additionalProperties": False,
    },
    "max_parallel": {"description": "The most jobs at a time.", "type": "integer", "minimum": 1, "maximum": 100},
    "budget": {
        "description": "The most that all jobs may cost, in US dollars.",
        "type": "number",
        "exclusiveMinimum": 0,
    },
}
SCHEMA: Schema = {
    "$schema": DRAFT,
    "title": "queue of cvl-ci",
    "type": "object",
    "required": ["jobs"],
    "properties": dict(TOP_KEYS),
    "additionalProperties": False,
}
