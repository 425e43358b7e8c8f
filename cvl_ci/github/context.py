"""Where in GitHub this process runs, from the environment it is given: the same answer in main and in post."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvl_ci.github.event import Event


@dataclass(frozen=True, kw_only=True)
class GitHubServer:
    """The addresses of GitHub, or of an enterprise's own server: of its pages and of its API."""

    web: str
    api: str


@dataclass(frozen=True, kw_only=True)
class GitHubContext:
    """`leg`: of the matrix, as typed in the input; empty without one. `branch`: that this runs on, or its tag.

    `check_run`: GitHub's number of this job in this attempt; empty where the runner does not tell it.
    """

    repository: str
    run: str
    attempt: str
    job: str
    step: str
    workflow: str
    server: GitHubServer
    sha: str
    event: Event
    leg: str = ""
    branch: str = ""
    check_run: str = ""

    @property
    def job_name(self) -> str:
        """The name that GitHub gives this job, unless the workflow names it.

        "Workflow syntax", `jobs.<job_id>.name`: the job's id, and the values of its leg in brackets.
        """
        values = ", ".join(self.leg_values)
        return f"{self.job} ({values})" if values else self.job

    @property
    def run_url(self) -> str:
        return f"{self.server.web}/{self.repository}/actions/runs/{self.run}/attempts/{self.attempt}"

    @property
    def step_key(self) -> str:
        """One step of one attempt, in every leg of its matrix."""
        return _key(self.repository, self.run, self.attempt, self.job, self.step)

    @property
    def leg_key(self) -> str:
        return _key(self.leg)

    def comment_key(self, group: str = "") -> str:
        """Return a key that is the same in every run of this workflow, so that cvl-ci finds the comment again."""
        return _key("group", self.workflow, group) if group else _key("job", self.workflow, self.job, self.leg)

    @property
    def row_key(self) -> str:
        return _key("row", self.job, self.leg)

    @property
    def leg_text(self) -> str:
        """`gpu: L4, preset: train`."""
        return ", ".join(f"{name}: {value}" if name else value for name, value in self._leg())

    @property
    def leg_values(self) -> list[str]:
        return [value for _, value in self._leg()]

    def _leg(self) -> list[tuple[str, str]]:
        """Return the leg's values. A text that is not a mapping is one value without a name."""
        try:
            values = json.loads(self.leg or "{}")
        except ValueError:
            values = self.leg
        return [(name, str(value)) for name, value in values.items()] if isinstance(values, dict) else [("", self.leg)]


def read(environ: Mapping[str, str], *, leg: str, check_run: str = "") -> GitHubContext:
    """Return where this process runs. Both arguments are inputs of the action.

    `leg`: without a matrix GitHub writes `null` there, and other runners write nothing.
    """
    return GitHubContext(
        repository=environ.get("GITHUB_REPOSITORY", ""),
        run=environ.get("GITHUB_RUN_ID", ""),
        attempt=environ.get("GITHUB_RUN_ATTEMPT", "") or "1",
        job=environ.get("GITHUB_JOB", ""),
        step=environ.get("GITHUB_ACTION", ""),
        workflow=environ.get("GITHUB_WORKFLOW", ""),
        server=GitHubServer(
            web=environ.get("GITHUB_SERVER_URL", "") or "https://github.com",
            api=environ.get("GITHUB_API_URL", "") or "https://api.github.com",
        ),
        sha=environ.get("GITHUB_SHA", ""),
        event=Event(
            name=environ.get("GITHUB_EVENT_NAME", ""),
            payload=_payload(environ.get("GITHUB_EVENT_PATH", "")),
            actor=environ.get("GITHUB_ACTOR", ""),
        ),
        branch=environ.get("GITHUB_REF_NAME", ""),
        check_run=_number(check_run),
        leg="" if leg.strip() in {"null", "{}"} else " ".join(leg.split()),
    )


def _payload(path: str) -> Mapping[str, Any]:
    try:
        payload = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    return payload if isinstance(payload, dict) else {}


def _number(text: str) -> str:
    """Return a number of GitHub's, or an empty text for anything else."""
    text = text.strip()
    return text if text.isascii() and text.isdecimal() and len(text) <= 20 else ""


def _key(*parts: str) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
