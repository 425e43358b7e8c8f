"""The heartbeat: renewed while a runner is attached, tried again when the network is away, never past the deadline."""

from __future__ import annotations

import time

from cvl_ci.engine.worker import heartbeat
from cvl_ci.engine.worker.heartbeat import Heartbeat, minutes_at


def test_it_gives_no_more_minutes_than_are_left_to_the_deadline() -> None:
    assert minutes_at(0.0, deadline=600.0, heartbeat=3) == 3
    assert minutes_at(0.0, deadline=170.0, heartbeat=3) == 2
    assert minutes_at(0.0, deadline=59.0, heartbeat=3) == 0
    assert minutes_at(0.0, deadline=-5.0, heartbeat=3) == 0


def test_without_a_heartbeat_the_machine_has_until_its_deadline_counted_when_it_is_armed() -> None:
    assert minutes_at(120.0, deadline=600.0, heartbeat=0) == 8


def test_a_renewal_that_fails_is_tried_again() -> None:
    asked: list[int] = []
    failures: list[str] = []

    def renew(minutes: int) -> None:
        asked.append(minutes)
        if len(asked) == 1:
            raise OSError("network unreachable")

    beating = Heartbeat(renew, minutes=4, deadline=1000.0, now=lambda: 0.0, failed=failures.append)
    assert beating._beat() == heartbeat.RETRY_SECONDS
    assert beating._beat() == 60.0, "a quarter of it: three may fail before the machine ends"
    assert asked == [4, 4]
    assert failures == ["OSError: network unreachable"]


def test_it_stops_by_itself_where_less_than_a_minute_is_left() -> None:
    asked: list[int] = []
    beating = Heartbeat(asked.append, minutes=4, deadline=50.0, now=lambda: 0.0)
    beating.start()
    beating.join(timeout=60)
    assert not beating.is_alive()
    assert asked == []


def test_after_stop_none_follows() -> None:
    asked: list[int] = []
    beating = Heartbeat(asked.append, minutes=0.01, deadline=time.time() + 1000, now=time.time)
    beating.start()
    deadline = time.monotonic() + 60
    while len(asked) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    beating.stop()
    count = len(asked)
    assert count >= 2
    beating.join(timeout=60)
    assert (beating.is_alive(), len(asked)) == (False, count)
