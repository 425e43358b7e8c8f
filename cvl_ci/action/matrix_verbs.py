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
from cvl_ci.commands import matrix as matrices
from cvl_ci.commands import report as reporting
from cvl_ci.errors import CvlError, InputProblem, RequestError
from cvl_ci.github.api import Repository
from cvl_ci.github.artifacts import reruns
from cvl_ci.github.artifacts.baseline_runs import BaselineReader, BaselineRuns, Work
from cvl_ci.github.artifacts.download import AT_ONCE, LINES, ArtifactLegs, ArtifactReader
from cvl_ci.github.artifacts.http import Http
from cvl_ci.github.artifacts.name import REPORT
from cvl_ci.github.pr.issue import IssueFindings, RegressionIssue
from cvl_ci.github.pr.report_comment import ReportComment
from cvl_ci.inputs import action_variables, matrix_reader
from cvl_ci.inputs.matrix_inputs import BRANCH, NONE
from cvl_ci.inputs.verb_inputs import MatrixVerbInputs, of_matrix_verb
from cvl_ci.local import run_files
from cvl_ci.local.clock import SystemClock
from cvl_ci.ports import NotUploaded
from cvl_ci.result import outputs
from cvl_ci.result.benchmark import leg_file
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.matrix import markdown, regressions
from cvl_ci.result.matrix import text as row_text
from cvl_ci.result.matrix.report import Report
from cvl_ci.result.report import Link, marker
from cvl_ci.wiring import matrix as wired_matrix

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class MatrixVerbRequest:
    """The inputs of a verb about many legs, and the step that gave them."""

    inputs: MatrixVerbInputs
    step: Step
    publication: StepPublication
    environ: Mapping[str, str]

    @property
    def caller(self) -> wired_matrix.MatrixCaller:
        say = self.step.reporter.show
        return wired_matrix.MatrixCaller(
            folder=Path.cwd(), prices=wiring.prices(self.environ), say=say, tell=say, environ=self.environ
        )


def carry_out(
    step: Step, publication: StepPublication, environ: Mapping[str, str], mistakes: Sequence[InputProblem]
) -> int:
    """Return the exit code. `mistakes`: those in the inputs of the other verbs. Raises CvlError."""
    verb = step.inputs.verb
    values, faults = matrix_reader.read(environ, verb)
    faulty_fields = {mistake.field for mistake in faults}
    if mistakes or faults:
        raise RequestError([*(one for one in mistakes if one.field not in faulty_fields), *faults])
    step.state.update(done=True)
    inputs = of_matrix_verb(values)
    return VERBS[verb](MatrixVerbRequest(inputs=inputs, step=step, publication=publication, environ=environ))


# ---- matrix ---------------------------------------------------------------------------------------------------------


def matrix(request: MatrixVerbRequest) -> int:
    built = wired_matrix.planned(request.inputs, request.caller)
    reporter, on_dropped = request.step.reporter, request.inputs.matrix.on_dropped
    expected, code = built.expected(on_dropped), built.exit_code(on_dropped)
    *details, title = matrices.as_text(built)
    leg_lines = [f"{leg.name}: at most ${leg.max_usd:.2f}" for leg in built.legs]
    reporter.show("\n".join([*leg_lines, *details, title]))
    if built.untested:
        tell = reporter.refused if code else reporter.warning
        tell(f"{title} Not tested: {'; '.join(f'{name}: {why}' for name, why in expected.dropped)}")
    elif not built.legs:
        reporter.notice(title)
    with suppress(OSError):
        page: Callable[[int], str] = lambda room: markdown.matrix_page(title, [*details, *leg_lines], room=room)  # noqa: E731
        reporter.commands.summary(page)
    as_json = matrices.as_json(built)
    request.publication.set_outputs(outputs.planned(as_json, expected, usd=built.max_usd, reason=title, exit_code=code))
    return code


# ---- report ---------------------------------------------------------------------------------------------------------


def report(request: MatrixVerbRequest) -> int:
    reporter = request.step.reporter
    with _open_reader(request) as reader:
        artifact_legs = _artifact_legs(request, reader)
        valid = _of_this_attempt(request, artifact_legs.legs)
        earlier = _earlier_legs(request, reader, valid.legs)
    gated = bool(request.inputs.trials.fail_on_regression)
    for line in earlier.notes:
        (reporter.warning if gated else reporter.notice)(line)
    result = wired_matrix.judge(
        request.inputs,
        valid.legs,
        history=earlier.legs,
        commits=earlier.commits,
        troubles=artifact_legs.troubles,
        outdated=valid.outdated,
        copies=artifact_legs.copies,
        superseded=valid.superseded,
    )
    reporter.show("\n".join(reporting.as_text(result)))
    issue = _publish(request, result)
    headline = row_text.headline(result)
    folder = request.inputs.report.into or wired_matrix.FOLDER
    unknown = CvlError.exit_code if gated and earlier.unknown else 0
    request.publication.set_outputs(
        outputs.reported(result, reason=headline, folder=folder, issue=issue, otherwise=unknown)
    )
    if unknown:
        reporter.refused(f"{headline}. {earlier.notes[0]} So fail_on_regression cannot tell.")
    if result.exit_code:
        reporter.refused(f"{headline}: {row_text.red_because(result)}")
    elif result.dropped:
        reporter.warning(f"{headline}. Not tested: {'; '.join(row_text.left_out(result))}")
    return result.exit_code or unknown


