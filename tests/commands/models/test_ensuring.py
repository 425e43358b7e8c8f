"""The lock that has one of many legs store a model, by a clock of the test's own."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from cvl_ci.commands.models.ensuring import LOCK_SECONDS, MOST_WAITING_SECONDS, Ensuring
from cvl_ci.commands.models.model_store import ModelStore
from cvl_ci.errors import HubError
from cvl_ci.model.model_plan import ModelName
from cvl_ci.model.snapshot import Manifest, ModelFile
from tests import golden

MESSAGES = golden.Messages(__name__)

NAME = ModelName(repo="acme/tiny")
COMMIT = "c" * 40
FILE = ModelFile(path="a", size=1, blob="a" * 64, sha256="a" * 64)
LOCK = "hub/locks/models--acme--tiny@main.json"


class TestClock:
    """A clock that only sleep moves. `wakes`: called after each sleep."""

    __test__ = False

    def __init__(self) -> None:
        self.time = 1000.0
        self.stride = 0.0
        self.wakes: Callable[[], None] = lambda: None

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += max(seconds, self.stride)
        self.wakes()


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


def legs(model_store: ModelStore, clock: TestClock, *, error: str = "") -> tuple[Ensuring, list[str], list[str]]:
    uploads: list[str] = []
    lines: list[str] = []

    def upload(name: ModelName) -> Manifest:
        uploads.append(str(name))
        if error:
            raise HubError(error)
        return model_store.record(Manifest(repo=name.repo, commit=COMMIT, files={"a": FILE}, has_all=True), ref="main")

    return Ensuring(model_store=model_store, clock=clock, owner="me", upload=upload, tell=lines.append), uploads, lines


def lock(model_store: ModelStore, clock: TestClock, *, until: float, failure: str = "") -> None:
    document = {"owner": "other", "until": until, "failure": failure, "failed_at": clock.now()}
    model_store.store.put(LOCK, json.dumps(document).encode(), labels={}, replaces=None)


def test_a_free_lock_is_taken_and_given_back(model_store: ModelStore, clock: TestClock) -> None:
    ensuring, uploads, _ = legs(model_store, clock)
    assert ensuring.ensure(NAME)
    assert ensuring.ensure(NAME)
    assert uploads == ["acme/tiny"]
    assert model_store.store.get(LOCK) is None


def test_a_leg_waits_for_another_one_and_then_reads(model_store: ModelStore, clock: TestClock) -> None:
    lock(model_store, clock, until=clock.now() + LOCK_SECONDS)
    ensuring, uploads, lines = legs(model_store, clock)
    manifest = Manifest(repo=NAME.repo, commit=COMMIT, files={"a": FILE}, has_all=True)
    clock.wakes = lambda: None if clock.now() < 1020 else void(model_store.record(manifest, ref="main"))
    assert ensuring.ensure(NAME)
    assert uploads == []
    MESSAGES.check("waits for another leg", lines)


def test_a_lost_leg_s_lock_expires(model_store: ModelStore, clock: TestClock) -> None:
    lock(model_store, clock, until=clock.now() + LOCK_SECONDS)
    ensuring, uploads, _ = legs(model_store, clock)
    assert ensuring.ensure(NAME)
    assert uploads == ["acme/tiny"]
    assert clock.now() == 1000 + LOCK_SECONDS


@pytest.mark.parametrize("content", [b"", b"[]", b'{"until": 1}', b"[" * 100_000, b'{"until": 1' + b"0" * 400 + b"}"])
def test_a_lock_that_holds_another_text_is_replaced(model_store: ModelStore, clock: TestClock, content: bytes) -> None:
    model_store.store.put(LOCK, content, labels={}, replaces=None)
    ensuring, uploads, _ = legs(model_store, clock)
    assert ensuring.ensure(NAME)
    assert uploads == ["acme/tiny"]


def test_a_leg_that_waited_takes_the_failure_over_and_a_later_one_tries_again(
    model_store: ModelStore, clock: TestClock
) -> None:
    """Eight legs in a row, each with minutes of patience, would be an hour of a hub that is down."""
    lock(model_store, clock, until=clock.now() + LOCK_SECONDS)
    ensuring, uploads, lines = legs(model_store, clock)
    clock.wakes = lambda: lock(model_store, clock, until=0, failure="the hub answers 503")
    assert not ensuring.ensure(NAME)
    assert uploads == []
    MESSAGES.check("the failure of another leg", golden.sentence(lines[-1], "Another leg did not"))
    clock.time += 1
    assert ensuring.ensure(NAME)


def test_a_failure_is_a_line_and_stays_in_the_lock(model_store: ModelStore, clock: TestClock) -> None:
    ensuring, _uploads, lines = legs(model_store, clock, error="the hub answers 429")
    assert not ensuring.ensure(NAME)
    MESSAGES.check("a failure", lines)
    content, _ = model_store.store.get(LOCK) or (b"", "")
    assert json.loads(content)["failure"] == "the hub answers 429"


def test_the_waiting_has_an_end(model_store: ModelStore, clock: TestClock) -> None:
    lock(model_store, clock, until=1e12)
    ensuring, uploads, _ = legs(model_store, clock)
    clock.stride = 600.0
    assert not ensuring.ensure(NAME)
    assert clock.now() <= 1000 + MOST_WAITING_SECONDS + 600
    assert uploads == []


def test_a_lock_of_another_form_is_replaced(model_store: ModelStore, clock: TestClock) -> None:
    for content in (b"", b"[]", b'{"until": "soon"}'):
        model_store.store.put(LOCK, content, labels={}, replaces=None)
        ensuring, _, _ = legs(model_store, clock)
        assert ensuring.ensure(NAME)


def test_part_of_a_model_is_completed_unless_a_person_chose_it(model_store: ModelStore, clock: TestClock) -> None:
    model_store.record(Manifest(repo=NAME.repo, commit=COMMIT, files={"a": FILE}), ref="main")
    ensuring, uploads, _ = legs(model_store, clock)
    assert ensuring.ensure(NAME)
    assert uploads == ["acme/tiny"]
    model_store.record(Manifest(repo="acme/half", commit=COMMIT, files={"a": FILE}, is_chosen=True), ref="main")
    assert ensuring.ensure(ModelName(repo="acme/half"))
    assert uploads == ["acme/tiny"]


def void(_: object) -> None:
    pass
