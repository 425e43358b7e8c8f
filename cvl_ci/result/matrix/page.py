"""Render many legs as one HTML page that needs no network, no other file, and no script but the ones in it.

Remote text is escaped in the table. It travels to the script as JSON, and the script shows it as text. The page's own
policy lets no other script run. Pure: the caller passes style and scripts.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape

from cvl_ci.result.benchmark.comparison import Comparison
from cvl_ci.result.benchmark.readings import finite
from cvl_ci.result.matrix import text as words
from cvl_ci.result.matrix.report import Report, Row
from cvl_ci.result.matrix.trends import Night, day, trend
from cvl_ci.result.sanitize import plain
from cvl_ci.result.units import dollars, duration

TRENDS_OF_A_ROW = 60
_COLUMNS = ("example", "where", "status", "change", "a run", "time", "spot saved")
_KINDS = {"worse": "bad", "better": "good", "changed": "doubt", "unsure": "doubt"}


@dataclass(frozen=True, kw_only=True)
class Assets:
    """Styles and scripts of the page, in the order they apply. `licence`: of the parts that others wrote."""

    styles: Sequence[str]
    scripts: Sequence[str]
    licence: str


def page(report: Report, *, assets: Assets, nights: int = 14) -> str:
    """Return the page. The same report gives the same bytes."""
    data = _json(report, nights)
    policy = "; ".join(
        [
            "default-src 'none'",
            "style-src 'unsafe-inline'",
            f"script-src {' '.join(_hash(script) for script in assets.scripts)}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(words.headline(report))}</title>",
            *(f"<style>{style}</style>" for style in assets.styles),
            "</head>",
            "<body><main>",
            f"<h1>{_text(words.headline(report))}</h1>",
            *_alarm(report),
            *(f'<p class="doubt">{_text(note)}</p>' for note in [words.not_gated(report)] if note),
            *(f'<p class="bad">Summaries disagree: {_text(line)}</p>' for line in report.contradictions),
            *(f'<p class="doubt">{_text(line)}</p>' for line in words.base_problems(report)),
            _facts(report),
            _table(report),
            '<section id="panel" aria-live="polite"></section>',
            *_nights(report.nights),
            *_list("Legs that left no summary in this attempt", words.outdated(report)),
            *_list("Legs that left no summary", report.missing),
            *_list("Left out of the matrix, and not tested", words.left_out(report)),
            *_list("Worth another try", [row.name for row in report.rerun]),
            *_list("Summaries that could not be read", report.troubles),
            *_list("Artifacts with the same summary", report.copies),
            "</main>",
            f'<script type="application/json" id="data">{data}</script>',
            f"<!-- The plots are drawn by uPlot.\n{assets.licence.replace('--', '- -')}\n-->",
            *(f"<script>{script}</script>" for script in assets.scripts),
            "</body></html>",
            "",
        ]
    )


def _alarm(report: Report) -> list[str]:
    commands = words.commands(report)
    if not commands:
        return []
    paragraphs = "".join(f"<p><code>{_text(command)}</code></p>" for command in commands)
    alarm = '<p class="bad">A machine may still be running and billing.</p>'
    return [f'<div class="alarm" role="alert">{alarm}{paragraphs}</div>']


def _facts(report: Report) -> str:
    legs = [leg for row in report.rows for leg in row.legs]
    commits = sorted({leg.commit[:12] for leg in legs if leg.commit})
    days = sorted({day(leg.at) for leg in legs if leg.at})
    unpriced = f", and {report.unpriced} of unknown cost" if report.unpriced else ""
    facts = [
        ("billed", f"{dollars(report.usd)}{unpriced}"),
        ("runs", str(len(legs))),
        ("commit", ", ".join(commits[:3])),
        ("day", " – ".join(dict.fromkeys([days[0], days[-1]])) if days else ""),
    ]
    items = "".join(f"<li>{name} <b>{_text(value)}</b></li>" for name, value in facts if value)
    return f'<ul class="facts">{items}</ul>'


def _table(report: Report) -> str:
    numbers = {"a run", "time", "spot saved"}
    cells = "".join(f"<th{_kind('number' if name in numbers else '')}>{name}</th>" for name in _COLUMNS)
    lines = [_line(at, row, red=report.is_red(row)) for at, row in enumerate(report.rows)]
    search = '<input type="search" id="search" placeholder="Only rows with …" aria-label="Only rows with this text">'
    return "\n".join(
        [
            f'<div class="filter">{search}<span class="soft">Choose an example for its metrics.</span></div>',
            f'<div class="wide"><table class="legs"><thead><tr>{cells}</tr></thead><tbody>',
            *lines,
            "</tbody></table></div>",
        ]
    )


def _line(at: int, row: Row, *, red: bool) -> str:
    status = words.status(row)
    kind = "bad" if red else "doubt" if row.failure is not None else _KINDS.get(status, "")
    best = ' <span class="mark">best value</span>' if row.best else ""
    address = next((leg.run_url for leg in row.legs if leg.run_url), "")
    log = f' <a href="{escape(address)}" rel="noopener noreferrer">log</a>' if address else ""
    cells = [
        ("name", f'<button class="row">{_text(_title(row))}</button>{log}'),
        ("where", _text(row.place)),
        (kind, _text(status)),
        ("", _change(row)),
        ("number", f"{_text(words.cost(row))}{best}"),
        ("number", _text(duration(row.seconds)) if row.seconds else ""),
        ("number", _text(words.saved(row))),
    ]
    line = "".join(
        f'<td{_kind(kind)} data-name="{name}">{content}</td>'
        for name, (kind, content) in zip(_COLUMNS, cells, strict=True)
    )
    return f'<tr data-row="{at}">{line}</tr>'


def _change(row: Row) -> str:
    problem = f' <span class="doubt">{_text(row.base_problem)}</span>' if row.base_problem else ""
    return f"{_telling(row)}{problem}"


def _telling(row: Row) -> str:
    if row.failure is not None:
        return f'<span class="soft">{_text(row.reason)}</span>'
    one = words.telling(row)
    if one is None:
        return f'<span class="soft">{words.unjudged(row)}</span>'
    description = f"{one.metric} {words.change(one)} {one.verdict.value} {words.sudden(one)}".strip()
    return f"<span{_kind(_KINDS.get(one.verdict.value, ''))}>{_text(description)}</span>"


def _nights(nights: Sequence[Night]) -> list[str]:
    if len(nights) < 2:
        return []
    lines = [
        f'<tr><td>{night.day}</td><td class="number">{night.legs}</td>'
        f'<td class="number">{_text(dollars(night.billed_usd))}</td></tr>'
        for night in nights
    ]
    head = '<tr><th>day</th><th class="number">runs</th><th class="number">billed</th></tr>'
    return [
        f'<h2>Cost of {len(nights)} nights</h2><div class="plot" id="nights"></div>',
        f'<div class="wide"><table><thead>{head}</thead><tbody>',
        *lines,
        "</tbody></table></div>",
    ]


def _list(title: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    return [f"<h2>{title}</h2><ul>", *(f"<li>{_text(one)}</li>" for one in items), "</ul>"]


def _json(report: Report, nights: int) -> str:
    """Return the data of the script element. Only `</script>` and `<!--` could end the element."""
    telling = [at for at, row in enumerate(report.rows) if row.worse] + [
        at for at, row in enumerate(report.rows) if row.comparisons
    ]
    data = {
        "first": telling[0] if telling else 0,
        "rows": [_row(row, nights) for row in report.rows],
        "nights": [[_midnight(night.day), round(night.usd, 6), 0] for night in report.nights],
    }
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _row(row: Row, nights: int) -> dict[str, object]:
    drawn = words.drawn(row)
    ordered = sorted(row.comparisons, key=lambda one: one.metric != drawn)[:TRENDS_OF_A_ROW]
    runs = [*row.history, *row.legs]
    trends = {one.metric: trend(one.metric, runs, nights=nights) for one in ordered if _is_drawn(one)}
    return {
        "title": _title(row),
        "place": plain(row.place),
        "versus": plain(words.versus(row)),
        "telling": drawn,
        "metrics": [
            [
                one.metric,
                words.amount(one.value),
                words.amount(one.base),
                words.change(one),
                one.verdict.value,
                words.better_when(one),
                words.why(one),
            ]
            for one in row.comparisons
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


def _text(text: str) -> str:
    return escape(plain(text))


def _kind(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
