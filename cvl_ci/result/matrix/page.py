"""Render many legs as one HTML page that needs no network, no other file, and no script but the ones in it.

The template escapes every value. Remote text travels to the script as JSON, and the script shows it as text. The page's
own policy lets no other script run. Pure: the caller passes template, styles and scripts.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from cvl_ci.result.benchmark.comparison import Comparison
from cvl_ci.result.benchmark.readings import finite
from cvl_ci.result.matrix import text as row_text
from cvl_ci.result.matrix.kept_machines import KEPT, lines_of_kept
from cvl_ci.result.matrix.report import Report
from cvl_ci.result.matrix.row import Row
from cvl_ci.result.matrix.spend import Spend, displayed, heading
from cvl_ci.result.matrix.trends import day, trend
from cvl_ci.result.sanitize import plain
from cvl_ci.result.units import dollars, percent

TRENDS_OF_A_ROW = 60
SPEND_ROWS = 31
"""Lines of a table of spend: the days of a month, or the largest names."""
_KINDS = {"worse": "bad", "better": "good", "changed": "doubt", "unsure": "doubt"}


@dataclass(frozen=True, kw_only=True)
class Assets:
    """Template, styles and scripts of the page, in the order they apply. `licence`: of the parts that others wrote."""

    template: str
    styles: Sequence[str]
    scripts: Sequence[str]
    licence: str


def page(report: Report, *, assets: Assets, nights: int = 14) -> str:
    """Return the page. The same report gives the same bytes."""
    policy = [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src {' '.join(_hash(script) for script in assets.scripts)}",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return _template(assets.template).render(
        policy=Markup("; ".join(policy)),  # noqa: S704  constants and hashes
        headline=row_text.headline(report),
        styles=map(Markup, assets.styles),
        commands=row_text.commands(report),
        kept_title=KEPT,
        kept_lines=lines_of_kept(report.kept_legs),
        not_gated=row_text.not_gated(report),
        contradictions=report.contradictions,
        base_problems=row_text.base_problems(report),
        facts=_facts(report),
        rows=[_display(row, is_red=report.is_red(row)) for row in report.rows],
        figures=row_text.figures(report.rows),
        nights=[{"day": night.day, "runs": night.legs, "billed": dollars(night.billed_usd)} for night in report.nights],
        spend=_spend(report.spend),
        outdated=row_text.outdated(report),
        missing=report.missing,
        left_out=row_text.left_out(report),
        rerun=[row.name for row in report.rerun],
        troubles=report.troubles,
        copies=report.copies,
        data=Markup(_json(report, nights)),  # noqa: S704  no sign in it ends a script element
        licence=Markup(assets.licence.replace("--", "- -")),  # noqa: S704  a file of this package
        scripts=map(Markup, assets.scripts),
    )


@lru_cache(maxsize=1)
def _template(text: str) -> Template:
    """Return the template. It escapes every value by itself, and an unknown name is an error."""
    language = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True, finalize=_harmless)
    return language.from_string(text)


def _harmless(value: object) -> object:
    """Return a text without controls. `Markup` is a part of the page itself."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _facts(report: Report) -> list[tuple[str, str]]:
    legs = [leg for row in report.rows for leg in row.legs]
    commits = sorted({leg.source.commit[:12] for leg in legs if leg.source.commit})
    days = sorted({day(leg.source.at) for leg in legs if leg.source.at})
    again = f" ({dollars(report.superseded_usd)} in earlier attempts)" if report.superseded_usd else ""
    unpriced_note = f", and {report.unpriced} of unknown cost" if report.unpriced else ""
    kept_note = f"; kept machines may still add {dollars(report.kept_usd)}" if report.kept_usd else ""
    return [
        ("billed", f"{dollars(report.usd)}{again}{unpriced_note}{kept_note}"),
        ("runs", str(len(legs))),
        ("commit", ", ".join(commits[:3])),
        ("day", " – ".join(dict.fromkeys([days[0], days[-1]])) if days else ""),
    ]


