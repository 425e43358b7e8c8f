"""Calls to the daemon: SkyPilot's own services and client, and an `ssh` that forwards a socket on this computer."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.support.skylet_daemon import answers_of, home_with_ssh

pytestmark = pytest.mark.sky

OTHERWISE = ("echo welcome", "printf connect", "head -c 100000000 /dev/zero", "exit 1", "sleep 60")
"""First words of a machine that are not the ones it was asked for."""


@pytest.fixture
def place() -> Path:
    return home_with_ssh()


@pytest.fixture
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a short name: a socket's path may have 104 bytes."""
    return tmp_path_factory.mktemp("s")


def test_the_daemon_takes_the_calls_through_one_private_connection(place: Path, sockets: Path) -> None:
    steps = """
tried("added", add)
tried("status", status)
tried("again", add)
tried("queued", queue)
tried("mode", lambda: [os.stat(Path(os.environ["SOCKETS"]) / "skylet-0").st_mode])
"""
    answers = answers_of(place, steps, sockets=sockets)
    [mode] = answers.pop("mode")
    assert answers == {"outside": False, "added": 1, "status": "INIT", "again": 2, "queued": None}
    assert stat.S_ISSOCK(mode) and not mode & 0o077, "another user could open the socket"
    assert (place / "calls").read_text().split() == ["ssh"]
    assert (place / ".sky" / "sky_app" / "sky_job_1").read_text() == "print(1)"


def test_without_a_daemon_skypilot_goes_its_first_way_and_nobody_waits_a_second_time(
    place: Path, sockets: Path
) -> None:
    steps = """
server.stop(None).wait()
tried("added", add)
tried("status", status)
tried("queued", queue)
"""
    answers = answers_of(place, steps, sockets=sockets)
    assert answers == {"outside": False, "added": "OnHead", "status": "OnHead", "queued": "OnHead"}
    assert (place / "calls").read_text().split() == ["ssh"]


def test_a_daemon_that_ends_later_leaves_the_calls_to_the_first_way_but_no_job_is_queued_twice(
    place: Path, sockets: Path
) -> None:
    """After a doubt no second way queues the job. The next job begins with a call that may come twice."""
    steps = """
tried("added", add)
server.stop(None).wait()
tried("queued", queue)
tried("again", add)
tried("next", queue)
"""
    answers = answers_of(place, steps, sockets=sockets)
    assert answers["added"] == 1 and answers["again"] == answers["next"] == "OnHead"
    kind, _, text = answers["queued"].partition(": ")
    assert kind == "RuntimeError" and "did not confirm that it has the job" in text and ": UNAVAILABLE" in text


def test_a_daemon_that_queues_late_has_the_job_once(place: Path, sockets: Path) -> None:
    steps = """
from sky.skylet import services
import time
original, seconds, calls = services.JobsServiceImpl.QueueJob, [3.0, 3.0], []
def QueueJob(self, request, context):
    calls.append(request.job_id)
    time.sleep(seconds.pop())
    return original(self, request, context)
services.JobsServiceImpl.QueueJob = QueueJob
server.stop(None).wait()
server = skylet.start_grpc_server(constants.SKYLET_GRPC_PORT)
tried("added", add)
skylet_channel.QUEUE_SECONDS, skylet_channel.TAKEN = 1.0, skylet_channel.Pace(every_seconds=1.0, within_seconds=60.0)
tried("queued", queue)
tried("again", add)
skylet_channel.TAKEN = skylet_channel.Pace(every_seconds=1.0, within_seconds=-1.0)
tried("in doubt", lambda: backend._exec_code_on_head(handle, "print(1)", 2, remote_log_dir=str(Path.home() / "logs")))
tried("calls", lambda: calls)
"""
    answers = answers_of(place, steps, sockets=sockets)
    assert (answers["added"], answers["queued"], answers["again"], answers["calls"]) == (1, None, 2, [1, 2])
    assert "did not confirm that it has the job" in answers["in doubt"]
    assert ": DEADLINE_EXCEEDED" in answers["in doubt"]


def test_a_daemon_of_another_version_that_cannot_queue_leaves_it_to_the_first_way(place: Path, sockets: Path) -> None:
    steps = """
from sky.skylet import services
def QueueJob(self, request, context):
    context.abort(skylet.grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
services.JobsServiceImpl.QueueJob = QueueJob
server.stop(None).wait()
server = skylet.start_grpc_server(constants.SKYLET_GRPC_PORT)
tried("queued", queue)
"""
    assert answers_of(place, steps, sockets=sockets) == {"outside": False, "queued": "OnHead"}


@pytest.mark.parametrize(
    "first", ["echo welcome", "printf connect", "head -c 100000000 /dev/zero", "exit 1", "sleep 60"]
)
def test_a_machine_that_says_something_else_first_or_nothing_is_called_the_first_way(
    place: Path, sockets: Path, first: str
) -> None:
    text = (place / "bin" / "ssh").read_text()
    words = f'"bash", "-c", "{first}; sleep 60"' if first != "exit 1" else '"false"'
    (place / "bin" / "ssh").write_text(text.replace('"bash", "-c", sys.argv[-1]', words))
    steps = """
skylet_channel.CONNECT_SECONDS = 0.5
tried("added", add)
"""
    assert answers_of(place, steps, sockets=sockets) == {"outside": False, "added": "OnHead"}


def test_a_connection_that_ended_is_opened_again(place: Path, sockets: Path) -> None:
    steps = """
tried("added", add)
[connection] = skylet_channel._connections.values()
connection._process.kill(); connection._process.wait()
tried("again", add)
skylet_channel.close()
tried("closed", lambda: connection.is_alive or len(skylet_channel._connections))
"""
    answers = answers_of(place, steps, sockets=sockets)
    assert answers == {"outside": False, "added": 1, "again": 2, "closed": 0}
    assert (place / "calls").read_text().split() == ["ssh", "ssh"]
