"""Let SkyPilot start the job of one node without Ray.

SkyPilot 0.14.1 starts each job by a program on the machine. It loads SkyPilot and Ray, and starts a process of Ray.
That takes seconds of a small machine's processor, and one node needs neither. Its program is machine/driver.py, and
SkyPilot's daemon, records and log stay in use. SkyPilot has such another program itself, for Slurm
(sky/backends/task_codegen.py). In the worker process only.
"""

from __future__ import annotations

import math
from importlib import resources
from typing import Any

from sky import backends, clouds
from sky.backends import task_codegen
from sky.skylet import constants, log_lib
from sky.utils import accelerator_registry, command_runner

from cvl_ci.engine.task.script import LOG_ENDS

FIRST_LINES = (f"{log_lib.LOG_FILE_START_STREAMING_AT}1 node.", "Job started. Streaming logs...")
"""SkyPilot shows a log from such a line on: sky/skylet/log_lib.py."""


def provide() -> None:
    """Let SkyPilot start the jobs of one node without Ray."""
    backend = backends.CloudVmRayBackend
    original = getattr(backend._get_task_codegen_class, "original", backend._get_task_codegen_class)  # noqa: SLF001

    def choose(one: Any, handle: Any) -> task_codegen.TaskCodeGen:
        return OneNodeProgram() if is_one_machine(handle) else original(one, handle)

    choose.original = original  # type: ignore[attr-defined]
    backend._get_task_codegen_class = choose  # noqa: SLF001  SkyPilot calls it for each job


def is_one_machine(handle: Any) -> bool:
    """Return whether SkyPilot starts the jobs of this cluster by OneNodeProgram."""
    cloud, runners = handle.launched_resources.cloud, handle.get_command_runners()
    is_reached_by_ssh = len(runners) == 1 and isinstance(runners[0], command_runner.SSHCommandRunner)
    return is_reached_by_ssh and not isinstance(cloud, (clouds.Slurm, clouds.Kubernetes))


class OneNodeProgram(task_codegen.TaskCodeGen):  # type: ignore[misc]  # sky has no types here
    """The program of a job of one node, in the parts that SkyPilot's backend asks for in turn."""

    def add_prologue(self, job_id: int) -> None:
        self.job_id = job_id

    def add_setup(
        self,
        num_nodes: int,
        _resources: dict[str, float],
        *,
        stable_cluster_internal_ips: list[str],
        env_vars: dict[str, str],
        setup_cmd: str | None = None,
        **_options: Any,
    ) -> None:
        if num_nodes != 1:
            raise ValueError(f"a job of {num_nodes} nodes is not a job of one")
        self._address = stable_cluster_internal_ips[0]
        variables = {**env_vars, constants.SKYPILOT_NUM_NODES: "1"}
        self._setup = log_lib.make_task_bash_script(setup_cmd, env_vars=variables) if setup_cmd else ""

    def add_task(
        self,
        _num_nodes: int,
        *,
        bash_script: str | None,
        task_name: str | None,
        resources_dict: dict[str, float],
        env_vars: dict[str, str] | None = None,
        **_options: Any,
    ) -> None:
        name, count = self._get_accelerator_details(resources_dict)
        is_gpu = name is not None and not accelerator_registry.is_schedulable_non_gpu_accelerator(name)
        num_gpus = math.ceil(count) if is_gpu else 0
        variables = {
            **({"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(num_gpus)))} if num_gpus else {}),  # as Ray does
            constants.SKYPILOT_NODE_IPS: self._address,
            constants.SKYPILOT_NUM_NODES: "1",
            **(env_vars or {}),
            constants.SKYPILOT_NUM_GPUS_PER_NODE: str(num_gpus),
            constants.SKYPILOT_NODE_RANK: "0",
            "SKYPILOT_INTERNAL_JOB_ID": str(self.job_id),
        }
        script = log_lib.make_task_bash_script(self.build_task_bash_script(bash_script or ""), env_vars=variables)
        self._call = {"job": self.job_id, "name": task_name or "task", "setup": self._setup, "script": script}

    def add_epilogue(self) -> None:
        """Add nothing: the program records the end."""

    def build(self) -> str:
        program = resources.files("cvl_ci.engine").joinpath("machine").joinpath("driver.py").read_text(encoding="utf-8")
        call = {**self._call, "first_lines": list(FIRST_LINES), "last_line": LOG_ENDS}
        return f"{program}\n\nmain(**{call!r})\n"
