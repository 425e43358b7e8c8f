"""An Outcome in plain text, for a terminal, and as JSON, for a program. Pure: the same facts in the same order."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cvl_ci.result.inert import plain
from cvl_ci.result.outcome import Asked, Attempt, Cost, Ending, Launch, Outcome, Release
from cvl_ci.result.units import dollars, duration, moment, number, size

SHOWN = 12
"""Of a longer list this many are shown, and how many more there are."""

ENDINGS = {
    Ending.SUCCEEDED: "Succeeded",
    Ending.FAILED: "The job failed",
    Ending.TIMED_OUT: "Timed out",
    Ending.OVER_BUDGET: "Stopped at its budget",
    Ending.PREEMPTED: "The spot machine was taken away",
    Ending.CANCELLED: "Cancelled",
    Ending.NEVER_STARTED: "Never started",
}


@dataclass(frozen=True, kw_only=True)
class Section:
    """A name and what there is to say under it, one thing a line."""

    name: str
    lines: tuple[str, ...]


def lines(outcome: Outcome, *, width: int = 80) -> list[str]:
    """The summary as it stands at the end of a run; `width` only bounds how prose is wrapped."""
    text = [headline(outcome)]
    for section in sections(outcome):
        name = section.name
        for line in section.lines:
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


def headline(outcome: Outcome) -> str:
    """What happened, in one line; a machine that may still run comes before all else."""
    words = ENDINGS[outcome.ending]
    if outcome.ending is Ending.FAILED:
        words = f"{words} with exit code {_job_code(outcome)}"
    title = plain(outcome.title)
    return f"{words}: {title}" if proved_gone(outcome) else f"A MACHINE MAY STILL BE RUNNING: {title} ({words.lower()})"


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
        ("metrics", _some([f"{name} {number(value)}" for name, value in flat(outcome.metrics)])),
        ("files", _files(outcome)),
        ("refused", _some([plain(line) for line in outcome.refused])),
        ("machines", released(outcome)),
        ("warnings", [plain(line) for line in outcome.warnings]),
        ("exit code", [str(outcome.exit_code)]),
        ("next", [plain(outcome.advice)] if outcome.advice else []),
    ]
    return [Section(name=name, lines=found) for name, said in rows if (found := tuple(said))]


def proved_gone(outcome: Outcome) -> bool:
    """Nothing was ever asked for, or every provider asked shows nothing of it any more."""
    if outcome.release is None:
        return outcome.launch is None and not outcome.attempts
    return outcome.release.gone or not outcome.release.needed


def where(launch: Launch) -> str:
    """`aws/us-east-1a · g6.xlarge · L4:1 · 2 nodes · spot · $0.24 an hour each`."""
    accelerators = [f"{name}:{count}" for name, count in launch.accelerators.items()]
    parts = [
        f"{launch.cloud}/{launch.zone or launch.region}",
        launch.instance_type,
        *accelerators,
        *([f"{launch.num_nodes} nodes"] if launch.num_nodes > 1 else []),
        "spot" if launch.spot else "on-demand",
        f"{dollars(launch.hourly_usd)} an hour{' each' if launch.num_nodes > 1 else ''}",
    ]
    return plain(" · ".join(parts))


def attempt(tried: Attempt) -> str:
    kind = "spot" if tried.spot else "on-demand"
    how = "it ran here" if tried.error is None else plain(tried.error)
    return f"{tried.where} · {tried.instance_type} · {kind} · {dollars(tried.hourly_usd)} an hour: {how}"


def time(outcome: Outcome) -> str:
    """The whole, then where it went."""
    phases = " · ".join(f"{name} {duration(seconds)}" for name, seconds in outcome.phases.items())
    return f"{duration(outcome.duration_seconds)}: {phases}" if phases else duration(outcome.duration_seconds)


def money(cost: Cost) -> str:
    """Measured against estimated; on the sandbox it says that nobody pays."""
    parts = [dollars(cost.usd), f"{duration(cost.seconds)} at {dollars(cost.hourly_usd)} an hour"]
    if cost.estimated_usd is not None:
        parts.append(f"the quote said at most {dollars(cost.estimated_usd)}")
    saved = saving(cost)
    if saved is not None:
        parts.append(saved)
    text = " · ".join(parts)
    return text if cost.billed else f"nothing is billed: emulated price {text}"


def saving(cost: Cost) -> str | None:
    """What spot saved against the same machine on demand; None where nothing was."""
    full = cost.on_demand_hourly_usd
    if full is None or full <= cost.hourly_usd:
        return None
    usd = (full - cost.hourly_usd) * cost.seconds / 3600
    return f"spot saved {dollars(usd)} ({1 - cost.hourly_usd / full:.0%})"


def released(outcome: Outcome) -> list[str]:
    """The proof, or what is missing of it, a line for each question asked."""
    release = outcome.release
    if release is None:
        return [] if proved_gone(outcome) else ["there is no proof that they are gone"]
    if not release.needed:
        return ["none was ever asked for"]
    head = f"gone, proved at {moment(release.at)}" if release.gone else f"NOT PROVED GONE at {moment(release.at)}"
    return [head, *(answer(asked) for asked in release.asked), *_unproved(release)]


def answer(asked: Asked) -> str:
    place = plain(f"{asked.provider} {asked.region}".strip())
    kinds = ", ".join(asked.kinds)
    if asked.error is not None:
        return f"{place} did not answer about {kinds}: {plain(asked.error)}"
    if asked.left:
        return f"{place} still shows {plain(', '.join(asked.left))}"
    return f"{place} shows 0 left ({kinds})"


def flat(metrics: Mapping[str, object], *, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested mappings as dotted names; strings made plain."""
    for name, value in metrics.items():
        path = plain(f"{prefix}{name}")
        if isinstance(value, Mapping):
            yield from flat(value, prefix=f"{path}.")
        else:
            yield path, plain(value) if isinstance(value, str) else value


