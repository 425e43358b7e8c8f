"""The verbs about many legs as steps of a workflow: a matrix for the next job, a report on what its legs left, history.

These verbs launch no machine and take no lease, so post has nothing to undo. A report's ending is its exit code. A
comment, an artifact or an issue that cannot be published is a warning and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from cvl_ci import wiring
from cvl_ci.action.publication import StepPublication
from cvl_ci.action.step import Step
from cvl_ci.action.workspace import give_to_owner
from cvl_ci.commands import matrix as planning
from cvl_ci.commands import report as reporting
from cvl_ci.errors import CvlError, Mistake, RequestError
from cvl_ci.github.api import Repository
from cvl_ci.github.artifacts import reruns
from cvl_ci.github.artifacts.baseline_runs import Earlier, EarlierRuns, Work
from cvl_ci.github.artifacts.download import AT_ONCE, LINES, Gathered, Gathering
from cvl_ci.github.artifacts.http import Http
from cvl_ci.github.artifacts.name import REPORT
from cvl_ci.github.pr.issue import Findings, RegressionIssue
from cvl_ci.github.pr.report_comment import ReportComment
from cvl_ci.inputs import action_variables, matrix_reader
from cvl_ci.local import run_files
from cvl_ci.local.clock import SystemClock
from cvl_ci.ports import Kept
from cvl_ci.result import outputs
from cvl_ci.result.benchmark import leg as summaries
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.matrix import markdown, regressions
from cvl_ci.result.matrix import text as words
from cvl_ci.result.matrix.report import Report
from cvl_ci.result.report import Link, marker
from cvl_ci.wiring import matrix as many

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class MatrixRequest:
    """The inputs of a verb about many legs, and the step that gave them."""

    given: many.Given
    step: Step
    publication: StepPublication
    environ: Mapping[str, str]

    @property
    def door(self) -> many.Door:
        say = self.step.workflow.show
        return many.Door(folder=Path.cwd(), prices=wiring.prices(self.environ), say=say, tell=say, environ=self.environ)


def carry_out(step: Step, publication: StepPublication, environ: Mapping[str, str], mistakes: Sequence[Mistake]) -> int:
    """Return the exit code. `mistakes`: those in the inputs of the other verbs. Raises CvlError."""
    verb = step.asked.verb
    given, more = matrix_reader.read(environ, verb)
    known = {mistake.field for mistake in more}
    if mistakes or more:
        raise RequestError([*(one for one in mistakes if one.field not in known), *more])
    step.state.update(done=True)
    return VERBS[verb](MatrixRequest(given=given, step=step, publication=publication, environ=environ))


# ---- matrix ---------------------------------------------------------------------------------------------------------


def matrix(request: MatrixRequest) -> int:
    built = many.planned(request.given, request.door)
    workflow, on_dropped = request.step.workflow, many.on_dropped(request.given)
    expected, code = built.expected(on_dropped), built.exit_code(on_dropped)
    *details, title = planning.as_text(built)
    listed = [f"{leg.name}: at most ${leg.max_usd:.2f}" for leg in built.legs]
    workflow.show("\n".join([*listed, *details, title]))
    if built.untested:
        tell = workflow.refused if code else workflow.warning
        tell(f"{title} Not tested: {'; '.join(f'{name}: {why}' for name, why in expected.dropped)}")
    elif not built.legs:
        workflow.notice(title)
    with suppress(OSError):
        page: Callable[[int], str] = lambda room: markdown.matrix_page(title, [*details, *listed], room=room)  # noqa: E731
        workflow.commands.summary(page)
    as_json = planning.as_json(built)
    request.publication.set_outputs(outputs.planned(as_json, expected, usd=built.max_usd, reason=title, exit_code=code))
    return code


# ---- report ---------------------------------------------------------------------------------------------------------


def report(request: MatrixRequest) -> int:
    workflow = request.step.workflow
    with _asking(request) as gathering:
        gathered = _gathered(request, gathering)
        valid = _of_this_attempt(request, gathered.legs)
        known = _earlier(request, gathering, valid.legs)
    gated = bool(request.given.get("fail_on_regression"))
    for line in known.notes:
        (workflow.warning if gated else workflow.notice)(line)
    made = many.judge(
        request.given,
        valid.legs,
        history=known.legs,
        commits=known.commits,
        troubles=gathered.troubles,
        outdated=valid.outdated,
        copies=gathered.copies,
    )
    workflow.show("\n".join(reporting.as_text(made)))
    issue = _published(request, made)
    said = words.headline(made)
    folder = str(request.given.get("into", many.FOLDER))
    unknown = CvlError.exit_code if gated and known.unknown else 0
    request.publication.set_outputs(outputs.reported(made, reason=said, folder=folder, issue=issue, otherwise=unknown))
    if unknown:
        workflow.refused(f"{said}. {known.notes[0]} So fail_on_regression cannot tell.")
    if made.exit_code:
        workflow.refused(f"{said}: {words.red_because(made)}")
    elif made.dropped:
        workflow.warning(f"{said}. Not tested: {'; '.join(words.left_out(made))}")
    return made.exit_code or unknown


def _gathered(request: MatrixRequest, gathering: Gathering) -> Gathered:
    """Return the summaries in folders, or in the artifacts of this run. Raises CvlError."""
    if request.given.get("folders"):
        legs, troubles = run_files.gather(request.given["folders"], field="folders")
        return Gathered(legs=tuple(legs), troubles=tuple(troubles))
    gathered = gathering.of_run(int(request.step.here.run))
    over = f"{gathered.expired} summaries of this run are past their retention" if gathered.expired else ""
    return replace(gathered, troubles=(*gathered.troubles, *([over] if over else [])))


def _of_this_attempt(request: MatrixRequest, legs: Sequence[Leg]) -> reruns.Checked:
    """Return the legs that tell of this attempt of this run. Legs of other runs, in folders, count as they are."""
    context, in_folders = request.step.here, bool(request.given.get("folders"))
    if not context.attempt.isdecimal():
        return reruns.Checked(legs=tuple(legs))
    run = context.run_url.rpartition("/attempts/")[0]
    foreign = tuple(leg for leg in legs if in_folders and leg.run_url.rpartition("/attempts/")[0] != run)
    own = [leg for leg in legs if not in_folders or leg.run_url.rpartition("/attempts/")[0] == run]
    checked = reruns.checked(
        reruns.newest(own) if in_folders else own,
        attempt=int(context.attempt),
        jobs=lambda: reruns.list_jobs(_repository(request), int(context.run)),
    )
    if checked.words:
        request.step.workflow.warning(
            f"Which attempt each job last ran in is unknown, so summaries of earlier attempts do not count. "
            f"{checked.words}"
        )
    return replace(checked, legs=(*foreign, *checked.legs))


def _earlier(request: MatrixRequest, gathering: Gathering, found: Sequence[Leg]) -> Earlier:
    """Without it all is measured and nothing compared: red only where a regression is to fail."""
    if request.given["history"] == "none":
        return Earlier()
    try:
        return _asked_for(request, gathering, {(leg.key.example, leg.key.preset) for leg in found})
    except CvlError as error:
        lost = f"Nothing is compared: {error.what} {error.next_step}".strip()
        return Earlier(commits=(run_files.NO_COMMIT,), notes=(lost,), unknown=True)


def _asked_for(request: MatrixRequest, gathering: Gathering, work: Collection[Work]) -> Earlier:
    here, event = request.step.here, request.step.here.event
    runs = EarlierRuns(
        _repository(request),
        gathering,
        run=int(here.run),
        workflow=request.given.get("baseline_workflow", ""),
        report=request.step.artifact_stem(REPORT, attempt=""),
    )
    base = request.given.get("base") or event.base_sha
    commits = runs.commits(base or here.sha, without="" if base else here.sha)
    if request.given["history"] == "branch":
        return Earlier(legs=tuple(many.kept_in_branch(request.given, request.door).read()), commits=commits)
    own = here.branch if event.name == "push" else event.default_branch
    branch = event.base_branch or own or here.branch
    return runs.read(branch=branch, commits=commits, nights=many.settings(request.given).nights, work=work)


def _published(request: MatrixRequest, made: Report) -> str:
    """Publish the artifact first, so that the rest can link to it. Return the issue's address, or an empty text."""
    step, asked = request.step, request.step.asked.publication
    say = step.workflow.warning if asked.comment == "always" else step.workflow.progress
    token = action_variables.value(request.environ, "github_token")
    comment = ReportComment(context=step.here, group=asked.comment_group, token=token, clock=SystemClock(), say=say)
    settings = replace(many.settings(request.given), head=comment.head)
    written = reporting.files(made, assets=run_files.assets(), settings=settings)
    page = (
        _tried(request, "The report's page could not be kept", lambda: _kept(request, made, written)) or reporting.WHERE
    )
    written = reporting.files(made, assets=run_files.assets(), settings=replace(settings, page=page))
    summary, text = (step.masks.hide(written[name]) for name in (reporting.SUMMARY, reporting.COMMENT))
    fitting: Callable[[int], str] = lambda room: summary if len(summary.encode()) <= room else ""  # noqa: E731
    _tried(request, "The summary could not be written", lambda: step.workflow.commands.summary(fitting))
    if asked.comment != "never":
        quiet = asked.comment == "failure" and not made.exit_code and not any(row.worse for row in made.rows)
        _tried(request, "The comment could not be written", lambda: comment.put(text, only_instead=quiet))
    if not request.given.get("issue"):
        return ""
    return _tried(request, "The issue could not be written", lambda: _told_in_issue(request, made, page=page)) or ""


