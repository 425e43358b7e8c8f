"""The legs that a report waits for, as `verb: matrix` wrote them: which run, which were left out, and why. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cvl_ci.inputs.parsers import Wrong

FAIL, WARN = "fail", "warn"
MOST_DROPPED = 1_000


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The legs of a matrix, and the requested legs that do not run.

    `dropped`: name and reason of each leg that does not run. `because`: a harmless reason why there are no legs; empty
    without one.
    """

    legs: tuple[str, ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()
    on_dropped: str = WARN
    because: str = ""

    @property
    def fails(self) -> bool:
        """Whether the left-out legs alone make the report red."""
        return bool(self.dropped) and self.on_dropped == FAIL


def as_json(expected: Expected) -> str:
    """One line, for the report's input."""
    content = {
        "legs": list(expected.legs),
        "dropped": [{"name": name, "why": why} for name, why in expected.dropped[:MOST_DROPPED]],
        "on_dropped": expected.on_dropped,
        "because": expected.because,
    }
    return json.dumps(content, ensure_ascii=False)


def read(text: object) -> Expected:
    """Of the output `expected` of `verb: matrix`, or of its `matrix`, which names the legs alone. Raises Wrong."""
    try:
        content = json.loads(str(text))
        if "include" in content:
            return Expected(legs=tuple(str(leg["name"]) for leg in content["include"]))
        return _read(content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Wrong("is neither the output `expected` nor the output `matrix` of `verb: matrix`") from None


def _read(content: Mapping[str, Any]) -> Expected:
    """Return the expected legs. Any word but `warn` counts as `fail`, so a mistake turns no left-out leg green."""
    return Expected(
        legs=tuple(map(str, content["legs"])),
        dropped=tuple((str(one["name"]), str(one["why"])) for one in content["dropped"]),
        on_dropped=WARN if content["on_dropped"] == WARN else FAIL,
        because=str(content["because"]),
    )
