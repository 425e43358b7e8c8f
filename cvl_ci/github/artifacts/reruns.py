"""Which summaries of earlier attempts still count, by GitHub's list of the workflow run's jobs.

All attempts of a workflow run share its artifacts. After "Re-run all jobs" a job that fails before it writes a summary
has only the summary of an earlier attempt, and that one says nothing about this attempt. After "Re-run failed jobs"
the jobs that succeeded did not run again, and their summaries count.

"List jobs for a workflow run" (GET /repos/{owner}/{repo}/actions/runs/{id}/jobs), `filter=latest` and `filter=all`.
GitHub's description does not say how a job appears that did not run again. Today GitHub lists it in each attempt, with
a new number and its old `started_at`; in May 2025 it left such jobs out (r-universe-org/help#607). So the moment at
which a job began identifies its run here. A job that the list leaves out proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cvl_ci.errors import CvlError
from cvl_ci.github import client
from cvl_ci.github.api import Repository
from cvl_ci.github.artifacts.download import READ
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.matrix.claims import latest
from cvl_ci.result.matrix.report import Outdated

MOST_JOBS = 10_000


@dataclass(frozen=True, kw_only=True)
class Job:
    """One entry of GitHub's list. `numbers`: its own and its check run's."""

    numbers: frozenset[str]
    name: str
    attempt: int
    started_at: str
    runner: str

    @property
    def identity(self) -> tuple[str, str, str]:
        """The same in each attempt that lists one run of a job."""
        return (self.name, self.started_at, self.runner)


@dataclass(frozen=True, kw_only=True)
class WorkflowJobs:
    """`latest`: as the newest attempt shows them. `recorded`: of all attempts."""

    latest: tuple[Job, ...]
    recorded: tuple[Job, ...]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """`outdated`: legs whose summaries do not count. `warning`: why GitHub did not answer; empty where it did."""

    legs: tuple[Leg, ...]
    outdated: tuple[Outdated, ...] = ()
    warning: str = ""
    superseded: tuple[Leg, ...] = ()
    """Runs of earlier attempts, of which only the cost counts."""


def list_jobs(repository: Repository, run: int) -> WorkflowJobs:
    """Return the jobs of a workflow run. Raises CvlError."""
    path = f"/actions/runs/{run}/jobs"

    def of(which: str) -> tuple[Job, ...]:
        entries = repository.list_entries(path, needs=READ, most=MOST_JOBS, key="jobs", filter=which)
        return repository.well(f"GET {path}", READ, lambda: tuple(map(_job, entries)))

    return WorkflowJobs(latest=of("latest"), recorded=of("all"))


def newest(legs: Sequence[Leg]) -> list[Leg]:
    """Return the legs of the last attempt of each job's work. Folders do not tell the steps of a job apart.

    A leg of an earlier attempt stays while its machine may remain: a green repetition does not end that machine.
    """

    def work(leg: Leg) -> tuple[str, ...]:
        return (leg.source.job, leg.name, leg.key.example, leg.key.preset) if leg.source.job else (leg.machines.run,)

    last: dict[tuple[str, ...], int] = {}
    for leg in legs:
        last[work(leg)] = max(last.get(work(leg), 0), leg.source.attempt)
    known_clusters = {leg.machines.cluster for leg in legs if not leg.machines.may_be_left}
    return [leg for leg in legs if leg.source.attempt == last[work(leg)] or leg.machines.cluster not in known_clusters]


def superseded(legs: Sequence[Leg], valid: Sequence[Leg]) -> tuple[Leg, ...]:
    """Return the runs of earlier attempts that no longer tell an end. Their money is still money."""
    runs = {leg.machines.run for leg in valid}
    return tuple(leg for leg in latest(legs) if leg.machines.run not in runs)


def checked(legs: Sequence[Leg], *, attempt: int, jobs: Callable[[], WorkflowJobs]) -> Checked:
    """Return the legs that count in this `attempt` of their workflow run.

    Ask GitHub only where a leg has no summary of this attempt. A leg whose machine may remain stays in any case, unless
    another summary of its cluster proves the end: post may have proved it after main.
    """
    if all(leg.source.attempt == attempt for leg in legs):
        return Checked(legs=tuple(legs))
    listing, warning = None, ""
    try:
        listing = jobs()
    except CvlError as error:
        warning = f"{error.what} {error.next_step}".strip()
    known_clusters = {leg.machines.cluster for leg in legs if not leg.machines.may_be_left}
    valid: list[Leg] = []
    outdated: dict[str, Outdated] = {}
    for leg in legs:
        why = "" if leg.source.attempt == attempt else _why(leg, attempt, listing)
        if why:
            name = leg.name or leg.machines.cluster
            outdated.setdefault(name, Outdated(name=name, why=why))
        if not why or leg.machines.cluster not in known_clusters:
            valid.append(leg)
    return Checked(legs=tuple(valid), outdated=tuple(outdated.values()), warning=warning)


def _why(leg: Leg, attempt: int, jobs: WorkflowJobs | None) -> str:
    """Return why a summary of another attempt does not count; empty: its job did not run again."""
    if leg.source.attempt > attempt:
        return f"its summary names attempt {leg.source.attempt}, and this is attempt {attempt}"
    only = f"its only summary is of attempt {leg.source.attempt}"
    if jobs is None:
        return f"{only}, and GitHub does not tell whether its job ran again"
    job = _of(leg, jobs)
    if job is None:
        return f"{only}, and no job in GitHub's list is known to be its job"
    namesakes = [other for other in jobs.latest if other.name == job.name]
    if job.started_at and any(other.identity == job.identity for other in namesakes):
        return ""
    if not namesakes:
        return f"{only}, and GitHub lists no such job in attempt {attempt}"
    again = max(_first_listed(other, jobs) for other in namesakes)
    return f"its job ran again in attempt {again} and left no summary; {only}"


def _first_listed(job: Job, jobs: WorkflowJobs) -> int:
    """Return the attempt in which this run of a job took place: later lists repeat it."""
    same = (other.attempt for other in jobs.recorded if other.identity == job.identity)
    return min(same, default=job.attempt)


def _of(leg: Leg, jobs: WorkflowJobs) -> Job | None:
    """Return the job that wrote this summary, by its number, else by a name that one job of its attempt has."""
    entries = [*jobs.recorded, *jobs.latest]
    if leg.source.check_run:
        return next((job for job in entries if leg.source.check_run in job.numbers), None)
    names = {name for name in (leg.source.job, leg.name) if name}
    of_attempt = [job for job in entries if job.attempt == leg.source.attempt and _is_called(job.name, names)]
    runs = {job.identity: job for job in of_attempt}
    return next(iter(runs.values())) if len(runs) == 1 else None


def _is_called(name: str, names: set[str]) -> bool:
    """Return whether a job has one of these names. A job of a called workflow has the caller's name before its own."""
    return name in names or any(name.endswith(f" / {one}") for one in names)


def _job(entry: Mapping[str, Any]) -> Job:
    """Raise Trouble where a member is missing that GitHub always gives."""
    number = client.member(entry, "id", int, of="a job")
    check = client.member(entry, "check_run_url", str, of="a job").rstrip("/").rpartition("/")[2]
    attempt = entry.get("run_attempt", 1)
    return Job(
        numbers=frozenset({str(number), check}),
        name=client.member(entry, "name", str, of="a job"),
        attempt=attempt if isinstance(attempt, int) else 1,
        started_at=str(entry.get("started_at") or ""),
        runner=str(entry.get("runner_name") or ""),
    )
