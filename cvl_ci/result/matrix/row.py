"""Sum up the runs of one example on one kind of machine: a row of the report. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from cvl_ci.model.outcome import Ending
from cvl_ci.model.paired_comparison import PairedComparison
from cvl_ci.result.benchmark.baseline import Baseline, alike, choose
from cvl_ci.result.benchmark.comparison import ORDER, Comparison, compare, in_order, paired_comparisons, worse
from cvl_ci.result.benchmark.leg import Leg, LegKey
from cvl_ci.result.benchmark.noise import Verdict
from cvl_ci.result.benchmark.rules import Rules
from cvl_ci.result.matrix.failures import Failure, failure

ORDER_OF_FAILURES = list(Failure)
"""The worst first."""
BEFORE_JOB = ("time.provisioning", "time.setup")
"""The phases of a run that its machine needs before the job runs."""
MOST_REGIONS = 3
"""The most regions that a row names."""


@dataclass(frozen=True, kw_only=True)
class RowFailures:
    """The failed runs of a row: their number, the worst kind, and a run that failed this way."""

    count: int = 0
    worst: Failure | None = None
    cause: Leg | None = None

    @property
    def reason(self) -> str:
        return self.cause.reason if self.cause else ""


@dataclass(frozen=True, kw_only=True)
class RowComparison:
    """The metrics of a row against its baseline, and against a base on the same machine. `history`: earlier runs."""

    baseline: Baseline
    metrics: tuple[Comparison, ...] = ()
    history: tuple[Leg, ...] = ()
    paired_base: PairedComparison | None = None
    """The comparison with its base, if the two ran in turn on one machine."""
    base_problem: str = ""
    """The reason why a base that should run in turn with it gave no comparison."""

    @property
    def worse(self) -> tuple[Comparison, ...]:
        return worse(self.metrics)

    @property
    def verdict(self) -> Verdict:
        """Return the worst verdict of all gated metrics, and of those that changed."""
        verdicts = {one.verdict for one in self.metrics if one.gated or one.verdict is Verdict.CHANGED}
        return min(verdicts, key=ORDER.index, default=Verdict.NO_BASELINE)


@dataclass(frozen=True, kw_only=True)
class RowCost:
    """The median cost and time of one run of a row. `saved`: the share that spot saved."""

    usd: float | None = None
    seconds: float = 0.0
    saved: float | None = None
    billed: bool = True
    is_best: bool = False
    """No other machine gives a good run of the same work for less."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The runs of one key."""

    key: LegKey
    name: str
    legs: tuple[Leg, ...]
    failures: RowFailures
    comparison: RowComparison
    cost: RowCost

    @property
    def place(self) -> str:
        """Return the machine, and the regions where runs of several became one row.

        A leg that never had a machine shows the requested places and the leg's own name.
        """
        last = self.legs[-1]
        if last.machines.region:
            regions = sorted({leg.machines.region for leg in self.legs if leg.machines.region})
            spread = f"{len(self.legs)} runs in {', '.join(regions[:MOST_REGIONS])}" if len(regions) > 1 else ""
            place = self.key.place_of([leg.machines.use for leg in self.legs])
            return " · ".join(part for part in (place, spread) if part)
        requested = ", ".join(last.machines.requested_locations[:3])
        return " · ".join(part for part in (requested, last.name) if part) or self.key.place

    @property
    def gpu_utilization(self) -> float | None:
        """Return the mean use of the GPUs in percent, of the median run. None: no GPU, or its driver reports none."""
        return _median([share for leg in self.legs for share in leg.measured("gpu.utilization")])

    @property
    def seconds_before_job(self) -> float | None:
        """Return the seconds from the request for a machine to the job, of the median run. None: no run says them."""
        waits = [sum(leg.measured(name)[0] for name in BEFORE_JOB if leg.measured(name)) for leg in self.legs]
        return _median([seconds for seconds in waits if seconds])

    @property
    def recoveries(self) -> int | None:
        """Return how many lost machines a new one replaced, in all runs. None: the summary of a run does not know."""
        counts = [leg.machines.recoveries for leg in self.legs if leg.machines.recoveries is not None]
        return sum(counts) if len(counts) == len(self.legs) else None

    @property
    def is_sound(self) -> bool:
        """Return whether it measured everything expected, and nothing got worse."""
        lost = any(one.lost and one.gated for one in self.comparison.metrics)
        changed = self.comparison.verdict in {Verdict.WORSE, Verdict.CHANGED}
        return self.failures.worst is None and not lost and not changed


def build_row(key: LegKey, legs: Sequence[Leg], history: Sequence[Leg], commits: Sequence[str], rules: Rules) -> Row:
    """Build the row of these legs. `history`: earlier runs of the same work on any machine."""
    failures = {leg.machines.run: kind for leg in legs if (kind := failure(leg)) is not None}
    worst = min(failures.values(), key=ORDER_OF_FAILURES.index, default=None)
    like = tuple(leg for leg in history if alike(leg.key, key))
    baseline = choose(key, commits=commits, runs_before=history)
    succeeded = [leg for leg in legs if leg.ending is Ending.SUCCEEDED]
    pairings = [base for base in _paired_bases(legs) if base.changes]
    return Row(
        key=key,
        name=next((leg.name for leg in legs if leg.name), "") or f"{key.example} {key.preset} {key.place}".strip(),
        legs=tuple(legs),
        failures=RowFailures(
            worst=worst,
            count=len(failures),
            cause=next((leg for leg in legs if worst is not None and failure(leg) is worst), None),
        ),
        comparison=RowComparison(
            baseline=baseline,
            paired_base=pairings[-1] if pairings else None,
            base_problem=_base_problem(legs),
            metrics=_compared(pairings, compare(legs, baseline, rules=rules, history=like), rules),
            history=like,
        ),
        cost=RowCost(
            usd=_median([usd for leg in succeeded or legs if (usd := leg.cost.usd_so_far) is not None]),
            seconds=_median([leg.seconds for leg in succeeded or legs if leg.seconds]) or 0.0,
            saved=_median([share for leg in legs if (share := _saved(leg)) is not None]),
            billed=any(leg.cost.billed for leg in legs),
        ),
    )


def _paired_bases(legs: Sequence[Leg]) -> list[PairedComparison]:
    return [base for leg in legs if (base := leg.measurements.comparison) is not None]


def _base_problem(legs: Sequence[Leg]) -> str:
    bases = (base for base in _paired_bases(legs) if not base.changes)
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
    full, paid = leg.cost.on_demand_hourly_usd, leg.cost.hourly_usd
    return 1 - paid / full if full and paid is not None and paid < full else None


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
