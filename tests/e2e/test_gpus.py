"""A job's use of the GPUs, and a machine whose GPUs are broken: by an nvidia-smi that the test or the sandbox wrote."""

from __future__ import annotations

from pathlib import Path

from cvl_ci.sandbox import Faults
from tests.e2e.conftest import Ran, Terminal
from tests.e2e.metering import TASK_DISK_GB, assert_told_as_metered

NVIDIA_SMI = """
set -e
printf '%s\\n' '#!/bin/sh' 'echo $$ >> /tmp/looks' \\
  'echo "$(wc -l < /tmp/looks)000, 23034, 50, 550.54.15, NVIDIA L4"' | sudo tee /usr/local/bin/nvidia-smi > /dev/null
sudo chmod 755 /usr/local/bin/nvidia-smi
"""


def test_memory_and_utilisation_are_told_and_the_jobs_log_is_its_own(terminal: Terminal, tmp_path: Path) -> None:
    """The first region has no capacity, and the first machine of the other region is broken.

    The run fails over, gives the broken machine back before the job begins, and shows that both regions are empty.
    """
    terminal.sandbox.set_faults(Faults(no_capacity=("us-east-1",), broken_gpus=("us-west-2a",)))
    task = tmp_path / "task.yaml"
    lines = "".join(f"  {line}\n" for line in NVIDIA_SMI.strip().splitlines())
    task.write_text(f"setup: |\n{lines}run: |\n  sleep 4; echo done\n")
    ran = terminal.run("--task", str(task), "--gpu", "T4")
    assert ran.code == 0, ran.err
    assert ran.out.split() == ["done"]
    assert ran.summary["region"] == "us-west-2"
    assert {each["region"] for each in ran.summary["attempts"]} == {"us-east-1", "us-west-2"}
    assert {each["region"] for each in ran.summary["released"]["asked"]} == {"us-east-1", "us-west-2"}
    assert terminal.machines() == []
    assert_the_broken_machine_was_replaced(ran)
    case = "failover to another region, and a broken machine replaced"
    assert_told_as_metered(ran.summary, terminal.sandbox, case=case, disk_gb=TASK_DISK_GB)
    assert ran.summary["driver"] == "550.54.15"
    gpu = ran.summary["gpu"]
    assert gpu["memory_mib"] >= 2000, "it was looked at more than once"
    assert gpu == {
        "gpus": 1,
        "memory_mib": gpu["memory_mib"],
        "memory_total_mib": 23034,
        "utilization": 50,
        "utilization_peak": 50,
    }
    assert f"{gpu['memory_mib']:,} of 23,034 MiB at most, 50 % busy" in ran.err


def assert_the_broken_machine_was_replaced(ran: Ran) -> None:
    [one] = ran.summary["recoveries"]
    assert (one["lost"], one["place"], one["ran_seconds"]) == ("unfit", "sandbox/us-west-2a", 0)
    assert "with code 6: No devices were found" in one["why"]
    assert one["gone_at"] <= one["resumed_at"] and one["usd"] > 0
    came_up = [each["zone"] for each in ran.summary["attempts"] if each["machines"] or not each["error"]]
    assert came_up[0] == "us-west-2a" and len(came_up) == 2 and "us-west-2a" not in came_up[1:]
    assert {entry["attempt"] for entry in ran.summary["ledger"] if entry["kind"] == "machine"} == {
        len(ran.summary["attempts"]) - 1,
        len(ran.summary["attempts"]),
    }
    assert "cvl-ci gives it back" in ran.err and "asks for a machine elsewhere (1 of 2)" in ran.err