def to_json(outcome: Outcome) -> dict[str, object]:
    """For --json-summary: always these keys, null where there is nothing, and nothing that JSON does not know."""
    launch, cost, release = outcome.launch, outcome.cost, outcome.release
    return {
        "ending": outcome.ending.value,
        "reason": outcome.reason,
        "exit_code": outcome.exit_code,
        "cluster": outcome.cluster,
        "cloud": launch.cloud if launch else None,
        "region": launch.region if launch else None,
        "instance_type": launch.instance_type if launch else None,
        "accelerators": dict(launch.accelerators) if launch else {},
        "spot": launch.spot if launch else None,
        "num_nodes": launch.num_nodes if launch else None,
        "attempts": [_fields(tried) for tried in outcome.attempts],
        "phases": {name: round(seconds, 3) for name, seconds in outcome.phases.items()},
        "duration_seconds": round(outcome.duration_seconds, 3),
        "estimated_usd": cost.estimated_usd if cost else None,
        "cost_usd": cost.usd if cost else None,
        "files": [_fields(file) for file in outcome.files],
        "metrics": _json_value(outcome.metrics),
        "released": {
            "gone": proved_gone(outcome),
            "at": moment(release.at) if release else None,
            "asked": [_fields(asked) for asked in release.asked] if release else [],
        },
    }


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


def _job_code(outcome: Outcome) -> int:
    """The job's own code: the run's may be 79, when a machine is left."""
    return next((node.exit_code for node in outcome.nodes if node.exit_code), outcome.exit_code)


def _attempts(attempts: Sequence[Attempt]) -> list[str]:
    """Only where there was more to it than one that worked."""
    if len(attempts) == 1 and attempts[0].error is None:
        return []
    return [f"{place}. {attempt(tried)}" for place, tried in enumerate(attempts, 1)]


def _nodes(outcome: Outcome) -> list[str]:
    if len(outcome.nodes) < 2:
        return []
    said = []
    for node in outcome.nodes:
        code = "did not live to say how it ended" if node.exit_code is None else f"exited {node.exit_code}"
        said.append(f"rank {node.rank} {code}{' at the time limit' if node.timed_out else ''}")
    return [" · ".join(said)]


def _files(outcome: Outcome) -> list[str]:
    if not outcome.files:
        return ["none"] if outcome.launch else []
    count = len(outcome.files)
    total = size(sum(file.bytes for file in outcome.files))
    folder = f" in {plain(outcome.outputs_directory)}" if outcome.outputs_directory else ""
    head = f"{count} {'file' if count == 1 else 'files'}, {total}{folder}"
    return [head, *_some([f"{plain(file.path)}  {size(file.bytes)}" for file in outcome.files])]


def _unproved(release: Release) -> list[str]:
    return [f"{plain(cloud)} cannot be asked: look there yourself" for cloud in release.unproved]


def _some(said: Sequence[str]) -> list[str]:
    more = len(said) - SHOWN
    return [*said[:SHOWN], f"and {more} more"] if more > 0 else list(said)
