"""Read a repository's settings from the small `cvl-ci.yml`: the rules for its metrics, and its budget of a month.

monthly_budget: 500            # dollars in a calendar month, UTC
tolerance: 5%
metrics:                       # names or patterns, the first that fits counts
  "*.accuracy": higher
  time.running: {direction: lower, tolerance: 10%}
  temperature: {direction: target, target: 37.0}
  "train.*": ignore            # shown, never gated
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.inputs import parsers
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.suggest import similar
from cvl_ci.planning import safe_yaml
from cvl_ci.result.benchmark.direction import Direction, by_name
from cvl_ci.result.benchmark.readings import finite
from cvl_ci.result.benchmark.rule_schema import BRANCH_PATTERN, KEYS, RULE_KEYS

FILE_NAME = "cvl-ci.yml"
TOLERANCE = 0.05
HISTORY_BRANCH = "cvl-ci-history"
"""The branch that the verb `history` writes where no other is named."""
_DIRECTIONS = {direction.value: direction for direction in Direction}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Rule for one metric.

    `tolerance`: a share of the base, or of the target. `by_name`: the rule comes from the metric's name alone.
    """

    direction: Direction
    tolerance: float = TOLERANCE
    target: float | None = None
    by_name: bool = False


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Settings of a repository.

    `monthly_budget_usd`: the most that its runs may cost in a calendar month; None: no limit. `history_branch`: the
    branch whose runs are counted for it.
    """

    tolerance: float = TOLERANCE
    patterns: tuple[tuple[str, Rule], ...] = ()
    monthly_budget_usd: float | None = None
    history_branch: str = HISTORY_BRANCH

    def of(self, name: str) -> Rule:
        for pattern, rule in self.patterns:
            if pattern == name or fnmatchcase(name, pattern):
                return rule
        return Rule(direction=by_name(name), tolerance=self.tolerance, by_name=True)


def read(content: bytes) -> Rules:
    """Read the rules. Raises RequestError with all mistakes in them."""
    try:
        document = safe_yaml.load(content)
    except safe_yaml.Unreadable as error:
        raise RequestError([InputProblem(field=FILE_NAME, value="", problem=str(error))]) from None
    if document is None:
        return Rules()
    if not isinstance(document, dict):
        raise RequestError(
            [InputProblem(field=FILE_NAME, value=str(document), problem="is not a mapping of keys to values")]
        )
    reading = _Reading()
    reading.keys("", document, tuple(KEYS))
    tolerance = reading.share("tolerance", document.get("tolerance"), TOLERANCE)
    metrics = document.get("metrics") or {}
    if not isinstance(metrics, dict):
        reading.wrong("metrics", metrics, "is not a mapping of names to rules")
        metrics = {}
    patterns = tuple((str(name), reading.rule(str(name), rule, tolerance)) for name, rule in metrics.items())
    budget_usd, branch = reading.dollars(document.get("monthly_budget")), reading.branch(document.get("history_branch"))
    if reading.mistakes:
        raise RequestError(reading.mistakes, next_step=f"Correct {FILE_NAME}.")
    return Rules(tolerance=tolerance, patterns=patterns, monthly_budget_usd=budget_usd, history_branch=branch)


class _Reading:
    def __init__(self) -> None:
        self.mistakes: list[InputProblem] = []

    def wrong(self, place: str, value: object, problem: str, *, options: tuple[str, ...] = ()) -> None:
        near_ones = similar(str(value), options) or options
        self.mistakes.append(
            InputProblem(field=f"{FILE_NAME} {place}".strip(), value=str(value), problem=problem, near=near_ones)
        )

    def keys(self, place: str, mapping: Mapping[object, object], options: tuple[str, ...]) -> None:
        for key in mapping:
            if key not in options:
                self.wrong(place, key, "is not a key", options=options)

    def share(self, place: str, value: object, otherwise: float) -> float:
        """Return the share from `5%` or `0.05`."""
        if value is None:
            return otherwise
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if isinstance(value, bool) or not 0 <= share <= 1:
            self.wrong(place, value, "is not a share such as 5% or 0.05")
            return otherwise
        return share

    def dollars(self, value: object) -> float | None:
        """Return the amount of the monthly budget from `500` or `$500`."""
        if value is None:
            return None
        try:
            return parsers.dollars(value)
        except Wrong as wrong:
            self.wrong("monthly_budget", value, wrong.problem)
            return None

    def branch(self, value: object) -> str:
        if value is None:
            return HISTORY_BRANCH
        if isinstance(value, str) and re.fullmatch(BRANCH_PATTERN, value):
            return value
        self.wrong("history_branch", value, "is not the name of a branch")
        return HISTORY_BRANCH

    def rule(self, name: str, definition: object, tolerance: float) -> Rule:
        place = f"metrics.{name}"
        definition = {"direction": definition} if isinstance(definition, str) else definition
        if not isinstance(definition, dict):
            self.wrong(place, definition, "is neither a direction nor a mapping", options=tuple(_DIRECTIONS))
            return Rule(direction=Direction.UNKNOWN)
        self.keys(place, definition, tuple(RULE_KEYS))
        word = definition.get("direction", "target" if "target" in definition else None)
        direction = by_name(name) if word is None else _DIRECTIONS.get(str(word))
        if direction is None:
            self.wrong(f"{place}.direction", word, "is not a direction", options=tuple(_DIRECTIONS))
        target = finite(definition.get("target"))
        if (direction is Direction.TARGET) is not (target is not None):
            problem = "a direction of target and a number for it go together"
            self.wrong(f"{place}.target", definition.get("target"), problem)
        return Rule(
            direction=direction or Direction.UNKNOWN,
            tolerance=self.share(f"{place}.tolerance", definition.get("tolerance"), tolerance),
            target=target,
            by_name=word is None,
        )
