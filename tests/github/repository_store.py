"""What GitHub keeps of a repository beside its comments: runs of a workflow, their artifacts, commits, issues."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.github import openapi

Answer = tuple[int, dict[str, str], str]
URL = "https://git.example.com/api/v3"
BLOBS = "https://blobs.example.com"
"""Where the zips lie: another host, which is shown no token."""
WORKFLOW = 77
RUNS = "GET /repos/{owner}/{repo}/actions/workflows/{workflow_id}/runs"
ARTIFACTS = "GET /repos/{owner}/{repo}/actions/runs/{run_id}/artifacts"
JOBS = "GET /repos/{owner}/{repo}/actions/runs/{run_id}/jobs"


@dataclass
class Store:
    """`commits`: nearest first, from the one that is asked for. `files`: of an artifact, by its number."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    artifacts: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    archives: dict[int, bytes] = field(default_factory=dict)
    jobs: list[list[dict[str, Any]]] = field(default_factory=list)
    """Of a run: what GitHub lists for each attempt, the first attempt first."""
    commits: list[str] = field(default_factory=list)
    issues: dict[int, dict[str, Any]] = field(default_factory=dict)
    said: list[tuple[int, str]] = field(default_factory=list)
    """Comments on issues."""
    requests: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Number of a pull request → what GitHub says of it, where that is not as its description shows."""
    deployments: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The newest last, with its statuses under `statuses`."""
    statuses: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Statuses of commits: commit, context, state, description."""
    shown: list[Mapping[str, str]] = field(default_factory=list)
    """Headers that a blob was asked for with."""
    more_artifacts: Callable[[int], list[tuple[str, bytes]]] = lambda _: []
    """Names and zips that a runner's own service holds of a run."""

    def run(self, number: int, commit: str, *, branch: str = "main", event: str = "push", **more: Any) -> int:
        [document, *_] = openapi.example(RUNS)["workflow_runs"]
        known = {"id": number, "head_sha": commit, "head_branch": branch, "event": event, "status": "completed"}
        ours = {**document["head_repository"], "full_name": "cvl/ci"}
        self.runs.append({**document, **known, "workflow_id": WORKFLOW, "head_repository": ours, **more})
        return number

    def job(self, name: str, *, attempt: int, began: int = 0, runner: str = "") -> int:
        """List a job in an attempt. `began`: the attempt that really ran it; 0: this one. Return its number."""
        [document, *_] = openapi.example(JOBS)["jobs"]
        number = 5_000 + sum(map(len, self.jobs))
        while len(self.jobs) < attempt:
            self.jobs.append([])
        known = {
            "id": number,
            "name": name,
            "run_attempt": attempt,
            "check_run_url": f"{URL}/repos/cvl/ci/check-runs/{number}",
            "started_at": f"2026-09-21T1{began or attempt}:00:00Z",
            "created_at": f"2026-09-21T1{attempt}:00:00Z",
            "runner_name": runner or f"runner of {name}",
        }
        self.jobs[attempt - 1].append({**document, **known})
        return number

    def artifact(
        self,
        run: int,
        name: str,
        files: Mapping[str, bytes | str] | bytes,
        *,
        expired: bool = False,
        workflow_run: Mapping[str, Any] | None = None,
    ) -> int:
        """`files`: in the zip, or the zip itself."""
        number = 1000 + len(self.archives)
        archive = files if isinstance(files, bytes) else zipped(files)
        [document, *_] = openapi.example(ARTIFACTS)["artifacts"]
        known = {"id": number, "name": name, "size_in_bytes": len(archive), "expired": expired}
        of_run = {**document["workflow_run"], "id": run, **(workflow_run or {})}
        self.artifacts.setdefault(run, []).append({**document, **known, "workflow_run": of_run})
        self.archives[number] = archive
        return number

    def issue(self, body: str, *, author: str = "github-actions[bot]", **more: Any) -> int:
        number = 40 + len(self.issues)
        [document, *_] = openapi.example("GET /repos/{owner}/{repo}/issues")
        document.pop("pull_request", None)
        user = {**document["user"], "login": author}
        at = f"https://git.example.com/cvl/ci/issues/{number}"
        known = {"number": number, "state": "open", "title": "Bench", "body": body, "user": user, "html_url": at}
        self.issues[number] = {**document, **known, **more}
        return number

    def open_issues(self) -> list[dict[str, Any]]:
        return [issue for issue in self.issues.values() if issue["state"] == "open"]

    # ---- what is asked --------------------------------------------------------------------------------------------

    def blob(self, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        self.shown.append(dict(headers))
        number = int(path.strip("/").partition(".")[0])
        return (200, self.archives[number]) if number in self.archives else (404, b"")

    def route(self, method: str, path: str, query: Mapping[str, str], body: str | bytes | None) -> Answer | None:
        """None: nothing of this."""
        path = path.removeprefix("/repos/cvl/ci")
        for form, answer in (
            (r"GET /actions/runs/(\d+)", self._run),
            (r"GET /actions/runs/(\d+)/artifacts", self._artifacts),
            (r"GET /actions/runs/(\d+)/jobs", self._jobs),
            (r"GET /actions/artifacts/(\d+)/zip", self._archive),
            (r"GET /actions/artifacts", self._all_artifacts),
            (r"GET /actions/workflows/([\w.-]+)/runs", self._runs),
            (r"GET /commits", self._commits),
            (r"GET /issues", self._issues),
            (r"GET /pulls/(\d+)", self._request),
            (r"GET /deployments", self._deployments),
            (r"GET /deployments/(\d+)/statuses", self._statuses),
        ):
            result = re.fullmatch(form, f"{method} {path}")
            if result:
                return answer(query, *result.groups())
        return self._written(method, path, json.loads(body) if body else {})

    def _run(self, _: Mapping[str, str], number: str) -> Answer:
        known = next((run for run in self.runs if run["id"] == int(number)), {"id": int(number)})
        document = openapi.example("GET /repos/{owner}/{repo}/actions/runs/{run_id}")
        return _json({**document, **known, "workflow_id": WORKFLOW})

    def _artifacts(self, query: Mapping[str, str], number: str) -> Answer:
        for name, archive in self.more_artifacts(int(number)):
            if not any(one["name"] == name for one in self.artifacts.get(int(number), [])):
                self.artifact(int(number), name, archive)
        return _page("artifacts", self.artifacts.get(int(number), []), query)

    def _all_artifacts(self, query: Mapping[str, str]) -> Answer:
        return _page("artifacts", [one for listing in self.artifacts.values() for one in listing], query)

    def _jobs(self, query: Mapping[str, str], _: str) -> Answer:
        every = [job for attempt in self.jobs for job in attempt]
        latest = self.jobs[-1] if self.jobs else []
        return _page("jobs", every if query.get("filter") == "all" else latest, query)

    def _archive(self, _: Mapping[str, str], number: str) -> Answer:
        every = [one for listing in self.artifacts.values() for one in listing]
        if any(one["id"] == int(number) and one["expired"] for one in every):
            return _json({"message": "Artifact has expired"}, 410)
        return (302, {"Location": f"{BLOBS}/{number}.zip?sig=secret"}, "")

    def _runs(self, query: Mapping[str, str], _: str) -> Answer:
        results = [run for run in self.runs if run["head_branch"] == query.get("branch", run["head_branch"])]
        status = query.get("status")
        return _page("workflow_runs", [run for run in results if status in {None, run["status"]}], query)

    def _commits(self, query: Mapping[str, str]) -> Answer:
        expected = query.get("sha", "")
        start = self.commits.index(expected) if expected in self.commits else 0
        [document, *_] = openapi.example("GET /repos/{owner}/{repo}/commits")
        return _json(_slice([{**document, "sha": sha} for sha in self.commits[start:]], query))

    def _issues(self, query: Mapping[str, str]) -> Answer:
        expected = query.get("state", "open")
        listing = [one for one in self.issues.values() if expected in {"all", one["state"]}]
        by = query.get("creator")
        return _json(_slice([one for one in listing if by in {None, one["user"]["login"]}], query))

    def _request(self, _: Mapping[str, str], number: str) -> Answer:
        if int(number) not in self.requests:
            return _json({"message": "Not Found"}, 404)
        document = openapi.example("GET /repos/{owner}/{repo}/pulls/{pull_number}")
        known = self.requests[int(number)]
        head = {**document["head"], "sha": known.get("sha", document["head"]["sha"])}
        document["requested_teams"] = []  # the example of a team lacks a member that the description demands
        return _json({**document, "head": head, **{key: known[key] for key in ("state", "closed_at") if key in known}})

    def deployment(self, environment: str, **more: Any) -> int:
        number = 300 + len(self.deployments)
        document = openapi.example("POST /repos/{owner}/{repo}/deployments")
        self.deployments[number] = {**document, "id": number, "environment": environment, "statuses": [], **more}
        return number

    def states(self, number: int) -> list[str]:
        return [str(status["state"]) for status in self.deployments[number]["statuses"]]

    def _deployments(self, query: Mapping[str, str]) -> Answer:
        own = [one for one in self.deployments.values() if query.get("environment") in {None, one["environment"]}]
        hidden = [{key: value for key, value in one.items() if key != "statuses"} for one in reversed(own)]
        return _json(_slice(hidden, query))

    def _statuses(self, query: Mapping[str, str], number: str) -> Answer:
        return _json(_slice(list(reversed(self.deployments[int(number)]["statuses"])), query))

    def _deployed(self, path: str, body: Mapping[str, Any]) -> Answer | None:
        if path == "/deployments":
            number = self.deployment(**{key: body[key] for key in ("environment", "ref", "transient_environment")})
            return _json({key: value for key, value in self.deployments[number].items() if key != "statuses"}, 201)
        result = re.fullmatch(r"/deployments/(\d+)/statuses", path)
        if result is None or int(result[1]) not in self.deployments:
            return None
        assert len(body["description"]) <= 140
        [document] = openapi.example("GET /repos/{owner}/{repo}/deployments/{deployment_id}/statuses")
        known = {key: body[key] for key in ("state", "environment_url", "log_url", "description") if key in body}
        self.deployments[int(result[1])]["statuses"].append({**document, **known})
        return _json({**document, **known}, 201)

    def _written(self, method: str, path: str, body: Mapping[str, Any]) -> Answer | None:
        if (method, path) == ("POST", "/issues"):
            return _json(self.issues[self.issue(body["body"], title=body["title"])], 201)
        if method == "POST" and path.startswith("/deployments"):
            return self._deployed(path, body)
        status = re.fullmatch(r"/statuses/([0-9a-f]{40})", path)
        if status and method == "POST":
            self.statuses.append((status[1], body["context"], body["state"], body["description"]))
            document = openapi.example("POST /repos/{owner}/{repo}/statuses/{sha}")
            return _json({**document, **body}, 201)
        result = re.fullmatch(r"/issues/(\d+)(/comments)?", path)
        if result is None or int(result[1]) not in self.issues:
            return None
        number = int(result[1])
        if result[2] and method == "POST":
            self.said.append((number, body["body"]))
            document = openapi.example("POST /repos/{owner}/{repo}/issues/{issue_number}/comments")
            return _json({**document, "body": body["body"]}, 201)
        if method == "PATCH":
            self.issues[number] |= body
            return _json(self.issues[number])
        return None


def zipped(files: Mapping[str, bytes | str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _page(key: str, entries: list[Any], query: Mapping[str, str]) -> Answer:
    return _json({"total_count": len(entries), key: _slice(entries, query)})


def _slice(entries: list[Any], query: Mapping[str, str]) -> list[Any]:
    page, size = int(query.get("page", 1)), int(query.get("per_page", 30))
    return entries[(page - 1) * size : page * size]


def _json(value: object, status: int = 200) -> Answer:
    return (status, {"Content-Type": "application/json"}, json.dumps(value))
