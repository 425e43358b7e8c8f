"""Render many legs as one job summary and one comment: a table, the rest folded, the worst first.

Markdown is written only here and in report.py, under the same rule. Text from a machine stands only in code spans, or
in letters that have no meaning in Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from cvl_ci.result.benchmark.comparison import Comparison
from cvl_ci.result.matrix import text as row_text
from cvl_ci.result.matrix.kept_machines import KEPT, lines_of_kept
from cvl_ci.result.matrix.report import Report
from cvl_ci.result.matrix.row import Row
from cvl_ci.result.matrix.trends import Point, day, trend
from cvl_ci.result.report import COMMENT_BYTES, LISTED, SUMMARY_BYTES, Link, code, log_block
from cvl_ci.result.units import dollars

ISSUE_BYTES = 60_000
"""GitHub's limit is 65,536. The marker and the list of legs stand before the body."""
CHARTS = 6
"""GitHub draws each chart; more charts would make the page slow."""

METRICS_OF_A_ROW = 60
LOGS, LOG_CHARACTERS = 3, 160
"""Failed jobs whose last lines are shown, and the characters of a line."""
_TABLE_SHARE = 0.6
"""The largest share of the room for the table, so that some room stays for single metrics."""


def job_summary(report: Report, *, page: str = "", nights: int = 14, room: int = SUMMARY_BYTES) -> str:
    """Return the page for GitHub's step summary. `page`: the place of the whole report, in cvl-ci's own words."""
    return _fitted(_blocks(report, nights=nights, room=room), page=page, room=room)


def comment(report: Report, *, marker: str, page: str = "", nights: int = 14) -> str:
    """Return the sticky comment. `marker`: invisible text by which cvl-ci finds the comment again."""
    room = COMMENT_BYTES - len(marker) - 2
    return f"{marker}\n\n{_fitted(_blocks(report, nights=nights, room=room), page=page, room=room)}"


def page_at(link: Link) -> str:
    """Return the place of the page, for the argument `page`: the artifact that holds it."""
    return f"`report.html` in the artifact [{code(link.text)}]({link.url})"


def matrix_page(title: str, lines: Sequence[str], *, room: int = SUMMARY_BYTES) -> str:
    """Return the plan of a matrix for GitHub's step summary. `lines` hold names from a checkout."""
    return _fitted(
        [f"### {title}", *(["\n".join(f"- {code(line)}" for line in lines[:LISTED])] if lines else [])],
        page="",
        room=room,
    )


def issue(report: Report, *, run: Link, page: str, nights: int = 14) -> str:
    """Return the body of the issue, below its marker: the failures first, then the same blocks as in the comment."""
    log = f"Found by [{run.text}]({run.url})."
    room = ISSUE_BYTES - len(log.encode()) - 2
    return f"{log}\n\n{_fitted(_blocks(report, nights=nights, room=room), page=page, room=room)}"


def recovered(report: Report, *, run: Link) -> str:
    """Return the last comment on the issue."""
    return f"All legs that this was opened for are fine again: {row_text.headline(report)} ([{run.text}]({run.url}))."


def _blocks(report: Report, *, nights: int, room: int) -> list[str]:
    """Return the blocks, the most important first. A block that does not fit is cut from the end."""
    return [
        f"### {row_text.headline(report)}",
        _alarm(report),
        _kept_block(report),
        row_text.not_gated(report),
        _left_out(report),
        _outdated(report),
        _warned("Summaries of one run disagree, and the worst one counts", report.contradictions),
        _warned("A base gave no result on the machine of its leg", row_text.base_problems(report)),
        _table(report, room=int(room * _TABLE_SHARE)),
        _fold("Legs that left no summary", [code(name) for name in report.missing]),
        _fold("Worth another try", [_name(row) for row in report.rerun]),
        *_logs(report),
        _nights(report),
        *_charts(report, nights=nights),
        *(_metrics(row) for row in report.rows if row.comparison.worse),
        *(_metrics(row) for row in report.rows if not row.comparison.worse),
        _fold(
            "Not compared", [f"{_name(row)}: {code(row_text.versus(row))}" for row in report.rows if _uncompared(row)]
        ),
        _fold("Summaries that could not be read", [code(trouble) for trouble in report.troubles]),
        _fold("Artifacts with the same summary", [code(line) for line in report.copies]),
    ]


def _alarm(report: Report) -> str:
    commands = row_text.commands(report)[:LISTED]
    if not commands:
        return ""
    lines = ["**A machine may still be running and billing.**", *map(code, commands)]
    return "\n".join(["> [!CAUTION]", *(f"> {line}" for line in lines)])


