"""The runner's copy of checkpoints: real programs of a node, its shell, and what a hostile machine claims."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.engine import node_commands
from cvl_ci.engine.fetch import checkpoint_connection, checkpoint_copy, transfer
from cvl_ci.engine.fetch.checkpoint_connection import CheckpointConnection
from cvl_ci.engine.fetch.checkpoint_copy import CheckpointCopy, during
from cvl_ci.engine.fetch.fetched_archives import Brought
from cvl_ci.engine.fetch.runner_checkpoints import RunnerCheckpoints
from cvl_ci.engine.jobs import SkyPilotJobs
from cvl_ci.engine.machine.checkpoints import sync
from cvl_ci.engine.machine.checkpoints.local_folder import Folder
from cvl_ci.engine.process import Expired
from cvl_ci.engine.task import script
from cvl_ci.model.checkpoint_plan import CheckpointPlan, Resume
from cvl_ci.model.plan import RunPlan, WorkPlan
from cvl_ci.ports import CheckpointBytes, Event
from tests import golden
from tests.engine.task.test_checkpoints import TRAIN
from tests.engine.task.test_script import LEASE, Node
from tests.engine.test_follow import Hanging
from tests.support.fakes import FakeClock
from tests.support.sessions import launched

MESSAGES = golden.Messages(__name__)

STORED = CheckpointPlan(globs=("step-*",), on_runner=True, folder="work/cvl-1", every_seconds=0.05)
PLAN = RunPlan(title="t", work=WorkPlan(run_commands=(TRAIN,)), checkpoints=STORED)
PLACE = f"~/.cvl-ci/{LEASE}/sync/place"


class Runner:
    """SkyPilot's connection to a node: its shell. `greeting`: what a login prints first. `cut`: bytes that arrive."""

    def __init__(self, home: Path, *, greeting: str = "") -> None:
        self.home, self.greeting = home, greeting
        self.commands: list[str] = []

    def run(self, command: str, *, log_path: str, **_: Any) -> Any:
        self.commands.append(command)
        words = ["bash", "-c", f"{self.greeting}{command}"]
        with Path(log_path).open("wb") as file:
            env = {"HOME": str(self.home), "PATH": "/bin:/usr/bin"}
            return subprocess.run(words, stdout=file, stderr=subprocess.DEVNULL, check=False, env=env).returncode


def trained(folder: Path, *, attempt: int = 1, place: Path | None = None, **env: str) -> tuple[Node, str]:
    """Train on a new machine, which gets the runner's copy first. Return it, and what its job printed."""
    node = Node(folder)
    if place is not None:
        shutil.copytree(place, node.state / "sync/place")
    plan = replace(PLAN, checkpoints=replace(STORED, attempt=attempt))
    values = script.environment(plan, lease=LEASE, deadline=time.time() + 3600)
    done = node.run(script.run(plan, lease=LEASE), {**values, **env})
    return node, done.stdout + done.stderr


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Node, str]:
    """Return a machine with one checkpoint, and what its job printed. No test changes it."""
    return trained(tmp_path_factory.mktemp("first") / "home")


@pytest.fixture
def node(first: tuple[Node, str], tmp_path: Path) -> Node:
    """Return another machine with that checkpoint."""
    made = Node(tmp_path / "1")
    shutil.copytree(first[0].state / "sync/place", made.state / "sync/place")
    return made


def copied(node: Node, into: Path, *, room: int = 1 << 30, greeting: str = "") -> list[dict[str, Any]]:
    """Look at a machine's checkpoints as the worker does. Return its messages."""
    told: list[dict[str, Any]] = []
    runner = Runner(node.home, greeting=greeting)

    def tell(kind: str, **values: Any) -> None:
        told.append({"kind": kind, **values})

    CheckpointCopy(
        into, CheckpointConnection(PLACE, runners=lambda: [runner], tell=tell), tell=tell, room=lambda: room
    ).copy_newest()
    return told


def kinds(told: Sequence[dict[str, Any]]) -> list[str]:
    return [one["kind"] for one in told if one["kind"] != "checkpoint_bytes"]


