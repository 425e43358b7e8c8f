"""Hostile answers, one table over every reader of GitHub's REST API: an error in words, never an empty list."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import requests
import responses

from cvl_ci.errors import CvlError
from cvl_ci.github import client, context
from cvl_ci.github.api import Repository
from cvl_ci.github.artifacts.baseline_runs import BaselineReader
from cvl_ci.github.artifacts.download import ArtifactReader
from cvl_ci.github.event import Event
from cvl_ci.github.pr.issue import IssueFindings, RegressionIssue
from cvl_ci.github.pr.sticky_comment import StickyComment
from cvl_ci.github.runs import WorkflowRuns
from tests.github.api import URL, WITHOUT_PAUSES
from tests.support.fakes import FakeClock

Said = tuple[int, dict[str, str], bytes]
ELSEWHERE = {"Location": "https://elsewhere.example.com/x"}
JSON = {"Content-Type": "application/json"}
HOSTILE: dict[str, Said] = {
    "a web page": (200, {"Content-Type": "text/html"}, b"<html>maintenance</html>"),
    "nothing": (200, {}, b""),
    "nothing by its status": (204, {}, b""),
    "an empty object": (200, JSON, b"{}"),
    "null": (200, JSON, b"null"),
    "a list of numbers": (200, JSON, b"[1, 2]"),
    "a list of nothing known": (200, JSON, b'[{"x": 1}]'),
    "an error object": (200, JSON, b'{"message": "Server Error"}'),
    "lists that are none": (200, JSON, b'{"artifacts": {}, "workflow_runs": null, "workflow_id": "1"}'),
    "cut short": (200, JSON, b'{"artifacts": ['),
    "a redirect": (302, ELSEWHERE, b""),
    "a renamed repository": (301, ELSEWHERE, b""),
    "a redirect with its method": (307, ELSEWHERE, b""),
    "an accepted order": (202, JSON, b"{}"),
    "trouble in a web page": (503, {"Content-Type": "text/html"}, b"<html>503</html>"),
    "a list as trouble": (500, JSON, b"[]"),
    "a message that is none": (403, JSON, b'{"message": {"a": 1}}'),
    "no UTF-8": (200, JSON, b"\xff\xfe["),
    "deep": (200, JSON, b"[" * 200_000),
}


@contextmanager
def serving(say: Callable[[str, str], Said]) -> Iterator[list[str]]:
    questions: list[str] = []

    def answer(request: requests.PreparedRequest) -> Said:
        questions.append(f"{request.method} {request.url}")
        return say(str(request.method), str(request.url))

    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "POST", "PATCH", "DELETE"):
            mock.add_callback(method, re.compile(".*"), callback=answer)
        yield questions


class NoHttp:
    def ask(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is downloaded of what was never listed")


def _repository() -> Repository:
    return Repository(api=URL, token="secret-token", name="cvl/ci", backoff=WITHOUT_PAUSES)


def _reader() -> ArtifactReader:
    return ArtifactReader(_repository(), http=NoHttp(), api=URL, token="secret-token")  # type: ignore[arg-type]


def _baseline_reader() -> BaselineReader:
    return BaselineReader(_repository(), _reader(), run=1, workflow="", report="report")


def _issue() -> object:
    findings = IssueFindings(bad=["a1"], fine=[], title="t", body="b", recovered="r")
    return RegressionIssue(_repository(), marker="<!-- m -->").tell(findings)


RAISING: dict[str, Callable[[], object]] = {
    "artifacts": lambda: _reader().of_run(1),
    "commits": lambda: _baseline_reader().commits("main", without=""),
    "earlier runs": lambda: _baseline_reader().read(branch="main", commits=["a" * 40], nights=1),
    "the issue": _issue,
}


@pytest.mark.parametrize("reader", RAISING)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_hostile_answer_is_an_empty_list(reader: str, hostile: str) -> None:
    with serving(lambda *_: HOSTILE[hostile]) as questions, pytest.raises(CvlError) as raised:
        RAISING[reader]()
    assert "NoneType" not in str(raised.value)
    assert "secret-token" not in str(raised.value)
    assert not any("elsewhere" in one for one in questions)
    assert len(questions) <= client.BACKOFF.tries


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_never_raises_says_why_instead(hostile: str) -> None:
    words: list[str] = []
    with serving(lambda *_: HOSTILE[hostile]) as questions:
        runs = WorkflowRuns(api=URL, token="t", repository="cvl/ci", say=words.append, backoff=WITHOUT_PAUSES)
        assert runs.ended_at("1", "1") is None
        assert len(words) == 1
        assert _put(words.append) is None
        assert len(words) == 2
    assert not any("NoneType" in one for one in words)
    assert not any("elsewhere" in one for one in questions)


def _put(say: Callable[[str], None]) -> str | None:
    event = Event(name="pull_request", payload={"pull_request": {"number": 5}})
    here = replace(
        context.read({"GITHUB_REPOSITORY": "cvl/ci"}, leg=""),
        server=replace(context.read({"GITHUB_REPOSITORY": "cvl/ci"}, leg="").server, api=URL),
        sha="a" * 40,
        event=event,
    )
    return StickyComment(context=here, token="t", marker="<!-- m -->", clock=FakeClock(), say=say).put(
        lambda before: "<!-- m -->\nx", last=True
    )


def test_a_server_in_trouble_is_told_in_plain_words() -> None:
    with (
        serving(lambda *_: HOSTILE["trouble in a web page"]),
        pytest.raises(CvlError, match=r"answer 503, .* web page"),
    ):
        RAISING["artifacts"]()


@pytest.mark.parametrize("reader", ["artifacts", "commits", "the issue"])
def test_a_page_that_comes_again_is_no_listing(reader: str) -> None:
    entry = {"id": 1, "name": "x", "sha": "a" * 40, "number": 1, "html_url": "x", "user": {"login": "x"}, "body": ""}
    page = [{**entry, "id": number} for number in range(100)]

    def say(_: str, url: str) -> Said:
        if url.endswith("/user"):
            return 403, JSON, b'{"message": "no"}'
        return 200, JSON, json.dumps({"artifacts": page} if "artifacts" in url else page).encode()

    if reader == "commits":
        with serving(say) as questions:  # a hundred is all that is asked for
            assert RAISING[reader]()
        assert len(questions) == 1
    else:
        with serving(say) as questions, pytest.raises(CvlError, match="again"):
            RAISING[reader]()
        assert len(questions) <= 4


def test_comments_without_end_write_nothing() -> None:
    words: list[str] = []
    number = iter(range(10**9))

    def say(method: str, url: str) -> Said:
        assert method == "GET"
        if url.endswith("/user"):
            return 403, JSON, b'{"message": "no"}'
        page = [{"id": next(number), "html_url": "x", "user": None, "body": None} for _ in range(100)]
        return 200, JSON, json.dumps(page).encode()

    with serving(say) as questions:
        assert _put(words.append) is None
    assert len(questions) <= 4 * 101
    assert "pages" in words[0]


def _value(dice: random.Random, depth: int = 0) -> Any:
    keys = [
        "artifacts",
        "workflow_runs",
        "workflow_id",
        "id",
        "name",
        "sha",
        "login",
        "status",
        "updated_at",
        "message",
    ]
    if depth > 3 or dice.random() < 0.4:
        return dice.choice([None, 0, -1, True, "", "completed", "x", "\ud800", [], {}])
    if dice.random() < 0.5:
        return [_value(dice, depth + 1) for _ in range(dice.randrange(3))]
    return {dice.choice(keys): _value(dice, depth + 1) for _ in range(dice.randrange(4))}


ROUNDS = 150


def test_of_generated_answers_none_is_a_silent_empty_and_none_escapes() -> None:
    """Readers that raise do so with a CvlError, or had an honest list; those that never raise do not."""
    for seed in range(ROUNDS):
        dice = random.Random(seed)
        body = json.dumps(_value(dice)).encode()
        status = dice.choice([200, 200, 200, 201, 204, 301, 302, 404, 422, 500])
        cut = body[: dice.randrange(len(body))] if dice.random() < 0.2 and len(body) > 1 else body
        with serving(lambda *_, said=(status, ELSEWHERE, cut): said):
            for reader, read in RAISING.items():
                try:
                    read()
                except CvlError:
                    continue
                honest = status in {200, 201} and (cut == b"[]" or b'"artifacts": []' in cut or b'"sha"' in cut)
                assert honest, (seed, reader, status, cut)
            words: list[str] = []
            WorkflowRuns(api=URL, token="t", repository="cvl/ci", say=words.append, backoff=WITHOUT_PAUSES).ended_at(
                "1", "1"
            )
            _put(words.append)
