"""Turn an Outcome into the action's outputs: one line each, empty where there is no value. Pure."""

from __future__ import annotations

import json

from cvl_ci.inputs.expected_legs import Expected, as_json
from cvl_ci.model.outcome import Outcome
from cvl_ci.result.matrix.report import Report
from cvl_ci.result.sanitize import plain
from cvl_ci.result.summary import to_json
from cvl_ci.result.text import kept_machines, proved_gone
from cvl_ci.result.units import moment


def outputs(outcome: Outcome) -> dict[str, str]:
    launch, cost = outcome.machines.launch, outcome.cost
    machines = kept_machines(outcome)
    accelerators = launch.accelerators if launch else {}
    values: dict[str, object] = {
        "ending": outcome.ending.value,
        "reason": outcome.reason,
        "exit_code": outcome.exit_code,
        "cluster": outcome.machines.cluster,
        "cloud": launch.cloud if launch else None,
        "region": launch.region if launch else None,
        "accelerator": ",".join(f"{name}:{count}" for name, count in accelerators.items()),
        "spot": launch.spot if launch else None,
        "hourly_usd": cost.hourly_usd if cost else None,
        "cost_usd": cost.usd if cost else None,
        "estimated_usd": cost.estimated_usd if cost else None,
        "duration_seconds": round(outcome.timing.duration_seconds, 1),
        "outputs_dir": outcome.files.directory,
        "metrics": json.dumps(to_json(outcome)["metrics"]),
        "released": f"kept until {moment(machines.until)}" if machines else proved_gone(outcome),
        "ssh_command": machines.ways_in[0] if machines and machines.ways_in else None,
        "url": outcome.machines.service.url if outcome.machines.service and machines else None,
        "expires_at": moment(machines.until) if outcome.machines.service and machines else None,
    }
    return {name: _text(value) for name, value in values.items()} | artifact_outputs()


def artifact_outputs(*, artifact_id: int | None = None, url: str = "") -> dict[str, str]:
    """Return the outputs of the artifact with the fetched files, which is uploaded last."""
    return {"artifact_id": _text(artifact_id), "artifact_url": _text(url)}


def skipped(reason: str) -> dict[str, str]:
    """Return the outputs of a green step in which nothing ran. The others are not set and read as empty."""
    return {"ending": "skipped", "reason": _text(reason), "exit_code": "0", "released": "true"}


def reaped(ending: str, reason: str, *, exit_code: int, proved: bool, usd: float | None) -> dict[str, str]:
    """Return the outputs of a sweep, which runs nothing. `usd`: the cost so far of the leftovers, in US dollars."""
    values = {"ending": ending, "reason": reason, "exit_code": exit_code, "cost_usd": usd, "released": proved}
    return {name: _text(value) for name, value in values.items()}


def planned(matrix: str, expected: Expected, *, usd: float, reason: str, exit_code: int) -> dict[str, str]:
    """Return the outputs of a matrix, as JSON. They are set even if a leg that was left out makes the step red."""
    values = {
        "ending": "failed" if exit_code else "succeeded",
        "reason": reason,
        "exit_code": exit_code,
        "legs": len(expected.legs),
        "estimated_usd": float(usd),
    }
    left_out = json.dumps([{"name": name, "why": why} for name, why in expected.dropped])
    texts = {name: _text(value) for name, value in values.items()}
    return {**texts, "matrix": matrix, "dropped": left_out, "expected": as_json(expected)}


def reported(report: Report, *, reason: str, folder: str, issue: str, otherwise: int = 0) -> dict[str, str]:
    """Return the outputs of many legs.

    `ending` is the worst one. `otherwise`: the exit code if the report is not red.
    """
    code = report.exit_code or otherwise
    values = {
        "ending": "failed" if code else "succeeded",
        "reason": reason,
        "exit_code": code,
        "legs": len(report.rows),
        "cost_usd": report.usd,
        "outputs_dir": folder,
        "issue_url": issue,
    }
    names = {"red": [row.name for row in report.red], "rerun": [row.name for row in report.rerun]}
    return {
        **{name: _text(value) for name, value in values.items()},
        **{name: json.dumps(value) for name, value in names.items()},
    }


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else plain(str(value))
