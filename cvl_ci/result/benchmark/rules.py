"""A repository's own word on its metrics, the small `cvl-ci.yml`: which way is better, and how much worse is too much.

tolerance: 5%
metrics:                       # names or patterns, the first that fits counts
  "*.accuracy": higher
  time.running: {direction: lower, tolerance: 10%}
  temperature: {direction: target, target: 37.0}
  "train.*": ignore            # shown, never gated
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cvl_ci.errors import Mistake, RequestError
from cvl_ci.inputs.suggest import near
from cvl_ci.planning import safe_yaml
from cvl_ci.result.benchmark.direction import Direction, by_name
from cvl_ci.result.benchmark.readings import finite

FILE_NAME = "cvl-ci.yml"
TOLERANCE = 0.05
_KEYS = ("metrics", "tolerance")
_RULE_KEYS = ("direction", "tolerance", "target")
_DIRECTIONS = {direction.value: direction for direction in Direction}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """`tolerance`: a share of the base, or of the target. `by_name`: nobody said so, the metric's name did."""

    direction: Direction
    tolerance: float = TOLERANCE
    target: float | None = None
    by_name: bool = False


@dataclass(frozen=True, kw_only=True)
class Rules:
    tolerance: float = TOLERANCE
    patterns: tuple[tuple[str, Rule], ...] = ()

    def of(self, name: str) -> Rule:
        for pattern, rule in self.patterns:
            if pattern == name or fnmatchcase(name, pattern):
                return rule
        return Rule(direction=by_name(name), tolerance=self.tolerance, by_name=True)


def read(content: bytes) -> Rules:
    """Raises RequestError with all that is wrong in it."""
    try:
        said = safe_yaml.load(content)
    except safe_yaml.Unreadable as error:
        raise RequestError([Mistake(field=FILE_NAME, value="", problem=str(error))]) from None
    if said is None:
        return Rules()
    if not isinstance(said, dict):
        raise RequestError([Mistake(field=FILE_NAME, value=str(said), problem="is no mapping of keys to values")])
    reading = _Reading()
    reading.keys("", said, _KEYS)
    tolerance = reading.share("tolerance", said.get("tolerance"), TOLERANCE)
    metrics = said.get("metrics") or {}
    if not isinstance(metrics, dict):
        reading.wrong("metrics", metrics, "is no mapping of names to rules")
        metrics = {}
    patterns = tuple((str(name), reading.rule(str(name), rule, tolerance)) for name, rule in metrics.items())
    if reading.mistakes:
        raise RequestError(reading.mistakes, next_step=f"Correct {FILE_NAME}.")
    return Rules(tolerance=tolerance, patterns=patterns)


class _Reading:
    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []

    def wrong(self, where: str, value: object, problem: str, *, known: tuple[str, ...] = ()) -> None:
        near_ones = near(str(value), known) or known
        self.mistakes.append(
            Mistake(field=f"{FILE_NAME} {where}".strip(), value=str(value), problem=problem, near=near_ones)
        )

    def keys(self, where: str, said: Mapping[object, object], known: tuple[str, ...]) -> None:
        for key in said:
            if key not in known:
                self.wrong(where, key, "is no key", known=known)

    def share(self, where: str, value: object, otherwise: float) -> float:
        """`5%`, `0.05`."""
        if value is None:
            return otherwise
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if isinstance(value, bool) or not 0 <= share <= 1:
            self.wrong(where, value, "is no share such as 5% or 0.05")
            return otherwise
        return share

    def rule(self, name: str, said: object, tolerance: float) -> Rule:
        where = f"metrics.{name}"
        said = {"direction": said} if isinstance(said, str) else said
        if not isinstance(said, dict):
            self.wrong(where, said, "is no direction and no mapping", known=tuple(_DIRECTIONS))
            return Rule(direction=Direction.UNKNOWN)
        self.keys(where, said, _RULE_KEYS)
        word = said.get("direction", "target" if "target" in said else None)
        direction = by_name(name) if word is None else _DIRECTIONS.get(str(word))
        if direction is None:
            self.wrong(f"{where}.direction", word, "is no direction", known=tuple(_DIRECTIONS))
        target = finite(said.get("target"))
        if (direction is Direction.TARGET) is not (target is not None):
            problem = "a direction of target and a number for it go together"
            self.wrong(f"{where}.target", said.get("target"), problem)
        return Rule(
            direction=direction or Direction.UNKNOWN,
            tolerance=self.share(f"{where}.tolerance", said.get("tolerance"), tolerance),
            target=target,
            by_name=word is None,
        )
