"""Render an Outcome as a job summary and as a comment: a headline, one table, the rest folded.

Markdown is written only here. Text from a machine or provider stands only in code spans, where Markdown, HTML, mentions
and issue links have no effect. The fence of a span is longer than any run of backticks in it. No line break or pipe
gets through.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cvl_ci.model.outcome import Outcome
from cvl_ci.model.paired_comparison import PairedComparison
from cvl_ci.model.release import KeptMachines
from cvl_ci.model.service import ServiceResult
from cvl_ci.result import ledger
from cvl_ci.result.sanitize import plain
from cvl_ci.result.service_text import service_lines
from cvl_ci.result.text import (
    accounted_for,
    attempt,
    change,
    down_command,
    ending_text,
    file_count,
    flat,
    gpu_use,
    kept_bucket_lines,
    kept_machines,
    machine_line,
    money,
    node,
    nothing_to_list,
    paired_lines,
    proved_gone,
    released,
    still_to_come,
    time,
)
from cvl_ci.result.units import dollars, duration, moment, number, size

LISTED = 50
"""The number of items that a folded list shows, before it counts the rest."""

LONGEST = 300
"""Characters of one remote string."""


SUMMARY_BYTES = 1 << 20
COMMENT_BYTES = 65_536
"""GitHub counts characters there; there are never more characters than bytes."""

CUT = "*Cut to fit; the log of the run has the rest.*"


@dataclass(frozen=True, kw_only=True)
class Link:
    """A text and an address that cvl-ci wrote. The text of an artifact is its name."""

    text: str
    url: str


def job_summary(outcome: Outcome, *, tail: Sequence[str] = (), room: int = SUMMARY_BYTES, runner: str = "") -> str:
    """Return Markdown for GitHub's step summary; empty if nothing fits.

    `tail`: the job's last lines. `room`: bytes. `runner`: the cost of GitHub's runner, where it is known.
    """
    rest = [_table(outcome, runner=runner), *_folded(outcome), _log(tail)]
    return _fitted([_heading(outcome), _alarm(outcome)], rest, room)


def comment(
    outcome: Outcome, *, marker: str, run: Link, tail: Sequence[str] = (), artifacts: Sequence[Link] = ()
) -> str:
    """Return the comment of one run on its pull request.

    `marker`: invisible text by which cvl-ci finds the comment again.
    """
    links = _fold("Artifacts", [_artifact(artifact) for artifact in artifacts])
    head = [marker, _heading(outcome), _alarm(outcome)]
    return _fitted(head, [_table(outcome), _link(run), links, *_folded(outcome), _log(tail)], COMMENT_BYTES)


def artifacts_page(artifacts: Sequence[Link], *, room: int = SUMMARY_BYTES) -> str:
    """Return the list of artifacts for the end of the summary. Empty if it does not fit."""
    return _fitted([_fold("Artifacts", [_artifact(artifact) for artifact in artifacts])], [], room)


def plan_page(text: str, *, reason: str, room: int = SUMMARY_BYTES) -> str:
    """Return a plan in place of a run, with the reason. `text` is fenced: its names are a stranger's."""
    head = ["### Skipped: only the plan", f"{code(reason)} Nothing was started and nothing is billed."]
    return _fitted(head, [_fenced(text)], room)


def reap_page(title: str, error: str, text: str, *, room: int = SUMMARY_BYTES) -> str:
    """Return the result of a sweep. A provider chose the names, so they stand in a fence."""
    head = [f"### {title}", *(code(line) for line in error.splitlines())]
    return _fitted(head, [_fenced(text)], room)


def comment_so_far(*, title: str, doing: str, marker: str, run: Link) -> str:
    """Return the comment of a run that is not over. `doing`: such as `running on aws/us-east-1a at $0.096 an hour`."""
    return _fitted([marker, f"### Under way: {code(title)}", f"{code(doing)} · {_link(run)}"], [], COMMENT_BYTES)


def group_row(outcome: Outcome, *, leg: str, run: Link) -> str:
    """Return one line of a shared comment."""
    machines = released(outcome)
    cells = [
        code(leg or outcome.work.title),
        ending_text(outcome),
        dollars(outcome.cost.usd) if outcome.cost else "",
        duration(outcome.timing.duration_seconds),
        (machines[0] if accounted_for(outcome) else "**A machine may still be running**") if machines else "",
        _link(run),
    ]
    return " | ".join(cells)


