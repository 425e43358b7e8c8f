"""Detached runs as steps of a workflow: main leaves the record as an artifact, and the verb `collect` reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci import wiring
from cvl_ci.action.workspace import give_to_owner
from cvl_ci.errors import CvlError, InputProblem, RequestError, explain_while_running
from cvl_ci.github import commit_status
from cvl_ci.github.api import Repository
from cvl_ci.github.artifacts import detached_runs
from cvl_ci.github.artifacts.download import AT_ONCE, Gathering
from cvl_ci.github.artifacts.http import Http
from cvl_ci.github.commit_status import State
from cvl_ci.local.lease_records import as_text, from_text
from cvl_ci.model.lease_name import LABEL_OWNER, LABEL_RUN
from cvl_ci.model.outcome import Ending, Outcome
from cvl_ci.model.owner import owner_label
from cvl_ci.ports import NotUploaded
from cvl_ci.result.no_follow import write_text
from cvl_ci.result.text import ending_text
from cvl_ci.result.units import moment

if TYPE_CHECKING:
    from cvl_ci.action.publication import StepPublication
    from cvl_ci.action.step import Step
    from cvl_ci.commands.collect.running import StillRunning
    from cvl_ci.github.artifacts.detached_runs import WaitingRun
    from cvl_ci.ports import LeaseRecord

CONTEXT = "context"
COMMIT = "commit"
_INFRASTRUCTURE = {Ending.PREEMPTED, Ending.CANCELLED, Ending.NEVER_STARTED, Ending.UNFIT, Ending.STORAGE_FAILED}


def hand_over(step: Step, outcome: Outcome, environ: Mapping[str, str]) -> None:
    """Upload the record of a run whose job goes on, and let its commit wait. Raise CvlError if none could collect it.

    A status that cannot be set is a warning: the job and its results stay.
    """
    name, context = step.owner.name, step.context
    record = wiring.records(environ, step.reporter).read(name)
    if record is None or record.detached is None:
        raise CvlError("The record of the detached run is lost, so no workflow could collect it.")
    check = f"cvl-ci: {outcome.work.title} ({context.job_name})"
    commit = context.event.head_sha or context.event.sha or context.sha
    facts = {"run_url": context.run_url, COMMIT: commit, CONTEXT: check}
    folder = step.outputs.with_name(f"{name}.detached")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{name}.json", as_text(replace(record, detached=replace(record.detached, workflow=facts))))
    uploaded = step.artifacts().upload(f"{detached_runs.WAITING}{name}", root=folder, paths=[f"{name}.json"])
    give_to_owner(step.outputs.parent)
    if isinstance(uploaded, NotUploaded):
        raise CvlError(f"The record of the detached run could not be uploaded: {uploaded.reason}.")
    until = moment(record.deadline)
    _set_status(step, environ, commit=commit, context=check, state=State.PENDING, text=f"runs until {until} at most")


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
    records = wiring.records(environ, step.reporter)
    runs: dict[str, WaitingRun] = {}
    with _gathering(step, environ) as (repository, gathering):
        for run in detached_runs.waiting(repository, gathering, say=step.reporter.warning):
            record = _record(run, repository=repository.name, step=step)
            if record is not None:
                records.write(record)
                runs[run.lease] = run
    if not runs:
        step.reporter.show("No detached run of this repository waits for collect.")
        return 0
    clouds = [place.cloud for name in runs if (one := records.read(name)) for place in one.locations]
    environ = wiring.credentials(environ, list(dict.fromkeys(clouds)), mask=step.reporter.mask)

    def publish(record: LeaseRecord, outcome: Outcome, folder: Path) -> None:
        if outcome.release is not None and outcome.release.gone:  # without the artifact, the next step collects again
            publication.publish_collected(outcome, folder=folder, name=f"{detached_runs.COLLECTED}{record.name}")
        give_to_owner(step.outputs.parent)
        _close(step, environ, record, outcome, commit=runs[record.name].commit)

    collected = collecting.collect(
        list(runs),
        environ=environ,
        user_id=step.owner.user_id,
        reporter=step.reporter,
        folder_of=step.outputs.with_name,
        publish=publish,
    )
    for line in text.lines(collected):
        step.reporter.show(line)
    _warn_of_doubts(step, collected.running)
    return text.exit_code(collected, is_neutral=True)


def _record(run: WaitingRun, *, repository: str, step: Step) -> LeaseRecord | None:
    """Return the record of an artifact. A record of another repository or run is refused, with a warning."""
    try:
        record = from_text(run.lease, run.text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        step.reporter.warning(f"The record of {run.lease} cannot be read ({type(error).__name__}).")
        return None
    own = record.labels.get(LABEL_OWNER) == owner_label(repository)
    if record.detached is None or not own or record.labels.get(LABEL_RUN, "").rpartition("-")[0] != run.run:
        step.reporter.warning(
            f"The record of {run.lease} names another repository or run, so nothing was done with it."
        )
        return None
    return record


def _close(step: Step, environ: Mapping[str, str], record: LeaseRecord, outcome: Outcome, *, commit: str) -> None:
    context = record.detached.workflow.get(CONTEXT, "") if record.detached else ""
    if not context:
        return
    is_proved = outcome.release is not None and outcome.release.gone
    state = State.ERROR if outcome.ending in _INFRASTRUCTURE or not is_proved else State.FAILURE
    state = State.SUCCESS if outcome.ending is Ending.SUCCEEDED and outcome.exit_code == 0 else state
    _set_status(step, environ, commit=commit, context=context, state=state, text=ending_text(outcome))


def _set_status(step: Step, environ: Mapping[str, str], *, commit: str, context: str, state: State, text: str) -> None:
    try:
        with _gathering(step, environ) as (repository, _):
            commit_status.set_status(
                repository, commit=commit, context=context, state=state, description=text, url=step.context.run_url
            )
    except CvlError as error:
        step.reporter.warning(f"The commit does not show the state of the detached run. {explain_while_running(error)}")


def _warn_of_doubts(step: Step, running: Sequence[StillRunning]) -> None:
    for one in running:
        if one.doubt:
            step.reporter.warning(f"{one.lease}: {one.doubt}")


@contextmanager
def _gathering(step: Step, environ: Mapping[str, str]) -> Iterator[tuple[Repository, Gathering]]:
    context, token = step.context, step.github_token
    repository = Repository(api=context.server.api, token=token, name=context.repository)
    with closing(Http(environ=environ, connections=AT_ONCE)) as http:
        yield repository, Gathering(repository, http=http, api=context.server.api, token=token)
