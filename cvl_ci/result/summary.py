"""Render an Outcome as text for a terminal and as JSON for a program. Pure: the same facts in the same order."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cvl_ci.model.checkpoint_plan import KeptCheckpoints
from cvl_ci.model.fitness import MachineState
from cvl_ci.model.launch import Attempt
from cvl_ci.model.loss import Recovery
from cvl_ci.model.outcome import MachineResult, Outcome
from cvl_ci.model.paired_comparison import PairedComparison
from cvl_ci.model.service import ServiceResult
from cvl_ci.model.storage import KeptBucket
from cvl_ci.result import ledger
from cvl_ci.result.machine_text import fitness_lines, states
from cvl_ci.result.recovery_text import recoveries
from cvl_ci.result.reuse_text import machine_use
from cvl_ci.result.sanitize import plain
from cvl_ci.result.service_text import service_lines
from cvl_ci.result.text import (
    attempt,
    check_fields,
    file_count,
    flat,
    gpu_use,
    headline,
    kept_machines,
    machine_line,
    money,
    node,
    paired_lines,
    proved_gone,
    released,
    time,
)
from cvl_ci.result.units import moment, number, size

SCHEMA = 1
"""The marker by which a report knows a summary of a run from any other JSON (result/matrix/source.py)."""

SHOWN = 12
"""The number of items that a longer list shows, before it counts the rest."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A name and the lines under it."""

    name: str
    lines: tuple[str, ...]


def lines(outcome: Outcome, *, width: int = 80) -> list[str]:
    """Return the summary for the end of a run. `width` only bounds how prose is wrapped."""
    text = [headline(outcome)]
    machines = kept_machines(outcome)
    ways_in = [plain(way) for way in machines.ways_in] if machines else []
    for section in sections(outcome):
        name = section.name
        for line in section.lines:
            if line in ways_in:  # for copying, so never broken
                text.append(f"  {name:<10}  {line}")
                continue
            text += textwrap.wrap(
                line,
                width=max(width, 40),
                initial_indent=f"  {name:<10}  ",
                subsequent_indent=" " * 14,
                break_long_words=False,
                break_on_hyphens=False,
            )
            name = ""
    return text


def sections(outcome: Outcome) -> list[Section]:
    """Return every useful fact, the most important first, and leave out those that do not apply."""
    cost = outcome.cost
    rows: list[tuple[str, Iterable[str]]] = [
        ("reason", [plain(outcome.reason)] if outcome.reason else []),
        ("service", service_lines(outcome.machines.service) if outcome.machines.service else []),
        ("ran on", [machine_line(outcome.machines.launch)] if outcome.machines.launch else []),
        ("reuse", [machine_use(outcome.machines.use)] if outcome.machines.use else []),
        ("attempts", _attempts(outcome.machines.attempts)),
        ("recovered", recoveries(outcome)),
        ("nodes", _nodes(outcome)),
        ("time", [time(outcome)]),
        ("cost", [money(cost)] if cost else []),
        ("GPU", [gpu_use(outcome.machines.gpu)] if outcome.machines.gpu else []),
        ("machine", fitness_lines(outcome.machines)),
        ("metrics", _some([f"{name} {number(value)}" for name, value in flat(outcome.measurements.metrics)])),
        ("compared", _some(paired_lines(outcome.measurements.comparison)) if outcome.measurements.comparison else []),
        ("files", _files(outcome)),
        ("refused", _some([plain(line) for line in outcome.files.refused])),
        ("machines", released(outcome)),
        ("warnings", [plain(line) for line in outcome.warnings]),
        ("exit code", [str(outcome.exit_code)]),
        ("next", [plain(line) for line in outcome.advice.splitlines()]),
    ]
    return [Section(name=name, lines=section_lines) for name, values in rows if (section_lines := tuple(values))]


def to_json(outcome: Outcome, *, commit: str = "") -> dict[str, object]:
    """Return the JSON summary: always the same keys, null without a value, and no value that JSON lacks.

    `commit`: the commit of the code that ran. A report finds the baseline by it.
    """
    launch, cost, release, machines, gpu = (
        outcome.machines.launch,
        outcome.cost,
        outcome.release,
        kept_machines(outcome),
        outcome.machines.gpu,
    )
    return {
        "schema": SCHEMA,
        "ending": outcome.ending.value,
        "reason": outcome.reason,
        "exit_code": outcome.exit_code,
        "cluster": outcome.machines.cluster,
        "title": outcome.work.title,
        "example": outcome.work.example,
        "preset": outcome.work.preset,
        "image": outcome.work.image,
        "commit": commit,
        "cloud": launch.cloud if launch else None,
        "region": launch.region if launch else None,
        "instance_type": launch.instance_type if launch else None,
        "accelerators": dict(launch.accelerators) if launch else {},
        "spot": launch.spot if launch else None,
        "num_nodes": launch.num_nodes if launch else None,
        "service": _service(outcome.machines.service),
        "reuse": _fields(outcome.machines.use) if outcome.machines.use else None,
        "turn": outcome.machines.turn or None,
        "driver": gpu.driver if gpu else "",
        "attempts": [_attempt_json(one) for one in outcome.machines.attempts],
        **_recoveries_json(outcome.machines),
        "phases": {name: round(seconds, 3) for name, seconds in outcome.timing.phases.items()},
        "duration_seconds": round(outcome.timing.duration_seconds, 3),
        "estimated_usd": cost.estimated_usd if cost else None,
        "cost_usd": cost.usd if cost else None,
        "hourly_usd": cost.hourly_usd if cost else None,
        "on_demand_hourly_usd": cost.on_demand_hourly_usd if cost else None,
        "billed": cost.billed if cost else None,
        "ledger": ledger.to_json(cost.ledger) if cost else [],
        "gpu": {name: value for name, value in _fields(gpu).items() if name != "driver"} if gpu else None,
        "machine_states": _states_json(outcome.machines),
        "files": [_fields(file) for file in outcome.files.fetched],
        "metrics": _json_value(outcome.measurements.metrics),
        "samples": _json_value(outcome.measurements.samples),
        "comparison": _paired_json(outcome.measurements.comparison) if outcome.measurements.comparison else None,
        "released": {
            "gone": proved_gone(outcome),
            "at": moment(release.at) if release else None,
            "asked": [_json_value(check_fields(check)) for check in release.asked] if release else [],
            "buckets": [_bucket(bucket) for bucket in release.buckets] if release else [],
            "checkpoints": _checkpoints(release.checkpoints) if release and release.checkpoints else None,
            "kept_until": moment(machines.until) if machines else None,
            "kept_usd": cost.kept_usd if cost and machines else None,
            "ssh_commands": list(machines.ways_in) if machines else [],
        },
    }