def traffic(told: Sequence[dict[str, Any]]) -> int:
    return sum(one["bytes"] for one in told if one["kind"] == "checkpoint_bytes")


def test_new_machines_go_on_from_the_copy_on_the_runner_without_any_bucket(
    first: tuple[Node, str], tmp_path: Path
) -> None:
    copy, (node, out) = tmp_path / "copy", first
    assert "from nothing" in out and "stored step-1" in out
    told = copied(node, copy, greeting="echo welcome; ")
    assert kinds(told) == ["checkpoint_here"]
    assert told[-1]["bytes"] == len("1\nweights 1\n")
    [manifest] = (node.state / "sync/place/manifests").iterdir()
    size, welcomes = manifest.stat().st_size, 4 * len("welcome\n")
    listed = len(f"manifest {size} {'0' * 64} {manifest.name}\n")
    assert traffic(told) == listed + size + len("1\nweights 1\n") + welcomes, "each byte that came"
    assert kinds(copied(node, copy)) == [], "it comes once"
    node, out = trained(tmp_path / "2", attempt=2, place=copy / "place", CODE="7")
    assert f"from {node.workdir}/step-1\n" in out and "stored step-2" in out
    assert kinds(copied(node, copy)) == ["checkpoint_here"]
    assert [one["name"] for one in sync.stored(Folder(str(copy / "place")))] == ["root/step-2"], (
        "the newest alone stays"
    )
    assert len(Folder(str(copy / "place")).keys(sync.OBJECTS)) == 2


def test_a_checkpoint_without_room_stays_on_its_machine_and_a_person_reads_it_once(node: Node, tmp_path: Path) -> None:
    told = copied(node, tmp_path / "copy", room=11)
    assert kinds(told) == ["checkpoint_refused"]
    events: list[Event] = []
    here = RunnerCheckpoints()
    here.note(told[-1], events.append)
    assert here.newest() is None and here.files_for("cvl-1") == {}
    [warning] = here.warnings
    MESSAGES.check("no room", warning)
    here.drop()


def torn(place: Path) -> None:
    next(place.glob("objects/*/0")).write_bytes(b"9\n")


def shortened(place: Path) -> None:
    next(place.glob("objects/*/1")).write_bytes(b"")


def pruned(place: Path) -> None:
    next(place.glob("objects/*/1")).unlink()


def without_sense(place: Path) -> None:
    next(place.glob("manifests/*")).write_text("{}")


def led_out(place: Path) -> None:
    manifest = next(place.glob("manifests/*"))
    document = json.loads(manifest.read_text())
    document["files"][0]["path"] = "../../../etc/passwd"
    manifest.write_text(json.dumps(document))


def led_out_by_key(place: Path) -> None:
    manifest = next(place.glob("manifests/*"))
    document = json.loads(manifest.read_text())
    document["files"][0]["key"] = "../../../../etc/hostname"
    manifest.write_text(json.dumps(document))


def renamed(place: Path) -> None:
    manifest = next(place.glob("manifests/*"))
    manifest.rename(manifest.with_name("another"))


def flooded(place: Path) -> None:
    next(place.glob("manifests/*")).write_bytes(b" " * ((4 << 20) + 1))


def linked(place: Path) -> None:
    one = next(place.glob("objects/*/0"))
    one.unlink()
    one.symlink_to("/etc/hostname")


def of_negative_size(place: Path) -> None:
    manifest = next(place.glob("manifests/*"))
    document = json.loads(manifest.read_text())
    document["files"][0]["size"] = -1
    manifest.write_text(json.dumps(document))


def changed(place: Path, **values: Any) -> None:
    """Change values of the manifest, and those of its first file."""
    [manifest] = place.glob("manifests/*")
    document = json.loads(manifest.read_text())
    for key, value in values.items():
        (document["files"][0] if key in document["files"][0] else document)[key] = value
    manifest.write_text(json.dumps(document))


def of_endless_size(place: Path) -> None:
    changed(place, size=10**400)


