"""What a job took of its GPUs, as the machine looks at them: told rightly, and never the job's trouble or a cost."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from cvl_ci.engine.sky_errors import read_end
from cvl_ci.engine.task import script
from cvl_ci.model.limits import IdlePolicy, Limits
from cvl_ci.model.node_end import IDLE, GpuUse, NodeEnd
from cvl_ci.model.plan import RunPlan, WorkPlan
from tests.engine.task.test_script import LEASE, Node

TWO_L4 = """
n=$(cat "$HOME/looks" 2> /dev/null || echo 0); echo $((n + 1)) > "$HOME/looks"
echo "$((n * 1000 + 15)), 23034, $((n * 10)), 550.54.15, NVIDIA L4"
echo "15, 23034, 0, 550.54.15, NVIDIA L4"
"""


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "node")


def ran(
    node: Node, nvidia_smi: str, command: str, *, idle: IdlePolicy | None = None
) -> subprocess.CompletedProcess[str]:
    """As SkyPilot runs it: by an interactive shell, whose words about jobs would be in the job's log."""
    programs = node.home / "bin"
    programs.mkdir()
    (programs / "nvidia-smi").write_text(f"#!/bin/bash\n{nvidia_smi}")
    (programs / "nvidia-smi").chmod(0o755)
    plan = RunPlan(title="t", work=WorkPlan(run_commands=(command,)), limits=Limits(idle=idle))
    (node.home / "script").write_text(script.run(plan, lease=LEASE))
    values = script.environment(plan, lease=LEASE, deadline=time.time() + 3600)
    return subprocess.run(
        ["bash", "--norc", "-i", str(node.home / "script")],
        cwd=node.workdir,
        env={"HOME": str(node.home), "PATH": f"{programs}:{node.path}", **values},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def told(node: Node) -> NodeEnd:
    said = subprocess.run(
        ["sh", "-c", script.end(lease=LEASE)], env={"HOME": str(node.home)}, capture_output=True, text=True, check=False
    )
    return read_end(0, said.stdout)


def alive(node: Node) -> list[str]:
    """Processes that were started with this node's HOME."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"HOME={node.home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


SOONER = 9.0
"""Seconds: less than the ten after which a look that hangs is ended, and many on a busy machine."""


def nothing_left(node: Node, *, within: float) -> bool:
    until = time.monotonic() + within
    while alive(node) and time.monotonic() < until:
        time.sleep(0.05)
    return not alive(node)


def test_the_highest_memory_and_how_busy_they_were_are_told(node: Node) -> None:
    done = ran(node, TWO_L4, "sleep 3.5; echo done")
    assert done.stdout.splitlines()[-1] == "done"
    assert nothing_left(node, within=SOONER), "what counts the looks is not in the middle of it"
    ticks = int((node.home / "looks").read_text())
    assert ticks >= 2, "more than once in three seconds"
    end = told(node)
    assert end.exit_code == 0
    assert end.gpu is not None
    assert (end.gpu.gpus, end.gpu.memory_total_mib, end.gpu.driver) == (2, 23034, "550.54.15")
    assert end.gpu.memory_mib == 100 * (end.gpu.utilization_peak or 0) + 15 >= 1015
    assert end.gpu.utilization == pytest.approx((end.gpu.utilization_peak or 0) / 4), "the mean of both, all looks"


def test_it_is_gone_with_the_job_and_says_nothing(node: Node) -> None:
    done = ran(node, TWO_L4, "sleep 1.2; echo out; echo err >&2; exit 7")
    assert done.returncode == 7
    assert done.stdout.splitlines()[-2:] == ["out", "err"]
    assert [line for line in done.stderr.splitlines() if "job control" not in line and "ioctl" not in line] == []
    assert nothing_left(node, within=SOONER)


@pytest.mark.parametrize(
    "broken",
    ["exit 9", "sleep 60", "echo garbage; echo ', ,'", "yes '999999999999999999999, 1, 1, 1, x' | head -c 100000", ""],
)
def test_one_that_is_broken_or_hangs_is_not_the_jobs_trouble(node: Node, broken: str) -> None:
    began = time.monotonic()
    done = ran(node, broken, "echo done")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "done")
    assert time.monotonic() - began < 50, "the job did not wait for the one that hangs a minute"
    assert told(node).exit_code == 0
    assert nothing_left(node, within=SOONER)


def test_a_job_whose_shell_is_killed_takes_it_along(node: Node) -> None:
    ran(node, TWO_L4, 'sleep 1; kill -9 "$(ps -o ppid= -p "$(ps -o ppid= -p $PPID)")"')
    assert nothing_left(node, within=60)


def test_without_a_gpu_nothing_is_started(node: Node) -> None:
    assert node.job(RunPlan(title="t", work=WorkPlan(run_commands=("true",)))).returncode == 0
    assert not list(node.state.glob("gpu*"))
    assert told(node) == NodeEnd(rank=0, exit_code=0, ended_at=told(node).ended_at, state=told(node).state)


QUIET_GPUS = 'echo "15, 23034, 9, 550.54.15, NVIDIA L4"; echo "15, 23034, 0, 550.54.15, NVIDIA L4"'
OFTEN = """
n=$(cat "$HOME/looks" 2> /dev/null || echo 0); echo $((n + 1)) > "$HOME/looks"
"""
POLICY = IdlePolicy(min_percent=10, seconds=5)
"""Some looks long, also on a busy machine."""


def test_a_job_that_leaves_its_gpus_alone_ends_as_idle_and_may_still_write_its_files(node: Node) -> None:
    trap = "trap 'echo saved > saved; exit 0' TERM; "
    done = ran(node, QUIET_GPUS, f"{trap}echo waits; while :; do sleep 0.2; done", idle=POLICY)
    end = told(node)
    assert (done.returncode, end.exit_code, end.phase, end.timed_out) == (124, 124, IDLE, False)
    assert (node.workdir / "saved").read_text() == "saved\n", "as at its time limit"
    assert nothing_left(node, within=SOONER)


def test_idle_commands_one_after_the_other_are_one_idle_time(node: Node) -> None:
    plan_of_two = "sleep 3; echo first; for i in $(seq 400); do sleep 0.2; done"
    assert ran(node, QUIET_GPUS, plan_of_two, idle=POLICY).returncode == 124


@pytest.mark.parametrize(
    "gpus",
    {
        "one of two is used": 'echo "15, 23034, 10, 1.1, L4"; echo "15, 23034, 0, 1.1, L4"',
        "used from time to time": f'{OFTEN}echo "15, 23034, $((n % 2 * 80)), 1.1, L4"',
        "one tells no use": 'echo "15, 23034, 0, 1.1, L4"; echo "15, 23034, [N/A], 1.1, L4"',
        "a part of a GPU": 'echo "[N/A], [N/A], [N/A], 1.1, L4"',
        "no answer": "exit 9",
        "no answer from time to time": f'{OFTEN}[ $((n % 2)) = 1 ] || exit 9; echo "15, 23034, 0, 1.1, L4"',
        "garbage": "echo garbage",
        "nothing": "",
    }.values(),
)
def test_without_evidence_a_job_is_not_idle(node: Node, gpus: str) -> None:
    done = ran(node, gpus, "sleep 9; echo done", idle=POLICY)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "done")
    assert told(node).phase == "running"


def test_a_job_without_a_policy_may_leave_its_gpus_alone(node: Node) -> None:
    done = ran(node, QUIET_GPUS, "sleep 4; echo done")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "done")


GOOD = "gpus=1\ngpu_memory=100\ngpu_memory_total=200\ngpu_busiest=90\ngpu_busy=120\ngpu_readings=2\n"


def test_what_a_machine_says_of_its_gpus_is_believed_as_far_as_it_can_be() -> None:
    assert read_end(0, f"{GOOD}gpu_driver=1.2").gpu == GpuUse(
        gpus=1, memory_mib=100, memory_total_mib=200, utilization=60, utilization_peak=90, driver="1.2"
    )
    for hostile in ("=-1\n", "=1e9\n", "=" + "9" * 400 + "\n", "=\n", "=٣\n"):
        assert read_end(0, GOOD.replace("=100\n", hostile)).gpu is None
    unbelievable = read_end(0, GOOD.replace("=90\n", "=900\n") + "gpu_driver=$(id)").gpu
    assert unbelievable == GpuUse(gpus=1, memory_mib=100, memory_total_mib=200)
