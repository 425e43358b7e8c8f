"""Report the legs of a run as one job summary, one comment, one page and one JSON.

The same legs give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.benchmark.noise import Verdict
from cvl_ci.result.matrix import markdown, text
from cvl_ci.result.matrix.kept_machines import lines_of_kept
from cvl_ci.result.matrix.page import Assets, page
from cvl_ci.result.matrix.report import Report
from cvl_ci.result.matrix.row import Row
from cvl_ci.result.matrix.spend import as_mapping
from cvl_ci.result.report import marker
from cvl_ci.result.units import moment

PAGE, SUMMARY, COMMENT, DATA = "report.html", "summary.md", "comment.md", "report.json"
WHERE = f"`{PAGE}` in the artifact of the report"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a report.

    `head`: the first line of the comment, by which cvl-ci finds it again. `page`: the place of the whole report, in
    Markdown from the package result.
    """

    nights: int = 14
    head: str = marker("report")
    page: str = WHERE


def files(report: Report, *, assets: Assets, settings: Settings) -> Mapping[str, str]:
    """Return the files of the report, by name."""
    nights = settings.nights
    return {
        PAGE: page(report, assets=assets, nights=nights),
        SUMMARY: markdown.job_summary(report, page=settings.page, nights=nights),
        COMMENT: markdown.comment(report, marker=settings.head, page=settings.page, nights=nights),
        DATA: as_json(report),
    }


def as_json(report: Report) -> str:
    """Return the report for programs: always these keys."""
    document = {
        "headline": text.headline(report),
        "exit_code": report.exit_code,
        "red": [row.name for row in report.red],
        "rerun": [row.name for row in report.rerun],
        "missing": list(report.missing),
        "outdated": [{"name": one.name, "why": one.why} for one in report.outdated],
        "contradictions": list(report.contradictions),
        "copies": list(report.copies),
        "dropped": [{"name": name, "why": why} for name, why in report.dropped],
        "unread": list(report.troubles),
        "billed_usd": round(report.usd, 6),
        "earlier_attempts_usd": round(report.superseded_usd, 6),
        "unpriced": report.unpriced,
        "kept_usd_at_most": round(report.kept_usd, 6),
        "spend": as_mapping(report.spend),
        "kept": [_kept_json(leg) for leg in report.kept_legs],
        "rows": [_row(row, red=report.is_red(row)) for row in report.rows],
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_text(report: Report) -> list[str]:
    """Return one line for each leg, for a terminal or a step's log."""
    gate = text.not_gated(report)
    missing = [f"left no summary: {name}" for name in report.missing]
    unknown = [*missing, *text.outdated(report), *report.contradictions, *report.troubles, *report.copies]
    kept_lines = [f"kept: {line}" for line in lines_of_kept(report.kept_legs)]
    left_out = [f"left out of the matrix: {line}" for line in text.left_out(report)]
    head_lines = [text.headline(report), *([gate] if gate else []), *kept_lines, *unknown, *left_out]
    return [*head_lines, *(_line(row) for row in report.rows)]


def _line(row: Row) -> str:
    one = text.telling(row)
    why = f"({text.sudden(one)})" if one and text.sudden(one) else ""
    change_text = (
        " ".join(part for part in (one.metric, text.change(one), one.verdict.value, why) if part) if one else ""
    )
    reason = row.failures.reason if row.failures.worst else change_text or text.unjudged(row)
    details = "; ".join(part for part in (reason, text.error(row), row.comparison.base_problem) if part)
    title = f"{row.key.example} {row.key.preset} on {row.place}"
    return "  ".join(part for part in (text.status(row), title, text.cost(row), details) if part)


def _kept_json(leg: Leg) -> Mapping[str, object]:
    return {
        "cluster": leg.machines.cluster,
        "until": moment(leg.machines.kept_until),
        "usd_so_far": leg.cost.usd_so_far,
        "usd_at_most": leg.cost.usd,
        "billed": leg.cost.billed,
    }


def _row(row: Row, *, red: bool) -> Mapping[str, object]:
    return {
        "name": row.name,
        "example": row.key.example,
        "preset": row.key.preset,
        "place": row.place,
        "status": text.status(row),
        "failure": row.failures.worst.name.lower() if row.failures.worst else None,
        "red": red,
        "verdict": row.comparison.verdict.value,
        "worse": [one.metric for one in row.comparison.worse],
        "changed": [one.metric for one in row.comparison.metrics if one.verdict is Verdict.CHANGED],
        "unsure": [one.metric for one in row.comparison.metrics if one.gated and one.verdict is Verdict.UNSURE],
        "regions": sorted({leg.machines.region for leg in row.legs if leg.machines.region}),
        "baseline": row.comparison.baseline.commit or None,
        "compared": text.versus(row),
        "error": text.error(row) or None,
        "log_url": text.log_url(row) or None,
        "artifact_url": text.artifact_url(row) or None,
        "base_problem": row.comparison.base_problem or None,
        "usd": row.cost.usd,
        "seconds": row.cost.seconds,
        "gpu_utilization": row.gpu_utilization,
        "seconds_before_job": row.seconds_before_job,
        "recoveries": row.recoveries or None,
        "best": row.cost.is_best,
    }
