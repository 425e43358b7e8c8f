"""Jobs of one node: SkyPilot's backend, daemon, records and log, with our program in the place of Ray's."""

from __future__ import annotations

import re
import resource
import shlex
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.engine.job_log import JobLog
from cvl_ci.engine.task.script import LOG_ENDS
from tests.support.skylet_daemon import answers_of, home_with_ssh

pytestmark = pytest.mark.sky

BEFORE = """
import contextlib, signal, subprocess, tempfile, threading, time
from sky import Resources, Task
from cvl_ci.engine.worker import job_driver, one_node_log
handle.launched_resources = Resources(cloud=clouds.AWS(), region="us-east-1", instance_type="m6i.large")
handle.stable_internal_external_ips, handle.launched_nodes, handle.docker_user = [("10.0.0.1", "192.0.2.1")], 1, None
backend._get_task_env_vars = lambda task, job, _: {"SKYPILOT_TASK_ID": f"task-{job}", **task.envs}
os.environ.update(SKYPILOT_DEBUG="False", BUILDKITE="False")
(Path.home() / "sky_workdir").mkdir()

def submit(text, setup=None, **resources):
    backend._setup_cmd = setup
    task = Task("train", run=text, envs={"WORD": "it's"})
    task.set_resources(Resources(**resources))
    job_driver.provide()
    job, log = backend._add_job(handle, "train", "1x", "{}")
    backend._execute_task_one_node(handle, task, job, log)
    return job

def streamed(job, log=None):
    log = log or one_node_log.of_job(handle, job)
    with tempfile.TemporaryFile("w+", newline="") as file:
        with contextlib.redirect_stdout(file):
            code = log.follow(handle)
        file.seek(0)
        return code, file.read()

def wait_for(text):
    until = time.monotonic() + 60
    while not any(text in log.read_text() for log in Path.home().glob("sky_logs/*/run.log")):
        assert time.monotonic() < until, text
        time.sleep(0.05)

def driver(job):
    program = f"python.* {Path.home()}/.sky/sky_app/sky_job_{job}$"
    pids = subprocess.check_output(["pgrep", "-f", program], text=True).split()
    is_parent = lambda pid: subprocess.run(["pgrep", "-P", pid], stdout=subprocess.DEVNULL).returncode == 0
    return int([pid for pid in pids if is_parent(pid)][-1])  # its guard has no process below it

state = lambda job: backend.get_job_status(handle, [job])[job].value
"""


@pytest.fixture
def place() -> Path:
    return home_with_ssh()