def _artifact_legs(request: MatrixVerbRequest, reader: ArtifactReader) -> ArtifactLegs:
    """Return the summaries in folders, or in the artifacts of this run. Raises CvlError."""
    if request.inputs.report.folders:
        legs, troubles = run_files.gather(request.inputs.report.folders, field="folders")
        return ArtifactLegs(legs=tuple(legs), troubles=tuple(troubles))
    artifact_legs = reader.of_run(int(request.step.context.run))
    over = f"{artifact_legs.expired} summaries of this run are past their retention" if artifact_legs.expired else ""
    return replace(artifact_legs, troubles=(*artifact_legs.troubles, *([over] if over else [])))


def _of_this_attempt(request: MatrixVerbRequest, legs: Sequence[Leg]) -> reruns.Checked:
    """Return the legs that tell of this attempt of this run. Legs of other runs, in folders, count as they are."""
    context, in_folders = request.step.context, bool(request.inputs.report.folders)
    if not context.attempt.isdecimal():
        return reruns.Checked(legs=tuple(legs))
    run = context.run_url.rpartition("/attempts/")[0]
    foreign = tuple(leg for leg in legs if in_folders and leg.source.run_url.rpartition("/attempts/")[0] != run)
    own = [leg for leg in legs if not in_folders or leg.source.run_url.rpartition("/attempts/")[0] == run]
    checked = reruns.checked(
        reruns.newest(own) if in_folders else own,
        attempt=int(context.attempt),
        jobs=lambda: reruns.list_jobs(_repository(request), int(context.run)),
    )
    if checked.warning:
        request.step.reporter.warning(
            f"Which attempt each job last ran in is unknown, so summaries of earlier attempts do not count. "
            f"{checked.warning}"
        )
    superseded = reruns.superseded(own, checked.legs)
    return replace(checked, legs=(*foreign, *checked.legs), superseded=superseded)


def _earlier_legs(request: MatrixVerbRequest, reader: ArtifactReader, legs: Sequence[Leg]) -> BaselineRuns:
    """Return the earlier runs. Without an answer the report compares nothing, and only fail_on_regression fails."""
    if request.inputs.history.history == NONE:
        return BaselineRuns()
    try:
        return _read_earlier(request, reader, {(leg.key.example, leg.key.preset) for leg in legs})
    except CvlError as error:
        lost = f"Nothing is compared: {error.what} {error.next_step}".strip()
        return BaselineRuns(commits=(run_files.NO_COMMIT,), notes=(lost,), unknown=True)


def _read_earlier(request: MatrixVerbRequest, reader: ArtifactReader, work: Collection[Work]) -> BaselineRuns:
    context, event = request.step.context, request.step.context.event
    runs = BaselineReader(
        _repository(request),
        reader,
        run=int(context.run),
        workflow=request.inputs.history.baseline_workflow or "",
        report=request.step.artifact_stem(REPORT, attempt=""),
    )
    base = request.inputs.report.base or event.base_sha
    commits = runs.commits(base or context.sha, without="" if base else context.sha)
    if request.inputs.history.history == BRANCH:
        return BaselineRuns(
            legs=tuple(wired_matrix.kept_in_branch(request.inputs, request.caller).read()), commits=commits
        )
    own = context.branch if event.name == "push" else event.default_branch
    branch = event.base_branch or own or context.branch
    return runs.read(branch=branch, commits=commits, nights=wired_matrix.settings(request.inputs).nights, work=work)


def _publish(request: MatrixVerbRequest, result: Report) -> str:
    """Publish the artifact first, so that the rest can link to it. Return the issue's address, or an empty text."""
    step, publication = request.step, request.step.inputs.publication
    say = step.reporter.warning if publication.comment == "always" else step.reporter.progress
    token = action_variables.value(request.environ, "github_token")
    comment = ReportComment(
        context=step.context, group=publication.comment_group, token=token, clock=SystemClock(), say=say
    )
    settings = replace(wired_matrix.settings(request.inputs), head=comment.head)
    files = reporting.files(result, assets=run_files.assets(), settings=settings)
    page = (
        _result_or_warning(request, "The report's page could not be kept", lambda: _keep_report(request, result, files))
        or reporting.WHERE
    )
    files = reporting.files(result, assets=run_files.assets(), settings=replace(settings, page=page))
    summary, text = (step.masks.hide(files[name]) for name in (reporting.SUMMARY, reporting.COMMENT))
    fitting: Callable[[int], str] = lambda room: summary if len(summary.encode()) <= room else ""  # noqa: E731
    _result_or_warning(request, "The summary could not be written", lambda: step.reporter.commands.summary(fitting))
    if publication.comment != "never":
        quiet = (
            publication.comment == "failure"
            and not result.exit_code
            and not any(row.comparison.worse for row in result.rows)
        )
        _result_or_warning(request, "The comment could not be written", lambda: comment.put(text, only_instead=quiet))
    if not request.inputs.report.issue:
        return ""
    return (
        _result_or_warning(request, "The issue could not be written", lambda: _update_issue(request, result, page=page))
        or ""
    )


