"""Group all legs of a run into rows, one for each example on each kind of machine, and sum them up. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cvl_ci.inputs.expected_legs import Expected
from cvl_ci.model.outcome import EXIT_NOT_PROVED_GONE, Ending, PairedComparison
from cvl_ci.result.benchmark.baseline import Baseline, alike, choose
from cvl_ci.result.benchmark.comparison import ORDER, Comparison, compare, in_order, paired_comparisons, worse
from cvl_ci.result.benchmark.leg import Key, Leg
from cvl_ci.result.benchmark.noise import Verdict
from cvl_ci.result.benchmark.rules import Rules
from cvl_ci.result.matrix.claims import contradictions, latest
from cvl_ci.result.matrix.failures import INFRASTRUCTURE, WORTH_ANOTHER_TRY, Failure, failure
from cvl_ci.result.matrix.trends import Night, costs

_ORDER = list(Failure)
MOST_REGIONS = 3
"""The most regions that a row names."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Rules for a red report, besides a failed job."""

    fail_on_regression: bool = False
    fail_on_infrastructure: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """Runs of one key. `failure`: the worst of its failures. `usd` and `seconds`: the median of one run."""

    key: Key
    name: str
    legs: tuple[Leg, ...]
    failure: Failure | None
    failed: int
    cause: Leg | None
    """The run whose failure is the worst."""
    baseline: Baseline
    comparisons: tuple[Comparison, ...]
    history: tuple[Leg, ...] = ()
    paired_base: PairedComparison | None = None
    """The comparison with its base, if the two ran in turn on one machine."""
    base_problem: str = ""
    """The reason why a base that should run in turn with it gave no comparison."""
    usd: float | None = None
    seconds: float = 0.0
    saved: float | None = None
    """The share that spot saved."""
    billed: bool = True
    best: bool = False

    @property
    def reason(self) -> str:
        return self.cause.reason if self.cause else ""

    @property
    def worse(self) -> tuple[Comparison, ...]:
        return worse(self.comparisons)

    @property
    def place(self) -> str:
        """Return the machine, and the regions where runs of several became one row.

        A leg that never had a machine shows the requested places and the leg's own name.
        """
        last = self.legs[-1]
        if last.region:
            regions = sorted({leg.region for leg in self.legs if leg.region})
            spread = f"{len(self.legs)} runs in {', '.join(regions[:MOST_REGIONS])}" if len(regions) > 1 else ""
            return " · ".join(part for part in (self.key.place, spread) if part)
        return " · ".join(part for part in (", ".join(last.requested_places[:3]), last.name) if part) or self.key.place

    @property
    def verdict(self) -> Verdict:
        """Return the worst verdict of all gated metrics, and of those that changed."""
        verdicts = {one.verdict for one in self.comparisons if one.gated or one.verdict is Verdict.CHANGED}
        return min(verdicts, key=ORDER.index, default=Verdict.NO_BASELINE)

    @property
    def is_sound(self) -> bool:
        """Return whether it measured everything expected, and nothing got worse."""
        lost = any(one.lost and one.gated for one in self.comparisons)
        return self.failure is None and not lost and self.verdict not in {Verdict.WORSE, Verdict.CHANGED}


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
    `contradictions`: runs whose summaries disagree. `copies`: artifacts that hold the same summary.
    """

    rows: tuple[Row, ...]
    nights: tuple[Night, ...]
    policy: Policy
    troubles: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    outdated: tuple[Outdated, ...] = ()
    contradictions: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    expected: Expected | None = None

    @property
    def red(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if self.is_red(row))

    @property
    def rerun(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.failure in WORTH_ANOTHER_TRY)

    @property
    def usd(self) -> float:
        return sum(leg.usd or 0.0 for row in self.rows for leg in row.legs if leg.billed)

    @property
    def unpriced(self) -> int:
        """Return how many runs had a machine of unknown cost. `usd` lacks them."""
        legs = (leg for row in self.rows for leg in row.legs)
        return sum(leg.billed and leg.usd is None and bool(leg.region) for leg in legs)

    def is_red(self, row: Row) -> bool:
        if row.failure is not None:
            return row.failure not in INFRASTRUCTURE or self.policy.fail_on_infrastructure
        return self.policy.fail_on_regression and bool(row.worse)

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
        return all(row.failure in INFRASTRUCTURE for row in self.rows) and not self.nothing_to_do and not only_dropped

    @property
    def unproved(self) -> bool:
        """Return whether the end of a leg is unknown.

        Only a leg's own summary can prove that infrastructure ended it.
        """
        return bool(self.missing or self.outdated or self.contradictions or self.troubles)

    @property
    def exit_code(self) -> int:
        """Return the exit code. A machine that may be left comes first; legs that only lacked a machine give 75."""
        if any(row.failure is Failure.MACHINE_LEFT for row in self.rows):
            return EXIT_NOT_PROVED_GONE
        dropped = self.expected is not None and self.expected.fails
        if self.unproved or dropped or not all(row.failure in INFRASTRUCTURE for row in self.red):
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
    policy: Policy | None = None,
    nights: int = 14,
    troubles: Sequence[str] = (),
    outdated: Sequence[Outdated] = (),
    copies: Sequence[str] = (),
    expected: Expected | None = None,
) -> Report:
    """Build the report. `commits`: the base and its ancestors, nearest first. `history`: earlier runs, in any order."""
    summaries = list(legs)
    current = latest(summaries)
    names = {leg.cluster for leg in current if leg.cluster}
    earlier = [leg for leg in latest(history) if leg.cluster not in names]
    by_work: dict[tuple[str, str], list[Leg]] = {}
    for leg in earlier:
        by_work.setdefault((leg.key.example, leg.key.preset), []).append(leg)
    groups: dict[tuple[Key, tuple[str, ...], str], list[Leg]] = {}
    for leg in current:
        groups.setdefault(
            (leg.key, () if leg.region else leg.requested_places, "" if leg.region else leg.name), []
        ).append(leg)
    rows = [
        _row(key, group, by_work.get((key.example, key.preset), []), commits, rules or Rules())
        for (key, _, _), group in groups.items()
    ]
    return Report(
        rows=tuple(sorted(_with_best(rows), key=_rank)),
        nights=costs([*earlier, *current], nights=nights),
        policy=policy or Policy(),
        troubles=tuple(troubles),
        missing=_missing(expected.legs if expected else (), [leg.name for leg in current], outdated),
        outdated=tuple(outdated),
        contradictions=tuple(contradictions(summaries)),
        copies=tuple(copies),
        expected=expected,
    )


def is_called(leg: str, name: str) -> bool:
    """Return whether the leg `leg` has this name: alone, or as the first of all values of the matrix."""
    return leg == name or leg.startswith(f"name: {name}, ")


def _missing(expected: Sequence[str], names: Sequence[str], outdated: Sequence[Outdated]) -> tuple[str, ...]:
    """Return the expected legs without any summary or other sign."""
    known_names = [*names, *(one.name for one in outdated)]
    return tuple(name for name in expected if not any(is_called(leg, name) for leg in known_names))


def _row(key: Key, legs: Sequence[Leg], history: Sequence[Leg], commits: Sequence[str], rules: Rules) -> Row:
    failures = {leg.cluster: kind for leg in legs if (kind := failure(leg)) is not None}
    worst = min(failures.values(), key=_ORDER.index, default=None)
    like = tuple(leg for leg in history if alike(leg.key, key))
    baseline = choose(key, commits=commits, runs_before=history)
    succeeded = [leg for leg in legs if leg.ending is Ending.SUCCEEDED]
    pairings = [leg.paired_base for leg in legs if leg.paired_base is not None and leg.paired_base.changes]
    return Row(
        key=key,
        name=next((leg.name for leg in legs if leg.name), "") or f"{key.example} {key.preset} {key.place}".strip(),
        legs=tuple(legs),
        failure=worst,
        failed=len(failures),
        cause=next((leg for leg in legs if worst is not None and failure(leg) is worst), None),
        baseline=baseline,
        paired_base=pairings[-1] if pairings else None,
        base_problem=_base_problem(legs),
        comparisons=_compared(pairings, compare(legs, baseline, rules=rules, history=like), rules),
        history=like,
        usd=_median([leg.usd for leg in succeeded or legs if leg.usd is not None]),
        seconds=_median([leg.seconds for leg in succeeded or legs if leg.seconds]) or 0.0,
        saved=_median([share for leg in legs if (share := _saved(leg)) is not None]),
        billed=any(leg.billed for leg in legs),
    )


def _base_problem(legs: Sequence[Leg]) -> str:
    bases = (leg.paired_base for leg in legs if leg.paired_base is not None and not leg.paired_base.changes)
    lines = (f"not compared with {base.ref} ({base.commit[:12]}) on the same machine: {base.reason}" for base in bases)
    return next(lines, "")


def _compared(
    pairings: Sequence[PairedComparison], comparisons: Sequence[Comparison], rules: Rules
) -> tuple[Comparison, ...]:
    """Combine comparisons. A comparison with the base on one machine comes before earlier runs of the same metric.

    If several machines compared a metric, the worst verdict counts.
    """
    paired: dict[str, Comparison] = {}
    for one in (other for pairing in pairings for other in paired_comparisons(pairing, rules=rules)):
        first = paired.setdefault(one.metric, one)
        paired[one.metric] = min(first, one, key=lambda other: ORDER.index(other.verdict))
    return in_order([*paired.values(), *(one for one in comparisons if one.metric not in paired)])


def _saved(leg: Leg) -> float | None:
    full, paid = leg.on_demand_hourly_usd, leg.hourly_usd
    return 1 - paid / full if full and paid is not None and paid < full else None


def _with_best(rows: Sequence[Row]) -> list[Row]:
    """Mark the machine on which a good run of an example costs least, if there is a choice."""
    work: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.is_sound and row.usd is not None:
            work.setdefault((row.key.example, row.key.preset), []).append(row)
    best: Mapping[tuple[str, str], Row] = {
        key: min(those, key=lambda row: (row.usd or 0.0, row.seconds, row.place))
        for key, those in work.items()
        if len(those) > 1
    }
    return [replace(row, best=row is best.get((row.key.example, row.key.preset))) for row in rows]


def _rank(row: Row) -> tuple[int, int, str, str, str, str]:
    """Return the order: the worst first, then by name."""
    failed = _ORDER.index(row.failure) if row.failure else len(_ORDER)
    return (failed, 0 if row.worse else 1, row.key.example, row.key.preset, row.place, row.name)


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