def _kept_block(report: Report) -> str:
    """List the machines that a person keeps. This is not an alarm. It is never folded, because they cost money."""
    lines = [f"> - {code(line)}" for line in lines_of_kept(report.kept_legs)]
    hidden_count = len(lines) - LISTED
    hidden = [f"> - and {hidden_count} more"] if hidden_count > 0 else []
    return "\n".join(["> [!NOTE]", f"> **{KEPT}:**", *lines[:LISTED], *hidden]) if lines else ""


def _left_out(report: Report) -> str:
    """List the legs that were left out. It is never folded: untested legs matter as much as tested ones."""
    lines = row_text.left_out(report)
    count = f"{len(lines)} {'leg was' if len(lines) == 1 else 'legs were'}"
    return _warned(f"{count} left out of the matrix, and not tested", lines)


def _outdated(report: Report) -> str:
    """List legs without a summary of this attempt. It is never folded, so that no reader misses an unknown end."""
    lines = row_text.outdated(report)
    count = f"{len(lines)} {'leg' if len(lines) == 1 else 'legs'}"
    return _warned(f"{count} left no summary in this attempt, so how they ended is unknown", lines)


def _warned(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    hidden_count = len(lines) - LISTED
    items = [
        *(f"> - {code(line)}" for line in lines[:LISTED]),
        *([f"> - and {hidden_count} more"] if hidden_count > 0 else []),
    ]
    return "\n".join(["> [!WARNING]", f"> **{title}:**", *items])


def _table(report: Report, *, room: int) -> str:
    if not report.rows:
        return ""
    figures = row_text.figures(report.rows)
    titles = ("example", "where", "status", "change", "cost per run", *figures)
    head = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    lines: list[str] = []
    room_left = room
    for row in report.rows:
        line = _line(row, figures.values(), red=report.is_red(row))
        room_left -= len(line.encode()) + 1
        if room_left < 0:
            break
        lines.append(line)
    hidden_count = len(report.rows) - len(lines)
    cut = [
        "",
        f"*And {hidden_count} more rows, of which {sum(map(report.is_red, report.rows[len(lines) :]))} are red.*",
    ]
    return "\n".join([*head, *lines, *(cut if hidden_count else [])])


def _line(row: Row, figures: Iterable[Callable[[Row], str]], *, red: bool) -> str:
    best = " · **best value**" if row.cost.is_best else ""
    status = row_text.status(row)
    cells = [
        code(f"{row.key.example} {row.key.preset}".strip()),
        code(row.place),
        f"**{status}**" if red or row.comparison.worse else status,
        _change(row),
        f"{row_text.cost(row)}{best}",
        *(text_of(row) for text_of in figures),
    ]
    return f"| {' | '.join(cells)} |"


def _change(row: Row) -> str:
    problem = code(row.comparison.base_problem) if row.comparison.base_problem else ""
    if row.failures.worst is not None:
        reasons = [code(text) for text in (row.failures.reason, row_text.error(row)) if text]
        places = (("log", row_text.log_url(row)), ("artifact", row_text.artifact_url(row)))
        links = [f"[{name}]({address})" for name, address in places if address]
        return " ".join([*reasons, *([problem] if problem else []), *links])
    one = row_text.telling(row)
    if one is None:
        return problem or row_text.unjudged(row)
    why = row_text.sudden(one)
    parts = (code(one.metric), row_text.change(one), one.verdict.value, code(why) if why else "", problem)
    return " ".join(part for part in parts if part)


def _metrics(row: Row) -> str:
    shown_comparisons = row.comparison.metrics[:METRICS_OF_A_ROW]
    if not shown_comparisons:
        return ""
    lines = [f"| {' | '.join(_cells(one))} |" for one in shown_comparisons]
    hidden_count = len(row.comparison.metrics) - len(shown_comparisons)
    head = ["| metric | now | base | change | verdict | | |", "|---|---|---|---|---|---|---|"]
    table = "\n".join([*head, *lines, *(["", f"and {hidden_count} more"] if hidden_count else [])])
    return _folded(f"{_plain(row)}: {len(row.comparison.metrics)} metrics", f"{code(row_text.versus(row))}\n\n{table}")


def _cells(one: Comparison) -> list[str]:
    reason = row_text.why(one)
    return [
        code(one.metric),
        _value(one.value),
        _value(one.base),
        row_text.change(one),
        one.verdict.value,
        row_text.better_when(one),
        code(reason) if reason else "",
    ]


def _value(value: object) -> str:
    return code(row_text.amount(value)) if value is not None else ""


def _logs(report: Report) -> list[str]:
    """Return the last lines of the first failed jobs."""
    causes = [
        (row, row.failures.cause)
        for row in report.rows
        if row.failures.cause and row.failures.cause.evidence.last_lines
    ]
    return [
        log_block(f"{_plain(row)}: its last lines", leg.evidence.last_lines, longest=LOG_CHARACTERS)
        for row, leg in causes[:LOGS]
    ]


def _nights(report: Report) -> str:
    """Return a bar chart of the cost of each night. A single night is not a trend."""
    if len(report.nights) < 2:
        return ""
    highest = max(night.usd for night in report.nights) or 1.0
    days = ", ".join(f'"{night.day[5:]}"' for night in report.nights)
    values = ", ".join(f"{night.usd:.4f}" for night in report.nights)
    billed = sum(night.billed_usd for night in report.nights)
    chart = _chart("Cost per night, US dollars", days, f"0 --> {highest * 1.1:.4f}", f"bar [{values}]")
    return _folded(f"Cost of {len(report.nights)} nights: {dollars(billed)} billed", chart)


def _charts(report: Report, *, nights: int) -> list[str]:
    """Return charts: of worse rows first, then of the rows with the longest history."""
    ordered = sorted(report.rows, key=lambda row: (not row.comparison.worse, -len(row.comparison.history)))
    drawn = (_trend(row, nights=nights) for row in ordered)
    charts: list[str] = []
    for chart in drawn:
        if chart:
            charts.append(chart)
        if len(charts) == CHARTS:
            break
    return charts


def _trend(row: Row, *, nights: int) -> str:
    metric = row_text.drawn(row)
    if not metric:
        return ""
    points = trend(metric, [*row.comparison.history, *row.legs], nights=nights)
    if len(points) < 3:
        return ""
    low, high = min(point.value for point in points), max(point.value for point in points)
    margin = (high - low) * 0.1 or abs(high) * 0.1 or 1.0
    days = ", ".join(f'"{day(point.at)[5:]}"' for point in points)
    values = ", ".join(f"{point.value:.6g}" for point in points)
    axis = f"{low - margin:.6g} --> {high + margin:.6g}"
    chart = _chart(_harmless(metric), days, axis, f"line [{values}]")
    marked = [point for point in points if point.outlier]
    return _folded(f"{_plain(row)}: {_plain_text(metric)} over {len(points)} nights", f"{chart}{_outliers(marked)}")


def _outliers(marked: Sequence[Point]) -> str:
    if not marked:
        return ""
    return "\n\nOutliers: " + ", ".join(f"{day(point.at)} at {point.value:.4g}" for point in marked)


def _chart(title: str, days: str, axis: str, series: str) -> str:
    lines = ["xychart-beta", f'  title "{title}"', f"  x-axis [{days}]", f"  y-axis {axis}", f"  {series}"]
    return "\n".join(["```mermaid", *lines, "```"])


def _uncompared(row: Row) -> bool:
    return row.failures.worst is None and not row.comparison.baseline.legs and row.comparison.paired_base is None


def _name(row: Row) -> str:
    """Return the row's name, with a link to its log if there is one."""
    address = row_text.log_url(row)
    return f"{code(row.name)} [log]({address})" if address else code(row.name)


def _plain(row: Row) -> str:
    return _plain_text(f"{row.key.example} {row.key.preset} on {row.place}")


def _plain_text(text: str) -> str:
    """Return text for a fold's title, which is HTML and has no code spans."""
    return f"<code>{_harmless(text)}</code>"


def _harmless(text: str) -> str:
    """Keep only characters that have no meaning in Markdown, HTML, mentions or a chart."""
    text_kept = re.sub(r"[^A-Za-z0-9 ,./+_-]", "·", text)[:120]
    return re.sub(r"(?i)www\.", "www·", text_kept).strip() or "·"


def _fold(title: str, items: Sequence[str]) -> str:
    if not items:
        return ""
    hidden_count = len(items) - LISTED
    lines = [*items[:LISTED], *([f"and {hidden_count} more"] if hidden_count > 0 else [])]
    return _folded(f"{title} ({len(items)})", "\n".join(f"- {item}" for item in lines))


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def _fitted(blocks: Sequence[str], *, page: str, room: int) -> str:
    """Join as many whole blocks as fit, with the words that name the place of the rest."""
    place = f" The whole report: {page}." if page else ""
    cut = f"*Cut to fit.{place}*"
    size: Callable[[str], int] = lambda text: len(text.encode("utf-8", "replace")) + 2  # noqa: E731
    room_left = room - size(cut)
    fitting: list[str] = []
    present = [block for block in blocks if block]
    for block in present:
        room_left -= size(block)
        if room_left < 0:
            break
        fitting.append(block)
    end = cut if len(fitting) < len(present) else place.strip()
    return "\n\n".join([*fitting, *([end] if end else [])]) + "\n"
