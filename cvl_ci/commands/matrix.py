"""Build a matrix: examples × presets × clouds × GPUs, each leg priced and within a budget, for `strategy.matrix`.

It asks no cloud. A leg that cannot run or costs too much is left out by name, never silently.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import product
from typing import NamedTuple, cast

from cvl_ci.commands import packs as packing
from cvl_ci.commands.matrix_axes import wrong_axes
from cvl_ci.commands.packs import MatrixLeg, Pack
from cvl_ci.commands.plan.build_run import find_example, prepare, read_example, read_texts
from cvl_ci.commands.plan.cached_checkout import Remembering
from cvl_ci.commands.plan.example_files import Belonging, subject
from cvl_ci.commands.plan.quote import quote
from cvl_ci.commands.queue.machines import machine_of
from cvl_ci.errors import BudgetError, InputProblem, RequestError
from cvl_ci.inputs import expected_legs as expecting
from cvl_ci.inputs.expected_legs import Expected
from cvl_ci.inputs.matrix_inputs import MatrixInputs
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.reader import from_keywords
from cvl_ci.inputs.suggest import similar
from cvl_ci.model.month import MonthBudget
from cvl_ci.ports import Checkout, Prices
from cvl_ci.result.units import dollars

MOST_LEGS = 256
"""GitHub's limit for one matrix."""

USUAL_PRESETS = ("train", "predict")
_BUILD = "build"


@dataclass(frozen=True, kw_only=True)
class MatrixRequest:
    """The legs to plan. `axes`: patterns, clouds and GPUs. `changed`: the changed paths; None: every example counts."""

    axes: MatrixInputs = field(default_factory=MatrixInputs)
    changed: Collection[str] | None = None
    inputs: Mapping[str, object] = field(default_factory=dict)
    """Inputs of every leg: spot, max_runtime, max_cost."""
    repeat: int = 1
    month: MonthBudget | None = None


