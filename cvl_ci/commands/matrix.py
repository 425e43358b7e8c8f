"""`matrix`: examples × presets × clouds × GPUs, each leg priced and held to a budget, as GitHub's `strategy.matrix`.

Nothing is asked of a cloud. What cannot run or costs too much is left out by name, never silently.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import TypeVar, cast

from cvl_ci.commands.plan import quote
from cvl_ci.commands.prepare import SHARED, find_example, prepare, read_example
from cvl_ci.errors import BudgetError, Mistake, RequestError
from cvl_ci.ports import Checkout, Entry, Prices
from cvl_ci.request.inputs import from_keywords
from cvl_ci.request.near import near
from cvl_ci.request.values import Wrong
from cvl_ci.result.units import dollars

T = TypeVar("T")

MOST_LEGS = 256
"""GitHub's limit for one matrix."""

USUAL_PRESETS = ("train", "predict")
_BUILD = "build"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Patterns and axes. `changed`: paths that changed; None: whatever changed, all count."""

    examples: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()
    clouds: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    changed: Collection[str] | None = None
    inputs: Mapping[str, object] = field(default_factory=dict)
    """What every leg is given: spot, max_runtime, max_cost."""
    repeat: int = 1
    budget_usd: float | None = None
    shard: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Leg:
    """`inputs`: words for the action's inputs of the same names, and which turn of a repeated leg it is. `max_usd`: the
    most it can cost."""

    name: str
    inputs: Mapping[str, str]
    hourly_usd: float
    max_usd: float


@dataclass(frozen=True, kw_only=True)
class Matrix:
    legs: tuple[Leg, ...]
    dropped: tuple[tuple[str, str], ...] = ()
    """Name and why."""
    unchanged: int = 0
    in_all: int = 0
    """Legs of all shards."""

    @property
    def max_usd(self) -> float:
        return sum(leg.max_usd for leg in self.legs)


def build(asked: Asked, *, checkout: Checkout, prices: Prices) -> Matrix:
    """Raises RequestError for words that mean nothing, and where too many legs are asked for at once."""
    checkout = _Remembering(checkout)
    wanted, unchanged = _examples(asked, checkout)
    pairs, dropped = _presets(asked, wanted, checkout)
    legs: list[Leg] = []
    mistakes: list[Mistake] = []
    axes = product(pairs, asked.clouds or ("",), asked.gpus or ("",))
    for (directory, title, preset), cloud, gpu in axes:
        name = " ".join(part for part in (title, preset, cloud, gpu) if part)
        given = {"example": directory, "preset": preset, "cloud": cloud, "gpu": gpu, **asked.inputs}
        try:
            legs += _repeated(_leg(name, given, checkout, prices), asked.repeat)
        except RequestError as error:
            mistakes += error.mistakes
            dropped.append((name, "; ".join(map(str, error.mistakes))))
        except BudgetError as error:
            dropped.append((name, error.what))
    if not legs and mistakes:
        raise RequestError(list(dict.fromkeys(mistakes)), next_step="No leg is left of the matrix.")
    affordable, beyond = _within(legs, asked.budget_usd)
    return Matrix(
        legs=_sharded(affordable, asked.shard),
        dropped=(*dropped, *beyond),
        unchanged=unchanged,
        in_all=len(affordable),
    )


def as_json(matrix: Matrix) -> str:
    """One line, for `fromJSON`. An empty `include` is an error to GitHub: skip the job when it is."""
    include = [
        {
            "name": leg.name,
            **leg.inputs,
            "hourly_usd": f"{leg.hourly_usd:.4f}",
            "max_usd": f"{leg.max_usd:.2f}",
        }
        for leg in matrix.legs
    ]
    return json.dumps({"include": include}, ensure_ascii=False)


def as_text(matrix: Matrix) -> list[str]:
    """For a person, beside the JSON."""
    lines = [f"left out: {name}: {why}" for name, why in matrix.dropped]
    if matrix.unchanged:
        lines.append(f"{matrix.unchanged} example{'' if matrix.unchanged == 1 else 's'} left out: nothing changed.")
    count = len(matrix.legs)
    part = f" of {matrix.in_all}" if matrix.in_all != count else ""
    return [*lines, f"{count}{part} {'leg' if count == 1 else 'legs'}, at most {dollars(matrix.max_usd)} together."]


def _leg(name: str, given: Mapping[str, object], checkout: Checkout, prices: Prices) -> Leg:
    """Held to what it was quoted, where no tighter limit was given. Raises RequestError, BudgetError."""
    inputs = {key: _word(value) for key, value in given.items() if value not in ("", None)}
    plan = prepare(from_keywords(inputs, environment={}), checkout=checkout, prices=prices)
    quoted = quote(plan, prices)
    if quoted.max_usd is None or quoted.hourly_usd is None:
        raise BudgetError(quoted.warnings[0])
    cents = math.ceil(quoted.max_usd * 100 - 1e-6) / 100
    return Leg(
        name=name,
        inputs={**inputs, "max_cost": inputs.get("max_cost", f"{cents:.2f}")},
        hourly_usd=quoted.hourly_usd,
        max_usd=quoted.max_usd,
    )


def _repeated(leg: Leg, times: int) -> list[Leg]:
    """Told apart by the turn, so that no two have one lease."""
    if times == 1:
        return [leg]
    turns = [f"{turn}/{times}" for turn in range(1, times + 1)]
    return [replace(leg, name=f"{leg.name} {turn}", inputs={**leg.inputs, "turn": turn}) for turn in turns]


def _within(legs: Sequence[Leg], budget: float | None) -> tuple[list[Leg], list[tuple[str, str]]]:
    """In the order given; a leg that is too dear does not end it, a cheaper one may still fit."""
    if budget is None:
        return list(legs), []
    kept: list[Leg] = []
    beyond: list[tuple[str, str]] = []
    left = budget
    for leg in legs:
        if leg.max_usd <= left + 1e-9:
            kept.append(leg)
            left -= leg.max_usd
        else:
            why = f"may cost {dollars(leg.max_usd)}, and {dollars(max(0.0, left))} of the budget is left"
            beyond.append((leg.name, why))
    return kept, beyond


def _sharded(legs: Sequence[Leg], shard: tuple[int, int] | None) -> tuple[Leg, ...]:
    number, shards = shard or (1, 1)
    part = tuple(legs[number - 1 :: shards])
    if len(part) > MOST_LEGS:
        needed = -(-len(legs) // MOST_LEGS)
        problem = f"is more than the {MOST_LEGS} legs that GitHub takes in one matrix"
        raise RequestError(
            [Mistake(field="--shard", value=f"{len(part)} legs", problem=problem)],
            next_step=f"Give --shard 1/{needed} to --shard {needed}/{needed}, a job for each, or choose fewer.",
        )
    return part


def _examples(asked: Asked, checkout: Checkout) -> tuple[list[str], int]:
    """Directories in order, and how many were left out because nothing changed."""
    every = checkout.examples()
    found: dict[str, None] = {} if asked.examples else dict.fromkeys(every)
    mistakes = []
    for word in asked.examples:
        pattern = word.removeprefix("./").rstrip("/")
        matching = [path for path in every if _matches(path, pattern)] if any(c in word for c in "*?[") else []
        try:
            found.update(dict.fromkeys(matching or [find_example(word, checkout)]))
        except Wrong as wrong:
            mistakes.append(Mistake(field="EXAMPLE", value=word, problem=wrong.problem, near=wrong.near))
    if mistakes:
        raise RequestError(mistakes)
    wanted = list(found) if asked.changed is None else [path for path in found if _changed(path, asked.changed)]
    return wanted, len(found) - len(wanted)


def _matches(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or fnmatchcase(path.rpartition("/")[2], pattern)


def _changed(directory: str, changed: Collection[str]) -> bool:
    below = "" if directory == "." else f"{directory}/"
    shared = tuple(f"{path}/" for path in SHARED)
    return any(path.startswith((below, *shared)) or path in SHARED for path in changed)


def _presets(
    asked: Asked, directories: Iterable[str], checkout: Checkout
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """Directory, title and preset; and what has none of those asked for."""
    pairs: list[tuple[str, str, str]] = []
    dropped: list[tuple[str, str]] = []
    seen: dict[str, None] = {}
    for directory in directories:
        try:
            found = read_example(directory, checkout.files(directory), checkout)
        except Wrong as wrong:
            dropped.append((directory, wrong.problem))
            continue
        names = [name for name in found.presets if name != _BUILD]
        seen.update(dict.fromkeys(names))
        chosen = _chosen(names, asked.presets)
        pairs += [(directory, found.name, name) for name in chosen]
        if not chosen:
            dropped.append((found.name, f"it has no such preset, only {', '.join(names[:8]) or 'none'}"))
    unknown = [word for word in asked.presets if not any(fnmatchcase(name, word) for name in seen)]
    if seen and unknown:
        problem = "is a preset of none of these examples"
        raise RequestError(
            [Mistake(field="--presets", value=word, problem=problem, near=near(word, seen)) for word in unknown]
        )
    return pairs, dropped


def _chosen(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    if wanted:
        return [name for name in names if any(fnmatchcase(name, word) for word in wanted)]
    usual = [name for name in names if name in USUAL_PRESETS]
    return usual or (list(names) if len(names) == 1 else [])


def _word(value: object) -> str:
    """As the action's input would be written."""
    return f"{value:g}" if isinstance(value, float) else str(getattr(value, "value", value))


class _Remembering:
    """A checkout that is asked for hundreds of legs, and lists each folder once."""

    def __init__(self, checkout: Checkout) -> None:
        self._checkout = checkout
        self._known: dict[object, object] = {}

    @property
    def root(self) -> Path:
        return self._checkout.root

    def examples(self) -> Sequence[str]:
        return self._once("examples", self._checkout.examples)

    def files(self, *prefixes: str) -> Sequence[Entry]:
        return self._once(("files", prefixes), lambda: self._checkout.files(*prefixes))

    def left_behind(self, *prefixes: str) -> Mapping[str, str]:
        return self._once(("left", prefixes), lambda: self._checkout.left_behind(*prefixes))

    @property
    def head(self) -> str:
        return self._checkout.head

    def locate(self, typed: str) -> str | None:
        return self._checkout.locate(typed)

    def at(self, ref: str) -> Checkout:
        return self._checkout.at(ref)

    def read(self, path: str, *, limit: int) -> bytes:
        return self._once(("read", path, limit), lambda: self._checkout.read(path, limit=limit))

    def _once(self, question: object, ask: Callable[[], T]) -> T:
        if question not in self._known:
            self._known[question] = ask()
        return cast("T", self._known[question])
