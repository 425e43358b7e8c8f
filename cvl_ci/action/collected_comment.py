"""The comment about a detached run, on the pull request of its workflow run, written by the step that collects it.

GitHub alone says which pull request that is: "Get a workflow run" (GET /repos/{owner}/{repo}/actions/runs/{run_id})
names those of its head. The record comes from an artifact, so it only helps to find the comment of the same job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from cvl_ci.errors import CvlError
from cvl_ci.github.artifacts.download import READ
from cvl_ci.github.event import Event

if TYPE_CHECKING:
    from cvl_ci.github.api import Repository
    from cvl_ci.github.artifacts.detached_runs import WaitingRun
    from cvl_ci.github.context import GitHubContext

JOB_ID, LEG_VALUES, GROUP = "job_id", "leg_values", "comment_group"
"""Facts of the workflow in a lease record, next to those of action/detached.py."""
LONGEST = 2000


def facts_of(context: GitHubContext, *, group: str) -> dict[str, str]:
    """Return the facts by which a later step finds the comment of this one."""
    return {JOB_ID: context.job, LEG_VALUES: context.leg, GROUP: group}


def context_of(
    run: WaitingRun, facts: Mapping[str, str], *, attempt: str, own: GitHubContext, repository: Repository
) -> GitHubContext:
    """Return the place of a detached run on GitHub, with the event that names its pull request.

    `facts`: of its record. `own`: the place of the step that collects. Raise CvlError without a plain answer.
    """
    answer = repository.get(f"/actions/runs/{run.run}", needs=READ)
    is_it = isinstance(answer, Mapping) and str(answer.get("id")) == run.run and answer.get("head_sha") == run.commit
    if not is_it:
        raise CvlError(f"GitHub described another run than {run.run}.")
    payload = {"workflow_run": answer, "repository": answer.get("repository")}
    return replace(
        own,
        run=run.run,
        attempt=attempt or "1",
        job=facts.get(JOB_ID, "")[:LONGEST],
        leg=facts.get(LEG_VALUES, "")[:LONGEST],
        workflow=str(answer.get("name") or ""),
        sha=run.commit,
        check_run="",
        event=Event(name="workflow_run", payload=payload),
    )
