"""GitHub's REST API of one repository, its comments above all: pages, permissions, lost answers, rate limits.

What it is asked, and what it answers of its own, is held to GitHub's description of that API.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlparse

import requests
import responses

from cvl_ci.github import client
from tests.github import openapi
from tests.github.repository_store import BLOBS, Store

URL = "https://git.example.com/api/v3"
REPOSITORY = f"{URL}/repos/cvl/ci"
WITHOUT_PAUSES = replace(client.BACKOFF, sleep=lambda _: None)
Answer = tuple[int, dict[str, str], str]


@dataclass
class Api:
    """`me`: whose token it is; None: one that may not ask who it is, the workflow's own."""

    me: str | None = None
    readable: bool = True
    writable: bool = True
    comments: dict[int, dict[str, Any]] = field(default_factory=dict)
    pulls: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    faults: dict[str, list[Answer | Exception]] = field(default_factory=dict)
    lose_answers: int = 0
    delay: Callable[[], None] = lambda: None
    lock: threading.Lock = field(default_factory=threading.Lock)
    wrong: list[str] = field(default_factory=list)
    runs: dict[str, Any] = field(default_factory=dict)
    """Path of a workflow run's attempt → what GitHub says of it, where that is not as its description shows."""
    store: Store = field(default_factory=Store)

    def comment(self, body: str, *, author: str = "github-actions[bot]") -> int:
        number = 1 + max(self.comments, default=99)
        document = openapi.example("POST /repos/{owner}/{repo}/issues/{issue_number}/comments")
        self.comments[number] = {
            **document,
            "id": number,
            "url": f"{REPOSITORY}/issues/comments/{number}",
            "html_url": f"https://git.example.com/cvl/ci/pull/5#issuecomment-{number}",
            "body": body,
            "user": {**document["user"], "login": author},
        }
        return number

    def bodies(self) -> list[str]:
        return [comment["body"] for comment in self.comments.values()]

    def writes(self) -> list[str]:
        return [line for line in self.asked if not line.startswith("GET")]

    @contextmanager
    def serving(self) -> Iterator[Api]:
        with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
            for method in ("GET", "POST", "PATCH", "DELETE"):
                mock.add_callback(
                    method, re.compile(r"https://git\.example\.com(:443)?/api/v3/.*"), callback=self._answer
                )
            mock.add_callback("GET", re.compile(rf"{re.escape(BLOBS)}/.*"), callback=self._blob)
            yield self
        assert self.wrong == [], "GitHub would not have understood this, or not have said it"

    def _answer(self, request: requests.PreparedRequest) -> Answer:
        question = str(request.url).partition("/api/v3")[2]
        path = urlparse(question).path
        method = str(request.method)
        self.asked.append(f"{method} {path}")
        self.wrong += openapi.wrong_request(method, question, request.body)
        if request.headers["Authorization"] != "token secret-token":
            self.wrong.append(f"Authorization: {request.headers['Authorization']}")
        for pattern, waiting in self.faults.items():
            if re.fullmatch(pattern, f"{method} {path}") and waiting:
                fault = waiting.pop(0)
                if isinstance(fault, Exception):
                    raise fault
                return fault
        self.delay()
        with self.lock:  # a comment is made or changed in one step
            answer = self._route(method, path, request)
        self.delay()
        self.wrong += openapi.wrong_answer(method, question, answer[0], answer[2])
        if method == "POST" and self.lose_answers:
            self.lose_answers -= 1
            raise requests.ConnectionError("reset by peer")
        return answer

    def _route(self, method: str, path: str, request: requests.PreparedRequest) -> Answer:
        if method != "GET" and not self.writable:
            return _json({"message": "Resource not accessible by integration"}, 403)
        if path == "/user":
            known = {**openapi.example("GET /user"), "user_view_type": "private", "login": self.me}
            return _json(known) if self.me else _json({"message": "not by integration"}, 403)
        if path == "/repos/cvl/ci/issues/5/comments" and method == "GET":
            return self._page(str(request.url))
        if path == "/repos/cvl/ci/issues/5/comments":
            return _json(self.comments[self.comment(_body(request), author=self.me or "github-actions[bot]")], 201)
        result = re.fullmatch(r"/repos/cvl/ci/issues/comments/(\d+)", path)
        if result and int(result[1]) in self.comments:
            return self._one(method, int(result[1]), request)
        if re.fullmatch(r"/repos/cvl/ci/commits/[0-9a-f]+/pulls", path):
            return _json(self.pulls)
        if method == "GET" and path in self.runs:
            document = openapi.example("GET /repos/{owner}/{repo}/actions/runs/{run_id}/attempts/{attempt_number}")
            return _json({**document, **self.runs[path]})
        query = {name: values[0] for name, values in parse_qs(urlparse(str(request.url)).query).items()}
        return self.store.route(method, path, query, request.body) or _json({"message": "Not Found"}, 404)

    def _blob(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        status, content = self.store.blob(urlparse(str(request.url)).path, request.headers)
        return status, {"Content-Type": "application/zip"}, content

    def _one(self, method: str, number: int, request: requests.PreparedRequest) -> Answer:
        if method == "DELETE":
            del self.comments[number]
            return (204, {}, "")
        self.comments[number]["body"] = _body(request)
        return _json(self.comments[number])

    def _page(self, url: str) -> Answer:
        query = {name: values[0] for name, values in parse_qs(urlparse(url).query).items()}
        page, size = int(query.get("page", 1)), int(query.get("per_page", 30))
        every = list(self.comments.values())
        headers = {}
        if page * size < len(every):
            following = f"{REPOSITORY}/issues/5/comments?per_page={size}&page={page + 1}"
            headers["Link"] = f'<{following}>; rel="next"'
        return _json(every[(page - 1) * size : page * size], headers=headers)


def _body(request: requests.PreparedRequest) -> str:
    sent = json.loads(request.body or "{}")
    assert 0 < len(sent["body"]) <= 65_536
    return str(sent["body"])


def pull(number: int, *, sha: str, head: str | None = "cvl/ci", state: str = "open") -> dict[str, Any]:
    """A pull request of `cvl/ci`. `head`: the repository it comes from; None: that was deleted."""
    [document] = openapi.example("GET /repos/{owner}/{repo}/commits/{commit_sha}/pulls")
    repository = document["base"]["repo"]
    theirs = {**repository, "full_name": head, "url": f"{URL}/repos/{head}"} if head else None
    return {
        **document,
        "number": number,
        "state": state,
        "requested_teams": [],
        "head": {**document["head"], "sha": sha, "repo": theirs},
        "base": {**document["base"], "repo": {**repository, "full_name": "cvl/ci", "url": REPOSITORY}},
    }


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return (status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value))