def of_endless_step(place: Path) -> None:
    changed(place, step=10**4000)


def of_no_moment(place: Path) -> None:
    changed(place, at=float("inf"))


def of_no_characters(place: Path) -> None:
    changed(place, path="work/\ud800")


def of_a_name_of_no_characters(place: Path) -> None:
    changed(place, name="work/\ud800")


HOSTILE = [of_negative_size, torn, shortened, pruned, without_sense, led_out, led_out_by_key, renamed, flooded, linked]
HOSTILE += [of_endless_size, of_endless_step, of_no_moment, of_no_characters, of_a_name_of_no_characters]


@pytest.mark.parametrize("change", HOSTILE)
def test_a_torn_or_hostile_checkpoint_counts_for_nothing_here(node: Node, tmp_path: Path, change: Any) -> None:
    change(node.state / "sync/place")
    told = copied(node, tmp_path / "copy")
    assert "checkpoint_here" not in kinds(told)
    assert sync.stored(Folder(str(tmp_path / "copy/place"))) == []
    assert not (tmp_path / "copy/arriving").exists()


def test_an_answer_without_sense_lists_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path / "1")
    assert kinds(copied(node, tmp_path / "copy")) == []
    told = copied(node, tmp_path / "copy", greeting="echo manifest 5 ../../x; echo manifest; ")
    assert kinds(told) == []
    told = copied(node, tmp_path / "copy", greeting=f"echo manifest 5 {'0' * 64} ..; ")
    assert kinds(told) == [], "the folder itself is not a manifest"


def test_a_machine_that_prints_without_end_is_cut_off_and_told(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_connection, "WATCH_SECONDS", 0.01)
    with pytest.raises(RuntimeError, match="did not list its checkpoints"):
        copied(node, tmp_path / "copy", greeting="cd() { yes; }; ")
    monkeypatch.setattr(checkpoint_connection, "LIST_SECONDS", 0.1)
    with pytest.raises(RuntimeError, match="did not list its checkpoints"):
        copied(node, tmp_path / "copy", greeting="cd() { sleep 600; }; ")


def test_a_checkpoint_that_never_comes_whole_is_given_up_with_one_warning(node: Node, tmp_path: Path) -> None:
    torn(node.state / "sync/place")
    told: list[dict[str, Any]] = []

    def tell(kind: str, **values: Any) -> None:
        told.append({"kind": kind, **values})

    copy = CheckpointCopy(
        tmp_path, CheckpointConnection(PLACE, runners=lambda: [Runner(node.home)], tell=tell), tell=tell
    )
    for _ in range(checkpoint_copy.TORN_TRIES + 2):
        copy.copy_newest()
    assert kinds(told) == ["checkpoint_trouble"] * (checkpoint_copy.TORN_TRIES - 1) + ["checkpoint_torn"]
    here = RunnerCheckpoints()
    for event in told:
        here.note(event, lambda _: None)
    [warning] = here.warnings
    MESSAGES.check("never whole", warning)
    here.drop()


def test_many_refused_checkpoints_are_one_warning() -> None:
    here, events = RunnerCheckpoints(), list[Event]()
    refused = {"kind": "checkpoint_refused", "name": "work/a", "bytes": 12, "files": 2, "room": 11}
    for number in range(20):
        here.note({**refused, "name": f"work/step-{number}"}, events.append)
    assert len(here.warnings) == 1 and len(events) == 3
    assert here.warnings[0].startswith("The checkpoint step-19 ") and "to 19 before it" in here.warnings[0]
    here.note({**refused, "bytes": 10**400}, events.append)
    assert "could not be read (OverflowError)" in repr(events[-1])
    here.drop()


class Breaking(Runner):
    """A connection that breaks after two bytes, at each first try."""

    def run(self, command: str, **options: Any) -> Any:
        code = super().run(command, **options)
        if len(self.commands) % 2:
            Path(options["log_path"]).write_bytes(b"12")
            return 255
        return code