def _kept(request: MatrixRequest, made: Report, written: Mapping[str, str]) -> str:
    """Page, data and lines, as one artifact and in the workspace. Where the page is, in Markdown; empty: there only."""
    step, asked = request.step, request.step.asked.publication
    lines = "".join(f"{summaries.line(leg)}\n" for row in made.rows for leg in row.legs)
    kept = {name: written[name] for name in (reporting.PAGE, reporting.DATA)} | {LINES: lines}
    folder = many.write(step.masks.cleaned(kept), into=str(request.given.get("into", many.FOLDER)))
    give_to_owner(folder)
    if asked.retention_days == 0:
        return ""
    name = step.artifact_stem(REPORT)
    done = step.artifacts().upload(name, root=folder, paths=sorted(kept), retention_days=asked.retention_days)
    if isinstance(done, Kept):
        step.workflow.notice(f"The report is in {folder} of the workspace, and in no artifact: {done.reason}.")
        return ""
    request.publication.set_outputs(outputs.artifact_outputs(artifact_id=done.id, url=done.url))
    return markdown.page_at(Link(words=done.name, url=done.url))


def _told_in_issue(request: MatrixRequest, made: Report, *, page: str) -> str:
    step, here = request.step, request.step.here
    if here.event.pull_request is not None:
        step.workflow.notice("No issue is opened from a pull request: its comment says it all.")
        return ""
    hide = step.masks.hide
    run = Link(words="log of the run", url=here.run_url)
    change = RegressionIssue(
        _repository(request), marker=marker(here.comment_key(f"issue {step.asked.publication.comment_group}"))
    ).tell(
        Findings(
            bad=regressions.bad(made),
            fine=regressions.fine(made),
            title=hide(regressions.title(made, workflow=here.workflow)),
            body=hide(markdown.issue(made, run=run, page=page)),
            recovered=hide(markdown.recovered(made, run=run)),
        )
    )
    if change.did:
        step.workflow.show(f"The issue was {change.did}: {change.url}")
    return change.url


