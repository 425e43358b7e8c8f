"""Express one fact of a row in a few words, for the Markdown and for the page. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from cvl_ci.result import units
from cvl_ci.result.benchmark.comparison import Comparison, change_of
from cvl_ci.result.benchmark.direction import Direction
from cvl_ci.result.benchmark.noise import Verdict
from cvl_ci.result.benchmark.readings import finite
from cvl_ci.result.matrix.failures import Failure
from cvl_ci.result.matrix.report import Report
from cvl_ci.result.matrix.row import Row
from cvl_ci.result.units import dollars, duration, number

_BETTER_WHEN = {
    Direction.HIGHER: "higher is better",
    Direction.LOWER: "lower is better",
    Direction.TARGET: "nearer to its target is better",
    Direction.UNKNOWN: "not gated",
}

_NOT_FINE = {
    Verdict.CHANGED: "changed",
    Verdict.UNSURE: "cannot be judged",
    Verdict.NO_BASELINE: "not compared",
}
_STATUS = {Verdict.SAME: "ok", Verdict.NO_BASELINE: "succeeded"}

DRAWN_OF_ALL = ("time.running", "time.all", "cost_usd")


def headline(report: Report) -> str:
    """Return the most important result in one line."""
    if report.nothing_to_do:
        return f"No leg had to run: {report.nothing_to_do}"
    count = len(report.rows)
    legs = f"{count} {'leg' if count == 1 else 'legs'}"
    idle = sum(row.failures.worst is Failure.IDLE_NEUTRAL for row in report.rows)
    neutral = sum(row.failures.worst is not None for row in report.rows if not report.is_red(row)) - idle
    worse = sum(bool(row.comparison.worse) for row in report.rows)
    verdicts = [row.comparison.verdict for row in report.rows if row.failures.worst is None]
    calm = legs if report.exit_code else f"{legs}, none red"
    red_count = f"{len(report.red)} of {legs} red" if report.red else calm
    parts = [
        red_count if count else "No legs were found",
        f"{worse} got worse" if worse else "",
        *(f"{verdicts.count(one)} {name}" for one, name in _NOT_FINE.items() if one in verdicts),
        f"{neutral} could not run" if neutral else "",
        f"{idle} left their GPUs alone" if idle > 1 else "1 left its GPUs alone" if idle else "",
        f"{len(report.kept_legs)} with a kept machine" if report.kept_legs else "",
        f"{len(report.missing)} left no summary" if report.missing else "",
        f"{len(report.outdated)} left no summary in this attempt" if report.outdated else "",
        f"{len(base_problems(report))} without a result of its base" if base_problems(report) else "",
        f"{len(report.contradictions)} with summaries that disagree" if report.contradictions else "",
        f"{len(report.troubles)} could not be read" if report.troubles else "",
        f"{len(report.dropped)} left out of the matrix" if report.dropped else "",
    ]
    name = ", ".join(part for part in parts if part)
    return (
        name if any(row.failures.worst is None for row in report.rows) or not count else f"Nothing was measured: {name}"
    )


def left_out(report: Report) -> list[str]:
    """Return each leg that the matrix left out, and why."""
    return [f"{name}: {why}" for name, why in report.dropped]


def error(row: Row) -> str:
    """Return the line in which a failed job names its error."""
    return row.failures.cause.evidence.first_error if row.failures.cause else ""


def log_url(row: Row) -> str:
    """Return the page with the log: of the run that failed, else of the first one."""
    legs = (row.failures.cause, *row.legs) if row.failures.cause else row.legs
    return next((leg.source.job_url for leg in legs if leg.source.job_url), "")


def artifact_url(row: Row) -> str:
    """Return the artifact of the run that failed, with its whole log."""
    return row.failures.cause.evidence.artifact_url if row.failures.cause else ""


def base_problems(report: Report) -> list[str]:
    """Return each leg whose base ran on the same machine and gave no comparison, and why."""
    return [f"{row.name}: {row.comparison.base_problem}" for row in report.rows if row.comparison.base_problem]


def outdated(report: Report) -> list[str]:
    """Return each leg that has no summary of this attempt, and why that of another attempt does not count."""
    return [f"{one.name}: {one.why}" for one in report.outdated]


def red_because(report: Report) -> str:
    """Return the reasons for a red report, by name, for one annotation."""
    parts = [
        ", ".join(row.name for row in report.red),
        _named("left no summary, so that their end is unknown", report.missing),
        _named("no summary of this attempt counts", outdated(report)),
        _named("summaries disagree", report.contradictions),
        _named("could not be read", report.troubles),
        _named("left out of the matrix", left_out(report) if report.expected and report.expected.fails else ()),
    ]
    return "; ".join(part for part in parts if part) or "nothing was measured, so nothing was tested"


def _named(what: str, names: Sequence[str]) -> str:
    return f"{what}: {', '.join(names)}" if names else ""


def not_gated(report: Report) -> str:
    """Return how many legs fail_on_regression passes without a verdict. Empty: no such leg, or no gate."""
    blind = (Verdict.UNSURE, Verdict.CHANGED, Verdict.NO_BASELINE)
    count = sum(row.failures.worst is None and row.comparison.verdict in blind for row in report.rows)
    if not count or not report.policy.fail_on_regression:
        return ""
    legs = f"{count} {'leg' if count == 1 else 'legs'}"
    return f"fail_on_regression cannot judge {legs}, which may be worse than the base."


def commands(report: Report) -> list[str]:
    """Return a command for each machine that may be left.

    A name that cvl-ci did not form is not put into a command to paste.
    """
    names = [leg.machines.cluster for row in report.rows for leg in row.legs if leg.machines.may_be_left]
    lines = [f"cvl-ci down {name}" if re.fullmatch(r"[a-z0-9-]{1,63}", name) else "cvl-ci down --all" for name in names]
    return list(dict.fromkeys(lines))


def status(row: Row) -> str:
    """Return `ok`, `worse`, or the kind of failure, and how many of several runs failed.

    `ok` means compared and the same. A leg without a comparison only `succeeded`.
    """
    if row.failures.worst is None:
        return _STATUS.get(row.comparison.verdict, row.comparison.verdict.value)
    times = f" ({row.failures.count} of {len(row.legs)} runs)" if len(row.legs) > 1 else ""
    return f"{row.failures.worst.value}{times}"


def change(one: Comparison) -> str:
    """Return `-11.1 %`, or an empty string without a baseline."""
    share = change_of(one)
    if share is None:
        return ""
    return "±0 %" if abs(share) < 0.0005 else units.change(share)


def telling(row: Row) -> Comparison | None:
    """Return the one metric to show: a worse one first, then changed, then better, then the largest change.

    Among equals a lost metric comes first.
    """
    order = (Verdict.WORSE, Verdict.CHANGED, Verdict.BETTER, Verdict.UNSURE, Verdict.SAME)
    candidates = [
        one for one in row.comparison.metrics if one.verdict in order and (one.gated or one.verdict is Verdict.CHANGED)
    ]
    rank = lambda one: (order.index(one.verdict), not one.lost, -abs(change_of(one) or 0), one.metric)  # noqa: E731
    return min(candidates, key=rank, default=None)


def unjudged(row: Row) -> str:
    """Return why a row has no metric to show."""
    return "no metric is gated" if row.comparison.baseline.legs else "no baseline"


def sudden(one: Comparison) -> str:
    """Return the reason of a change that has no percentage: a metric is gone, or was 0."""
    return "" if change(one) else why(one)


def drawn(row: Row) -> str:
    """Return the metric whose trend is drawn first. If an example measures nothing itself, it is the run time."""
    one = telling(row)
    if one is not None:
        return one.metric
    numbers = [other.metric for other in row.comparison.metrics if finite(other.value) is not None]
    return next((name for name in DRAWN_OF_ALL if name in numbers), "")


def better_when(one: Comparison) -> str:
    words = _BETTER_WHEN[one.direction]
    return words if one.gated or one.direction is Direction.UNKNOWN else f"{words}, not gated"


def versus(row: Row) -> str:
    """Return the baseline of the comparison."""
    baseline = row.comparison.baseline
    base = row.comparison.paired_base
    if base is not None:
        return f"in turn with {base.ref} ({base.commit[:12]}) on the same machine"
    if not baseline.legs:
        return f"no baseline: {baseline.reason}"
    runs = f"{len(baseline.legs)} {'run' if len(baseline.legs) == 1 else 'runs'}{_elsewhere(row)}"
    if not baseline.commit:
        return f"against {runs} before it"
    how_far = "the base" if baseline.distance == 0 else f"{baseline.distance} commits before the base"
    return f"against {runs} of {baseline.commit[:12]}, {how_far}"


def _elsewhere(row: Row) -> str:
    """Return where the base ran, if in another region.

    Regions are shown and still compared: their machines are the same.
    """
    regions, base_regions = (
        {leg.machines.region for leg in legs if leg.machines.region}
        for legs in (row.legs, row.comparison.baseline.legs)
    )
    return (
        f" in {', '.join(sorted(base_regions)[:3])} (this: {', '.join(sorted(regions)[:3])})"
        if regions and base_regions and regions != base_regions
        else ""
    )


def cost(row: Row) -> str:
    if row.cost.usd is None:
        return ""
    return dollars(row.cost.usd) if row.cost.billed else f"{dollars(row.cost.usd)} (not billed)"


def saved(row: Row) -> str:
    return "" if row.cost.saved is None else units.percent(row.cost.saved)


def gpu(row: Row) -> str:
    """Return the use of the GPUs: a low one means that a smaller machine, or more work at once, costs less."""
    return "" if row.gpu_utilization is None else f"{row.gpu_utilization:.0f} %"


def run_time(row: Row) -> str:
    return duration(row.cost.seconds) if row.cost.seconds else ""


def before_job(row: Row) -> str:
    """Return the time that the machine needed before its job: another place or image may start sooner."""
    return duration(row.seconds_before_job) if row.seconds_before_job is not None else ""


def recoveries(row: Row) -> str:
    """Return how many lost machines a new one replaced; empty for none, and where a summary does not know it."""
    return str(row.recoveries or "")


FIGURES: Mapping[str, Callable[[Row], str]] = {
    "time": run_time,
    "time to start": before_job,
    "GPU": gpu,
    "spot saved": saved,
    "recoveries": recoveries,
}
"""The further columns of the table, by their titles. report.json has fields of its own: commands/report.py."""


def figures(rows: Sequence[Row]) -> Mapping[str, Callable[[Row], str]]:
    """Return the further columns that have a text in at least one row."""
    return {title: text_of for title, text_of in FIGURES.items() if any(map(text_of, rows))}


def amount(value: object) -> str:
    return "" if value is None else number(value)


def why(one: Comparison) -> str:
    """Return the verdict's reason, with its interval."""
    ruling = one.ruling
    if ruling.reason or ruling.low is None or ruling.high is None or ruling.low == ruling.high:
        return ruling.reason
    return f"between {units.change(ruling.low)} and {units.change(ruling.high)}"
