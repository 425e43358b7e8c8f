"""The tables of the documentation, by name, each made from the code's own tables.

A page holds one between two marks: `<!-- table NAME: … -->` and `<!-- /table -->`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cvl_ci import bounded
from cvl_ci.clouds import http, programs
from cvl_ci.commands.run import stages, transitions
from cvl_ci.engine import job_end
from cvl_ci.engine.fetch import member_paths, tarball, transfer, unpack, unpack_process, worker_unpack
from cvl_ci.inputs.action_outputs import ACTION_OUTPUTS, MATRIX_OUTPUTS, ActionOutput
from cvl_ci.inputs.credential_inputs import CREDENTIAL_INPUTS
from cvl_ci.inputs.deploy_inputs import NOT_OF_A_SERVICE
from cvl_ci.inputs.option import EntryPoint, InputOption
from cvl_ci.inputs.table import MATRIX_OPTIONS, STEP_OPTIONS, action_options, run_options, verb_options
from cvl_ci.inputs.verb_options import VERBS
from cvl_ci.model import billing, runner_prices
from cvl_ci.model.billing import UnitPrice
from cvl_ci.result.benchmark import files, leg_file, readings
from tests.chaos import run_records
from tests.chaos.table import table as chaos_table
from tests.e2e import metering
from tests.support import budget_trials, endings

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

NO_ANSWER = "counts it as no answer"

_TABLE = re.compile(r"(?<=<!-- table )([a-z-]+)(: [^>]* -->\n)(.*?)(?=<!-- /table -->)", re.DOTALL)


def tables() -> Mapping[str, str]:
    """Return the Markdown of every table, by name."""
    return {name: make() for name, make in _MAKERS.items()}


def names(page: str) -> list[str]:
    """Return the names of the tables in a page, in order."""
    return [item[1] for item in _TABLE.finditer(page)]


def renewed(page: str, made: Mapping[str, str]) -> str:
    """Return the page with each table replaced by the one of its name."""
    return _TABLE.sub(lambda result: result[1] + result[2] + made[result[1]], page)


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = ([_cell(cell) for cell in row] for row in rows)
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *(f"| {' | '.join(row)} |" for row in cells)]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Return text whose bars end no cell. In a code span, GitHub shows an escaped bar as a bar, and the site both."""
    spans = re.sub(r"`([^`]*\|[^`]*)`", lambda span: f"<code>{html.escape(span[1], quote=False)}</code>", text)
    return spans.replace("|", "&#124;")


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _names(one: InputOption) -> str:
    return "<br>".join(map(_code, (one.name, *one.other_names)))


def _spelling(one: InputOption) -> str:
    """How it is typed: `--gpu GPU`, or the word alone."""
    if one.is_positional:
        return _code(one.metavar)
    return "<br>".join(_code(f"{flag} {one.metavar}".rstrip()) for flag in one.flags)


def _meaning(one: InputOption, *, in_action: bool = False) -> str:
    again = (" One a line." if in_action else " Can be given again.") if one.is_repeatable else ""
    example = f" Such as `{one.example}`." if one.example not in {"", one.default} else ""
    return f"{one.help}{again}{example}"


def _inputs() -> str:
    rows = [(_names(one), _spelling(one), _meaning(one), one.default) for one in run_options(EntryPoint.CLI)]
    return _markdown(["input", "on the command line", "meaning", "default"], rows)


def _verb(name: str) -> Callable[[], str]:
    rows = [(_spelling(one), _meaning(one), one.default) for one in verb_options(name)]
    return lambda: _markdown(["option", "meaning", "default"], rows)


def _not_of_a_service() -> str:
    return ", ".join(map(_code, sorted(NOT_OF_A_SERVICE))) + "\n"


def _action_inputs() -> str:
    own = (one for one in action_options() if one in STEP_OPTIONS or EntryPoint.CLI not in one.entry_points)
    rows = [(_code(one.name), _meaning(one, in_action=True), _default(one)) for one in own if one not in MATRIX_OPTIONS]
    return _markdown(["input", "meaning", "default"], rows)


def _default(one: InputOption) -> str:
    return _code(one.action_default) or one.default


def _outputs(fields: Sequence[ActionOutput]) -> Callable[[], str]:
    return lambda: _markdown(["output", "meaning"], [(_code(own.name), own.help) for own in fields])


def _matrix_inputs() -> str:
    rows = []
    for one in action_options():
        if one in MATRIX_OPTIONS:
            verbs = ", ".join(_code(verb) for verb in VERBS if one.is_taken_by(verb, EntryPoint.ACTION))
            rows.append((_code(one.name), verbs, _meaning(one, in_action=True), _default(one)))
    return _markdown(["input", "verb", "meaning", "default"], rows)


def _credentials() -> str:
    rows = [(_code(own.name), own.help, _code(own.variable or "")) for own in CREDENTIAL_INPUTS]
    return _markdown(["input", "meaning", "or this variable"], rows)