def _keep_report(request: MatrixVerbRequest, result: Report, files: Mapping[str, str]) -> str:
    """Store page, data and lines in the workspace and as one artifact.

    Return the place of the page, in Markdown; empty without an artifact.
    """
    step, publication = request.step, request.step.inputs.publication
    lines = "".join(f"{leg_file.line(leg)}\n" for row in result.rows for leg in row.legs)
    contents = {name: files[name] for name in (reporting.PAGE, reporting.DATA)} | {LINES: lines}
    folder = wired_matrix.write(step.masks.cleaned(contents), into=request.inputs.report.into or wired_matrix.FOLDER)
    give_to_owner(folder)
    if publication.retention_days == 0:
        return ""
    name = step.artifact_stem(REPORT)
    upload = step.artifacts().upload(
        name, root=folder, paths=sorted(contents), retention_days=publication.retention_days
    )
    if isinstance(upload, NotUploaded):
        step.reporter.notice(f"The report is in {folder} of the workspace, and in no artifact: {upload.reason}.")
        return ""
    request.publication.set_outputs(outputs.artifact_outputs(artifact_id=upload.id, url=upload.url))
    return markdown.page_at(Link(text=upload.name, url=upload.url))


def _update_issue(request: MatrixVerbRequest, result: Report, *, page: str) -> str:
    step, context = request.step, request.step.context
    if context.event.pull_request is not None:
        step.reporter.notice("No issue is opened from a pull request: its comment says it all.")
        return ""
    hide = step.masks.hide
    run = Link(text="log of the run", url=context.run_url)
    change = RegressionIssue(
        _repository(request), marker=marker(context.comment_key(f"issue {step.inputs.publication.comment_group}"))
    ).tell(
        IssueFindings(
            bad=regressions.bad(result),
            fine=regressions.fine(result),
            title=hide(regressions.title(result, workflow=context.workflow)),
            body=hide(markdown.issue(result, run=run, page=page)),
            recovered=hide(markdown.recovered(result, run=run)),
        )
    )
    if change.did:
        step.reporter.show(f"The issue was {change.did}: {change.url}")
    return change.url


# ---- history --------------------------------------------------------------------------------------------------------


def history(request: MatrixVerbRequest) -> int:
    """Add this run's legs to the branch, and write all of the branch into a file where the inputs name one."""
    with _open_reader(request) as reader:
        artifact_legs = _artifact_legs(request, reader)
    branch_history = wired_matrix.kept_in_branch(request.inputs, request.caller)
    branch = request.inputs.history.branch or wired_matrix.BRANCH
    count = wired_matrix.remember(branch_history, artifact_legs.legs, branch=branch, caller=request.caller)
    for trouble in artifact_legs.troubles:
        request.step.reporter.warning(trouble)
    if request.inputs.report.into:
        into = Path(request.inputs.report.into)
        run_files.write_lines(branch_history.read(), into)
        give_to_owner(into)
    reason = f"{count} runs are in the history."
    request.publication.set_outputs({"ending": "succeeded", "reason": reason, "exit_code": "0", "legs": str(count)})
    return 0


# ---- GitHub ---------------------------------------------------------------------------------------------------------


def _repository(request: MatrixVerbRequest) -> Repository:
    context = request.step.context
    token = action_variables.value(request.environ, "github_token")
    if not token or not re.fullmatch(r"\d+", context.run) or not context.repository:
        raise CvlError(
            "cvl-ci cannot ask GitHub for the leftovers of the legs: there is no token, or no workflow run.",
            next_step="Leave the input github_token as it is, or name folders.",
        )
    return Repository(api=context.server.api, token=token, name=context.repository)


@contextmanager
def _open_reader(request: MatrixVerbRequest) -> Iterator[ArtifactReader]:
    """Yield the reader of this run's artifacts. Raise CvlError without a token, and outside a workflow run."""
    with closing(Http(environ=request.environ, connections=AT_ONCE)) as http:
        token = action_variables.value(request.environ, "github_token")
        yield ArtifactReader(_repository(request), http=http, api=request.step.context.server.api, token=token)


def _result_or_warning(request: MatrixVerbRequest, what: str, do: Callable[[], T]) -> T | None:
    """Return the result, or warn and return None: a failed publication turns no green report red."""
    try:
        return do()
    except CvlError as error:
        request.step.reporter.warning(f"{what}: {error.what} {error.next_step}".strip())
    except Exception as error:  # noqa: BLE001
        request.step.reporter.warning(f"{what}: {type(error).__name__}: {error}")
    return None


VERBS: Mapping[str, Callable[[MatrixVerbRequest], int]] = {"matrix": matrix, "report": report, "history": history}