def _attempt_json(attempt: Attempt) -> dict[str, object]:
    """Return the request. Only a failed request has a count of machines; otherwise it is null."""
    return {**_fields(attempt), "machines": attempt.machines if attempt.error is not None else None}


def _states_json(machines: MachineResult) -> list[dict[str, object]]:
    return [{"before": _state_json(before), "after": _state_json(after)} for before, after in states(machines)]


def _state_json(state: MachineState | None) -> dict[str, object] | None:
    if state is None:
        return None
    gpus = [_fields(gpu) for gpu in state.gpus]
    return {**_fields(replace(state, gpus=())), "fitness": state.fitness.value, "gpus": gpus}


def _bucket(bucket: KeptBucket) -> dict[str, object]:
    content = bucket.content
    return {
        "name": str(bucket.bucket),
        "region": bucket.bucket.region,
        "files": content.files if content else None,
        "bytes": content.bytes if content else None,
        "monthly_usd": bucket.monthly_usd,
    }


def _checkpoints(staying: KeptCheckpoints) -> dict[str, object]:
    stored = staying.stored
    newest = stored.newest if stored else None
    return {
        "place": str(staying.place),
        "newest": newest.name if newest else None,
        "step": newest.step if newest and newest.step >= 0 else None,
        "at": moment(newest.at) if newest else None,
        "files": stored.content.files if stored else None,
        "bytes": stored.content.bytes if stored else None,
        "monthly_usd": staying.monthly_usd,
    }


def _recoveries_json(machines: MachineResult) -> dict[str, object]:
    """Return each loss, and the recoveries' number; no list where the controller of an API server alone knows them."""
    losses = None if machines.controller is not None else [_recovery_json(one) for one in machines.recoveries]
    return {"recoveries": losses, "recovery_count": machines.recovery_count}


def _recovery_json(recovery: Recovery) -> dict[str, object]:
    return {
        **{name: value for name, value in _fields(recovery).items() if name != "lost"},
        "lost": recovery.lost.kind.value,
        "why": recovery.lost.why,
        "states": [_state_json(state) for state in recovery.lost.states],
        "lost_at": moment(recovery.lost_at),
        "gone_at": None if recovery.gone_at is None else moment(recovery.gone_at),
        "resumed_at": None if recovery.resumed_at is None else moment(recovery.resumed_at),
    }


def _paired_json(pairing: PairedComparison) -> dict[str, object]:
    return {**_fields(replace(pairing, changes=())), "changes": [_fields(change) for change in pairing.changes]}


def _service(service: ServiceResult | None) -> dict[str, object] | None:
    if service is None:
        return None
    return {**_fields(service), "smoke": _fields(service.smoke) if service.smoke else None}


def _fields(value: object) -> dict[str, object]:
    return {name: _json_value(field) for name, field in vars(value).items()}


def _json_value(value: object) -> object:
    """Convert for JSON, which has no NaN and no dates: NaN becomes null, a date text."""
    if isinstance(value, Mapping):
        return {str(key): _json_value(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _attempts(attempts: Sequence[Attempt]) -> list[str]:
    """Return the attempts, unless the first one worked."""
    if len(attempts) == 1 and attempts[0].error is None:
        return []
    return [f"{place}. {attempt(one)}" for place, one in enumerate(attempts, 1)]


def _nodes(outcome: Outcome) -> list[str]:
    return [" · ".join(map(node, outcome.machines.nodes))] if len(outcome.machines.nodes) > 1 else []


def _files(outcome: Outcome) -> list[str]:
    if not outcome.files.fetched:
        return ["none"] if outcome.machines.launch else []
    return [file_count(outcome), *_some([f"{plain(file.path)}  {size(file.bytes)}" for file in outcome.files.fetched])]


def _some(items: Sequence[str]) -> list[str]:
    hidden_count = len(items) - SHOWN
    return [*items[:SHOWN], f"and {hidden_count} more"] if hidden_count > 0 else list(items)