# ---- history --------------------------------------------------------------------------------------------------------


def history(request: MatrixRequest) -> int:
    """Add this run's legs to the branch, and write all of the branch into a file where the inputs name one."""
    with _asking(request) as gathering:
        gathered = _gathered(request, gathering)
    kept = many.kept_in_branch(request.given, request.door)
    count = many.remember(kept, gathered.legs, branch=request.given.get("branch", many.BRANCH), door=request.door)
    for trouble in gathered.troubles:
        request.step.workflow.warning(trouble)
    if request.given.get("into"):
        run_files.write_lines(kept.read(), Path(request.given["into"]))
        give_to_owner(Path(request.given["into"]))
    said = f"{count} runs are in the history."
    request.publication.set_outputs({"ending": "succeeded", "reason": said, "exit_code": "0", "legs": str(count)})
    return 0


# ---- GitHub ---------------------------------------------------------------------------------------------------------


def _repository(request: MatrixRequest) -> Repository:
    here = request.step.here
    token = action_variables.value(request.environ, "github_token")
    if not token or not re.fullmatch(r"\d+", here.run) or not here.repository:
        raise CvlError(
            "GitHub cannot be asked what the legs left: there is no token, or this is no run of a workflow.",
            next_step="Leave the input github_token as it is, or name folders.",
        )
    return Repository(api=here.api, token=token, name=here.repository)


@contextmanager
def _asking(request: MatrixRequest) -> Iterator[Gathering]:
    """Raise CvlError without a token, and outside a workflow run."""
    with closing(Http(environ=request.environ, connections=AT_ONCE)) as http:
        token = action_variables.value(request.environ, "github_token")
        yield Gathering(_repository(request), http=http, api=request.step.here.api, token=token)


def _tried(request: MatrixRequest, what: str, do: Callable[[], T]) -> T | None:
    """Return the result, or warn and return None: a failed publication turns no green report red."""
    try:
        return do()
    except CvlError as error:
        request.step.workflow.warning(f"{what}: {error.what} {error.next_step}".strip())
    except Exception as error:  # noqa: BLE001
        request.step.workflow.warning(f"{what}: {type(error).__name__}: {error}")
    return None


VERBS: Mapping[str, Callable[[MatrixRequest], int]] = {"matrix": matrix, "report": report, "history": history}
