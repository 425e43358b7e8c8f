"""The verbs for many legs, `matrix`, `report` and `history`: typed words in, files and lines out. No environment."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvl_ci.commands import matrix as planning
from cvl_ci.commands import report as reporting
from cvl_ci.errors import NOTHING_STARTED, CvlError, InputProblem, RequestError
from cvl_ci.inputs import expected_legs as expecting
from cvl_ci.local import run_files
from cvl_ci.local.clock import SystemClock
from cvl_ci.local.git.changes import changed_paths
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.local.git.history import HistoryBranch
from cvl_ci.ports import Prices
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.matrix import report as rows
from cvl_ci.result.matrix.claims import latest
from cvl_ci.result.no_follow import refuse_links, write_text

Say = Callable[[str], None]
Given = Mapping[str, Any]
"""Inputs by name and type as in inputs/matrix_inputs.py, from any entry point."""

BRANCH = "cvl-ci-history"
FOLDER = "cvl-report"


@dataclass(frozen=True, kw_only=True)
class Door:
    """The caller. `folder`: its folder. `say` receives results; `tell` receives notes about them."""

    folder: Path
    prices: Prices
    say: Say
    tell: Say
    environ: Mapping[str, str] = field(default_factory=dict)


def matrix(values: Given, door: Door) -> int:
    built = planned(values, door)
    for line in planning.as_text(built):
        door.tell(line)
    code = built.exit_code(on_dropped(values))
    if code:
        door.tell(f"{len(built.untested)} left out, and on_dropped is `fail`. {NOTHING_STARTED}")
    door.say(planning.as_json(built))
    return code


def on_dropped(values: Given) -> str:
    return str(values.get("on_dropped", expecting.WARN))


def planned(values: Given, door: Door) -> planning.Matrix:
    """Return the matrix of a request. Raises RequestError, BudgetError."""
    checkout, since = open_checkout(door.folder), values.get("changed_since")
    request = planning.MatrixRequest(
        **{axis: values.get(axis, ()) for axis in ("examples", "presets", "clouds", "gpus")},
        changed=changed_paths(checkout.root, since=since) if since else None,
        inputs={name: values[name] for name in ("spot", "max_runtime", "max_cost", "files") if name in values},
        repeat=values.get("repeat", 1),
        budget_usd=values.get("budget"),
        shard=values.get("shard"),
    )
    return planning.build(request, checkout=checkout, prices=door.prices)


def report(values: Given, door: Door) -> int:
    if not values.get("folders"):
        raise RequestError([InputProblem(field="FOLDER", value="", problem="is missing: name where the summaries lie")])
    legs, troubles = run_files.gather(values["folders"], field="FOLDER")
    earlier, unread = run_files.gather(values.get("history_files", ()), field="--history-files")
    for line in unread:
        door.tell(line)
    commits = run_files.base_commits(door.folder, earlier, base=values.get("base"), warn=door.tell)
    result = judge(values, legs, history=earlier, commits=commits, troubles=troubles)
    files = reporting.files(result, assets=run_files.assets(), settings=settings(values))
    into = write(files, into=values.get("into", FOLDER))
    for line in reporting.as_text(result):
        door.say(line)
    door.tell(f"{', '.join(files)} are in {into}.")
    return result.exit_code


def judge(
    values: Given,
    legs: Sequence[Leg],
    *,
    history: Sequence[Leg],
    commits: Sequence[str],
    troubles: Sequence[str],
    outdated: Sequence[rows.Outdated] = (),
    copies: Sequence[str] = (),
) -> rows.Report:
    """Return the report.

    `commits`: the base and its ancestors, nearest first. Raises RequestError for useless rules.
    """
    return rows.report(
        legs,
        history=history,
        commits=commits,
        rules=run_files.rules(values.get("rules")),
        policy=rows.Policy(
            fail_on_regression=values.get("fail_on_regression", False),
            fail_on_infrastructure=values.get("infra_failures") == "fail",
        ),
        nights=settings(values).nights,
        troubles=troubles,
        outdated=outdated,
        copies=copies,
        expected=values.get("expected"),
    )


def settings(values: Given) -> reporting.Settings:
    return reporting.Settings(nights=values.get("nights", reporting.Settings.nights))


def write(files: Mapping[str, str], *, into: str) -> Path:
    """Write files by their names into a folder, and create the folder. Raises LinkInTheWay."""
    folder = Path(into)
    refuse_links(folder, *(folder / name for name in files))
    for name, text in files.items():
        write_text(folder / name, text)
    return folder


def history(values: Given, door: Door) -> int:
    """Add new runs to the branch, or write all its runs to a file."""
    branch, stored = values.get("branch", BRANCH), kept_in_branch(values, door)
    if values.get("folders"):
        legs, troubles = run_files.gather(values["folders"], field="FOLDER")
        for trouble in troubles:
            door.tell(trouble)
        remember(stored, legs, branch=branch, door=door)
    if values.get("into"):
        door.say(f"{values['into']}: {run_files.write_lines(stored.read(), Path(values['into']))} runs.")
    elif not values.get("folders"):
        door.say(f"{branch}: {len(stored.read())} runs.")
    return 0


def kept_in_branch(values: Given, door: Door) -> HistoryBranch:
    """Return the branch of history. Raises CvlError if the checkout's git is not usable."""
    branch, remote = values.get("branch", BRANCH), values.get("remote", "origin")
    dice = random.Random()  # noqa: S311  it only keeps two writers that collided from colliding again
    root, clock = open_checkout(door.folder).root, SystemClock()
    return HistoryBranch(root, remote=remote, branch=branch, clock=clock, dice=dice, environ=door.environ)


def remember(stored: HistoryBranch, legs: Sequence[Leg], *, branch: str, door: Door) -> int:
    """Add runs to the branch and return their number. Raises CvlError without runs, or if a push failed."""
    runs = latest(legs)
    if not runs:
        raise CvlError(
            f"No summary of a run was found, so nothing was added to {branch}.",
            next_step="Name the folders of the unpacked artifacts NAME-cost, or skip this step if no leg ran.",
        )
    door.say(f"{branch}: {stored.append(runs)} of {len(runs)} runs are new to it.")
    return len(runs)


VERBS: Mapping[str, Callable[[Given, Door], int]] = {"matrix": matrix, "report": report, "history": history}
