"""The verbs for many legs, `matrix`, `report` and `history`: typed words in, files and lines out. No environment."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cvl_ci.commands import matrix as matrices
from cvl_ci.commands import report as reporting
from cvl_ci.commands.plan import month as months
from cvl_ci.errors import NOTHING_STARTED, CvlError, InputProblem, RequestError
from cvl_ci.inputs.expected_legs import FAIL
from cvl_ci.inputs.verb_inputs import MatrixVerbInputs
from cvl_ci.local import run_files
from cvl_ci.local.clock import SystemClock
from cvl_ci.local.git.changes import changed_paths
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.local.git.committed import tracked_files
from cvl_ci.local.git.history import HistoryBranch
from cvl_ci.ports import Prices
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.benchmark.rules import HISTORY_BRANCH
from cvl_ci.result.matrix import report as report_rows
from cvl_ci.result.matrix.claims import latest
from cvl_ci.result.no_follow import refuse_links, write_text
from cvl_ci.wiring.month import month_budget

Say = Callable[[str], None]

BRANCH = HISTORY_BRANCH
FOLDER = "cvl-report"


@dataclass(frozen=True, kw_only=True)
class MatrixCaller:
    """The caller. `folder`: its folder. `say` receives results; `tell` receives notes about them."""

    folder: Path
    prices: Prices
    say: Say
    tell: Say
    environ: Mapping[str, str] = field(default_factory=dict)


def matrix(inputs: MatrixVerbInputs, caller: MatrixCaller) -> int:
    built = planned(inputs, caller)
    for line in matrices.as_text(built):
        caller.tell(line)
    code = built.exit_code(inputs.matrix.on_dropped)
    if code:
        caller.tell(f"{len(built.untested)} left out, and on_dropped is `fail`. {NOTHING_STARTED}")
    caller.say(matrices.as_json(built))
    return code


def planned(inputs: MatrixVerbInputs, caller: MatrixCaller) -> matrices.Matrix:
    """Return the matrix of a request. Raises RequestError, BudgetError."""
    checkout, since = open_checkout(caller.folder), inputs.matrix.changed_since
    request = matrices.MatrixRequest(
        axes=inputs.matrix,
        changed=changed_paths(checkout.root, since=since) if since else None,
        inputs={name: value for name, value in _of_every_leg(inputs).items() if value is not None},
        repeat=inputs.trials.repeat or 1,
        month=month_budget(checkout, caller.environ),
    )
    built = matrices.build(request, checkout=checkout, prices=caller.prices)
    if request.month is not None and any(leg.is_billed for leg in built.legs):
        caller.tell(f"monthly_budget: {months.describe(request.month)}.")
        for line in months.warnings(request.month):
            caller.tell(line)
    return built


def _of_every_leg(inputs: MatrixVerbInputs) -> Mapping[str, object]:
    """Return the inputs that every leg gets unchanged, by name; None: absent."""
    return {
        "spot": inputs.machine.spot,
        "max_runtime": inputs.limits.max_runtime,
        "max_cost": inputs.limits.max_cost,
        "files": inputs.work.files,
    }


def report(inputs: MatrixVerbInputs, caller: MatrixCaller) -> int:
    if not inputs.report.folders:
        raise RequestError([InputProblem(field="FOLDER", value="", problem="is missing: name where the summaries lie")])
    legs, troubles = run_files.gather(inputs.report.folders, field="FOLDER")
    names = inputs.history.history_files
    earlier, unread = run_files.gather(names, field="--history-files", believes_git=True)
    if any(tracked_files(caller.folder, [name]) for name in names):
        unread.append(
            "The files of --history-files are in git, so the change under test can change its own baseline. "
            "Review them, or read them from a branch that only `cvl-ci history` writes."
        )
    for line in unread:
        caller.tell(line)
    commits = run_files.base_commits(caller.folder, earlier, base=inputs.report.base, warn=caller.tell)
    result = judge(inputs, legs, history=earlier, commits=commits, troubles=troubles)
    files = reporting.files(result, assets=run_files.assets(), settings=settings(inputs))
    into = write(files, into=inputs.report.into or FOLDER)
    for line in reporting.as_text(result):
        caller.say(line)
    caller.tell(f"{', '.join(files)} are in {into}.")
    return result.exit_code


def judge(
    inputs: MatrixVerbInputs,
    legs: Sequence[Leg],
    *,
    history: Sequence[Leg],
    commits: Sequence[str],
    troubles: Sequence[str],
    outdated: Sequence[report_rows.Outdated] = (),
    copies: Sequence[str] = (),
    superseded: Sequence[Leg] = (),
) -> report_rows.Report:
    """Return the report.

    `commits`: the base and its ancestors, nearest first. Raises RequestError for useless rules.
    """
    return report_rows.report(
        legs,
        history=history,
        commits=commits,
        rules=run_files.rules(inputs.report.rules),
        policy=report_rows.ReportPolicy(
            fail_on_regression=bool(inputs.trials.fail_on_regression),
            fail_on_infrastructure=inputs.report.infra_failures == FAIL,
        ),
        nights=settings(inputs).nights,
        troubles=troubles,
        outdated=outdated,
        copies=copies,
        superseded=superseded,
        expected=inputs.report.expected,
        now=SystemClock().now(),
    )


def settings(inputs: MatrixVerbInputs) -> reporting.Settings:
    return reporting.Settings(nights=inputs.report.nights or reporting.Settings.nights)


def write(files: Mapping[str, str], *, into: str) -> Path:
    """Write files by their names into a folder, and create the folder. Raises LinkInTheWay."""
    folder = Path(into)
    refuse_links(folder, *(folder / name for name in files))
    for name, text in files.items():
        write_text(folder / name, text)
    return folder


def history(inputs: MatrixVerbInputs, caller: MatrixCaller) -> int:
    """Add new runs to the branch, or write all its runs to a file."""
    branch, stored = inputs.history.branch or BRANCH, kept_in_branch(inputs, caller)
    if inputs.report.folders:
        legs, troubles = run_files.gather(inputs.report.folders, field="FOLDER")
        for trouble in troubles:
            caller.tell(trouble)
        remember(stored, legs, branch=branch, caller=caller)
    into = inputs.report.into
    if into:
        caller.say(f"{into}: {run_files.write_lines(stored.read(), Path(into))} runs.")
    elif not inputs.report.folders:
        caller.say(f"{branch}: {len(stored.read())} runs.")
    return 0


def kept_in_branch(inputs: MatrixVerbInputs, caller: MatrixCaller) -> HistoryBranch:
    """Return the branch of history. Raises CvlError if the checkout's git is not usable."""
    branch, remote = inputs.history.branch or BRANCH, inputs.history.remote or "origin"
    dice = random.Random()  # noqa: S311  it only keeps two writers that collided from colliding again
    root, clock = open_checkout(caller.folder).root, SystemClock()
    return HistoryBranch(root, remote=remote, branch=branch, clock=clock, dice=dice, environ=caller.environ)


def remember(stored: HistoryBranch, legs: Sequence[Leg], *, branch: str, caller: MatrixCaller) -> int:
    """Add runs to the branch and return their number. Raises CvlError without runs, or if a push failed."""
    runs = latest(legs)
    if not runs:
        raise CvlError(
            f"No summary of a run was found, so nothing was added to {branch}.",
            next_step="Name the folders of the unpacked artifacts NAME-cost, or skip this step if no leg ran.",
        )
    caller.say(f"{branch}: {stored.append(runs)} of {len(runs)} runs are new to it.")
    return len(runs)


Verb = Callable[[MatrixVerbInputs, MatrixCaller], int]

VERBS: Mapping[str, Verb] = {"matrix": matrix, "report": report, "history": history}
