"""Beside the run: the last word is never lost, those on the way to it may be, and nobody waits longer than they say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from cvl_ci.github.pr.comment_thread import CommentThread


class SlowGitHub:
    """A discussion in memory. `gate`: closed, nothing gets through. `gap`: seconds between two words."""

    def __init__(self) -> None:
        self.said: list[tuple[str, bool]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.gap = 0.0
        self.fails = 0
        self.silenced = False
        self.asked = 0
        self._not_before = 0.0

    @property
    def seconds_to_wait(self) -> float:
        return max(0.0, self._not_before - time.monotonic())

    def put(self, write: Callable[[str], str], *, last: bool = False, stays: str = "") -> str | None:
        self.asked += 1
        self._not_before = time.monotonic() + self.gap
        self.gate.wait(timeout=60)
        if self.silenced:
            return None
        if self.fails:
            self.fails -= 1
            return None
        self.said.append((write(""), last))
        return "https://github.com/x"

    @property
    def words(self) -> list[str]:
        return [word for word, _ in self.said]


@pytest.fixture
def github() -> Iterator[SlowGitHub]:
    github = SlowGitHub()
    yield github
    github.gate.set()


def words(thread: CommentThread, *texts: str) -> None:
    for text in texts:
        thread.put(lambda _, text=text: text)  # type: ignore[misc]


def test_who_says_a_word_does_not_wait_for_github(github: SlowGitHub) -> None:
    github.gate.clear()
    thread = CommentThread(github)
    start = time.monotonic()
    words(thread, *map(str, range(1000)))
    assert time.monotonic() - start < 30, "half of what GitHub takes"
    assert github.words == []


def test_words_that_were_overtaken_are_not_said_and_the_last_is(github: SlowGitHub) -> None:
    github.gate.clear()
    thread = CommentThread(github)
    words(thread, "first")
    while not github.asked:
        time.sleep(0.001)
    words(thread, *map(str, range(1000)), "last")
    github.gate.set()
    assert thread.flush(within=30)
    assert github.words == ["first", "last"]


def test_between_two_words_there_is_a_gap_that_only_the_last_jumps(github: SlowGitHub) -> None:
    github.gap = 30.0
    thread = CommentThread(github)
    words(thread, "first")
    assert thread.flush(within=30)
    words(thread, "second")
    time.sleep(0.1)
    assert github.words == ["first"]
    words(thread, "third")
    assert thread.flush(within=30)
    assert github.words == ["first", "third"]
    assert github.said[-1] == ("third", True)


def test_when_the_gap_is_over_the_waiting_word_is_said_unasked(github: SlowGitHub) -> None:
    github.gap = 0.2
    thread = CommentThread(github)
    words(thread, "first")
    thread.flush(within=30)
    words(thread, "second")
    deadline = time.monotonic() + 30
    while len(github.said) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert github.words == ["first", "second"]
    assert github.said[-1] == ("second", False)


def test_a_word_that_did_not_get_through_is_said_again(github: SlowGitHub) -> None:
    github.gap, github.fails = 0.05, 2
    thread = CommentThread(github)
    words(thread, "only")
    deadline = time.monotonic() + 30
    while not github.said and time.monotonic() < deadline:
        time.sleep(0.01)
    assert github.words == ["only"]


def test_a_word_that_failed_does_not_come_back_over_a_later_one(github: SlowGitHub) -> None:
    github.gate.clear()
    github.fails = 1
    thread = CommentThread(github)
    words(thread, "old")
    while not github.asked:
        time.sleep(0.001)
    words(thread, "new")
    github.gate.set()
    assert thread.flush(within=30)
    assert github.words == ["new"]


def test_waiting_for_the_last_word_has_an_end(github: SlowGitHub) -> None:
    github.gate.clear()
    thread = CommentThread(github)
    words(thread, "stuck")
    start = time.monotonic()
    assert not thread.flush(within=0.2)
    assert 0.2 <= time.monotonic() - start < 30


def test_one_who_may_not_write_is_asked_once_and_holds_nobody(github: SlowGitHub) -> None:
    github.silenced = True
    thread = CommentThread(github)
    words(thread, "one")
    assert thread.flush(within=30)
    time.sleep(0.1)
    assert github.asked == 1


def test_without_a_word_there_is_no_thread_and_nothing_to_wait_for(github: SlowGitHub) -> None:
    before = threading.active_count()
    thread = CommentThread(github)
    assert thread.flush(within=0.1)
    assert threading.active_count() == before
