"""The description that requests and answers are held to says no where GitHub would."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.github import openapi

COMMENTS = "/repos/cvl/ci/issues/5/comments"
COMMENT = openapi.example("POST /repos/{owner}/{repo}/issues/{issue_number}/comments")


@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        ("GET", COMMENTS, None),
        ("GET", f"{COMMENTS}?per_page=100&page=2", None),
        ("POST", COMMENTS, b'{"body": "x"}'),
        ("DELETE", "/repos/cvl/ci/issues/comments/100", None),
    ],
)
def test_what_github_takes_is_taken(method: str, url: str, body: bytes | None) -> None:
    assert list(openapi.wrong_request(method, url, body)) == []


@pytest.mark.parametrize(
    ("method", "url", "body", "named"),
    [
        ("GET", "/repos/cvl/ci/pulls/5/comment", None, "in no description"),
        ("PUT", COMMENTS, None, "in no description"),
        ("GET", "/repos/cvl/ci/issues/five/comments", None, "issue_number"),
        ("GET", f"{COMMENTS}?size=100", None, "no query parameter size"),
        ("GET", f"{COMMENTS}?page=two", None, "page"),
        ("GET", f"{COMMENTS}?since=yesterday", None, "since"),
        ("GET", COMMENTS, b"{}", "takes no body"),
        ("POST", COMMENTS, None, "body"),
        ("POST", COMMENTS, b'{"text": "x"}', "'body' is a required property"),
        ("POST", COMMENTS, b'{"body": 5}', "5 is not of type 'string'"),
        ("POST", COMMENTS, b'{"body": "x", "draft": true}', "no property draft"),
    ],
)
def test_what_github_would_not_understand_is_told(method: str, url: str, body: bytes | None, named: str) -> None:
    assert named in "\n".join(openapi.wrong_request(method, url, body))


@pytest.mark.parametrize(
    ("status", "answer", "named"),
    [
        (200, COMMENT, "never answers 200"),
        (201, {**COMMENT, "id": "100"}, "id: '100' is not of type 'integer'"),
        (201, {**COMMENT, "created_at": "yesterday"}, "created_at"),
        (201, {key: value for key, value in COMMENT.items() if key != "updated_at"}, "updated_at"),
        (201, {**COMMENT, "user": {"login": "x"}}, "user"),
        (502, [], "502"),
    ],
)
def test_what_github_would_not_answer_is_told(status: int, answer: Any, named: str) -> None:
    assert named in "\n".join(openapi.wrong_answer("POST", COMMENTS, status, json.dumps(answer)))


def test_what_github_answers_is_taken() -> None:
    no = json.dumps({"message": "Resource not accessible by integration"})
    assert list(openapi.wrong_answer("POST", COMMENTS, 201, json.dumps(COMMENT))) == []
    assert list(openapi.wrong_answer("POST", COMMENTS, 403, no)) == []
    assert list(openapi.wrong_answer("DELETE", "/repos/cvl/ci/issues/comments/1", 204, "")) == []
    assert list(openapi.wrong_answer("DELETE", "/repos/cvl/ci/issues/comments/1", 204, "{}")) != []


def test_it_was_cut_from_the_version_that_the_script_names_and_holds_what_is_asked_for() -> None:
    script = Path(__file__).resolve().parents[2] / "script" / "openapi"
    assert re.findall(r"^package=(.*)$", script.read_text(encoding="utf-8"), re.MULTILINE) == [
        openapi.description()["from"]
    ]
    assert {*openapi.description()["operations"]} == {*openapi.OPERATIONS}
