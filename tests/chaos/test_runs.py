"""A sample of script/chaos: with three lines cut, the fourth alone brings it to nothing left.

The first line alone: tests/e2e/test_drill.py.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cvl_ci.sandbox import Sandbox
from tests.chaos.completed import saying_completed
from tests.chaos.performance import perform
from tests.chaos.run_records import Record
from tests.chaos.scenes import Drawn, Scene
from tests.chaos.stage import HEARTBEAT_MINUTES, Stage
from tests.e2e.conftest import sandbox, wheels
from tests.e2e.metering import TASK_DISK_GB, assert_told_as_metered
from tests.support.places import only_wait

__all__ = ["sandbox", "wheels"]

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(1200)]
ALONE = {
    2: Scene(door="step", phase="setup", kill="SIGKILL", then="post", blind=True),
    3: Scene(door="step", phase="running", kill="runner-lost"),
    4: Scene(door="step", phase="running", kill="SIGKILL", then="reap", blind=True),
}


@pytest.fixture
def api() -> Iterator[str]:
    with saying_completed() as address:
        yield address


@pytest.mark.parametrize("line", [2, pytest.param(3, marks=pytest.mark.minutes(7)), 4])
def test_each_line_alone_leaves_nothing(line: int, sandbox: tuple[Sandbox, Path], tmp_path: Path, api: str) -> None:
    """The third line's machine lives longer than its heartbeat, which is renewed, and ends minutes after its runner."""
    scene = ALONE[line]
    assert sorted({1, 2, 3, 4} - {*scene.cut}) == [line]
    if line == 3:
        only_wait()
    delay = HEARTBEAT_MINUTES * 60 + 15.0 if line == 3 else 1.0
    record = performed(scene, delay=delay, sandbox=sandbox, folder=tmp_path, api=api)
    assert (record.left, record.said, record.caught) == ((), "", line)
    if line == 2:  # post tells the cost of a run whose main was killed
        [told] = [json.loads(path.read_text()) for path in tmp_path.glob("run/workspace/**/cvl-*.json")]
        assert told["ending"] == "cancelled" and told["cost_usd"] > 0
        assert_told_as_metered(told, sandbox[0], case="killed while setting up, and told by post", disk_gb=TASK_DISK_GB)


def performed(scene: Scene, *, delay: float, sandbox: tuple[Sandbox, Path], folder: Path, api: str) -> Record:
    made, directory = sandbox
    drawn = Drawn(seed=0, number=zlib.crc32(repr(scene).encode()) % 90_000, scene=scene, delay=delay)
    # Of all that ends a machine by itself, only its heartbeat comes within the patience of these tests.
    stage = Stage(folder=folder / "run", sandbox=made, directory=directory, number=drawn.number, max_runtime="30m")
    busy = ExitStack()
    busy.callback(only_wait)
    try:
        return perform(drawn, stage, api=api, commit="", busy=busy)
    finally:
        if any(each.state != "terminated" for each in made.status().instances):
            made.reset()
