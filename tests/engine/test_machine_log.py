"""The log of a service comes from its live machine within limits, and each failure is one error."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cvl_ci.engine import machine_log
from cvl_ci.engine import session as sessions
from cvl_ci.engine.job_log import LOST, NO_JOB, READ
from cvl_ci.engine.machine_log import SkyPilotMachineLog
from cvl_ci.engine.process import Expired, WorkerFailed
from cvl_ci.engine.session import Session
from cvl_ci.errors import EngineError
from cvl_ci.local.clock import SystemClock

NAME = "cvl-1-0a1b2c3d"
JOB = "(serve, pid=691) "
DIED = EngineError(
    "The process that drives SkyPilot ended by itself (status -9). Its last lines:",
    money="A machine may have been requested. cvl-ci searches for it and takes it down.",
)


class Streaming:
    """A worker whose machine prints these lines, and then gives this answer. None: it goes on for ever."""

    alive = True

    def __init__(self, *lines: str, answer: str | Exception | None = READ) -> None:
        self.lines, self.answer = lines, answer
        self.busy, self.killed, self.requests = False, False, list[dict[str, Any]]()

    def call(self, verb: str, **request: Any) -> Any:
        self.busy = True
        self.requests.append({"verb": verb, **request})
        until: Callable[[], float] = request["until"]
        for line in self.lines:
            if time.monotonic() >= until():
                raise Expired
            request["on_rest" if line.startswith("...") else "on_line"](line)
        if self.answer is None:
            raise Expired
        if isinstance(self.answer, Exception):
            raise self.answer
        self.busy = time.monotonic() >= until()
        if self.busy:
            raise Expired
        return self.answer

    def abort(self) -> None: ...

    def kill(self) -> None:
        self.killed = True


def shown(
    worker: Streaming, monkeypatch: pytest.MonkeyPatch, *, count: int = 200, is_following: bool = False
) -> list[str]:
    monkeypatch.setattr(sessions, "Worker", lambda **_: worker)
    lines: list[str] = []
    log = SkyPilotMachineLog(Session(environment={}, clock=SystemClock()))
    log.show(NAME, count=count, is_following=is_following, line=lines.append)
    return lines


def test_the_job_s_lines_come_without_skypilot_s_marks_and_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    in_use = "cvl-ci: port 8000 of this machine is in use already"
    worker = Streaming(
        "Job ID not provided. Streaming the logs of the latest job.",
        JOB + "cvl-ci: the job begins on this machine",
        JOB + in_use,
        JOB + "listening",
        "...on all addresses",
    )
    assert shown(worker, monkeypatch) == [in_use, "listening", "...on all addresses"]
    [request] = worker.requests
    assert (request["verb"], request["cluster"], request["count"]) == ("tail_log", NAME, 200)
    assert request["until"]() < time.monotonic() + machine_log.LOG_SECONDS


def test_a_machine_that_sends_more_lines_than_it_was_asked_for_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Streaming(*[f"{JOB}{number}" for number in range(50)], answer=None)
    assert shown(worker, monkeypatch, count=3) == ["0", "1", "2"]
    assert worker.killed, "its connection ends with its worker"


@pytest.mark.parametrize("line", [JOB + "x" * 300, "not of the job " + "x" * 300])
def test_a_machine_that_sends_more_text_than_the_limit_is_cut(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_log, "LARGEST_LOG", 1000)
    lines = shown(Streaming(*[line] * 50, answer=None), monkeypatch)
    assert len(lines) <= 5 and "the rest is left out" in lines[-1]


def test_a_stream_that_is_followed_has_no_end_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_log, "LARGEST_LOG", 1000)
    worker = Streaming(*[JOB + "x" * 300] * 50)
    assert len(shown(worker, monkeypatch, count=3, is_following=True)) == 50
    assert worker.requests[0]["until"]() == math.inf


def test_a_person_who_stops_it_leaves_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Streaming(answer=None)
    monkeypatch.setattr(worker, "lines", (JOB + "a",))
    monkeypatch.setattr(sessions, "Worker", lambda **_: worker)

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SkyPilotMachineLog(Session(environment={}, clock=SystemClock())).show(
            NAME, count=200, is_following=True, line=stop
        )
    assert worker.killed


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (NO_JOB, "has no log of a job"),
        (LOST, "does not answer by ssh"),
        (None, "did not send all of its log within"),
        (WorkerFailed(error="ClusterDoesNotExist", text="x"), "This computer has no way into the machine"),
        (WorkerFailed(error="ClusterNotUpError", text="stopped"), "does not answer: ClusterNotUpError: stopped"),
        (DIED, "broke off. The process that drives SkyPilot ended by itself"),
    ],
)
def test_each_failure_names_the_money_and_the_next_step(
    answer: str | Exception | None, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError) as caught:
        shown(Streaming(answer=answer), monkeypatch)
    assert what in caught.value.what and NAME in caught.value.what
    assert "billed until its end" in caught.value.money and f"cvl-ci deploy --down {NAME}" in caught.value.next_step


@pytest.mark.parametrize("answer", [LOST, None, WorkerFailed(error="ClusterNotUpError", text="stopped")])
def test_a_machine_that_sent_lines_is_not_said_to_need_an_end(
    answer: str | Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError) as caught:
        shown(Streaming(JOB + "a", answer=answer), monkeypatch)
    assert "billed until its end" in caught.value.money and "Run this again" in caught.value.next_step
    assert "--down" not in caught.value.next_step


@pytest.mark.parametrize(("seconds", "is_shown"), [(0.0, False), (60.0, True)])
def test_only_the_machine_s_own_time_counts(seconds: float, is_shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pager lets cvl-ci wait `seconds` for each line; else the machine itself needs as long."""
    clock = SimpleNamespace(now=0.0)
    module = SimpleNamespace(monotonic=lambda: clock.now)
    for each in (machine_log, sessions):
        monkeypatch.setattr(each, "time", module)
    lines: list[str] = []

    class Timed(Streaming):
        def call(self, verb: str, **request: Any) -> Any:
            for line in self.lines:
                if clock.now >= request["until"]():
                    raise Expired
                clock.now += 60.0 - seconds
                request["on_line"](line)
            return READ

    def show(text: str) -> None:
        clock.now += seconds
        lines.append(text)

    monkeypatch.setattr(sessions, "Worker", lambda **_: Timed(*[JOB + "a"] * 4))
    log = SkyPilotMachineLog(Session(environment={}, clock=SystemClock()))
    with contextlib.nullcontext() if is_shown else pytest.raises(EngineError, match="did not send all of its log"):
        log.show(NAME, count=200, is_following=False, line=show)
    assert len(lines) == (4 if is_shown else 2)
