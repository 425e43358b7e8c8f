"""Detached runs as steps of a workflow: main leaves the record as an artifact, and the verb `collect` reads it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci import wiring
from cvl_ci.action import collected_comment
from cvl_ci.action.workspace import give_to_owner
from cvl_ci.errors import CvlError, InputProblem, RequestError, explain_while_running
from cvl_ci.github import commit_status
from cvl_ci.github.api import ApiRefused, Repository
from cvl_ci.github.artifacts import detached_runs
from cvl_ci.github.artifacts.download import AT_ONCE, ArtifactReader
from cvl_ci.github.artifacts.http import Http
from cvl_ci.github.commit_status import CommitState
from cvl_ci.local.lease_records import UNREADABLE, as_text, from_text
from cvl_ci.model.lease_name import LABEL_LEASE, LABEL_OWNER, LABEL_RUN
from cvl_ci.model.outcome import Outcome
from cvl_ci.model.owner import owner_label
from cvl_ci.ports import NotUploaded
from cvl_ci.result.matrix import failures, source
from cvl_ci.result.matrix.failures import Failure
from cvl_ci.result.no_follow import write_text
from cvl_ci.result.text import ending_text
from cvl_ci.result.units import moment

if TYPE_CHECKING:
    from cvl_ci.action.publication import StepPublication
    from cvl_ci.action.step import Step
    from cvl_ci.commands.collect.running import StillRunning
    from cvl_ci.commands.publish import WorkflowFacts
    from cvl_ci.github.artifacts.detached_runs import WaitingRun
    from cvl_ci.github.pr.step_comment import StepComment
    from cvl_ci.ports import LeaseRecord, Records

CONTEXT = "context"
COMMIT = "commit"
RUN_URL = "run_url"
LEG, JOB, WORKFLOW = "leg", "job", "workflow"
LONGEST_GROUP = 200


def hand_over(step: Step, outcome: Outcome, environ: Mapping[str, str]) -> None:
    """Upload the record of a run whose job goes on, and let its commit wait. Raise CvlError if none could collect it.

    A status that cannot be set is a warning: the job and its results stay.
    """
    name, context = step.owner.name, step.context
    record = wiring.open_records(environ, step.reporter).read(name)
    if record is None or record.detached is None:
        raise CvlError("The record of the detached run is lost, so no workflow could collect it.")
    check = f"cvl-ci: {outcome.work.title} ({context.job_name})"
    commit = context.event.head_sha or context.event.sha or context.sha
    facts = {
        RUN_URL: context.run_url,
        COMMIT: commit,
        CONTEXT: check,
        LEG: context.leg_text,
        JOB: context.job_name,
        WORKFLOW: context.workflow,
        **collected_comment.facts_of(context, group=step.inputs.publication.comment_group),
    }
    folder = step.outputs.with_name(f"{name}.detached")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{name}.json", as_text(replace(record, detached=replace(record.detached, workflow=facts))))
    uploaded = step.artifacts().upload(f"{detached_runs.WAITING}{name}", root=folder, paths=[f"{name}.json"])
    give_to_owner(step.outputs.parent)
    if isinstance(uploaded, NotUploaded):
        raise CvlError(f"The record of the detached run could not be uploaded: {uploaded.reason}.")
    until = moment(record.deadline)
    _set_status(
        step, environ, commit=commit, context=check, state=CommitState.PENDING, text=f"runs until {until} at most"
    )


def carry_out(
    step: Step, publication: StepPublication, environ: Mapping[str, str], mistakes: Sequence[InputProblem]
) -> int:
    """Collect the detached runs of this repository and return the worst exit code. Raise CvlError.

    A job that still runs is not a failure: the schedule asks again.
    """
    from cvl_ci.commands.collect import text
    from cvl_ci.wiring import collecting

    if mistakes:
        raise RequestError(mistakes)
    step.state.update(done=True)
    records = wiring.open_records(environ, step.reporter)
    runs, doubt = _waiting(step, environ, records)
    if doubt:
        step.reporter.refused(doubt)
    if not runs:
        if not doubt:
            step.reporter.show("No detached run of this repository waits for collect.")
        return text.EXIT_UNKNOWN if doubt else 0
    clouds = [place.cloud for name in runs if (one := records.read(name)) for place in one.locations]
    environ = wiring.credentials(environ, list(dict.fromkeys(clouds)), mask=step.reporter.mask)

    def publish(record: LeaseRecord, outcome: Outcome, folder: Path) -> None:
        is_gone = outcome.release is not None and outcome.release.gone
        if is_gone:
            run = runs[record.name]
            facts = _facts(record, run, web=f"{step.context.server.web}/{step.context.repository}")
            name, comment = f"{source.COLLECTED}{record.name}", _comment(step, environ, record, run, facts.run_url)
            publication.publish_collected(outcome, folder=folder, name=name, facts=facts, comment=comment)
        is_told = _close(step, environ, record, outcome, commit=runs[record.name].commit)
        if is_gone and is_told:  # last of all: without the mark, the next step collects again
            _mark(step, record.name, folder)
        give_to_owner(step.outputs.parent)

    def folder_of(name: str) -> Path:
        step.reporter.errors.clear()  # no report has a line of another run
        return step.outputs.with_name(name)

    collected = collecting.collect(
        list(runs),
        environ=environ,
        user_id=step.owner.user_id,
        reporter=step.reporter,
        folder_of=folder_of,
        publish=publish,
    )
    for line in text.lines(collected):
        step.reporter.show(line)
    _warn_of_doubts(step, collected.running)
    return text.EXIT_UNKNOWN if doubt else text.exit_code(collected, is_neutral=True)


def _waiting(step: Step, environ: Mapping[str, str], records: Records) -> tuple[dict[str, WaitingRun], str]:
    """Return the runs whose record is trusted and on disk now, and why there may be more; empty: there are none."""
    runs: dict[str, WaitingRun] = {}
    with _reader(step, environ) as (repository, reader):
        branch, say = step.context.branch, step.reporter.warning
        answer = detached_runs.waiting(repository, reader, branch=branch, now=time.time(), say=say)
        unread = list(answer.unread)
        for run in answer.runs:
            if run.lease in runs:
                continue  # a run that was tried again may have several
            try:
                record = _record(run, repository=repository.name, step=step)
                if record is not None:
                    records.write(record)
                    runs[run.lease] = run
            except CvlError as error:
                say(error.what)
                unread.append(run.lease)
    return runs, _doubt([lease for lease in dict.fromkeys(unread) if lease not in runs], is_whole=answer.is_whole)


def _facts(record: LeaseRecord, run: WaitingRun, *, web: str) -> WorkflowFacts:
    """Return the facts of the run's own workflow: commit and run by GitHub's word, the rest by its record.

    `web`: the page of the repository.
    """
    from cvl_ci.commands.publish import WorkflowFacts

    facts = record.detached.workflow if record.detached else {}
    url = f"{web}/actions/runs/{run.run}"
    attempt = facts.get(RUN_URL, "")
    is_attempt = attempt.removeprefix(f"{url}/attempts/").isdecimal()
    return WorkflowFacts(
        commit=run.commit,
        run_url=attempt if is_attempt else url,
        leg=facts.get(LEG, ""),
        job=facts.get(JOB, ""),
        workflow=facts.get(WORKFLOW, ""),
    )


def _comment(
    step: Step, environ: Mapping[str, str], record: LeaseRecord, run: WaitingRun, run_url: str
) -> StepComment | None:
    """Return the comment of the run's own job. None, with a warning: GitHub did not tell its pull request."""
    facts = record.detached.workflow if record.detached else {}
    attempt = run_url.rpartition("/attempts/")[2]
    try:
        with _reader(step, environ) as (repository, _):
            context = collected_comment.context_of(
                run,
                facts,
                attempt=attempt if attempt.isdecimal() else "",
                own=step.context,
                repository=repository,
            )
    except CvlError as error:
        step.reporter.warning(f"No comment tells the end of {record.name}. {explain_while_running(error)}")
        return None
    return step.comment_of(context, group=facts.get(collected_comment.GROUP, "")[:LONGEST_GROUP])