@pytest.fixture
def answers(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that carries out the steps after BEFORE."""
    return lambda steps: answers_of(place, BEFORE + steps, sockets=tmp_path_factory.mktemp("s"))


def lines_of(text: str) -> list[str]:
    """Return the job's own lines as a run reads them."""
    log = JobLog(num_nodes=1)
    read = [log.read(line)[1] for line in re.findall(r"[^\n]+", text)]
    return [line for line in read if line is not None]


def test_a_job_gets_what_ray_gives_and_its_records_and_log_are_skypilots(answers: Any, place: Path) -> None:
    (place / "job.sh").write_text("env | sort; cat; echo to stderr >&2; pwd; exit 3\n")
    steps = """
tried("job", lambda: submit(Path(Path.home() / "job.sh").read_text(), accelerators="L4:2"))
tried("log", lambda: streamed(1))
tried("state", lambda: state(1))
tried("next", lambda: (submit("echo second; printf 'no end of line'"), streamed(2), state(2)))
tried("programs", lambda: [one.name for one in (Path.home() / ".sky/sky_app").iterdir()])
"""
    told = answers(steps)
    code, text = told["log"]
    assert (told["job"], code, told["state"], told["programs"]) == (1, 100, "FAILED", [])
    lines = lines_of(text)
    assert lines[-2:] == ["to stderr", str(place / "sky_workdir")]
    variables = dict(line.split("=", 1) for line in lines[:-2] if "=" in line)
    expected = {
        "CUDA_VISIBLE_DEVICES": "0,1",
        "PYTHONUNBUFFERED": "1",
        "SKYPILOT_INTERNAL_JOB_ID": "1",
        "SKYPILOT_NODE_IPS": "10.0.0.1",
        "SKYPILOT_NODE_RANK": "0",
        "SKYPILOT_NUM_GPUS_PER_NODE": "2",
        "SKYPILOT_NUM_NODES": "1",
        "SKYPILOT_TASK_ID": "task-1",
        "WORD": "it's",
    }
    assert expected.items() <= variables.items()
    assert {name for name in variables if name.startswith(("SKYPILOT_", "BUILDKITE"))} <= set(expected)
    job, (code, text), state = told["next"]
    assert (job, code, state, lines_of(text)) == (2, 0, "SUCCEEDED", ["second", "no end of line"])
    assert text.endswith(f"{LOG_ENDS}\n"), "nothing waits for SkyPilot's own last line"


def test_setup_comes_first_and_a_job_whose_setup_failed_does_not_begin(answers: Any) -> None:
    steps = """
text = "echo of the setup $SKYPILOT_NUM_NODES; exit "
tried("good", lambda: (submit("echo of the job", setup=text + "0"), streamed(1), state(1)))
tried("bad", lambda: (submit("echo of the job", setup=text + "5"), streamed(2), state(2)))
"""
    told = answers(steps)
    _, (code, text), state = told["good"]
    assert (code, state, lines_of(text)) == (0, "SUCCEEDED", ["of the setup 1", "of the job"])
    assert [line.split(",")[0].split(" pid")[0] for line in text.splitlines() if "of the" in line] == [
        "(setup",
        "(train",
    ]
    _, (code, text), state = told["bad"]
    assert (code, state, lines_of(text)) == (100, "FAILED_SETUP", ["of the setup 1"])


@pytest.mark.parametrize("text", [LOG_ENDS, f"progress\\r{LOG_ENDS}", f"\\r{LOG_ENDS}\\n\\n{LOG_ENDS}"])
def test_a_line_of_the_job_does_not_end_its_log(answers: Any, text: str) -> None:
    job = f"printf '{text}\\n'; sleep 0.5; echo last"
    told = answers(f'tried("log", lambda: (submit({job!r}), streamed(1), state(1)))')
    _, (code, log), state = told["log"]
    assert (code, state, lines_of(log)[-1]) == (0, "SUCCEEDED", "last")


def test_long_lines_many_lines_and_bytes_that_are_no_text_come_whole(answers: Any) -> None:
    job = (
        "head -c 300000 /dev/zero | tr '\\0' x; echo; seq 20000; printf 'windows\\r\\n'; "
        "printf 'caf\\351\\n'; printf '\\303'; sleep 0.3; printf '\\251 in two parts'"
    )
    told = answers(f'tried("log", lambda: (submit({job!r}), streamed(1)))')
    _, (code, log) = told["log"]
    assert code == 0
    numbers = map(str, range(1, 20_001))
    assert lines_of(log) == ["x" * 300_000, *numbers, "windows", "caf\ufffd", "\u00e9 in two parts"]


def test_a_progress_bar_is_shown_while_it_moves(answers: Any, place: Path) -> None:
    job = (
        'for part in 1 2 3 4; do printf "$part of 8\\r"; sleep 0.5; done; '
        f'until [ -e {place}/go ]; do sleep 0.1; done; for part in 5 6 7 8; do printf "$part of 8\\r"; done'
    )
    steps = f"""
tried("job", lambda: submit({job!r}))
tried("shown", lambda: wait_for("4 of 8"))
(Path.home() / "go").touch()
tried("log", lambda: streamed(1))
"""
    told = answers(steps)
    assert told["shown"] is None, "the bar has no line end, and the job goes on"
    parts = "".join(f"{part} of 8" for part in range(1, 9))
    assert "".join(lines_of(told["log"][1])).replace("\r", "") == parts


def test_a_cancelled_job_ends_with_all_its_processes_and_begins_nothing_more(answers: Any, place: Path) -> None:
    """An interactive bash ignores SIGTERM, and would go on with its next command."""
    job = f"trap 'touch {place}/last' EXIT; echo $$ > {place}/pid; sleep 3142; touch {place}/began; sleep 3143"
    steps = f"""
tried("job", lambda: submit({job!r}))
while not (Path.home() / "pid").exists():
    time.sleep(0.05)
tried("cancelled", lambda: backend.cancel_jobs(handle, [1]))
tried("log", lambda: streamed(1))
tried("state", lambda: state(1))
"""
    told = answers(steps)
    code, text = told["log"]
    assert told["state"] == "CANCELLED" and code == 103 and text.endswith(f"{LOG_ENDS}\n"), told
    pid = int((place / "pid").read_text())
    commands = [_command(entry) for entry in Path("/proc").glob("[0-9]*")]
    assert not [command for command in commands if command[:1] == ["sleep"] and command[1] in ("3142", "3143")]
    assert not Path(f"/proc/{pid}").exists()
    assert (place / "last").exists(), "the shell's own end runs"


def test_a_job_may_end_its_own_python_programs_and_remove_its_script(answers: Any, place: Path) -> None:
    programs = f"^python sleep 3144|python.* {place}/.*sky_job_1"
    job = f"rm \"$0\"; (exec -a python sleep 3144) & pkill -f '{programs}'; sleep 1; echo last"
    told = answers(f'tried("log", lambda: (submit({job!r}), streamed(1), state(1)))')
    _, (code, text), state = told["log"]
    assert (code, state, lines_of(text)[-1]) == (0, "SUCCEEDED", "last"), text


def test_a_job_can_be_interrupted_as_under_ray(answers: Any) -> None:
    job = "grep SigIgn /proc/self/status; bash -c 'trap \"echo heard\" INT; kill -INT $$'; ulimit -n"
    told = answers(f'tried("log", lambda: (submit({job!r}), streamed(1)))')
    ignored, heard, files = lines_of(told["log"][1][1])
    assert int(ignored.split()[1], 16) & 0b111 == 0 and heard == "heard"
    assert files == "unlimited" or int(files) >= resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def test_a_job_that_was_cancelled_before_it_began_does_not_begin(answers: Any, place: Path) -> None:
    steps = """
import sqlite3
from sky.skylet import job_lib
run = job_lib.FIFOScheduler._run_job
def _run_job(self, job_id, run_cmd):
    with contextlib.closing(sqlite3.connect(Path.home() / ".sky/jobs.db")) as records:
        records.execute("UPDATE jobs SET status = 'CANCELLED' WHERE job_id = ?", (job_id,))
        records.commit()
    run(self, job_id, run_cmd)
job_lib.FIFOScheduler._run_job = _run_job
tried("job", lambda: submit(f"touch {Path.home()}/has-run"))
time.sleep(1)
tried("state", lambda: state(1))
"""
    assert answers(steps)["state"] == "CANCELLED" and not (place / "has-run").exists()


def test_a_job_that_is_stopped_before_it_began_is_no_success(answers: Any, place: Path) -> None:
    steps = """
setup = "trap '' TERM; echo sets up; sleep 1; exit 0"
tried("job", lambda: submit(f"touch {Path.home()}/has-run", setup=setup))
wait_for("sets up")
os.kill(driver(1), signal.SIGTERM)
tried("log", lambda: streamed(1))
tried("state", lambda: state(1))
"""
    told = answers(steps)
    assert told["state"] == "FAILED_DRIVER" and told["log"][0] == 100 and not (place / "has-run").exists(), told


def test_a_broken_connection_goes_on_where_it_broke_off(answers: Any) -> None:
    steps = """
tried("job", lambda: submit(f"echo first; while [ ! -e {Path.home()}/over ]; do sleep 0.1; done; echo second"))
log = one_node_log.of_job(handle, 1)
def cut():
    wait_for("first")
    while subprocess.run(["pkill", "-KILL", "-f", f"tail -s .*{Path.home()}/sky_logs"]).returncode:
        time.sleep(0.1)
threading.Thread(target=cut, daemon=True).start()
tried("broken", lambda: streamed(1, log))
(Path.home() / "over").touch()
tried("rest", lambda: streamed(1, log))
connection, = skylet_channel._connections.values()
server.stop(None).wait()
tried("without a daemon", lambda: one_node_log.of_job(handle, 1))
"""
    told = answers(steps)
    (broken, first), (code, rest) = told["broken"], told["rest"]
    assert (broken, code) == (255, 0)
    assert lines_of(first + rest) == ["first", "second"]
    assert told["without a daemon"] is None


def test_the_log_of_a_job_whose_program_was_killed_ends(answers: Any) -> None:
    steps = """
one_node_log.STATE_SECONDS, one_node_log.LAST_SECONDS = 1.0, 10.0
tried("job", lambda: submit("echo first; sleep 3145"))
def kill():
    wait_for("first")
    os.kill(driver(1), signal.SIGKILL)
threading.Thread(target=kill, daemon=True).start()
tried("log", lambda: streamed(1))
tried("state", lambda: state(1))
"""
    told = answers(steps)
    assert told["state"] == "FAILED_DRIVER" and told["log"][0] == 100 and lines_of(told["log"][1]) == ["first"]


def test_a_job_ends_with_its_program_when_that_is_killed(answers: Any, place: Path) -> None:
    """As under SkyPilot's own subprocess_daemon. The next job of the machine finds no process of this one."""
    end = f"sleep 0.3; touch {place}/saved; exit"
    program = f"exec 2> {place}/err; trap '{end}' TERM; touch {place}/begun; while true; do sleep 0.1; done"
    job = f"bash -c {shlex.quote(program)} & (exec -a {place}/other sleep 3146); sleep 3147"
    steps = f"""
tried("job", lambda: submit({job!r}))
while not (Path.home() / "begun").exists():
    time.sleep(0.05)
def rest():
    names = f"^{{Path.home()}}/other|{{Path.home()}}/saved"
    return subprocess.run(["pgrep", "-f", names], capture_output=True, text=True).stdout.split()
tried("processes", rest)
os.kill(driver(1), signal.SIGKILL)
until = time.monotonic() + 90
while rest() and time.monotonic() < until:
    time.sleep(0.1)
tried("rest", rest)
tried("log", lambda: streamed(1))
tried("state", lambda: state(1))
"""
    told = answers(steps)
    assert len(told["processes"]) == 2
    assert (told["state"], told["rest"]) == ("FAILED_DRIVER", [])
    assert (place / "saved").exists(), "a process has time to write a checkpoint"


def _command(entry: Path) -> list[str]:
    try:
        return (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
