"""The job summary of an Outcome: a headline, one table, the rest folded. The only file that writes Markdown.

Whatever a machine or a provider said stands in code spans and nowhere else, where Markdown, HTML, mentions and issue
links mean nothing; a span's fence is longer than any run of backticks in it, and no line break or pipe gets through.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cvl_ci.result.inert import plain
from cvl_ci.result.outcome import Outcome
from cvl_ci.result.phrases import (
    ENDINGS,
    attempt,
    failed_with,
    file_count,
    flat,
    money,
    node,
    proved_gone,
    released,
    time,
    where,
)
from cvl_ci.result.units import duration, number, size

LISTED = 50
"""Of a folded list this many are shown, and how many more there are."""

LONGEST = 300
"""Characters of one remote string."""


def job_summary(outcome: Outcome) -> str:
    """Markdown for GitHub's step summary: a few kilobytes, whatever the outcome holds."""
    blocks = [_heading(outcome), _alarm(outcome), _table(outcome), *_folded(outcome)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def code(text: str) -> str:
    """One remote string as a code span that nothing in it can end."""
    text = plain(text).replace("|", "¦").strip() or " "
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    longest_run = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest_run + 1)
    space = " " if longest_run else ""
    return f"{fence}{space}{text}{space}{fence}"


def _heading(outcome: Outcome) -> str:
    return f"### {ENDINGS[outcome.ending]}{failed_with(outcome)}: {code(outcome.title)}"


def _alarm(outcome: Outcome) -> str:
    """Above all else on the page, in red."""
    if proved_gone(outcome):
        return ""
    lines = ["**A machine may still be running and billing.**", *map(code, outcome.advice.splitlines())]
    return "\n".join(["> [!CAUTION]", *(f"> {line}" for line in lines)])


def _table(outcome: Outcome) -> str:
    machines = released(outcome)
    rows = [
        ("Reason", code(outcome.reason) if outcome.reason else ""),
        ("Ran on", code(where(outcome.launch)) if outcome.launch else ""),
        ("Time", duration(outcome.duration_seconds)),
        ("Cost", money(outcome.cost) if outcome.cost else ""),
        ("Machines", machines[0] if machines else ""),
        ("Files", code(file_count(outcome)) if outcome.files else ""),
        ("Exit code", f"`{outcome.exit_code}`"),
        ("Next", "<br>".join(map(code, outcome.advice.splitlines())) if proved_gone(outcome) else ""),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {said} |" for name, said in rows if said)])


def _folded(outcome: Outcome) -> list[str]:
    nodes = outcome.nodes if len(outcome.nodes) > 1 else ()
    metrics = [f"{code(name)}: {code(number(value))}" for name, value in flat(outcome.metrics)]
    return [
        _fold("Metrics", metrics),
        _fold("Files", [f"{code(file.path)} {size(file.bytes)}" for file in outcome.files]),
        _fold("Files refused", [code(line) for line in outcome.refused]),
        _fold("Attempts", [code(attempt(tried)) for tried in outcome.attempts]),
        _fold("Nodes", [node(end) for end in nodes]),
        _fold("Time per phase", [code(time(outcome))] if outcome.phases else []),
        _fold("Proof that the machines are gone", [code(line) for line in released(outcome)[1:]]),
        _fold("Warnings", [code(line) for line in outcome.warnings]),
    ]


def _fold(title: str, items: Sequence[str]) -> str:
    if not items:
        return ""
    more = len(items) - LISTED
    shown = [*items[:LISTED], *([f"and {more} more"] if more > 0 else [])]
    lines = "\n".join(f"- {item}" for item in shown)
    return f"<details><summary>{title} ({len(items)})</summary>\n\n{lines}\n\n</details>"
