"""An Outcome in plain text, for a terminal, and as JSON, for a program. Pure: the same facts in the same order."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cvl_ci.model.outcome import Attempt, Beside, Outcome
from cvl_ci.result.phrases import (
    attempt,
    beside,
    file_count,
    flat,
    gpu_use,
    headline,
    kept,
    money,
    node,
    proved_gone,
    released,
    time,
    where,
)
from cvl_ci.result.sanitize import plain
from cvl_ci.result.units import moment, number, size

SCHEMA = 1
"""The marker by which a report knows a summary of a run from any other JSON (result/matrix/source.py)."""

SHOWN = 12
"""Of a longer list this many are shown, and how many more there are."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A name and what there is to say under it, one thing a line."""

    name: str
    lines: tuple[str, ...]


def lines(outcome: Outcome, *, width: int = 80) -> list[str]:
    """The summary as it stands at the end of a run; `width` only bounds how prose is wrapped."""
    text = [headline(outcome)]
    held = kept(outcome)
    ways_in = [plain(way) for way in held.ways_in] if held else []
    for section in sections(outcome):
        name = section.name
        for line in section.lines:
            if line in ways_in:  # to be copied, so never broken
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
    """Everything worth knowing, the most wanted first; what does not apply is left out."""
    cost = outcome.cost
    rows: list[tuple[str, Iterable[str]]] = [
        ("reason", [plain(outcome.reason)] if outcome.reason else []),
        ("ran on", [where(outcome.launch)] if outcome.launch else []),
        ("attempts", _attempts(outcome.attempts)),
        ("nodes", _nodes(outcome)),
        ("time", [time(outcome)]),
        ("cost", [money(cost)] if cost else []),
        ("GPU", [gpu_use(outcome.gpu)] if outcome.gpu else []),
        ("metrics", _some([f"{name} {number(value)}" for name, value in flat(outcome.metrics)])),
        ("compared", _some(beside(outcome.beside)) if outcome.beside else []),
        ("files", _files(outcome)),
        ("refused", _some([plain(line) for line in outcome.refused])),
        ("machines", released(outcome)),
        ("warnings", [plain(line) for line in outcome.warnings]),
        ("exit code", [str(outcome.exit_code)]),
        ("next", [plain(line) for line in outcome.advice.splitlines()]),
    ]
    return [Section(name=name, lines=found) for name, said in rows if (found := tuple(said))]


def to_json(outcome: Outcome, *, commit: str = "") -> dict[str, object]:
    """For --json-summary: always these keys, null where there is nothing, and nothing that JSON does not know.

    `commit`: of the code that ran, by which a report finds what to compare with.
    """
    launch, cost, release, held, gpu = outcome.launch, outcome.cost, outcome.release, kept(outcome), outcome.gpu
    return {
        "schema": SCHEMA,
        "ending": outcome.ending.value,
        "reason": outcome.reason,
        "exit_code": outcome.exit_code,
        "cluster": outcome.cluster,
        "title": outcome.title,
        "example": outcome.example,
        "preset": outcome.preset,
        "image": outcome.image,
        "commit": commit,
        "cloud": launch.cloud if launch else None,
        "region": launch.region if launch else None,
        "instance_type": launch.instance_type if launch else None,
        "accelerators": dict(launch.accelerators) if launch else {},
        "spot": launch.spot if launch else None,
        "num_nodes": launch.num_nodes if launch else None,
        "driver": gpu.driver if gpu else "",
        "attempts": [_fields(tried) for tried in outcome.attempts],
        "phases": {name: round(seconds, 3) for name, seconds in outcome.phases.items()},
        "duration_seconds": round(outcome.duration_seconds, 3),
        "estimated_usd": cost.estimated_usd if cost else None,
        "cost_usd": cost.usd if cost else None,
        "hourly_usd": cost.hourly_usd if cost else None,
        "on_demand_hourly_usd": cost.on_demand_hourly_usd if cost else None,
        "billed": cost.billed if cost else None,
        "gpu": {name: value for name, value in _fields(gpu).items() if name != "driver"} if gpu else None,
        "files": [_fields(file) for file in outcome.files],
        "metrics": _json_value(outcome.metrics),
        "samples": _json_value(outcome.samples),
        "beside": _beside(outcome.beside) if outcome.beside else None,
        "released": {
            "gone": proved_gone(outcome),
            "at": moment(release.at) if release else None,
            "asked": [_fields(asked) for asked in release.asked] if release else [],
            "kept_until": moment(held.until) if held else None,
            "ssh_commands": list(held.ways_in) if held else [],
        },
    }


def _beside(told: Beside) -> dict[str, object]:
    return {**_fields(replace(told, changes=())), "changes": [_fields(change) for change in told.changes]}


def _fields(value: object) -> dict[str, object]:
    return {name: _json_value(found) for name, found in vars(value).items()}


def _json_value(value: object) -> object:
    """JSON has no NaN and no dates: the one becomes null, the other text."""
    if isinstance(value, Mapping):
        return {str(key): _json_value(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _attempts(attempts: Sequence[Attempt]) -> list[str]:
    """Only where there was more to it than one that worked."""
    if len(attempts) == 1 and attempts[0].error is None:
        return []
    return [f"{place}. {attempt(tried)}" for place, tried in enumerate(attempts, 1)]


def _nodes(outcome: Outcome) -> list[str]:
    return [" · ".join(map(node, outcome.nodes))] if len(outcome.nodes) > 1 else []


def _files(outcome: Outcome) -> list[str]:
    if not outcome.files:
        return ["none"] if outcome.launch else []
    return [file_count(outcome), *_some([f"{plain(file.path)}  {size(file.bytes)}" for file in outcome.files])]


def _some(said: Sequence[str]) -> list[str]:
    more = len(said) - SHOWN
    return [*said[:SHOWN], f"and {more} more"] if more > 0 else list(said)
