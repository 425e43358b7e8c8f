"""GitHub's REST API of one repository, as far as comments go: pages, permissions, lost answers, rate limits."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlparse

import requests
import responses

URL = "https://git.example.com/api/v3"
REPOSITORY = f"{URL}/repos/cvl/ci"
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

    def comment(self, body: str, *, author: str = "github-actions[bot]") -> int:
        number = 1 + max(self.comments, default=99)
        self.comments[number] = {
            "id": number,
            "url": f"{REPOSITORY}/issues/comments/{number}",
            "html_url": f"https://git.example.com/cvl/ci/pull/5#issuecomment-{number}",
            "body": body,
            "user": {"login": author, "id": 1, "url": f"{URL}/users/x"},
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
            yield self

    def _answer(self, request: requests.PreparedRequest) -> Answer:
        path = urlparse(str(request.url)).path.removeprefix("/api/v3")
        method = str(request.method)
        self.asked.append(f"{method} {path}")
        assert request.headers["Authorization"] == "token secret-token"
        for pattern, waiting in self.faults.items():
            if re.fullmatch(pattern, f"{method} {path}") and waiting:
                fault = waiting.pop(0)
                if isinstance(fault, Exception):
                    raise fault
                return fault
        if method != "GET" and not self.writable:
            return _json({"message": "Resource not accessible by integration"}, 403)
        self.delay()
        answer = self._route(method, path, request)
        self.delay()
        if method == "POST" and self.lose_answers:
            self.lose_answers -= 1
            raise requests.ConnectionError("reset by peer")
        return answer

    def _route(self, method: str, path: str, request: requests.PreparedRequest) -> Answer:
        if path == "/user":
            return _json({"login": self.me}) if self.me else _json({"message": "not by integration"}, 403)
        if path == "/repos/cvl/ci/issues/5/comments" and method == "GET":
            return self._page(str(request.url))
        if path == "/repos/cvl/ci/issues/5/comments":
            return _json(self.comments[self.comment(_body(request), author=self.me or "github-actions[bot]")], 201)
        found = re.fullmatch(r"/repos/cvl/ci/issues/comments/(\d+)", path)
        if found and int(found[1]) in self.comments:
            if method == "DELETE":
                del self.comments[int(found[1])]
                return (204, {}, "")
            self.comments[int(found[1])]["body"] = _body(request)
            return _json(self.comments[int(found[1])])
        if re.fullmatch(r"/repos/cvl/ci/commits/[0-9a-f]+/pulls", path):
            return _json(self.pulls)
        return _json({"message": "Not Found"}, 404)

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
    assert set(sent) == {"body"}
    assert 0 < len(sent["body"]) <= 65_536
    return str(sent["body"])


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return (status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value))
