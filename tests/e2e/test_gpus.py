"""What a job took of the GPUs of its machine: by the machine's own nvidia-smi, which here is one we put there."""

from __future__ import annotations

from pathlib import Path

from cvl_ci.sandbox import Faults
from tests.e2e.conftest import Terminal

NVIDIA_SMI = """
set -e
printf '%s\\n' '#!/bin/sh' 'echo $$ >> /tmp/looks' \\
  'echo "$(wc -l < /tmp/looks)000, 23034, 50, 550.54.15, NVIDIA L4"' | sudo tee /usr/local/bin/nvidia-smi > /dev/null
sudo chmod 755 /usr/local/bin/nvidia-smi
"""


def test_memory_and_utilisation_are_told_and_the_jobs_log_is_its_own(terminal: Terminal, tmp_path: Path) -> None:
    """The first region has no capacity: the run fails over to the other region, and shows that both are empty."""
    terminal.sandbox.set_faults(Faults(no_capacity=("us-east-1",)))
    task = tmp_path / "task.yaml"
    lines = "".join(f"  {line}\n" for line in NVIDIA_SMI.strip().splitlines())
    task.write_text(f"setup: |\n{lines}run: |\n  sleep 4; echo done\n")
    ran = terminal.run("--task", str(task))
    assert ran.code == 0, ran.err
    assert ran.out.split() == ["done"]
    assert ran.summary["region"] == "us-west-2"
    assert {each["region"] for each in ran.summary["attempts"]} == {"us-east-1", "us-west-2"}
    assert {each["region"] for each in ran.summary["released"]["asked"]} == {"us-east-1", "us-west-2"}
    assert terminal.machines() == []
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