def group_comment(before: str, *, title: str, marker: str, key: str, row: str) -> str:
    """Return the shared comment with this run's row in it, and all other rows unchanged. `key`: letters and digits."""
    rows = dict(re.findall(r"^\| <!-- row:(\w+) -->(.*) \|$", before, re.MULTILINE)) | {key: row}
    lines = [f"{row_head(key)}{row} |" for key, row in sorted(rows.items())]
    table = ["| run | ending | cost | time | machines | log |", "|---|---|---|---|---|---|", *lines]
    return _fitted([marker, f"### {code(title)}", "\n".join(table)], [], COMMENT_BYTES)


def group_row_so_far(*, leg: str, doing: str, run: Link) -> str:
    """Return the line of a run that is not over."""
    return " | ".join([code(leg), code(doing), "", "", "", _link(run)])


def marker(key: str) -> str:
    """Return an HTML comment for the start of a comment of cvl-ci. `key`: letters and digits."""
    return f"<!-- cvl-ci:{key} -->"


def of_run(run: str, attempt: str, *, has_ended: bool = False) -> str:
    """Return the mark after the marker: which run wrote the text, and whether it has ended.

    `run`, `attempt`: digits.
    """
    return f"<!-- run:{run}.{attempt}{' ended' if has_ended else ''} -->"


def run_of(before: str, head: str) -> tuple[tuple[int, int], bool] | None:
    """Return run, attempt and whether they had ended, from a comment or a row in it that begins with `head`."""
    match = re.search(rf"^{re.escape(head)}<!-- run:(\d+)\.(\d+)( ended)? -->", before, re.MULTILINE)
    return ((int(match[1]), int(match[2])), bool(match[3])) if match else None


def row_head(key: str) -> str:
    """Return how the row of this key begins, in the comment's text."""
    return f"| <!-- row:{key} -->"


def code(text: str) -> str:
    """Return one remote string as a code span that no text in it can end."""
    text = plain(text).replace("|", "¦").strip() or " "
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    longest_run = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest_run + 1)
    space = " " if longest_run else ""
    return f"{fence}{space}{text}{space}{fence}"


def _heading(outcome: Outcome) -> str:
    return f"### {ending_text(outcome)}: {code(outcome.work.title)}"


def _alarm(outcome: Outcome) -> str:
    """Return the alarm that stands above all else on the page, in red."""
    if proved_gone(outcome):
        return ""
    if machines := kept_machines(outcome):
        return _invitation(outcome, machines)
    lines = ["**A machine may still be running and billing.**", *map(code, outcome.advice.splitlines())]
    return "\n".join(["> [!CAUTION]", *(f"> {line}" for line in lines)])


def _invitation(outcome: Outcome, machines: KeptMachines) -> str:
    """Describe a machine that the user asked to keep: how long, at what price, how to get in, how to end it."""
    price = still_to_come(outcome)
    until = f"**The machine is kept until {moment(machines.until)}**{f': {price}' if price else ''}."
    lines = [
        f"{until} It then ends by itself.",
        *map(code, machines.ways_in),
        f"Ended sooner by {code(down_command(outcome))}",
        *map(code, kept_bucket_lines(outcome, machines)),
    ]
    return "\n".join(["> [!NOTE]", *(f"> {line}<br>" for line in lines[:-1]), f"> {lines[-1]}"])


def _table(outcome: Outcome, *, runner: str = "") -> str:
    machines = released(outcome)
    rows = [
        ("Reason", code(outcome.reason) if outcome.reason else ""),
        ("Service", _service(outcome.machines.service) if outcome.machines.service else ""),
        ("Ran on", code(machine_line(outcome.machines.launch)) if outcome.machines.launch else ""),
        ("Time", duration(outcome.timing.duration_seconds)),
        ("Cost", money(outcome.cost) if outcome.cost else ""),
        ("GitHub's runner", runner),
        ("Compared", _compared(outcome.measurements.comparison) if outcome.measurements.comparison else ""),
        ("GPU", gpu_use(outcome.machines.gpu) if outcome.machines.gpu else ""),
        ("Machines", machines[0] if machines else ""),
        ("Files", code(file_count(outcome)) if outcome.files.fetched else ""),
        ("Exit code", f"`{outcome.exit_code}`"),
        ("Next", "<br>".join(map(code, outcome.advice.splitlines())) if accounted_for(outcome) else ""),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows if value)])


