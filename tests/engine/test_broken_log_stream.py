"""A stream that breaks is not a job that ended: SkyPilot returns ssh's own code when a connection is lost."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.sky

SSH, SUCCEEDED, FAILED, NOT_FINISHED = 255, 0, 100, 101
RUNNING, OVER = SimpleNamespace(is_terminal=lambda: False), SimpleNamespace(is_terminal=lambda: True)


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, int]]:
    """Return the code that following ends with, and how often the stream began again."""
    sky_local: Any = importlib.import_module("cvl_ci.engine.worker.sky_local")

    def followed(*codes: int, states: list[Any], is_from_file: bool = False) -> tuple[int, int]:
        coming: Iterator[int] = iter(codes)
        answers: Iterator[Any] = iter(states)
        backend = SimpleNamespace(tail_logs=lambda *_, **__: next(coming))
        now = [0.0]

        def status(*_: object) -> dict[int, Any]:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return {1: answer}

        def sleep(seconds: float) -> None:
            now[0] += 10 * seconds

        log = SimpleNamespace(follow=lambda _: next(coming)) if is_from_file else None
        monkeypatch.setattr(sky_local.one_node_log, "of_job", lambda *_: log)
        monkeypatch.setattr(sky_local, "handle_of", lambda _: object())
        monkeypatch.setattr(sky_local.backend_utils, "get_backend_from_handle", lambda _: backend)
        monkeypatch.setattr(sky_local.core, "job_status", status)
        monkeypatch.setattr(sky_local, "AGAIN", replace(sky_local.AGAIN, sleep=sleep))
        monkeypatch.setattr(sky_local.time, "monotonic", lambda: now[0] + 1)
        again: list[str] = []
        code = sky_local._streamed(lambda word, **_: again.append(word), cluster="c", job_id=1)
        return code, again.count("again")

    return followed


def test_a_job_that_ended_is_believed(follow: Callable[..., tuple[int, int]]) -> None:
    assert follow(SUCCEEDED, states=[]) == (SUCCEEDED, 0)
    assert follow(FAILED, states=[]) == (FAILED, 0)


@pytest.mark.parametrize("broken", [SSH, NOT_FINISHED, 1])
def test_a_broken_stream_of_a_running_job_begins_again(follow: Callable[..., tuple[int, int]], broken: int) -> None:
    assert follow(broken, broken, SUCCEEDED, states=[RUNNING, RUNNING]) == (SUCCEEDED, 2)
    assert follow(broken, states=[OVER]) == (broken, 0)


def test_a_log_from_its_file_goes_on_without_a_repetition(follow: Callable[..., tuple[int, int]]) -> None:
    states = [RUNNING, OSError("Connection timed out"), RUNNING]
    assert follow(SSH, SSH, SSH, SUCCEEDED, states=states, is_from_file=True) == (SUCCEEDED, 0)
    assert follow(SSH, states=[OVER], is_from_file=True) == (SSH, 0)


def test_a_machine_out_of_reach_for_a_moment_is_followed_again(follow: Callable[..., tuple[int, int]]) -> None:
    lost = OSError("Connection timed out")
    assert follow(SSH, SSH, SUCCEEDED, states=[lost, RUNNING]) == (SUCCEEDED, 1)


def test_a_machine_that_stays_out_of_reach_or_is_gone_ends_the_stream(
    follow: Callable[..., tuple[int, int]],
) -> None:
    from sky import exceptions

    lost = OSError("Connection timed out")
    assert follow(*[SSH] * 9, states=[lost] * 9) == (SSH, 0)
    assert follow(SSH, states=[exceptions.ClusterDoesNotExist("gone")]) == (SSH, 0)
