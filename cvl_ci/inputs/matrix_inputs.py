"""The inputs of the verbs that see many runs, `matrix`, `report` and `history`, for a terminal and for the action.

They take inputs of a run too: run_inputs.py names the verbs with each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cvl_ci.inputs import expected_legs, parsers
from cvl_ci.inputs.expected_legs import FAIL, WARN, Expected
from cvl_ci.inputs.option import ACTION, CLI, COMMANDS, option
from cvl_ci.inputs.parsers import Wrong

ARTIFACTS, BRANCH, NONE = "artifacts", "branch", "none"
NEUTRAL = "neutral"


def read_list(value: object) -> tuple[str, ...]:
    """Return words that lines or commas separate; the braces of a set of GPUs stay whole."""
    lines = [line for text in (value if isinstance(value, (list, tuple)) else [value]) for line in _lines(text)]
    parts = [part.strip() for line in lines for part in re.split(r",(?![^{]*\})", line)]
    return tuple(dict.fromkeys(part for part in parts if part))


def read_shard(value: object) -> tuple[int, int]:
    """Return the numbers of `2/3`. Raises Wrong."""
    match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", parsers.text(value))
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise Wrong("is not a shard such as 1/3")
    return int(match[1]), int(match[2])


@dataclass(frozen=True, kw_only=True)
class MatrixInputs:
    """The axes of a matrix, and the legs that are left out of it."""

    examples: tuple[str, ...] = option(
        read_list,
        value=(),
        help="The examples: paths, names or patterns.",
        metavar="EXAMPLE...",
        example="examples/vision/*",
        default="all",
        is_positional=True,
        is_repeatable=True,
        entry_points=COMMANDS,
        verbs=("matrix",),
    )
    presets: tuple[str, ...] = option(
        read_list,
        value=(),
        help="Their presets: names or patterns.",
        metavar="PRESETS",
        example="train,predict",
        default="`train` and `predict`, or the only one",
        is_repeatable=True,
        entry_points=COMMANDS,
        verbs=("matrix",),
    )
    clouds: tuple[str, ...] = option(
        read_list,
        value=(),
        help="Each of these makes a leg: cloud[/region[/zone]].",
        metavar="CLOUDS",
        example="aws,gcp/us-central1",
        default="any, which makes one leg",
        is_repeatable=True,
        entry_points=COMMANDS,
        verbs=("matrix",),
    )
    gpus: tuple[str, ...] = option(
        read_list,
        value=(),
        help="Each of these makes a leg.",
        metavar="GPUS",
        example="L4:1,A10G:1",
        default="the example's own need",
        is_repeatable=True,
        entry_points=COMMANDS,
        verbs=("matrix",),
    )
    changed_since: str | None = option(
        parsers.text,
        help="Only examples with a changed file since the checkout left this commit or branch. The files that go to "
        "the machine count.",
        metavar="REF",
        example="origin/main",
        entry_points=COMMANDS,
        verbs=("matrix",),
    )
    budget: float | None = option(
        parsers.dollars,
        help="The most that all legs or jobs may cost, in US dollars. The report names the legs beyond it. A queue "
        "reserves it before each start.",
        metavar="USD",
        example="25",
        default="no limit",
        entry_points=COMMANDS,
        verbs=("matrix", "queue"),
    )
    shard: tuple[int, int] | None = option(
        read_shard,
        help="Only this part of the legs: GitHub takes at most 256 in one matrix.",
        metavar="N/M",
        example="1/3",
        default="all; too many are a mistake",
        entry_points=COMMANDS,
        verbs=("matrix",),
    )
    pack: bool = option(
        parsers.flag,
        value=False,
        help="`true`: legs that need the same machine run in turn on one. Each entry of the matrix is then a queue for "
        "`verb: queue`.",
        default="each leg has its own machine",
        entry_points=COMMANDS,
        verbs=("matrix",),
    )
    on_dropped: str = option(
        parsers.choice(WARN, FAIL),
        value=WARN,
        help="`fail`: a leg that cannot run makes it red: no price, over a budget, or a mistake. `warn`: it does not. "
        "The action sets its outputs in both cases.",
        metavar="warn|fail",
        example="fail",
        default="warn",
        entry_points=COMMANDS,
        verbs=("matrix",),
    )


@dataclass(frozen=True, kw_only=True)
class HistoryInputs:
    """The earlier runs, which give baseline, noise and trends. `history`: the place in which the action keeps them."""

    history: str = option(
        parsers.choice(ARTIFACTS, BRANCH, NONE),
        value=ARTIFACTS,
        help="The place of earlier runs. `artifacts`: this workflow on the base branch, for as long as the "
        "repository keeps them. `branch`: a branch, which `verb: history` writes. `none`: nowhere.",
        example="branch",
        action_default=ARTIFACTS,
        entry_points=ACTION,
        verbs=("report",),
    )
    history_files: tuple[str, ...] = option(
        read_list,
        value=(),
        help="Earlier runs: folders of summaries, or files of such lines. They give baseline, noise and trends.",
        metavar="PATHS",
        example="history.jsonl",
        is_repeatable=True,
        entry_points=CLI,
        verbs=("report",),
    )
    branch: str | None = option(
        parsers.text,
        help="The branch with earlier runs: the verb `history` writes it, and `history: branch` reads it. cvl-ci "
        "creates it when it does not exist.",
        metavar="BRANCH",
        example="cvl-ci-history",
        default="cvl-ci-history",
        entry_points=COMMANDS,
        verbs=("history",),
        action_verbs=("report", "history"),
    )
    remote: str | None = option(
        parsers.text,
        help="The remote that has the branch.",
        metavar="REMOTE",
        example="origin",
        default="origin",
        entry_points=COMMANDS,
        verbs=("history",),
        action_verbs=("report", "history"),
    )
    baseline_workflow: str | None = option(
        parsers.text,
        help="The file name of another workflow whose runs are the baseline.",
        example="nightly-benchmark.yml",
        entry_points=ACTION,
        verbs=("report",),
    )


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """The legs of a report, the baseline, and the failures that make it red."""

    folders: tuple[str, ...] = option(
        read_list,
        value=(),
        help="The folders with the legs' `<lease>.json` files, or with unpacked artifacts NAME-cost. The verb "
        "`history` adds them to the branch.",
        metavar="FOLDER...",
        example="legs",
        default="in the action, the artifacts of this workflow run",
        is_positional=True,
        is_repeatable=True,
        entry_points=COMMANDS,
        verbs=("report", "history"),
    )
    base: str | None = option(
        parsers.text,
        help="The commit or branch to compare with, or its nearest ancestor with runs.",
        metavar="REF",
        example="origin/main",
        default="the pull request's base, else the commit before",
        entry_points=COMMANDS,
        verbs=("report",),
    )
    rules: str | None = option(
        parsers.text,
        help="The file with directions and tolerances of metrics.",
        metavar="FILE",
        example="cvl-ci.yml",
        default="cvl-ci.yml, if it exists",
        entry_points=COMMANDS,
        verbs=("report",),
    )
    infra_failures: str = option(
        parsers.choice(NEUTRAL, FAIL),
        value=NEUTRAL,
        help="`fail`: infrastructure failures make the report or the queue red. `neutral`: they do not. They are legs "
        "and jobs without a machine, quota or credentials, and those that lost their machine.",
        metavar="neutral|fail",
        example="fail",
        default="neutral",
        entry_points=COMMANDS,
        verbs=("report", "queue"),
    )
    nights: int | None = option(
        parsers.whole_number,
        help="How many earlier runs a trend shows.",
        metavar="N",
        example="30",
        default="14",
        entry_points=COMMANDS,
        verbs=("report",),
    )
    into: str | None = option(
        parsers.text,
        help="The folder for report.html, summary.md, comment.md and report.json. With the verb `history`, the file "
        "for all runs of the branch.",
        metavar="PATH",
        example="report",
        default="cvl-report; with `history`, cvl-ci writes no file",
        entry_points=COMMANDS,
        verbs=("report", "history"),
    )
    expected: Expected | None = option(
        expected_legs.read,
        help="The output `expected` of `verb: matrix`. A leg without a summary makes the report red. So does a dropped "
        "leg, when on_dropped is `fail`.",
        entry_points=ACTION,
        verbs=("report",),
    )
    issue: bool = option(
        parsers.flag,
        value=False,
        help="`true`: open an issue when a leg got worse or failed, and close it when all such legs are fine "
        "again. Not on pull requests. It needs `issues: write`.",
        entry_points=ACTION,
        verbs=("report",),
    )


MATRIX_GROUPS = (MatrixInputs, HistoryInputs, ReportInputs)


def _lines(text: object) -> list[str]:
    return [parsers.text(line) for line in str(text).splitlines() if line.strip()]
