"""What a machine sends, from its tar to our folder: SkyPilot's own runner, an `ssh` that runs its command right here.

The machine is a HOME on this computer, whose programs may lie. What is measured is our side: what is written, and what
a person is told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.engine.fetch import transfer, unpack
from cvl_ci.engine.jobs import SkyPilotJobs
from cvl_ci.engine.node_commands import REST
from cvl_ci.engine.session import Session
from cvl_ci.model.plan import RunPlan, WorkPlan
from cvl_ci.ports import Fetched
from tests import golden
from tests.engine.task.test_script import LEASE, Node
from tests.support.fakes import FakeClock
from tests.support.processor import within
from tests.support.sessions import launched

MESSAGES = golden.Messages(__name__)

SSH = """#!/bin/bash
# The last word is the command; the others are about reaching a machine.
cd "$MACHINE" && HOME="$MACHINE" PATH="$MACHINE/bin:$PATH" exec bash -c "${@: -1}"
"""
PROGRAM = """
import json, sys
from pathlib import Path
from sky.utils import command_runner
from cvl_ci.engine import node_commands as on_nodes
runners = [command_runner.SSHCommandRunner(("192.0.2.1", 22), "ubuntu", "/dev/null", ssh_control_name=None)]
for line in sys.stdin:
    asked = json.loads(line)
    verb = asked.pop("verb")
    if verb == "bring":
        asked["into"] = Path(asked["into"])
    answer = {"ask_nodes": on_nodes.ask, "bring": on_nodes.bring}[verb](runners, **asked)
    print("ANSWER" + json.dumps(answer), flush=True)
