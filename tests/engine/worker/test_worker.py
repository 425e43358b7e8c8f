"""The worker asks no provider before its parent has written down where."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cvl_ci.engine.process import Worker
from cvl_ci.engine.worker import worker
from cvl_ci.engine.worker.worker import Channel, Unheard


@dataclass
class Line:
    """A channel, and the parent's end of it."""

    channel: Channel
    said: Path
    parent: int


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    said = tmp_path / "said"
    heard, parent = os.pipe()
    channel = Channel(os.open(said, os.O_CREAT | os.O_WRONLY), heard)
    yield Line(channel=channel, said=said, parent=parent)
    channel._file.close()
    os.close(heard)


@pytest.mark.parametrize("kind", ["attempting", "making_bucket"])
def test_an_attempt_and_a_bucket_wait_until_they_were_taken_note_of(line: Line, kind: str) -> None:
    going = threading.Event()

    def attempt() -> None:
        line.channel.send(kind, name="b")
        going.set()

    threading.Thread(target=attempt, daemon=True).start()
    assert not going.wait(0.3), "nothing is asked for yet"
    assert kind in line.said.read_text()
    os.write(line.parent, b"+")
    assert going.wait(60)
    os.close(line.parent)


@pytest.mark.parametrize("kind", ["attempting", "making_bucket"])
def test_what_nobody_took_note_of_is_not_made(line: Line, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "HEARD_SECONDS", 0.1)
    with pytest.raises(Unheard):
        line.channel.send(kind, name="b")
    os.close(line.parent)


def test_a_parent_that_is_gone_took_no_note(line: Line) -> None:
    os.close(line.parent)
    with pytest.raises(Unheard):
        line.channel.send("attempting", attempt={})


@pytest.mark.parametrize(
    ("kind", "is_confirmed"), [("attempting", True), ("making_bucket", True), ("nodes_lost", False)]
)
def test_the_parent_confirms_each_message_that_waits_for_it(kind: str, is_confirmed: bool) -> None:
    heard, parent = os.pipe()
    os.set_blocking(heard, False)
    process = Worker.__new__(Worker)
    process._heard = parent
    try:
        process._took_note({"kind": kind})
        assert bool(select.select([heard], [], [], 0)[0]) is is_confirmed
    finally:
        os.close(heard)
        os.close(parent)