def _doubt(unread: Sequence[str], *, is_whole: bool) -> str:
    texts = []
    if unread:
        texts.append(f"The records of these detached runs could not be read: {', '.join(unread)}.")
    if not is_whole:
        most = detached_runs.MOST
        texts.append(
            f"The repository has more than {most:,} artifacts, so a detached run may not be found: delete some."
        )
    if texts:
        texts.append("Of such a run nothing was taken down. Its machine ends itself by its deadline.")
        texts.append("The next collection tries again. To end one now: cvl-ci down NAME --cloud aws")
    return " ".join(texts)


def _mark(step: Step, lease: str, folder: Path) -> None:
    """Upload the mark that this lease is collected. Its failure is a warning: the next step collects again."""
    root = folder.with_name(f"{lease}.mark")
    try:
        root.mkdir(parents=True, exist_ok=True)
        write_text(root / f"{lease}.txt", "Nothing is left to collect. Without this artifact, cvl-ci collects again.\n")
        uploaded = step.artifacts().upload(detached_runs.mark_name(lease), root=root, paths=[f"{lease}.txt"])
        problem = uploaded.reason if isinstance(uploaded, NotUploaded) else ""
    except (CvlError, OSError) as error:
        problem = error.what if isinstance(error, CvlError) else str(error)
    if problem:
        step.reporter.warning(f"The next collection fetches {lease} again: its mark was not uploaded. {problem}")