def _spend(total: Spend) -> dict[str, object]:
    """Return the tables of dollars, each with its shares of the whole, by the names of the template."""
    tables = [
        {
            "name": name,
            "rows": [
                {"name": displayed(key), "usd": dollars(usd), "share": percent(usd / total.usd) if total.usd else ""}
                for key, usd in (list(sums.items())[-SPEND_ROWS:] if name == "day" else list(sums.items())[:SPEND_ROWS])
            ],
            "hidden": max(len(sums) - SPEND_ROWS, 0),
        }
        for name, sums in total.by.items()
    ]
    first, *notes = heading(total)
    return {"head": first, "notes": notes, "tables": tables if total.runs else []}


def _display(row: Row, *, is_red: bool) -> dict[str, object]:
    """Return one row of the table, by the names of the template."""
    status = row_text.status(row)
    change, change_kind = _change(row)
    return {
        "title": _title(row),
        "log": row_text.log_url(row),
        "artifact": row_text.artifact_url(row),
        "place": row.place,
        "status": status,
        "status_kind": "bad" if is_red else "doubt" if row.failures.worst is not None else _KINDS.get(status, ""),
        "change": change,
        "change_kind": change_kind,
        "error": row_text.error(row),
        "last_lines": row.failures.cause.evidence.last_lines if row.failures.cause else (),
        "base_problem": row.comparison.base_problem,
        "cost": row_text.cost(row),
        "is_best": row.cost.is_best,
        "figures": {title: text_of(row) for title, text_of in row_text.FIGURES.items()},
    }


def _change(row: Row) -> tuple[str, str]:
    """Return the words of the row's main metric, and how the page colours them."""
    if row.failures.worst is not None:
        return row.failures.reason, "soft"
    metric = row_text.telling(row)
    if metric is None:
        return row_text.unjudged(row), "soft"
    verdict = metric.verdict.value
    text = f"{metric.metric} {row_text.change(metric)} {verdict} {row_text.sudden(metric)}".strip()
    return text, _KINDS.get(verdict, "")


def _json(report: Report, nights: int) -> str:
    """Return the data of the script element. Only `</script>` and `<!--` could end the element."""
    telling = [at for at, row in enumerate(report.rows) if row.comparison.worse] + [
        at for at, row in enumerate(report.rows) if row.comparison.metrics
    ]
    data = {
        "first": telling[0] if telling else 0,
        "rows": [_row(row, nights) for row in report.rows],
        "nights": [[_midnight(night.day), round(night.usd, 6), 0] for night in report.nights],
    }
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _row(row: Row, nights: int) -> dict[str, object]:
    drawn = row_text.drawn(row)
    ordered = sorted(row.comparison.metrics, key=lambda one: one.metric != drawn)[:TRENDS_OF_A_ROW]
    runs = [*row.comparison.history, *row.legs]
    trends = {one.metric: trend(one.metric, runs, nights=nights) for one in ordered if _is_drawn(one)}
    return {
        "title": _title(row),
        "place": plain(row.place),
        "versus": plain(row_text.versus(row)),
        "telling": drawn,
        "metrics": [
            [
                one.metric,
                row_text.amount(one.value),
                row_text.amount(one.base),
                row_text.change(one),
                one.verdict.value,
                row_text.better_when(one),
                row_text.why(one),
            ]
            for one in row.comparison.metrics
        ],
        "trends": {
            name: [[point.at, point.value, int(point.outlier)] for point in points]
            for name, points in trends.items()
            if len(points) > 1
        },
    }


def _is_drawn(one: Comparison) -> bool:
    """Return whether the metric has a chart. A lost metric shows the nights before."""
    return finite(one.value) is not None or finite(one.base) is not None


def _midnight(name: str) -> int:
    return int(datetime.strptime(name, "%Y-%m-%d").replace(tzinfo=timezone.utc).timestamp())


def _title(row: Row) -> str:
    return plain(f"{row.key.example} {row.key.preset}".strip())


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
