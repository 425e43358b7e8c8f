"""The shell that a node runs, run by a real bash in a HOME of its own: limits, exit codes, and what is packed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from cvl_ci import pytest as pytest_plugin
from cvl_ci.engine import beginning, node_commands
from cvl_ci.engine.log_follower import Following
from cvl_ci.engine.task import script
from cvl_ci.model.limits import Limits
from cvl_ci.model.plan import RunPlan, WorkPlan
from tests.support import probed

LEASE = "cvl-1-abc"


DOCKER = """#!/bin/bash
echo "$*" >> {folder}/asked
case "$1" in
  ps) [ ! -e {folder}/killed ] && printf '%s' "a1
b2
" || cat {folder}/left ;;
  kill) touch {folder}/killed; echo "No such container: b2" >&2; exit 1 ;;
esac
"""
"""Two containers run. One of them ends before it is killed, so `docker kill` fails. The file `left` has the rest."""


@pytest.mark.parametrize(("left", "code"), [("", 0), ("c3\n", 0), ("b2\n", 1)])
def test_a_container_that_ends_by_itself_does_not_stop_the_next_job(tmp_path: Path, left: str, code: int) -> None:
    docker, dockerd = tmp_path / "docker", tmp_path / "dockerd"
    docker.write_text(DOCKER.format(folder=tmp_path))
    docker.chmod(0o755)
    (tmp_path / "left").write_text(left)
    shutil.copy(shutil.which("sleep") or "/bin/sleep", dockerd)
    engine = subprocess.Popen([dockerd, "60"])
    try:
        done = subprocess.run(
            ["bash", "-c", script.before_further_job()],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        engine.kill()
        engine.wait()
    assert (tmp_path / "asked").read_text().splitlines()[-2:] == ["kill a1 b2", "ps --quiet"]
    assert done.returncode == code, done.stderr
    assert ("b2 of the job before does not end" in done.stderr) is bool(code)


class Node:
    """One machine's HOME, with the staged files in ~/sky_workdir, and no containers.

    The engine of this computer is not asked: a busy one takes seconds, and a job's time limit counts from before that.
    """

    def __init__(self, home: Path, *, probed_whole: bool = False) -> None:
        self.home = home
        self._probed_whole = probed_whole
        self.workdir = home / "sky_workdir"
        self.workdir.mkdir(parents=True)
        self.state = home / ".cvl-ci" / LEASE
        docker = home / "programs" / "docker"
        docker.parent.mkdir()
        docker.write_text("#!/bin/sh\n")
        docker.chmod(0o755)
        self.path = f"{docker.parent}:{os.environ['PATH']}"

    def run(self, text: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(self.home), "PATH": self.path, **env}
        return subprocess.run(
            ["bash", "-c", text if self._probed_whole else probed.briefly(text)],
            cwd=self.workdir,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def job(self, plan: RunPlan, *, deadline: float | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        values = script.environment(plan, lease=LEASE, deadline=deadline or time.time() + 3600)
        setup = script.setup(plan)
        if setup:
            done = self.run(setup, {**values, **env})
            if done.returncode:
                return done
        return self.run(script.run(plan, lease=LEASE), {**values, **env})

    def end(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in (self.state / "end").read_text().splitlines())

    def collect(self, *globs: str, directory: str = ".") -> dict[str, list[str]]:
        done = self.run(script.collect(lease=LEASE, directory=directory, globs=globs), {})
        assert done.returncode == 0, done.stderr
        names = {}
        for archive in (self.state / "fetch").glob("*.tar"):
            with tarfile.open(archive) as tar:
                names[archive.name] = sorted(tar.getnames())
        return names


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "node")


def plan(*commands: str, setup: tuple[str, ...] = (), minutes: float = 60.0, directory: str = ".") -> RunPlan:
    return RunPlan(
        title="t",
        work=WorkPlan(run_commands=commands, setup_commands=setup, directory=directory),
        limits=Limits(max_runtime_minutes=minutes),
    )


def test_a_job_that_succeeds_says_0(node: Node) -> None:
    done = node.job(plan("echo hello", "echo there"))
    assert done.returncode == 0
    assert done.stdout.splitlines()[-2:] == ["hello", "there"]
    assert node.end()["exit_code"] == "0"


def test_a_disk_without_room_for_the_list_of_files_is_told(node: Node) -> None:
    """No file may grow beyond 8 KiB here, which stands for the full disk. An empty list would mean: no files."""
    assert node.job(plan("echo 1 > result")).returncode == 0
    full = node.run(f"ulimit -f 8; {script.collect(lease=LEASE, directory='.', globs=('**',))}", {})
    assert full.returncode == 1 and "no room for the list of files" in full.stderr
    assert node.collect("**")["root.tar"] == ["./result"]


def test_no_archive_is_made_without_files(node: Node) -> None:
    assert node.job(plan("echo 1 > result")).returncode == 0
    assert node.collect("other") == {}


def test_the_first_command_that_fails_ends_it_with_its_own_code(node: Node) -> None:
    done = node.job(plan("exit 7", "echo never"))
    assert (done.returncode, node.end()["exit_code"], node.end()["timed_out"]) == (7, "7", "0")
    assert "never" not in done.stdout


def test_a_setup_that_fails_says_so_and_nothing_runs(node: Node) -> None:
    done = node.job(plan("echo never", setup=("exit 3",)))
    assert done.returncode == 3
    assert (node.end()["exit_code"], node.end()["phase"]) == ("3", "setup")


def test_the_time_limit_covers_setup_and_run_together(node: Node) -> None:
    began = time.monotonic()
    done = node.job(plan("sleep 600", setup=("sleep 1.5",), minutes=3 / 60))
    assert time.monotonic() - began < 300, "the job would have slept ten minutes"
    assert done.returncode != 0
    assert node.end()["timed_out"] == "1"


def test_a_deadline_that_is_over_runs_nothing(node: Node) -> None:
    done = node.job(plan("echo never"), deadline=time.time() - 1)
    assert done.returncode == 124
    assert node.end()["timed_out"] == "1"
    assert "never" not in done.stdout


def test_a_job_that_exits_124_by_itself_did_not_time_out(node: Node) -> None:
    node.job(plan("exit 124"))
    assert (node.end()["exit_code"], node.end()["timed_out"]) == ("124", "0")


def test_the_field_finds_what_it_expects(node: Node) -> None:
    (node.workdir / "examples").mkdir()
    commands = (
        'git rev-parse --show-toplevel > /dev/null && echo "git yes"',
        'for d in huggingface/hub torch cvlization/data; do [ -d "$HOME/.cache/$d" ] || echo "no $d"; done',
        '[ -d "$CVL_WORK_DIR" ] && echo "work yes"; pwd',
    )
    done = node.job(plan(*commands, directory="examples"))
    assert done.stdout.splitlines()[1:] == ["git yes", "work yes", str(node.workdir / "examples")]


def test_distributed_variables_are_there_under_the_names_that_launchers_read(node: Node) -> None:
    show = 'echo "$NNODES $NODE_RANK $MASTER_ADDR $MASTER_PORT $WORLD_SIZE $RANK"'
    done = node.job(plan(show), SKYPILOT_NUM_NODES="2", SKYPILOT_NODE_RANK="1", SKYPILOT_NODE_IPS="10.0.0.4\n10.0.0.5")
    assert done.stdout.splitlines() == [script.JOB_BEGINS, "2 1 10.0.0.4 29500 2 1"]


def test_all_that_changed_since_the_start_is_packed_and_nothing_else(node: Node) -> None:
    (node.workdir / "old.txt").write_text("was there")
    (node.workdir / ".gitignore").write_text("outputs/\n")
    make = (
        "mkdir -p outputs .venv/lib __pycache__ && echo 1 > outputs/m.json && cp -p old.txt copied.txt && "
        "touch .venv/pyvenv.cfg .venv/lib/x.py __pycache__/x.pyc && echo w > $CVL_WORK_DIR/p.png && "
        "ln -s m.json outputs/latest && echo odd > $'a name\\nwith a line'"
    )
    assert node.job(plan(make)).returncode == 0
    names = node.collect()
    assert names["root.tar"] == ["./a name\nwith a line", "./copied.txt", "./outputs/latest", "./outputs/m.json"]
    assert names["work.tar"] == ["./p.png"]


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("*.pt", ["./ex/outputs/deep/b.pt", "./ex/outputs/a.pt"]),
        ("outputs", ["./ex/outputs/a.pt", "./ex/outputs/deep/b.pt", "./ex/outputs/m.json"]),
        ("outputs/*.json", ["./ex/outputs/m.json"]),
        ("./outputs/**/*.pt", ["./ex/outputs/a.pt", "./ex/outputs/deep/b.pt"]),
        ("**/*.json", ["./ex/outputs/m.json"]),
        ("outputs/**/*\n!**/*.{pt,onnx}", ["./ex/outputs/m.json"]),
        ("./?ther.[kl]og\n./é*.txt\n./?.md", ["./ex/other.log", "./ex/é b.txt", "./ex/ü.md"]),
    ],
)
def test_globs_narrow_what_is_packed(node: Node, glob: str, found: list[str]) -> None:
    (node.workdir / "ex").mkdir()
    make = "mkdir -p outputs/deep && touch outputs/a.pt outputs/deep/b.pt outputs/m.json other.log 'é b.txt' ü.md"
    node.job(plan(make, directory="ex"))
    assert node.collect(*glob.split("\n"), directory="ex")["root.tar"] == sorted(found)


def test_a_job_that_never_began_packs_nothing(node: Node) -> None:
    node.job(plan("true", setup=("exit 1",)))
    assert node.collect() == {}


def keeping(home: Path, *, public_key: str | None) -> subprocess.CompletedProcess[str]:
    """With a sudo that changes nothing, and a root of its own."""
    (home / "bin").mkdir()
    sudo = home / "bin" / "sudo"
    sudo.write_text('#!/bin/sh\nshift\nexec "$@"\n')
    sudo.chmod(0o755)
    text = script.keep(deadline=1_800_000_000.9, public_key=public_key)
    return subprocess.run(
        ["sh", "-c", text.replace("/var/lib/cvl-ci", str(home / "root"))],
        env={"HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_machine_that_is_kept_has_its_end_moved_and_lets_a_person_in_beside_those_it_knew(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "deadline").write_text("1700000000\n")
    (tmp_path / ".ssh").mkdir()
    known = tmp_path / ".ssh" / "authorized_keys"
    runner, laptop = "ssh-ed25519 AAAA the runner's", "ssh-ed25519 AAAB anna's laptop"
    known.write_text(runner)
    done = keeping(tmp_path, public_key=laptop)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "root" / "deadline").read_text() == "1800000000\n"
    assert known.read_text() == f"{runner}\n{laptop}\n"
    assert known.stat().st_mode & 0o777 == 0o600


def test_without_a_boot_timer_and_a_key_there_is_nothing_to_change(tmp_path: Path) -> None:
    assert keeping(tmp_path, public_key=None).returncode == 0
    assert not (tmp_path / "root").exists() and not (tmp_path / ".ssh").exists()


def test_an_end_that_cannot_be_moved_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "deadline").mkdir()
    (tmp_path / "root" / "deadline.new").mkdir()
    assert keeping(tmp_path, public_key=None).returncode != 0


@pytest.mark.parametrize(("armed", "code"), [("1000", 124), ("not a number", 0), ("", 0), ("99999999999", 0)])
def test_the_job_ends_by_what_was_armed_at_boot_where_that_is_sooner(tmp_path: Path, armed: str, code: int) -> None:
    """Its money is over sooner than its lease: it had to be a dearer machine."""
    node = Node(tmp_path / "home")
    (tmp_path / "deadline").write_text(armed)
    plan = RunPlan(title="t", work=WorkPlan(run_commands=("true",)))
    values = script.environment(plan, lease=LEASE, deadline=time.time() + 3600)
    done = node.run(
        script.run(plan, lease=LEASE).replace("/var/lib/cvl-ci/deadline", str(tmp_path / "deadline")), values
    )
    assert done.returncode == code
    assert node.end()["timed_out"] == ("1" if code else "0")


@pytest.mark.parametrize("said", [None, "exit_code=0\n", "x" * 1_000_000, "left=\n" * 20_000])
def test_a_node_that_is_there_always_answers_how_its_job_ended(tmp_path: Path, said: str | None) -> None:
    if said is not None:
        (tmp_path / f".cvl-ci/{LEASE}").mkdir(parents=True)
        (tmp_path / f".cvl-ci/{LEASE}/end").write_text(said)
    done = subprocess.run(
        ["sh", "-c", script.end(lease=LEASE)], env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert script.has_answered(done.returncode, done.stdout)
    assert len(done.stdout) < node_commands.OUT_BYTES - (8 << 10)
    assert not script.has_answered(255, done.stdout)
    assert not script.has_answered(done.returncode, done.stdout.replace(script.ANSWERED, ""))


@pytest.mark.parametrize(
    ("before", "setup", "command", "has_begun"),
    [
        ("kill -9 $$", (), "true", False),
        ("date() { kill -9 $$; }", (), "true", False),
        ("", ("kill -9 $SHELL_OF_NODE",), "true", True),
        ("", (), "kill -9 $SHELL_OF_NODE", True),
        ("", (), "echo x; rm -f ~/.cvl-ci/*/*began; kill -9 $SHELL_OF_NODE", True),
        ("", (), "rm -f ~/.cvl-ci/*/*began; exit 3", True),
    ],
)
def test_a_node_answers_whether_setup_or_the_job_began(
    node: Node, before: str, setup: tuple[str, ...], command: str, has_begun: bool
) -> None:
    """The stream is empty, as of a job whose lines were all lost. `date` is the prelude's, which marks its begin."""
    job = plan(command, setup=setup)
    values = script.environment(job, lease=LEASE, deadline=time.time() + 3600)
    text = script.setup(job) if setup else script.run(job, lease=LEASE)
    assert text is not None
    node.run(f"export SHELL_OF_NODE=$$\n{before}\n{text}", values)
    done = node.run(script.end(lease=LEASE), {})
    assert script.has_answered(done.returncode, done.stdout)
    stream = Following(lambda _: None, num_nodes=1)
    assert beginning.has_begun([{"out": done.stdout}], stream=stream) is has_begun


def test_absolute_links_are_packed_from_a_folder_of_any_name(tmp_path: Path) -> None:
    node = Node(tmp_path / "a.b [c]* d^,$e&\\")
    (node.state / "fetch").mkdir(parents=True)
    (node.state / "job-began").touch()
    (node.workdir / "file").write_text("x")
    (node.workdir / "link").symlink_to(node.workdir / "file")
    (node.workdir / "out").symlink_to(tmp_path / "file")
    node.collect()
    with tarfile.open(node.state / "fetch/root.tar") as tar:
        targets = {each.name: each.linkname for each in tar if each.issym()}
    assert targets == {"./link": "/./file", "./out": str(tmp_path / "file")}


def test_the_variable_by_which_a_machine_is_known_is_one_that_each_run_sets() -> None:
    assert pytest_plugin.LEASE in script.environment(plan(), lease=LEASE, deadline=0.0)