"""


class Machine(Node):
    """A node, and the process in which SkyPilot reaches it."""

    def __init__(self, home: Path, place: Path) -> None:
        super().__init__(home)
        (home / "bin").mkdir()
        (place / "bin").mkdir(parents=True)
        (place / "bin" / "ssh").write_text(SSH)
        (place / "bin" / "ssh").chmod(0o755)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={
                "HOME": str(place),
                "MACHINE": str(home),
                "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
                "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.alive, self.busy = True, False

    def lies(self, program: str, text: str) -> None:
        (self.home / "bin" / program).write_text(f"#!/bin/bash\n{text}\n")
        (self.home / "bin" / program).chmod(0o755)

    def call(self, verb: str, *, until: Callable[[], float] | None = None, **asked: Any) -> Any:
        """As the worker answers."""
        assert self.process.stdin is not None and self.process.stdout is not None
        assert until is not None and until() > time.monotonic()
        asked.pop("cluster")
        self.process.stdin.write(json.dumps({"verb": verb, **asked}) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("ANSWER"):
                return json.loads(line.removeprefix("ANSWER"))
        raise AssertionError("the process ended")

    def close(self) -> None:
        with self.process:
            self.process.kill()


@pytest.fixture(scope="module")
def skypilot_process(tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("skypilot")
    machine = Machine(place / "machine", place / "ours")
    yield machine
    machine.close()


@pytest.fixture
def machine(skypilot_process: Machine) -> Machine:
    """The same, emptied: importing SkyPilot takes seconds."""
    subprocess.run(["rm", "-rf", *map(str, skypilot_process.home.iterdir())], check=True)
    skypilot_process.workdir.mkdir()
    (skypilot_process.home / "bin").mkdir()
    (skypilot_process.home / ".bash_profile").write_text('PATH="$HOME/bin:$PATH"\n')
    skypilot_process.lies("sudo", "exit 1")
    return skypilot_process


def fetched(machine: Machine, into: Path, *globs: str, directory: str = ".") -> Fetched:
    plan = RunPlan(title="t", work=WorkPlan(run_commands=("x",), directory=directory))
    environment = {"PATH": os.environ["PATH"]}
    jobs = SkyPilotJobs(
        launched(machine, plan, clock=FakeClock(), staged=Path("/nowhere"), cluster=LEASE, environment=environment)
    )
    jobs.fetch(globs=globs)
    return jobs.unpack(into=into)


def job(machine: Machine, text: str, *, directory: str = ".") -> None:
    plan = RunPlan(title="t", work=WorkPlan(run_commands=(text,), directory=directory))
    (machine.workdir / directory).mkdir(exist_ok=True)
    done = machine.job(plan)
    assert done.returncode == 0, done.stderr


def test_files_links_and_odd_names_come_as_they_are(machine: Machine, tmp_path: Path) -> None:
    job(
        machine,
        "mkdir -p hub/snapshots/1 hub/blobs out && echo weights > hub/blobs/abc && head -c 3000000 /dev/urandom > big; "
        "ln -s ../../blobs/abc hub/snapshots/1/model.safetensors; echo 3 > out/epoch3.pt; "
        "ln -s epoch3.pt out/latest.pt; "
        'ln -s "$PWD/out/epoch3.pt" out/best.pt; ln -s "$(pwd -P)/hub/blobs/abc" weights; '
        'ln -s "$CVL_WORK_DIR/table" "$CVL_WORK_DIR/newest"; echo t > "$CVL_WORK_DIR/table"; '
        "echo x > $'caf\\xe9.txt'; ln -s /etc/passwd door; mkdir -p 'a b'; echo y > 'a b/ünï.md'",
    )
    came = fetched(machine, tmp_path / "out")
    assert came.problem is None
    names = {"hub/blobs/abc", "big", "out/epoch3.pt", "caf%E9.txt", "a b/ünï.md", "cvl-work/table"}
    assert {file.path for file in came.files} == names
    assert (tmp_path / "out/out/best.pt").readlink() == Path("epoch3.pt"), "absolute on the machine"
    assert (tmp_path / "out/weights").read_text() == "weights\n"
    assert (tmp_path / "out/cvl-work/newest").readlink() == Path("table")
    assert (tmp_path / "out/hub/snapshots/1/model.safetensors").readlink() == Path("../../blobs/abc")
    assert (tmp_path / "out/out/latest.pt").read_text() == "3\n"
    assert (tmp_path / "out/big").read_bytes() == (machine.workdir / "big").read_bytes()
    assert len(came.refused) == 1 and "leads out (to '/etc/passwd')" in came.refused[0]


def test_an_absolute_link_beside_or_to_the_whole_folder_leads_out(machine: Machine, tmp_path: Path) -> None:
    job(machine, 'echo x > file; ln -s "$PWD/file" inner; ln -s "$PWD" top; ln -s "${PWD}x/file" beside')
    came = fetched(machine, tmp_path / "out")
    assert (tmp_path / "out/inner").readlink() == Path("file")
    assert sorted(text.partition(":")[0] for text in came.refused) == ["'./beside'", "'./top'"]


@pytest.mark.parametrize("left", ["link", "fifo", "folder"])
def test_what_stands_in_an_archives_place_is_not_opened_here(machine: Machine, tmp_path: Path, left: str) -> None:
    """A job can leave a process that changes the folder after it was packed."""
    job(machine, "echo kept > kept")
    (tmp_path / "secret.tar").write_bytes(b"s" * 10240)
    make = {"link": f"ln -s {tmp_path}/secret.tar", "fifo": "mkfifo", "folder": "mkdir"}[left]
    machine.lies("chmod", f'rm -f "$3/root.tar"; {make} "$3/root.tar"')
    came = fetched(machine, tmp_path / "out")
    assert came.files == ()
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))


LIES = {
    "an archive that leads out": "import tarfile,io,sys; t=tarfile.open(sys.argv[1],'w')\n"
    "for n in ('../../escaped','/tmp/escaped','ok/../../escaped'):\n"
    " i=tarfile.TarInfo(n); i.size=1; t.addfile(i,io.BytesIO(b'x'))\n"
    "t.close()",
    "no archive": "import sys; open(sys.argv[1],'wb').write(b'#!/bin/sh\\n'*9000)",
    "a link, then a file through it": "import tarfile,io,sys; t=tarfile.open(sys.argv[1],'w')\n"
    "i=tarfile.TarInfo('d'); i.type=b'2'; i.linkname='..'; t.addfile(i)\n"
    "i=tarfile.TarInfo('d/escaped'); i.size=1; t.addfile(i,io.BytesIO(b'x')); t.close()",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_tar_that_lies_writes_nothing_outside_and_the_run_goes_on(machine: Machine, tmp_path: Path, lie: str) -> None:
    job(machine, "echo kept > kept")
    (machine.home / "lie.py").write_text(LIES[lie])
    machine.lies("tar", f'for last in "$@"; do :; done; exec {sys.executable} "$HOME/lie.py" "$last"')
    into = tmp_path / "deep" / "er" / "out"
    came = fetched(machine, into)
    assert came.refused or came.problem
    assert not [path for path in tmp_path.rglob("*") if "escaped" in path.name and not path.is_relative_to(into)]
    assert not Path("/tmp/escaped").exists()


def test_a_tar_that_fails_and_a_python3_that_lies_are_told(machine: Machine, tmp_path: Path) -> None:
    job(machine, "echo kept > kept")
    machine.lies("tar", "echo 'tar: no' >&2; exit 2")
    machine.lies("python3", "touch $HOME/python3-was-asked; exit 0")
    came = fetched(machine, tmp_path / "out")
    MESSAGES.check("a tar that fails", str(came.problem))
    assert not (machine.home / "python3-was-asked").exists(), "no python3 is needed on a machine"


def test_what_is_shorter_than_it_was_announced_is_told_and_its_beginning_comes(
    machine: Machine, tmp_path: Path
) -> None:
    job(machine, "echo first > a; head -c 50000 /dev/zero > b")
    machine.lies("head", 'exec /usr/bin/head -c 20000 "${@: -1}"')
    came = fetched(machine, tmp_path / "out")
    assert came.problem is not None and "20,000 of" in came.problem and "damaged" in came.problem


def test_a_login_shell_that_greets_spoils_nothing(machine: Machine, tmp_path: Path) -> None:
    job(machine, "echo kept > kept")
    (machine.home / ".bash_profile").write_text("echo Welcome to this machine; echo archive root.tar 7\n")
    came = fetched(machine, tmp_path / "out")
    assert ([file.path for file in came.files], came.problem) == (["kept"], None)


def test_an_archive_there_is_no_room_for_stays_there_and_smaller_ones_come(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job(machine, 'head -c 3000000 /dev/zero > big; echo w > "$CVL_WORK_DIR/w"')
    monkeypatch.setattr(transfer, "room", lambda _: 1_000_000)
    came = fetched(machine, tmp_path / "out")
    assert [file.path for file in came.files] == ["cvl-work/w"]
    assert came.problem is not None and "root.tar of node 0 has" in came.problem and "outputs" in came.problem


def test_a_glob_that_brings_nothing_is_told(machine: Machine, tmp_path: Path) -> None:
    job(machine, "mkdir outputs; echo 1 > outputs/a.pt; echo w > $CVL_WORK_DIR/w.txt", directory="ex")
    globs = ("outputs/**", "*.onnx", "w.{txt,md}", "!*.tmp")
    came = fetched(machine, tmp_path / "out", *globs, directory="ex")
    assert {file.path for file in came.files} == {"outputs/a.pt", "cvl-work/w.txt"}
    assert len(came.warnings) == 1 and "'*.onnx' fetched no file" in came.warnings[0]


def test_a_file_that_setup_made_comes_when_it_is_named_and_one_of_the_checkout_never(
    machine: Machine, tmp_path: Path
) -> None:
    (machine.workdir / "ex").mkdir()
    (machine.workdir / "ex" / "metrics.json").write_text("stale")
    time.sleep(0.05)  # the clock of a file system ticks a hundred times a second
    plan = RunPlan(
        title="t", work=WorkPlan(run_commands=("true",), setup_commands=("echo made > model.bin",), directory="ex")
    )
    assert machine.job(plan).returncode == 0
    assert fetched(machine, tmp_path / "a", directory="ex").files == ()
    came = fetched(machine, tmp_path / "b", "model.bin", "metrics.json", directory="ex")
    assert [file.path for file in came.files] == ["model.bin"]
    assert len(came.warnings) == 1 and "'metrics.json'" in came.warnings[0]


def test_a_transfer_is_given_up_when_it_stalls_or_brings_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    patience = transfer.TransferLimit(archives=tmp_path, until=9000.0, most=5 << 20)
    for size in (2 << 20, 4 << 20):
        now[0] += transfer.STALL_SECONDS - 1
        (tmp_path / "0").write_bytes(b"x" * size)
        assert patience() == 9000.0
    now[0] += transfer.STALL_SECONDS + 1
    (tmp_path / "0").write_bytes(b"x" * ((4 << 20) + 5))
    assert patience() < now[0] and "sent less than 1 MiB in 120 s" in patience.why
    patience = transfer.TransferLimit(archives=tmp_path, until=9000.0, most=1 << 20)
    assert patience() < now[0] and "more than it had packed" in patience.why


def test_a_file_that_begins_again_or_loses_its_front_is_no_stall_and_not_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    patience = transfer.TransferLimit(archives=tmp_path, until=9000.0, most=5 << 20)
    for size in (4 << 20, 1 << 20, 2 << 20, 3 << 20):
        now[0] += transfer.STALL_SECONDS - 1
        (tmp_path / "0").write_bytes(b"x" * size)
        assert patience() == 9000.0, size
    (tmp_path / f"0{REST}").write_bytes(b"x" * (3 << 20))
    now[0] += 2
    assert patience() == 9000.0


@pytest.mark.parametrize("glob", ["*_*_*_*_*.pt", "*_*_*.pt"])
def test_names_that_make_a_glob_slow_hold_no_run_up(glob: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "MATCH_SECONDS", 0.5)
    began = time.process_time()
    transfer.unmatched([glob], ["_" * 200 + "x" + str(number) for number in range(2_000)], directory=".")
    assert within(time.process_time() - began, 4 * transfer.MATCH_SECONDS)


ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "names": {"code": 0, "err": "", "out": "archive ../../x.tar 5\narchive root.tar;id 5\narchive a.root.tar 5\n"},
    "numbers": {"code": 0, "err": "", "out": "archive root.tar -5\narchive work.tar 99999999999999999999\n"},
    "many": {"code": 0, "err": "", "out": "".join(f"archive sample-{n}.root.tar 1\n" for n in range(1, 1000))},
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_a_node_announces_is_believed_within_bounds(answer: str) -> None:
    wanted = transfer.archives_to_fetch([ANSWERS[answer]], room=1 << 40)
    assert len(wanted.nodes[0]) <= unpack.MOST_ARCHIVES
    assert (answer == "many") == bool(wanted.nodes[0])


def test_the_engine_gives_its_archives_back_also_when_they_were_never_unpacked(
    machine: Machine, tmp_path: Path
) -> None:
    job(machine, "echo kept > kept")
    plan = RunPlan(title="t", work=WorkPlan(run_commands=("x",)))
    session = launched(machine, plan, clock=FakeClock(), staged=tmp_path, cluster=LEASE)
    SkyPilotJobs(session).fetch(globs=())
    assert session.archives is not None
    archives = session.archives.path
    assert archives.is_dir()
    session._worker = None
    session.close()
    assert not archives.exists()


def test_nothing_brought_is_nothing_unpacked(tmp_path: Path) -> None:
    assert SkyPilotJobs(Session(environment={}, clock=FakeClock())).unpack(into=tmp_path) == Fetched()
