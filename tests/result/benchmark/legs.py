"""Summaries of runs, as the files that a report gathers hold them."""

from __future__ import annotations

import json
from typing import Any

from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.benchmark.leg_file import read

NIGHT = 1_790_000_000.0
"""A moment in 2026."""


def summary(**changed: Any) -> dict[str, Any]:
    """One that went well."""
    usual = {
        "schema": 1,
        "ending": "succeeded",
        "reason": "The job succeeded.",
        "exit_code": 0,
        "cluster": "cvl-1-00000001",
        "title": "digits_sgd train",
        "example": "digits_sgd",
        "preset": "train",
        "leg": "",
        "commit": "c" * 40,
        "run_url": "https://github.com/o/r/actions/runs/1",
        "cloud": "aws",
        "region": "us-east-1",
        "instance_type": "g6.xlarge",
        "accelerators": {"L4": 1},
        "spot": False,
        "num_nodes": 1,
        "attempts": [{"cloud": "aws", "region": "us-east-1", "zone": "us-east-1a", "spot": False, "error": None}],
        "phases": {"provisioning": 60.0, "running": 100.0},
        "duration_seconds": 180.0,
        "cost_usd": 0.04,
        "hourly_usd": 0.8,
        "on_demand_hourly_usd": None,
        "billed": True,
        "metrics": {"accuracy": 0.9, "model": "ridge"},
        "released": {"gone": True, "at": "2026-09-21T14:13:20Z", "asked": []},
    }
    return {**usual, **changed}


def leg(**changed: Any) -> Leg:
    return read(json.dumps(summary(**changed)).encode())


def never_started(exit_code: int, reason: str, **changed: Any) -> dict[str, Any]:
    tried = {"cloud": "aws", "region": "us-east-1", "zone": None, "spot": False, "error": reason}
    nothing: dict[str, Any] = {
        "cloud": None,
        "region": None,
        "spot": None,
        "accelerators": {},
        "attempts": [tried],
        "phases": {},
        "metrics": {},
        "cost_usd": None,
        "hourly_usd": None,
    }
    ended = {"ending": "never_started", "exit_code": exit_code, "reason": reason}
    return summary(**{**nothing, **ended, **changed})
