"""Find earlier measurements of this workflow: runs of the base branch, and the commits to compare a run with.

"List workflow runs for a workflow" and "List commits". A run of a pull request is not a baseline, above all not a run
of a fork whose branch has the same name. Artifacts live as long as the repository keeps them (90 days by default).
Expired ones are counted and reported.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from cvl_ci.errors import CvlError
from cvl_ci.github import client
from cvl_ci.github.api import Repository
from cvl_ci.github.artifacts.download import READ, ArtifactLegs, ArtifactReader
from cvl_ci.model.outcome import Ending
from cvl_ci.result.benchmark.leg import Leg

MOST_COMMITS = 100
MOST_RUNS = 200
"""Of a workflow, the latest, in which to look."""
OF_BASE = 3
"""So many runs of the nearest commits that were run, besides the latest of all."""
FURTHER = 40
"""So many more are looked into for work that none of these did: a push may run only what it changed."""
CONTENTS = "contents: read"

Work = tuple[str, str]
"""Example and preset."""


@dataclass(frozen=True, kw_only=True)
class BaselineRuns:
    """Earlier runs: the baseline and the history of a comparison.

    `commits`: the base and those before it, nearest first. `notes`: for a person. `unknown`: GitHub did not
    answer, so a baseline may or may not exist.
    """

    legs: tuple[Leg, ...] = ()
    commits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unknown: bool = False


@dataclass(frozen=True, kw_only=True)
class WorkflowRun:
    number: int
    commit: str


class BaselineReader:
    """Reader of earlier runs.

    `run`: this one. `workflow`: the file name of another workflow than this run's. `report`: the name of a report's
    artifact, without the part that separates attempts.
    """

    def __init__(self, repository: Repository, reader: ArtifactReader, *, run: int, workflow: str, report: str) -> None:
        self._repository, self._reader = repository, reader
        self._run, self._workflow = run, workflow
        self._report = re.compile(rf"{re.escape(report)}(-attempt\d+)?(-\d{{1,2}})?")

    def commits(self, base: str, *, without: str) -> tuple[str, ...]:
        """Return the commits to compare with.

        `base`: a commit or a branch; `without`: the compared commit, if the base is its own history.
        """
        entries = self._repository.list_entries("/commits", needs=CONTENTS, most=MOST_COMMITS, sha=base)
        read = lambda: [str(client.member(entry, "sha", str, of="a commit")) for entry in entries]  # noqa: E731
        return tuple(sha for sha in self._repository.well("GET /commits", CONTENTS, read) if sha != without)

    def read(self, *, branch: str, commits: Sequence[str], nights: int, work: Collection[Work] = ()) -> BaselineRuns:
        """Read the branch's last `nights` runs, and runs of the nearest commits that have any.

        It also reads runs before them until each example and preset of `work` was found.
        """
        runs = self._runs(branch)
        chosen, further = _chosen(runs, commits, nights)
        artifact_legs = [self._of(run) for run in chosen]
        missing = {*work} - _measured_work(artifact_legs, commits)
        while missing and further:
            chosen.append(further.pop(0))
            artifact_legs.append(self._of(chosen[-1]))
            missing -= _measured_work(artifact_legs[-1:], commits)
        lost = sum(1 for one in artifact_legs if one.expired and not one.legs)
        notes = [
            f"{lost} of {len(chosen)} earlier runs on {branch} have no artifacts any more: their retention is over."
        ] * bool(lost)
        unheard = sum(one.unheard for one in artifact_legs)
        is_unknown = bool(unheard) and bool(missing or not work)
        if is_unknown:
            notes.insert(0, f"GitHub did not send {unheard} artifacts of earlier runs, so a baseline may be missing.")
        if not runs:
            notes.append(
                f"This workflow was never run to its end on {branch}, so there is nothing to compare with yet."
            )
        return BaselineRuns(
            legs=tuple(leg for one in artifact_legs for leg in one.legs),
            commits=tuple(commits),
            notes=(*notes, *(trouble for one in artifact_legs for trouble in one.troubles)),
            unknown=is_unknown,
        )

    # ---- which runs -----------------------------------------------------------------------------------------------

    def _runs(self, branch: str) -> list[WorkflowRun]:
        """Return the runs, the latest first. In a red run all jobs but one may have been measured."""
        path = f"/actions/workflows/{self._which()}/runs"
        query = {"branch": branch, "status": "completed", "exclude_pull_requests": "true"}
        entries = self._repository.list_entries(path, needs=READ, most=MOST_RUNS, key="workflow_runs", **query)
        runs = self._repository.well(
            f"GET {path}", READ, lambda: [_run(one, own_repository=self._repository.name) for one in entries]
        )
        return [run for run in runs if run is not None and run.number != self._run]

    def _which(self) -> str:
        if self._workflow:
            return quote(self._workflow, safe="")
        run = self._repository.get(f"/actions/runs/{self._run}", needs=READ)
        number = run.get("workflow_id") if isinstance(run, dict) else None
        if not isinstance(number, int):
            raise CvlError("GitHub does not say which workflow this run is of.")
        return str(number)

    def _of(self, run: WorkflowRun) -> ArtifactLegs:
        """One artifact where a report was written, else one for each leg."""
        artifacts = self._reader.artifacts(run.number)
        reports = [one for one in artifacts if self._report.fullmatch(one.name)]
        if any(not one.expired for one in reports):
            return self._reader.lines(reports)
        artifact_legs = self._reader.costs(artifacts)
        return replace(artifact_legs, expired=artifact_legs.expired + len(reports))


def _run(entry: Mapping[str, Any], *, own_repository: str) -> WorkflowRun | None:
    repository = entry.get("head_repository")
    is_own = isinstance(repository, dict) and repository.get("full_name") == own_repository
    proposed = str(entry.get("event")).startswith("pull_request")
    number = client.member(entry, "id", int, of="a run")
    commit = client.member(entry, "head_sha", str, of="a run")
    if not is_own or proposed:
        return None
    return WorkflowRun(number=number, commit=commit)


def _chosen(
    runs: Sequence[WorkflowRun], commits: Sequence[str], nights: int
) -> tuple[list[WorkflowRun], list[WorkflowRun]]:
    """And which to look into after these, the nearest first."""
    at = {commit: place for place, commit in enumerate(commits)}
    nearest = sorted((run for run in runs if run.commit in at), key=lambda run: at[run.commit])
    chosen = list(dict.fromkeys([*runs[:nights], *nearest[:OF_BASE]]))
    return chosen, [run for run in nearest if run not in chosen][:FURTHER]


def _measured_work(artifact_legs: Sequence[ArtifactLegs], commits: Collection[str]) -> set[Work]:
    """Return the work for which a baseline is known."""
    legs = (leg for one in artifact_legs for leg in one.legs)
    good = (leg for leg in legs if leg.ending is Ending.SUCCEEDED and leg.source.commit in commits)
    return {(leg.key.example, leg.key.preset) for leg in good}
