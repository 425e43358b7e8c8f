"""What the action alone is asked, typed: the inputs of action_fields.py that are more than text. Pure.

No mistake stops the reading, as in inputs.py: one message names them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cvl_ci.errors import Mistake
from cvl_ci.inputs import action_variables
from cvl_ci.inputs.action_fields import ACTION_INPUTS
from cvl_ci.inputs.suggest import near

CHOICES = {
    "verb": ("run", "plan", "reap", "matrix", "report", "history"),
    "comment": ("auto", "always", "failure", "never"),
    "fork": ("plan", "fail", "sandbox", "run"),
}
"""The first is what holds when nothing is given."""

LONGEST_RETENTION_DAYS = 400
"""GitHub's own, for private repositories of an organization."""


@dataclass(frozen=True, kw_only=True)
class ActionInputs:
    """Text as it was typed, and what is read from it. `retention_days` None: the repository's own."""

    verb: str = "run"
    grace: str = ""
    dry_run: bool = False
    comment: str = "auto"
    comment_group: str = ""
    fork: str = "plan"
    allow_fork_sha: str = ""
    artifact_name: str = ""
    retention_days: int | None = None
    mistakes: tuple[Mistake, ...] = ()


def read(environment: Mapping[str, str]) -> ActionInputs:
    given = {own.name: action_variables.value(environment, own.name) for own in ACTION_INPUTS}
    mistakes: list[Mistake] = []
    chosen = {name: _choice(name, given[name], known, mistakes) for name, known in CHOICES.items()}
    texts = {name: given[name] for name in ("comment_group", "allow_fork_sha", "artifact_name", "grace")}
    dry_run = _flag("dry_run", given["dry_run"], mistakes)
    days = _days(given["retention_days"], mistakes)
    return ActionInputs(**chosen, **texts, dry_run=dry_run, retention_days=days, mistakes=tuple(mistakes))


def _choice(name: str, given: str, known: tuple[str, ...], mistakes: list[Mistake]) -> str:
    if given in known:
        return given
    if given:
        problem = f"is none of {', '.join(known)}"
        mistakes.append(Mistake(field=name, value=given, problem=problem, near=near(given, known)))
    return known[0]


def _flag(name: str, given: str, mistakes: list[Mistake]) -> bool:
    if given.lower() not in {"", "true", "false"}:
        mistakes.append(Mistake(field=name, value=given, problem="is neither true nor false"))
    return given.lower() != "false" if given else False


def _days(given: str, mistakes: list[Mistake]) -> int | None:
    if not given:
        return None
    if given.isascii() and given.isdecimal() and int(given) <= LONGEST_RETENTION_DAYS:
        return int(given)
    problem = f"is no number of days from 0 to {LONGEST_RETENTION_DAYS}"
    mistakes.append(Mistake(field="retention_days", value=given, problem=problem))
    return None