def _limits() -> str:
    rows = [
        ("files and links of all outputs", f"{unpack.MOST_FILES:,}", "leaves the others out"),
        ("free disk that unpacking leaves", f"{unpack.RESERVE_BYTES >> 20} MiB", "refuses the file"),
        ("path of a file", f"{member_paths.LONGEST_PATH:,} bytes, {member_paths.DEEPEST} folders", "refuses the file"),
        ("name of a file or folder", f"{member_paths.LONGEST_PART} bytes", "refuses the file"),
        ("header of an archive", f"{tarball.LONGEST_HEADER >> 10} KiB", "refuses the file"),
        ("headers of an archive", f"{tarball.MOST_HEADERS:,}", "keeps the files so far"),
        ("refused names that are listed", str(unpack.MOST_REFUSALS), "counts the others"),
        ("time to pack on the machine", f"{transfer.PACK_SECONDS:.0f} s", "gives the fetch up"),
        ("slowest transfer", f"{transfer.STALL_BYTES >> 20} MiB in {transfer.STALL_SECONDS:.0f} s", "unpacks it"),
        ("time to unpack", f"{unpack_process.UNPACK_SECONDS:,.0f} s", "keeps the files so far"),
        ("memory to unpack", f"{worker_unpack.MEMORY_BYTES >> 30} GiB", "keeps the files so far"),
        ("time to fetch the rest of a log", f"{job_end.LOG_SECONDS:.0f} s", "warns that lines are missing"),
        ("time for files after Ctrl-C", f"{stages.RESCUE_SECONDS:.0f} s", "releases the machine"),
        ("answer of a provider or GitHub", f"{bounded.MOST_BYTES >> 20} MiB, {bounded.MOST_SECONDS:.0f} s", NO_ANSWER),
        ("pages of a provider's list", f"{http.PAGES}, {bounded.LISTING_SECONDS:.0f} s", NO_ANSWER),
        ("words of `az` or `kubectl`", f"{programs.MOST_BYTES >> 20} MiB, {programs.SECONDS} s", NO_ANSWER),
        ("one summary of a leg", f"{leg_file.LARGEST_BYTES >> 20} MiB", "names it as unreadable"),
        ("one file of metrics", f"{files.LARGEST_BYTES >> 20} MiB", "names it as unreadable"),
        ("metrics of one run", str(readings.MOST), "leaves the others out"),
    ]  # fmt: skip
    return _markdown(["what", "limit", "beyond it, cvl-ci"], rows)


def _chaos() -> str:
    return chaos_table(run_records.read(sorted(run_records.HERE.glob("*.jsonl"))))


def _told_costs() -> str:
    return metering.table(metering.read(sorted(metering.HERE.glob("*.jsonl"))))


def _price(one: UnitPrice) -> str:
    if one.usd is None:
        return "unknown"
    fixed = f" + ${one.fixed_usd:.2f} a month" if one.fixed_usd else ""
    article = "an" if one.per == "hour" else "a"
    return f"${one.usd:g} {article} {one.per}{fixed}" if one.usd else "none"


def _seconds(one: float | None) -> str:
    return "unknown" if one is None else f"{one:g} s"


def _stages() -> str:
    return _markdown(["stage", "ends because", "then"], transitions.rows())


def _billing() -> str:
    rows = [
        (
            _code(cloud),
            _seconds(rules.granularity_seconds),
            _seconds(rules.minimum_seconds),
            rules.begins,
            rules.until.value,
            f"within {rules.free_spot_seconds / 3600:g} h: free" if rules.free_spot_seconds else "no rule known",
        )
        for cloud, rules in billing.RULES.items()
    ]
    return _markdown(["cloud", "rounded up to", "at least", "billed from when", "until", "spot taken away"], rows)


def _billing_parts() -> str:
    rows = [
        (_code(cloud), rules.disk_type, _price(rules.disk), _price(rules.address), _price(rules.traffic))
        for cloud, rules in billing.RULES.items()
    ]
    return _markdown(["cloud", "disk", "its price", "public IPv4", "fetched files"], rows)


def _billing_sources() -> str:
    rows = []
    for cloud, rules in billing.RULES.items():
        own = [*rules.sources, *(one.source for one in (rules.disk, rules.address, rules.traffic) if one.source)]
        rows.append((_code(cloud), "<br>".join(dict.fromkeys(own))))
    return _markdown(["cloud", f"sources, read on {billing.READ_ON}"], rows)


def _runner_minutes() -> str:
    return _markdown(
        ["SKU", "architecture", "cores", "a minute"],
        [
            (_code(price.sku), architecture, str(cores), f"${price.minute_usd:.3f}")
            for (architecture, cores), price in runner_prices.PRICES.items()
        ],
    )


_MAKERS: Mapping[str, Callable[[], str]] = {
    "inputs": _inputs,
    **{verb: _verb(verb) for verb in VERBS},
    "deploy-refused": _not_of_a_service,
    "action-inputs": _action_inputs,
    "action-outputs": _outputs(ACTION_OUTPUTS),
    "matrix-inputs": _matrix_inputs,
    "matrix-outputs": _outputs(MATRIX_OUTPUTS),
    "credentials": _credentials,
    "chaos": _chaos,
    "limits": _limits,
    "budget": budget_trials.table,
    "endings": endings.table,
    "told-costs": _told_costs,
    "billing": _billing,
    "billing-parts": _billing_parts,
    "billing-sources": _billing_sources,
    "runner-minutes": _runner_minutes,
    "stages": _stages,
}
