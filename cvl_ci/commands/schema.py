"""Print the JSON Schema of a file that people write: an editor then completes its keys and marks its mistakes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cvl_ci.planning import example, example_schema, queue_schema
from cvl_ci.result.benchmark import rule_schema, rules

SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    example.FILE_NAME: example_schema.SCHEMA,
    rules.FILE_NAME: rule_schema.SCHEMA,
    queue_schema.NAME: queue_schema.SCHEMA,
}


def as_text(name: str) -> str:
    """Return the schema of a file, a key of SCHEMAS."""
    return json.dumps(SCHEMAS[name], indent=2)
