"""Group all legs of a run into rows, one for each example on each kind of machine, and sum them up. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cvl_ci.inputs.expected_legs import Expected
from cvl_ci.model.outcome import EXIT_NOT_PROVED_GONE
from cvl_ci.result.benchmark.leg import Leg, LegKey
from cvl_ci.result.benchmark.rules import Rules
from cvl_ci.result.matrix.best_value import with_best
from cvl_ci.result.matrix.claims import contradictions, latest
from cvl_ci.result.matrix.failures import INFRASTRUCTURE, WORTH_ANOTHER_TRY, Failure
from cvl_ci.result.matrix.kept_machines import is_overdue, on_time
from cvl_ci.result.matrix.row import ORDER_OF_FAILURES, Row, build_row
from cvl_ci.result.matrix.spend import Spend, spend
from cvl_ci.result.matrix.trends import Night, costs


@dataclass(frozen=True, kw_only=True)
class ReportPolicy:
    """Rules for a red report, besides a failed job."""

    fail_on_regression: bool = False
    fail_on_infrastructure: bool = False


@dataclass(frozen=True, kw_only=True)
class Outdated:
    """A leg without a summary of this attempt. `why`: the reason why the summary of another attempt does not count."""

    name: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """Result of many legs.

    `troubles`: summaries that could not be read. `rerun`: legs worth another try, by name. `missing`: expected legs
    without a summary, so that their end is unknown. `expected`: None if the workflow did not name the legs.
    `contradictions`: runs whose summaries disagree. `copies`: artifacts that hold the same summary. `superseded`: runs
    of earlier attempts, of which only the cost counts.
    """

    rows: tuple[Row, ...]
    nights: tuple[Night, ...]
    policy: ReportPolicy
    troubles: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    outdated: tuple[Outdated, ...] = ()
    contradictions: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    superseded: tuple[Leg, ...] = ()
    expected: Expected | None = None
    spend: Spend
    """The sums over all runs that the report knows, of its history and of earlier attempts too."""

    @property
    def red(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if self.is_red(row))

    @property
    def rerun(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.failures.worst in WORTH_ANOTHER_TRY)

    @property
    def usd(self) -> float:
        """Return the cost of all runs so far, those of earlier attempts included. `kept_usd` may still be added."""
        legs = (leg for row in self.rows for leg in row.legs)
        return sum(leg.cost.usd_so_far or 0.0 for leg in legs if leg.cost.billed) + self.superseded_usd

    @property
    def kept_usd(self) -> float:
        """Return the most that kept machines may add, also those whose time is over: no summary tells their end."""
        legs = (*(leg for row in self.rows for leg in row.legs), *self.superseded)
        return sum(leg.cost.kept_usd for leg in legs if leg.cost.billed)

    @property
    def superseded_usd(self) -> float:
        return sum(leg.cost.usd_so_far or 0.0 for leg in self.superseded if leg.cost.billed)

    @property
    def kept_legs(self) -> tuple[Leg, ...]:
        """Return the legs whose machines a person keeps, those of earlier attempts included."""
        legs = (*(leg for row in self.rows for leg in row.legs), *self.superseded)
        return tuple(leg for leg in legs if leg.machines.kept_until)

    @property
    def unpriced(self) -> int:
        """Return how many runs had a machine of unknown cost. `usd` lacks them."""
        legs = (*(leg for row in self.rows for leg in row.legs), *self.superseded)
        return sum(leg.cost.billed and leg.cost.usd is None and bool(leg.machines.region) for leg in legs)

    def is_red(self, row: Row) -> bool:
        if row.failures.worst is Failure.IDLE_NEUTRAL:
            return False  # the run said so too
        if row.failures.worst is not None:
            return row.failures.worst not in INFRASTRUCTURE or self.policy.fail_on_infrastructure
        return self.policy.fail_on_regression and bool(row.comparison.worse)

    @property
    def dropped(self) -> tuple[tuple[str, str], ...]:
        """Return the legs that the matrix left out: name and reason."""
        return self.expected.dropped if self.expected else ()

    @property
    def nothing_to_do(self) -> str:
        """Return why no leg had to run, in the matrix's words.

        It is empty if a leg had to run, or if no reason is known.
        """
        idle = self.expected is not None and not self.expected.legs and not self.rows and not self.unproved
        return self.expected.because if self.expected and idle else ""

    @property
    def nothing_measured(self) -> bool:
        """Return whether legs had to run, and none of them ended by itself.

        The input `on_dropped` decides about a matrix in which every leg was left out.
        """
        only_dropped = bool(self.dropped) and self.expected is not None and not self.expected.legs and not self.rows
        return (
            all(row.failures.worst in INFRASTRUCTURE - {Failure.IDLE_NEUTRAL} for row in self.rows)
            and not self.nothing_to_do
            and not only_dropped
        )

    @property
    def unproved(self) -> bool:
        """Return whether the end of a leg is unknown.

        Only a leg's own summary can prove that infrastructure ended it.
        """
        return bool(self.missing or self.outdated or self.contradictions or self.troubles)

    @property
    def exit_code(self) -> int:
        """Return the exit code. A machine that may be left comes first; legs that only lacked a machine give 75."""
        if any(row.failures.worst is Failure.MACHINE_LEFT for row in self.rows):
            return EXIT_NOT_PROVED_GONE
        dropped = self.expected is not None and self.expected.fails
        if self.unproved or dropped or not all(row.failures.worst in INFRASTRUCTURE for row in self.red):
            return 1
        if self.nothing_measured:
            return 75 if self.rows else 1
        return 75 if self.red else 0


def report(
    legs: Iterable[Leg],
    *,
    history: Sequence[Leg] = (),
    commits: Sequence[str] = (),
    rules: Rules | None = None,
    policy: ReportPolicy | None = None,
    nights: int = 14,
    troubles: Sequence[str] = (),
    outdated: Sequence[Outdated] = (),
    copies: Sequence[str] = (),
    superseded: Sequence[Leg] = (),
    expected: Expected | None = None,
    now: float = math.inf,
) -> Report:
    """Build the report. `commits`: the base and its ancestors, nearest first. `history`: earlier runs, in any order.

    A machine that was kept until a moment before `now` may be left, also one of an earlier attempt.
    """
    overdue = [leg for leg in superseded if is_overdue(leg, now)]
    superseded = [leg for leg in superseded if not is_overdue(leg, now)]
    summaries = [on_time(leg, now) for leg in (*legs, *overdue)]
    current = latest(summaries)
    names = {leg.machines.run for leg in current if leg.machines.cluster}
    earlier = [leg for leg in latest(history) if leg.machines.run not in names]
    by_work: dict[tuple[str, str], list[Leg]] = {}
    for leg in earlier:
        by_work.setdefault((leg.key.example, leg.key.preset), []).append(leg)
    groups: dict[tuple[LegKey, tuple[str, ...], str], list[Leg]] = {}
    for leg in current:
        has_run = bool(leg.machines.region)
        which = (leg.key, () if has_run else leg.machines.requested_locations, "" if has_run else leg.name)
        groups.setdefault(which, []).append(leg)
    rows = [
        build_row(key, group, by_work.get((key.example, key.preset), []), commits, rules or Rules())
        for (key, _, _), group in groups.items()
    ]
    known_legs = [*earlier, *current, *superseded]
    return Report(
        rows=tuple(sorted(with_best(rows, rules or Rules()), key=_rank)),
        nights=costs(known_legs, nights=nights),
        spend=spend(known_legs, since=0.0),
        policy=policy or ReportPolicy(),
        troubles=tuple(troubles),
        missing=_missing(expected.legs if expected else (), [leg.name for leg in current], outdated),
        outdated=tuple(outdated),
        contradictions=tuple(contradictions(summaries)),
        copies=tuple(copies),
        superseded=tuple(superseded),
        expected=expected,
    )


def is_called(leg: str, name: str) -> bool:
    """Return whether the leg `leg` has this name: alone, or as the first of all values of the matrix."""
    return leg == name or leg.startswith(f"name: {name}, ")


def _missing(expected: Sequence[str], names: Sequence[str], outdated: Sequence[Outdated]) -> tuple[str, ...]:
    """Return the expected legs without any summary or other sign."""
    known_names = [*names, *(one.name for one in outdated)]
    return tuple(name for name in expected if not any(is_called(leg, name) for leg in known_names))


def _rank(row: Row) -> tuple[int, int, str, str, str, str]:
    """Return the order: the worst first, then by name."""
    failed = ORDER_OF_FAILURES.index(row.failures.worst) if row.failures.worst else len(ORDER_OF_FAILURES)
    return (failed, 0 if row.comparison.worse else 1, row.key.example, row.key.preset, row.place, row.name)