class Dropped(NamedTuple):
    """A requested leg that cannot run: its name, why, and the exit code of a run with this problem."""

    name: str
    why: str
    exit_code: int = BudgetError.exit_code


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Legs of a matrix.

    `passed_over`: examples without any of the requested presets, and the presets they have. `in_all`: legs of all
    shards. `packs`: the machines that the legs share; empty: each leg has its own.
    """

    legs: tuple[MatrixLeg, ...]
    packs: tuple[Pack, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    passed_over: tuple[Dropped, ...] = ()
    unchanged: int = 0
    in_all: int = 0

    @property
    def untested(self) -> tuple[Dropped, ...]:
        """Return all that should be tested and is not.

        An example without such a preset counts only if no leg runs at all: it is then the changed part, and nothing
        tests it.
        """
        return self.dropped if self.in_all else (*self.dropped, *self.passed_over)

    @property
    def because(self) -> str:
        """Return why there are no legs, if that is right; else empty."""
        if self.legs or self.untested:
            return ""
        if self.in_all:
            return f"all {self.in_all} legs are in other shards"
        count = f"{self.unchanged} example{'' if self.unchanged == 1 else 's'}"
        return f"nothing relevant changed ({count}, and no file of theirs)" if self.unchanged else ""

    @property
    def max_usd(self) -> float:
        return sum(leg.max_usd for leg in self.legs)

    def exit_code(self, on_dropped: str) -> int:
        """Return another code than 0 if `on_dropped` is `fail` and a leg was left out.

        The legs that run do not test for it.
        """
        return min((one.exit_code for one in self.untested), default=0) if on_dropped == expecting.FAIL else 0

    def expected(self, on_dropped: str) -> Expected:
        """Return the legs that the report waits for."""
        return Expected(
            legs=tuple(leg.name for leg in self.legs),
            dropped=tuple((one.name, one.why) for one in self.untested),
            on_dropped=on_dropped,
            because=self.because,
        )


def build(request: MatrixRequest, *, checkout: Checkout, prices: Prices) -> Matrix:
    """Build the matrix. Raises RequestError for unknown words, and for too many legs at once."""
    checkout = Remembering(checkout)
    try:
        directories, unchanged = _examples(request, checkout)
        pairs, dropped, passed_over = _presets(request, directories, checkout)
    except RequestError as error:
        raise RequestError([*error.mistakes, *wrong_axes(request.axes, prices)], next_step=error.next_step) from None
    legs: list[MatrixLeg] = []
    mistakes: list[InputProblem] = []
    axes = product(pairs, request.axes.clouds or ("",), request.axes.gpus or ("",))
    for (directory, title, preset), cloud, gpu in axes:
        name = " ".join(part for part in (title, preset, cloud, gpu) if part)
        leg_inputs = {"example": directory, "preset": preset, "cloud": cloud, "gpu": gpu, **request.inputs}
        try:
            legs += _repeated(_leg(name, leg_inputs, checkout, prices), request.repeat)
        except RequestError as error:
            mistakes += error.mistakes
            dropped.append(Dropped(name, "; ".join(map(str, error.mistakes)), RequestError.exit_code))
        except BudgetError as error:
            dropped.append(Dropped(name, error.what))
    if not legs and mistakes:
        unique = dict.fromkeys([*wrong_axes(request.axes, prices), *mistakes])
        axis_values = {mistake.value for mistake in unique if mistake.field in ("--clouds", "--gpus")}
        to_tell = [one for one in unique if one.field not in ("cloud", "gpu") or one.value not in axis_values]
        raise RequestError(to_tell, next_step="The matrix has no leg to run.")
    affordable, beyond = _within(legs, request.axes.budget, name="the budget")
    if request.month is not None:
        affordable, beyond_month = _within(affordable, request.month.remaining_usd, name="monthly_budget", billed=True)
        beyond += beyond_month
    number, shards = request.axes.shard or (1, 1)
    of_shard = tuple(affordable[number - 1 :: shards])
    packs = packing.pack(of_shard) if request.axes.pack else ()
    _require_few(len(packs or of_shard), shards=shards)
    return Matrix(
        legs=of_shard,
        packs=packs,
        dropped=(*dropped, *beyond),
        passed_over=tuple(passed_over),
        unchanged=unchanged,
        in_all=len(affordable),
    )


def as_json(matrix: Matrix) -> str:
    """Return one line for `fromJSON`. GitHub rejects an empty `include`: the workflow must then skip the job."""
    include = packing.include(matrix.packs) or [
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
    """Return the lines for a person, next to the JSON."""
    lines = [f"left out: {one.name}: {one.why}" for one in matrix.dropped]
    lines += [f"passed over: {one.name}: {one.why}" for one in matrix.passed_over]
    if matrix.unchanged:
        lines.append(f"{matrix.unchanged} example{'' if matrix.unchanged == 1 else 's'} left out: nothing changed.")
    count = len(matrix.legs)
    if matrix.because:
        return [*lines, f"No leg has to run: {matrix.because}."]
    if not count:
        return [*lines, f"No leg can run: {len(matrix.untested)} left out, and nothing is tested."]
    part = f" of {matrix.in_all}" if matrix.in_all != count else ""
    machines = len(matrix.packs)
    on = f" on {machines} machine{'' if machines == 1 else 's'}" if machines else ""
    lines += packing.lines(matrix.packs)
    return [*lines, f"{count}{part} {'leg' if count == 1 else 'legs'}{on}, at most {dollars(matrix.max_usd)} together."]


def _leg(name: str, leg_inputs: Mapping[str, object], checkout: Checkout, prices: Prices) -> MatrixLeg:
    """Return one leg, limited to its quote if the user gave no tighter limit. Raises RequestError, BudgetError."""
    inputs = {key: _word(value) for key, value in leg_inputs.items() if value not in ("", None)}
    plan = prepare(from_keywords(inputs, environment={}), checkout=checkout, prices=prices)
    quoted = quote(plan, prices)
    if quoted.max_usd is None or quoted.hourly_usd is None:
        raise BudgetError(quoted.warnings[0])
    cents = math.ceil(quoted.max_usd * 100 - 1e-6) / 100
    return MatrixLeg(
        name=name,
        inputs={**inputs, "max_cost": inputs.get("max_cost", f"{cents:.2f}")},
        hourly_usd=quoted.hourly_usd,
        max_usd=quoted.max_usd,
        is_billed=not plan.machines.is_on_sandbox,
        minutes=plan.limits.longest_minutes,
        machine=machine_of(plan),
    )


def _repeated(leg: MatrixLeg, times: int) -> list[MatrixLeg]:
    """Return the repetitions of a leg. The turn differs, so that no two have the same lease."""
    if times == 1:
        return [leg]
    turns = [f"{turn}/{times}" for turn in range(1, times + 1)]
    return [replace(leg, name=f"{leg.name} {turn}", inputs={**leg.inputs, "turn": turn}) for turn in turns]


def _within(
    legs: Sequence[MatrixLeg], budget: float | None, *, name: str, billed: bool = False
) -> tuple[list[MatrixLeg], list[Dropped]]:
    """Return the legs that fit the budget, in order, and the others. `billed`: only billed legs count.

    After a leg that is too expensive, a cheaper leg may fit.
    """
    if budget is None:
        return list(legs), []
    affordable: list[MatrixLeg] = []
    beyond: list[Dropped] = []
    remaining = budget
    for leg in legs:
        if billed and not leg.is_billed:
            affordable.append(leg)
        elif leg.max_usd <= remaining + 1e-9:
            affordable.append(leg)
            remaining -= leg.max_usd
        else:
            why = f"may cost {dollars(leg.max_usd)}, and {dollars(max(0.0, remaining))} of {name} remains"
            beyond.append(Dropped(leg.name, why))
    return affordable, beyond


def _require_few(entries: int, *, shards: int) -> None:
    """Refuse a matrix that GitHub would not take. `entries`: of this one of so many shards."""
    if entries > MOST_LEGS:
        needed = -(-entries * shards // MOST_LEGS)
        problem = f"is more than the {MOST_LEGS} entries that GitHub takes in one matrix"
        raise RequestError(
            [InputProblem(field="--shard", value=f"{entries} entries", problem=problem)],
            next_step=f"Give --shard 1/{needed} to --shard {needed}/{needed}, a job for each, or choose fewer.",
        )


def _examples(request: MatrixRequest, checkout: Checkout) -> tuple[list[str], int]:
    """Return directories in order, and how many were left out because nothing changed."""
    all_examples = checkout.examples()
    if not all_examples:
        problem = "is in no folder of this checkout, so there is nothing to test"
        raise RequestError([InputProblem(field="EXAMPLE", value="example.yaml", problem=problem)])
    matched: dict[str, None] = {} if request.axes.examples else dict.fromkeys(all_examples)
    mistakes = []
    for word in request.axes.examples:
        pattern = word.removeprefix("./").rstrip("/")
        matching = [path for path in all_examples if _matches(path, pattern)] if any(c in word for c in "*?[") else []
        try:
            matched.update(dict.fromkeys(matching or [find_example(word, checkout)]))
        except Wrong as wrong:
            mistakes.append(InputProblem(field="EXAMPLE", value=word, problem=wrong.problem, near=wrong.near))
    if mistakes:
        raise RequestError(mistakes)
    chosen = [path for path in matched if request.changed is None or _changed(path, request, checkout)]
    return chosen, len(matched) - len(chosen)


def _matches(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or fnmatchcase(path.rpartition("/")[2], pattern)


def _changed(directory: str, request: MatrixRequest, checkout: Checkout) -> bool:
    """Return whether a file of the example changed.

    An example that cannot be read counts: the matrix then reports the reason.
    """
    changed = request.changed or ()
    if not changed:
        return False
    entries = checkout.files(directory)
    try:
        example = read_example(directory, entries, checkout)
    except Wrong:
        return True
    globs = cast("tuple[str, ...] | None", request.inputs.get("files"))
    texts = read_texts(directory, entries, checkout)
    belongs = Belonging(
        subject(example, texts=texts, globs=globs, checkout=checkout), checkout=checkout, lost_paths=changed
    )
    return belongs.is_touched(changed)


def _presets(
    request: MatrixRequest, directories: Iterable[str], checkout: Checkout
) -> tuple[list[tuple[str, str, str]], list[Dropped], list[Dropped]]:
    """Return directory, title and preset; the unreadable examples; and those without any of the presets."""
    pairs: list[tuple[str, str, str]] = []
    dropped: list[Dropped] = []
    passed_over: list[Dropped] = []
    all_presets: dict[str, None] = {}
    for directory in directories:
        try:
            example = read_example(directory, checkout.files(directory), checkout)
        except Wrong as wrong:
            dropped.append(Dropped(directory, wrong.problem, RequestError.exit_code))
            continue
        names = [name for name in example.presets if name != _BUILD]
        all_presets.update(dict.fromkeys(names))
        chosen = _chosen(names, request.axes.presets)
        pairs += [(directory, example.name, name) for name in chosen]
        if not chosen:
            why = f"it has no such preset, only {', '.join(names[:8]) or 'none'}"
            passed_over.append(Dropped(example.name, why, RequestError.exit_code))
    unknown = [word for word in request.axes.presets if not any(fnmatchcase(name, word) for name in all_presets)]
    if all_presets and unknown and request.changed is None:  # else other examples may have it
        problem = "is a preset of none of these examples"
        raise RequestError(
            [
                InputProblem(field="--presets", value=word, problem=problem, near=similar(word, all_presets))
                for word in unknown
            ]
        )
    return pairs, dropped, passed_over


def _chosen(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    if patterns:
        return [name for name in names if any(fnmatchcase(name, word) for word in patterns)]
    usual = [name for name in names if name in USUAL_PRESETS]
    return usual or (list(names) if len(names) == 1 else [])


def _word(value: object) -> str:
    """Return a value as the action's input would be written."""
    if isinstance(value, tuple):
        return "\n".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(getattr(value, "value", value))