def test_each_try_of_a_file_is_traffic(node: Node, tmp_path: Path) -> None:
    told: list[int] = []
    runner = Breaking(node.home)
    connection = CheckpointConnection(
        PLACE, runners=lambda: [runner], tell=lambda _, **values: told.append(values["bytes"])
    )
    [weights] = node.state.glob("sync/place/objects/*/1")
    name = weights.relative_to(node.state / "sync/place").as_posix()
    assert connection.bring([(name, 10)], tmp_path / "arriving/0") == []
    assert sum(told) == 2 + 10


def test_a_file_that_begins_again_moves_and_one_that_vanishes_ends_no_watch(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_connection, "WATCH_SECONDS", 0.001)
    seconds = iter(range(0, 10**9, 60))
    monkeypatch.setattr(checkpoint_connection, "monotonic", lambda: float(next(seconds)))
    sizes, looked, ended = iter([100, 1, 2, 3, 4, 5, 6, 7]), threading.Event(), list[str]()

    def arrived(_: Path) -> tuple[int, int]:
        count = next(sizes, 0)
        if count in {7, 0}:
            looked.set()
        return count, 1

    def end(place: str) -> None:
        if not looked.is_set():
            ended.append(place)

    monkeypatch.setattr(transfer, "arrived", arrived)
    monkeypatch.setattr(checkpoint_connection, "_end_programs", end)
    monkeypatch.setattr(node_commands, "bring", lambda *_, **__: [] if looked.wait(60) else ["no look"])
    connection = CheckpointConnection(PLACE, runners=lambda: [Runner(node.home)], tell=lambda *_, **__: None)
    assert (connection.bring([("a", 1000)], tmp_path / "0"), ended) == ([], [])


def test_a_copy_that_fails_is_tried_again_while_the_job_runs(node: Node, tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    calls: list[int] = []

    def runners() -> list[Any]:
        calls.append(1)
        if len(calls) < 3:
            raise RuntimeError("no route to host")
        return [Runner(node.home)]

    request = {"place": PLACE, "into": str(tmp_path / "copy"), "every": 0.01}
    with during(request, runners=runners, send=lambda kind, **values: told.append({"kind": kind, **values})):
        end = time.monotonic() + 60
        while "checkpoint_here" not in kinds(told) and time.monotonic() < end:
            time.sleep(0.01)
    assert kinds(told) == ["checkpoint_trouble", "checkpoint_trouble", "checkpoint_here"]
    assert told[0]["text"] == "RuntimeError: no route to host"


class Flooding(Runner):
    """A machine that sends far more than a file, and never ends."""

    def run(self, command: str, *, log_path: str = "", **options: Any) -> Any:
        if not command.startswith("head"):
            return super().run(command, log_path=log_path, **options)
        self.commands.append(command)
        with Path(log_path).open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", f"head -c 20000000 /dev/zero; sleep 600; : {command}"], stdout=file
            )
            process.wait()
        return process.returncode


def test_a_machine_that_sends_without_end_is_cut_off(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_connection, "WATCH_SECONDS", 0.01)
    runner = Flooding(node.home)
    request = {"place": PLACE, "into": str(tmp_path / "copy"), "every": 0.01}
    told: list[str] = []
    with during(request, runners=lambda: [runner], send=lambda kind, **_: told.append(kind)):
        end = time.monotonic() + 60
        while sum("head" in one for one in runner.commands) < 4 and time.monotonic() < end:
            time.sleep(0.01)
        assert sum("head" in one for one in runner.commands) >= 4, "each of its transfers was ended"
        runner.home = tmp_path / "nothing"
    assert "checkpoint_here" not in told
    assert sync.stored(Folder(str(tmp_path / "copy/place"))) == []


def test_the_end_of_a_job_ends_a_copy_under_way_and_nothing_comes_after_it(node: Node, tmp_path: Path) -> None:
    runner = Flooding(node.home)
    told: list[dict[str, Any]] = []
    request = {"place": PLACE, "into": str(tmp_path / "copy"), "every": 0.01}

    def send(kind: str, **values: Any) -> None:
        told.append({"kind": kind, **values})

    with during(request, runners=lambda: [runner], send=send):
        end = time.monotonic() + 60
        while not any("head -c" in one for one in runner.commands) and time.monotonic() < end:
            time.sleep(0.01)
    assert not [one for one in threading.enumerate() if one.name.startswith("checkpoint")]
    assert kinds(told) == []


