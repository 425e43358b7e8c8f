"""The verbs for many legs, `matrix`, `report` and `history`: typed words in, files and lines out. No environment."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvl_ci.commands import matrix as planning
from cvl_ci.commands import report as reporting
from cvl_ci.errors import NOTHING_STARTED, CvlError, Mistake, RequestError
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
    """The caller. `here`: its folder. `say` receives results; `tell` receives notes about them."""

    here: Path
    prices: Prices
    say: Say
    tell: Say
    environ: Mapping[str, str] = field(default_factory=dict)


def matrix(given: Given, door: Door) -> int:
    built = planned(given, door)
    for line in planning.as_text(built):
        door.tell(line)
    code = built.exit_code(on_dropped(given))
    if code:
        door.tell(f"{len(built.untested)} left out, and on_dropped is `fail`. {NOTHING_STARTED}")
    door.say(planning.as_json(built))
    return code


def on_dropped(given: Given) -> str:
    return str(given.get("on_dropped", expecting.WARN))


def planned(given: Given, door: Door) -> planning.Matrix:
    """Return the matrix of a request. Raises RequestError, BudgetError."""
    checkout, since = open_checkout(door.here), given.get("changed_since")
    request = planning.MatrixRequest(
        **{axis: given.get(axis, ()) for axis in ("examples", "presets", "clouds", "gpus")},
        changed=changed_paths(checkout.root, since=since) if since else None,
        inputs={name: given[name] for name in ("spot", "max_runtime", "max_cost", "files") if name in given},
        repeat=given.get("repeat", 1),
        budget_usd=given.get("budget"),
        shard=given.get("shard"),
    )
    return planning.build(request, checkout=checkout, prices=door.prices)


def report(given: Given, door: Door) -> int:
    if not given.get("folders"):
        raise RequestError([Mistake(field="FOLDER", value="", problem="is missing: name where the summaries lie")])
    legs, troubles = run_files.gather(given["folders"], field="FOLDER")
    earlier, unread = run_files.gather(given.get("history_files", ()), field="--history-files")
    for line in unread:
        door.tell(line)
    commits = run_files.base_commits(door.here, earlier, base=given.get("base"), warn=door.tell)
    result = judged(given, legs, history=earlier, commits=commits, troubles=troubles)
    files = reporting.files(result, assets=run_files.assets(), settings=settings(given))
    into = write(files, into=given.get("into", FOLDER))
    for line in reporting.as_text(result):
        door.say(line)
    door.tell(f"{', '.join(files)} are in {into}.")
    return result.exit_code


def judged(
    given: Given,
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
        rules=run_files.rules(given.get("rules")),
        policy=rows.Policy(
            fail_on_regression=given.get("fail_on_regression", False),
            fail_on_infrastructure=given.get("infra_failures") == "fail",
        ),
        nights=settings(given).nights,
        troubles=troubles,
        outdated=outdated,
        copies=copies,
        expected=given.get("expected"),
    )


def settings(given: Given) -> reporting.Settings:
    return reporting.Settings(nights=given.get("nights", reporting.Settings.nights))


def write(files: Mapping[str, str], *, into: str) -> Path:
    """Write files by their names into a folder, and create the folder. Raises LinkInTheWay."""
    folder = Path(into)
    refuse_links(folder, *(folder / name for name in files))
    for name, text in files.items():
        write_text(folder / name, text)
    return folder


def history(given: Given, door: Door) -> int:
    """Add new runs to the branch, or write all its runs to a file."""
    branch, stored = given.get("branch", BRANCH), kept_in_branch(given, door)
    if given.get("folders"):
        legs, troubles = run_files.gather(given["folders"], field="FOLDER")
        for trouble in troubles:
            door.tell(trouble)
        remember(stored, legs, branch=branch, door=door)
    if given.get("into"):
        door.say(f"{given['into']}: {run_files.write_lines(stored.read(), Path(given['into']))} runs.")
    elif not given.get("folders"):
        door.say(f"{branch}: {len(stored.read())} runs.")
    return 0


def kept_in_branch(given: Given, door: Door) -> HistoryBranch:
    """Return the branch of history. Raises CvlError if the checkout's git is not usable."""
    branch, remote = given.get("branch", BRANCH), given.get("remote", "origin")
    dice = random.Random()  # noqa: S311  it only keeps two writers that collided from colliding again
    root, clock = open_checkout(door.here).root, SystemClock()
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
