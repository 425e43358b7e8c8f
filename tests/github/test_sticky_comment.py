"""One comment a run, whatever happens on the way to it; nobody else's is touched; silence has a reason, said once."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import requests

from cvl_ci.github import context
from cvl_ci.github.event import Event
from cvl_ci.github.pr import sticky_comment
from cvl_ci.github.pr.sticky_comment import (
    DEPENDABOT,
    FORK,
    NO_REQUEST,
    PERMISSION,
    SECONDS_BETWEEN,
    SECONDS_TO_HEAL,
    StickyComment,
)
from cvl_ci.result.report import group_comment, marker
from tests.github.api import URL, Answer, Api, pull
from tests.support.fakes import FakeClock

MARK = marker("abc")
SHA = "a" * 40
OURS = {"head": {"repo": {"full_name": "cvl/ci"}, "sha": SHA}, "base": {"repo": {"full_name": "cvl/ci"}}}
PULL_REQUEST = Event(name="pull_request", payload={"pull_request": {"number": 5, **OURS}})
BUSY: Answer = (502, {}, "<html>bad gateway</html>")


@pytest.fixture
def api() -> Iterator[Api]:
    with Api().serving() as api:
        yield api


class Said(list[str]):
    def __init__(self, event: Event = PULL_REQUEST) -> None:
        super().__init__()
        self.clock = FakeClock()
        here = replace(
            context.read({"GITHUB_REPOSITORY": "cvl/ci"}, leg=""),
            server=replace(context.read({"GITHUB_REPOSITORY": "cvl/ci"}, leg="").server, api=URL),
            sha=SHA,
            event=event,
        )
        self.discussion = StickyComment(
            context=here, token="secret-token", marker=MARK, clock=self.clock, say=self.append
        )

    def put(self, text: str, *, last: bool = True) -> str | None:
        return self.discussion.put(lambda before: f"{MARK}\n{text}", last=last)


def test_the_first_word_makes_a_comment_and_the_next_change_it(api: Api) -> None:
    lines = Said()
    address = lines.put("one")
    assert lines.put("two") == address == "https://git.example.com/cvl/ci/pull/5#issuecomment-100"
    assert api.bodies() == [f"{MARK}\ntwo"]
    assert lines == []


def test_a_later_run_finds_it_again(api: Api) -> None:
    Said().put("one")
    Said().put("two")
    assert api.bodies() == [f"{MARK}\ntwo"]


def test_it_is_found_on_the_last_of_many_pages(api: Api) -> None:
    for number in range(250):
        api.comment(f"chat {number}", author="someone")
    api.comment(f"{MARK}\nold")
    Said().put("new")
    assert api.bodies()[-1] == f"{MARK}\nnew"
    assert len(api.comments) == 251


def test_a_stranger_s_comment_with_our_marker_is_left_alone(api: Api) -> None:
    api.comment(f"{MARK}\nmine!", author="mallory")
    Said().put("ours")
    assert api.bodies() == [f"{MARK}\nmine!", f"{MARK}\nours"]


def test_our_comment_that_only_quotes_the_marker_is_left_alone(api: Api) -> None:
    api.comment(f"look: {MARK}")
    Said().put("ours")
    assert api.bodies() == [f"look: {MARK}", f"{MARK}\nours"]


def test_a_person_s_token_finds_the_person_s_comments(api: Api) -> None:
    api.me = "ada"
    api.comment(f"{MARK}\nof the bot")
    api.comment(f"{MARK}\nof ada", author="ada")
    Said().put("new")
    assert api.bodies() == [f"{MARK}\nof the bot", f"{MARK}\nnew"]


def test_of_twins_the_oldest_stays(api: Api) -> None:
    for text in ("one", "two", "three"):
        api.comment(f"{MARK}\n{text}")
    Said().put("new")
    assert list(api.comments) == [100]
    assert api.bodies() == [f"{MARK}\nnew"]


def test_a_comment_whose_answer_was_lost_is_not_made_twice(api: Api) -> None:
    api.lose_answers = 1
    assert Said().put("one")
    assert api.bodies() == [f"{MARK}\none"]


def test_an_equal_comment_is_not_written_again(api: Api) -> None:
    Said().put("one")
    api.asked.clear()
    Said().put("one")
    assert api.writes() == []


@pytest.mark.parametrize("fault", [BUSY, requests.ConnectionError("reset"), requests.Timeout("slow")])
def test_a_hiccup_is_asked_through(api: Api, fault: Answer | Exception) -> None:
    api.faults["POST .*"] = [fault, fault]
    assert Said().put("one")
    assert api.bodies() == [f"{MARK}\none"]


def test_an_outage_is_told_after_the_last_word_and_raises_nothing(api: Api) -> None:
    api.faults["GET .*comments"] = [BUSY] * 50
    lines = Said()
    assert lines.put("one") is None
    assert len(lines) == 1
    assert lines.clock.time - FakeClock().time < 60


def test_a_rate_limit_s_own_time_is_waited_for(api: Api) -> None:
    api.faults["POST .*"] = [(403, {"Retry-After": "7"}, '{"message": "You have exceeded a secondary rate limit"}')]
    result = Said()
    assert result.put("one")
    assert result.clock.time == FakeClock().time + 7


def test_a_rate_limit_without_a_time_is_given_a_minute(api: Api) -> None:
    api.faults["POST .*"] = [(429, {}, '{"message": "slow down"}')]
    result = Said()
    assert result.put("one")
    assert result.clock.time == FakeClock().time + 60


def test_a_rate_limit_of_an_hour_is_not_waited_for(api: Api) -> None:
    reset = str(int(FakeClock().time) + 3600)
    api.faults["GET .*comments"] = [(403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}, "{}")]
    lines = Said()
    assert lines.put("one") is None
    assert lines.clock.time == FakeClock().time
    assert len(lines) == 1


def test_while_it_runs_a_word_too_soon_is_left_out_and_the_last_never(api: Api) -> None:
    result = Said()
    result.put("one", last=False)
    result.put("two", last=False)
    assert api.bodies() == [f"{MARK}\none"]
    result.clock.sleep(SECONDS_BETWEEN)
    result.put("three", last=False)
    assert api.bodies() == [f"{MARK}\nthree"]
    result.put("four", last=True)
    assert api.bodies() == [f"{MARK}\nfour"]


# ---- when nothing can be said ---------------------------------------------------------------------------------------


def stranger(repository: dict[str, Any] | None) -> Event:
    request = {"number": 5, "head": {"repo": repository, "sha": SHA}, "base": {"repo": {"full_name": "cvl/ci"}}}
    return Event(name="pull_request", payload={"pull_request": request})


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (PULL_REQUEST, PERMISSION),
        (stranger({"full_name": "mallory/ci"}), FORK),
        (stranger(None), FORK),
        (Event(name="pull_request", payload=PULL_REQUEST.payload, actor="dependabot[bot]"), DEPENDABOT),
    ],
)
def test_a_token_that_may_not_write_is_told_once_with_what_to_do(api: Api, event: Event, reason: str) -> None:
    api.writable = False
    lines = Said(event)
    for _ in range(3):
        assert lines.put("one") is None
    assert lines == [f"No comment on the pull request: {reason}. The step's summary has it all."]
    assert len(api.writes()) == 1


def test_a_run_of_no_pull_request_is_told_once(api: Api) -> None:
    lines = Said(Event(name="schedule", payload={}))
    lines.put("one")
    lines.put("two")
    assert lines == [f"No comment on the pull request: {NO_REQUEST}. The step's summary has it all."]
    assert api.asked == []


# ---- which pull request ---------------------------------------------------------------------------------------------


def test_a_push_is_about_the_open_request_of_its_commit(api: Api) -> None:
    api.pulls = [pull(5, sha=SHA), pull(6, sha=SHA, state="closed"), pull(7, sha="b" * 40)]
    api.pulls += [pull(8, sha=SHA, head="mallory/ci"), pull(9, sha=SHA, head=None)]
    assert Said(Event(name="push", payload={})).put("one")
    assert len(api.comments) == 1


def test_a_push_whose_commit_has_no_open_request_is_about_none(api: Api) -> None:
    result = Said(Event(name="push", payload={}))
    result.put("one")
    assert NO_REQUEST in result[0]


# ---- many legs, one comment ---------------------------------------------------------------------------------------


def test_the_rows_of_other_legs_stay(api: Api) -> None:
    for key in ("b", "a", "b", "c"):
        result = Said()
        result.discussion.put(
            partial(group_comment, title="nightly", marker=MARK, key=key, row=f"`{key}` | x"), last=True
        )
    [body] = api.bodies()
    assert [line for line in body.splitlines() if "row:" in line] == [
        f"| <!-- row:{key} -->`{key}` | x |" for key in "abc"
    ]


class Rival:
    """Another leg, which read the comment before we wrote and writes after."""

    def __init__(self, api: Api, *, times: int) -> None:
        self.api, self.times, self.stale = api, times, ""

    def write(self, before: str) -> str:
        self.stale = before
        return row("ours", before)

    def sleep(self, seconds: float) -> None:
        if self.times:
            self.times -= 1
            [comment] = self.api.comments.values()
            comment["body"] = row("theirs", self.stale)


def row(key: str, before: str) -> str:
    return group_comment(before, title="nightly", marker=MARK, key=key, row=f"`{key}` | x")


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_row_that_another_leg_overwrote_is_written_again(api: Api, times: int) -> None:
    result, rival = Said(), Rival(api, times=times)
    result.clock.sleep = rival.sleep  # type: ignore[method-assign]
    assert result.discussion.put(rival.write, stays="<!-- row:ours -->")
    [body] = api.bodies()
    assert "row:ours" in body
    assert ("row:theirs" in body) is (times > 0)


def test_a_row_that_stayed_costs_one_more_look_and_no_more_words(api: Api) -> None:
    result = Said()
    result.discussion.put(lambda before: row("ours", before), stays="<!-- row:ours -->")
    assert len(api.writes()) == 1
    assert SECONDS_TO_HEAL <= result.clock.time - FakeClock().time <= 2 * SECONDS_TO_HEAL


def test_a_twin_that_another_leg_removed_first_silences_nobody(api: Api) -> None:
    for text in ("one", "two"):
        api.comment(f"{MARK}\n{text}")
    api.faults["DELETE .*"] = [(404, {}, '{"message": "Not Found"}')]
    lines = Said()
    assert lines.put("new")
    assert lines == []


def test_where_nothing_is_to_be_said_no_comment_is_made(api: Api) -> None:
    result = Said()
    assert result.discussion.put(lambda before: before) == ""
    assert api.writes() == []


def test_legs_that_end_at_once_all_find_their_rows_in_one_comment(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer takes a while, so that all of them read before any of them writes."""
    monkeypatch.setattr(sticky_comment, "SECONDS_TO_HEAL", 0.6)
    dice = random.Random(7)
    api.delay = lambda: time.sleep(dice.uniform(0.01, 0.1))
    keys = [f"leg{number}" for number in range(5)]
    legs = [threading.Thread(target=_say_row, args=(key,)) for key in keys]
    for leg in legs:
        leg.start()
    for leg in legs:
        leg.join(timeout=30)
    [body] = api.bodies()
    assert sorted(re.findall(r"row:(\w+)", body)) == keys


def _say_row(key: str) -> None:
    result = Said()
    result.clock.sleep = time.sleep  # type: ignore[method-assign,assignment]
    result.discussion.put(lambda before: row(key, before), last=True, stays=f"<!-- row:{key} -->")