class Losing(Hanging):
    """A worker that copies a checkpoint, and whose machine is then gone."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node = node

    def call(self, verb: str, **request: Any) -> Any:
        self.verbs.append(verb)
        if verb == "follow":
            assert request["checkpoints"]["place"] == PLACE.replace(LEASE, "cvl-lease")
            for event in copied(self.node, Path(request["checkpoints"]["into"])):
                request["on_event"](event)
            request["on_event"]({"kind": "nodes_lost", "alive": 0, "of": 1})
            raise Expired
        return None


def test_a_run_whose_machine_is_lost_keeps_its_newest_checkpoint_as_its_outputs(node: Node, tmp_path: Path) -> None:
    worker = Losing(node)
    session = launched(worker, PLAN, clock=FakeClock(), staged=tmp_path, seconds=600.0, spot=True, cluster="cvl-lease")
    jobs = SkyPilotJobs(session)
    events: list[Event] = []
    end = jobs.follow(watch=events.append, until=FakeClock().now() + 60)
    assert end.lost is not None
    newest = jobs.newest_checkpoint()
    assert newest is not None and (newest.name, newest.step) == ("step-1", 1)
    [(target, source)] = session.restored_files(PLAN, cluster="cvl-lease").items()
    assert target == "~/.cvl-ci/cvl-lease/sync/place" and (Path(source) / "manifests").is_dir()
    none = replace(PLAN, checkpoints=replace(STORED, resume=Resume.NONE))
    assert session.restored_files(none, cluster="cvl-lease") == {}
    fetched = jobs.unpack(into=tmp_path / "out")
    assert {file.path: file.bytes for file in fetched.files} == {"step-1/step": 2, "step-1/weights": 10}
    assert (tmp_path / "out/step-1/weights").read_text() == "weights 1\n"
    assert fetched.is_whole_copy and fetched.traffic_bytes == 0
    assert sum(event.count for event in events if isinstance(event, CheckpointBytes)) > 12
    assert "is on this computer" in repr(events)
    folder = Path(source).parent
    session.close()
    assert not folder.exists()


def test_outputs_that_did_not_come_give_way_to_the_copy_and_a_copy_that_cannot_be_packed_is_told(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = launched(
        Losing(node), PLAN, clock=FakeClock(), staged=tmp_path, seconds=600.0, spot=True, cluster="cvl-lease"
    )
    jobs = SkyPilotJobs(session)
    jobs.follow(watch=lambda _: None, until=FakeClock().now() + 60)

    lost = "Not all outputs were fetched: it was lost."

    def lost_archives() -> Brought:
        session.archives = Brought(globs=(), directory="")
        session.archives.problems.append(lost)
        return session.archives

    lost_archives()
    fetched = jobs.unpack(into=tmp_path / "1")
    assert [file.path for file in fetched.files] == ["step-1/step", "step-1/weights"]
    assert (fetched.is_whole_copy, fetched.problem) == (True, lost)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    lost_archives()
    monkeypatch.setattr(RunnerCheckpoints, "_pack", full)
    fetched = jobs.unpack(into=tmp_path / "2")
    assert (fetched.files, fetched.is_whole_copy) == ((), False), "no advice names it"
    MESSAGES.check("a copy that cannot be packed", str(fetched.problem))
    session.close()


def test_a_third_of_the_free_disk_is_for_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end it lies in the copy, in an archive, and among the outputs."""
    usage = shutil._ntuple_diskusage(14 << 30, 0, 13 << 30)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    connection = CheckpointConnection(PLACE, runners=list, tell=lambda *_, **__: None)
    assert CheckpointCopy(tmp_path, connection, tell=lambda *_, **__: None)._room() == 4 << 30