def _record(run: WaitingRun, *, repository: str, step: Step) -> LeaseRecord | None:
    """Return the record of an artifact; None, with a warning, for one of another repository or run.

    Raise CvlError for a text that is not a record. What only a collection or a person writes is not taken from it.
    """
    try:
        record = from_text(run.lease, run.text)
    except UNREADABLE as error:
        raise CvlError(f"The record of {run.lease} cannot be read ({type(error).__name__}).") from error
    labels, detached = record.labels, record.detached
    own = labels.get(LABEL_OWNER) == owner_label(repository) and labels.get(LABEL_LEASE) == run.lease
    if detached is None or not own or labels.get(LABEL_RUN, "").rpartition("-")[0] != run.run:
        step.reporter.warning(
            f"The record of {run.lease} names another repository or run, so nothing was done with it."
        )
        return None
    return replace(record, released_at=None, is_cancelled=False, detached=replace(detached, is_collected=False))


def _close(step: Step, environ: Mapping[str, str], record: LeaseRecord, outcome: Outcome, *, commit: str) -> bool:
    """Set the status of the commit, and return whether there is nothing left to tell it."""
    context = record.detached.workflow.get(CONTEXT, "") if record.detached else ""
    if not context:
        return True
    state = _state(outcome)
    return _set_status(step, environ, commit=commit, context=context, state=state, text=ending_text(outcome))


def _state(outcome: Outcome) -> CommitState:
    """Return the state of the commit: a failure is the code's own, and an error is infrastructure."""
    kind = failures.of_outcome(outcome)
    if kind is None or kind is Failure.IDLE_NEUTRAL:
        return CommitState.SUCCESS
    return CommitState.ERROR if kind in failures.INFRASTRUCTURE or kind is Failure.MACHINE_LEFT else CommitState.FAILURE


def _set_status(
    step: Step, environ: Mapping[str, str], *, commit: str, context: str, state: CommitState, text: str
) -> bool:
    """Set the status, and return whether another try is of no use: it is set, or GitHub refuses it for good."""
    try:
        with _reader(step, environ) as (repository, _):
            commit_status.set_status(
                repository, commit=commit, context=context, state=state, description=text, url=step.context.run_url
            )
    except CvlError as error:
        step.reporter.warning(f"The commit does not show the state of the detached run. {explain_while_running(error)}")
        return isinstance(error, ApiRefused)
    return True


def _warn_of_doubts(step: Step, running: Sequence[StillRunning]) -> None:
    for one in running:
        if one.doubt:
            step.reporter.warning(f"{one.lease}: {one.doubt}")


@contextmanager
def _reader(step: Step, environ: Mapping[str, str]) -> Iterator[tuple[Repository, ArtifactReader]]:
    context, token = step.context, step.github_token
    repository = Repository(api=context.server.api, token=token, name=context.repository)
    with closing(Http(environ=environ, connections=AT_ONCE)) as http:
        yield repository, ArtifactReader(repository, http=http, api=context.server.api, token=token)