def _service(service: ServiceResult) -> str:
    """Return the address as a link, and the first figures. cvl-ci wrote the address itself, from numbers."""
    figures = "<br>".join(map(code, service_lines(service)[1:]))
    return f"[{service.url}]({service.url}), with the token<br>{figures}"


def _folded(outcome: Outcome) -> list[str]:
    nodes = outcome.machines.nodes if len(outcome.machines.nodes) > 1 else ()
    metrics = [f"{code(name)}: {code(number(value))}" for name, value in flat(outcome.measurements.metrics)]
    comparison = outcome.measurements.comparison
    return [
        _fold("Compared on the same machine", [code(line) for line in paired_lines(comparison)] if comparison else []),
        _fold("Metrics", metrics),
        _fold("Files", [f"{code(file.path)} {size(file.bytes)}" for file in outcome.files.fetched]),
        _fold("Files refused", [code(line) for line in outcome.files.refused]),
        _fold("Attempts", [code(attempt(one)) for one in outcome.machines.attempts]),
        _fold("Nodes", [node(end) for end in nodes]),
        _fold("Cost", [code(line) for line in ledger.lines(outcome.cost.ledger)] if outcome.cost else []),
        _fold("Time per phase", [code(time(outcome))] if outcome.timing.phases else []),
        _fold("Proof that the machines are gone", [code(line) for line in _proof(outcome)]),
        _fold("Warnings", [code(line) for line in outcome.warnings]),
    ]


def _compared(pairing: PairedComparison) -> str:
    """List metrics that are worse, changed or unsure. Without any of these, state that nothing is worse."""
    kinds = (("**worse**", pairing.worse), ("**changed**", pairing.changed), ("cannot be judged:", pairing.unsure))
    lines = [f"{kind} {code(change(one))}" for kind, those in kinds for one in those]
    if pairing.reason or not lines:
        return code(nothing_to_list(pairing))
    hidden_count = len(lines) - LISTED
    return "<br>".join([*lines[:LISTED], *([f"and {hidden_count} more"] if hidden_count > 0 else [])])


def _proof(outcome: Outcome) -> list[str]:
    return [] if kept_machines(outcome) else released(outcome)[1:]


def _log(tail: Sequence[str]) -> str:
    """Return the lines in a fence longer than any run of backticks in them.

    Nothing in it is Markdown, a mention or a link.
    """
    return log_block(f"The job's last lines ({len(tail)})", tail) if tail else ""


def log_block(title: str, tail: Sequence[str], *, longest: int = LONGEST) -> str:
    """Return lines of a log, folded. `title`: HTML. `longest`: characters of a line."""
    lines = [plain(line)[:longest] for line in tail]
    fence = "`" * max(3, 1 + max((len(run) for line in lines for run in re.findall("`+", line)), default=0))
    return "\n".join([f"<details><summary>{title}</summary>", "", f"{fence}text", *lines, fence, "", "</details>"])


def _link(link: Link) -> str:
    return f"[{link.text}]({link.url})"


def _artifact(link: Link) -> str:
    """Return a link to an artifact. Its name may hold a stranger's name: that of a job or of a leg."""
    return f"[{code(link.text)}]({link.url})"


def _fenced(text: str) -> str:
    lines = [plain(line) for line in text.splitlines()]
    fence = "`" * max(3, 1 + max((len(run) for line in lines for run in re.findall("`+", line)), default=0))
    return "\n".join([f"{fence}text", *lines, fence])


def _fitted(head: Sequence[str], rest: Sequence[str], room: int) -> str:
    """Join whole blocks, the most important first. Half a fold would swallow the page."""
    first, optional = [block for block in head if block], [block for block in rest if block]
    for room_for in range(len(optional), -1, -1):
        cut = [CUT] if room_for < len(optional) else []
        text = "\n\n".join([*first, *optional[:room_for], *cut]) + "\n"
        if len(text.encode("utf-8", "replace")) <= room:
            return text
    return ""


def _fold(title: str, items: Sequence[str]) -> str:
    if not items:
        return ""
    hidden_count = len(items) - LISTED
    listed_items = [*items[:LISTED], *([f"and {hidden_count} more"] if hidden_count > 0 else [])]
    lines = "\n".join(f"- {item}" for item in listed_items)
    return f"<details><summary>{title} ({len(items)})</summary>\n\n{lines}\n\n</details>"
