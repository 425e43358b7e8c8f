"""SkyPilot's internals that we stand on: a version that moves them fails here, loudly, and not with a machine up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import sky_process

pytestmark = pytest.mark.sky

ASK = """
import inspect, json
from types import SimpleNamespace
import sky
from sky import backends, core, exceptions, execution, global_user_state, provision
from sky.backends import backend_utils, cloud_vm_ray_backend
from sky.provision import provisioner
from sky.provision.aws import instance
from sky.skylet import autostop_lib
from sky.utils import command_runner
from cvl_ci.engine.worker import log_tail, skylet_channel
parameters = lambda function: list(inspect.signature(function).parameters)
method = lambda name: getattr(backends.CloudVmRayBackend, name)
source = lambda name: inspect.getsource(method(name))
class Log:
    def tail_logs(self, handle, job_id, *, follow, tail):
        return tail
handle = SimpleNamespace(get_command_runners=list)
log_tail.global_user_state = SimpleNamespace(get_handle_from_cluster_name=lambda name: handle)
log_tail.backend_utils = SimpleNamespace(get_backend_from_handle=lambda handle: Log())
print(json.dumps({
    "version": sky.__version__,
    "launch": parameters(execution.launch),
    "tail_logs": parameters(backends.CloudVmRayBackend.tail_logs),
    "job_status": parameters(core.job_status),
    "cancel": parameters(backends.CloudVmRayBackend.cancel_jobs),
    "sync_workdir": parameters(backends.CloudVmRayBackend.sync_workdir),
    "execute": parameters(backends.CloudVmRayBackend.execute),
    "exec_is_these_two": [
        f"backend.{stage}(" in inspect.getsource(execution) for stage in ("sync_workdir", "execute")
    ],
    "blocked_is_skipped": "should_be_blocked_by" in inspect.getsource(
        cloud_vm_ray_backend.RetryingVmProvisioner._retry_zones
    ),
    "down": parameters(core.down),
    "bulk_provision": parameters(provisioner.bulk_provision),
    "set_autostop": parameters(backends.CloudVmRayBackend.set_autostop),
    "through_the_daemon": {
        name: ("is_grpc_enabled_with_flag" in source(name), parameters(method(name))[:2])
        for name in (*skylet_channel.AGAIN, *skylet_channel.ONCE)
    },
    "daemon_is_called_through_the_module": [
        "backend_utils.invoke_skylet_with_retries(" in source(name) for name in skylet_channel.ONCE
    ],
    "daemon_is_a_property": isinstance(
        inspect.getattr_static(backends.CloudVmRayResourceHandle, "is_grpc_enabled_with_flag"), property
    ),
    "ssh_words": parameters(command_runner.SSHCommandRunner.ssh_base_command),
    "armed_through_the_backend": "backend.set_autostop(" in inspect.getsource(execution),
    "called_through_the_module": "provisioner.bulk_provision(" in inspect.getsource(cloud_vm_ray_backend),
    "machines_made_through_the_module": "provision.run_instances(" in inspect.getsource(provisioner),
    "record": list(provision.common.ProvisionRecord.__dataclass_fields__),
    "zones_walked_by_run_instances": "ec2_fail_fast.create_instances" in inspect.getsource(instance),
    "query_instances": parameters(provision.query_instances),
    "write_cluster_config": parameters(backend_utils.write_cluster_config),
    "config_is_written_so": "config_dict['ray'] = yaml_path" in inspect.getsource(backend_utils.write_cluster_config),
    "get_cluster_info": parameters(provision.get_cluster_info),
    "add_cluster": parameters(global_user_state.add_or_update_cluster),
    "new_handle": parameters(backends.CloudVmRayResourceHandle.__init__),
    "update_ips": parameters(backends.CloudVmRayResourceHandle.update_cluster_ips),
    "runtime": list(provision.common.ProvisionRuntimeMetadata.__dataclass_fields__),
    "template_of_aws": "aws-ray.yml.j2" in inspect.getsource(cloud_vm_ray_backend),
    "handle": parameters(global_user_state.get_handle_from_cluster_name),
    "runners": parameters(backends.CloudVmRayResourceHandle.get_command_runners),
    "run_by_ssh": parameters(command_runner.SSHCommandRunner.run),
    "run_by_kubectl": parameters(command_runner.KubernetesCommandRunner.run),
    "stdout_as_it_is": [
        "f'> {log_path}'" in inspect.getsource(runner.run)
        for runner in (command_runner.SSHCommandRunner, command_runner.KubernetesCommandRunner)
    ],
    "codes": {code.name: int(code) for code in exceptions.JobExitCode},
    "log_states": [
        log_tail.tail_log(None, cluster="c", count=code, is_following=False) for code in (0, 100, 101, 102, 103, 255, 1)
    ],
    "wait_for": [each.value for each in autostop_lib.AutostopWaitFor],
    "errors": [hasattr(exceptions, name + "Error") for name in ("ResourcesUnavailable", "NoCloudAccess")],
}))
"""


@pytest.fixture(scope="module")
def skypilot() -> dict[str, object]:
    env = {"HOME": str(sky_process.empty_home()), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = sky_process.run(ASK, env=env, loaded=True)
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_it_is_the_minor_version_we_know(skypilot: dict[str, object]) -> None:
    assert str(skypilot["version"]).startswith("0.14.")


@pytest.mark.parametrize(
    ("function", "needed"),
    [
        ("launch", ["task", "cluster_name", "stream_logs", "_quiet_optimizer"]),
        ("tail_logs", ["handle", "job_id", "follow", "tail"]),
        ("job_status", ["cluster_name", "job_ids"]),
        ("cancel", ["handle", "jobs"]),
        ("sync_workdir", ["handle", "workdir", "envs_and_secrets"]),
        ("execute", ["handle", "task", "dryrun"]),
        ("down", ["cluster_name"]),
        ("bulk_provision", ["cloud", "region", "zones"]),
        ("query_instances", ["provider_name", "cluster_name", "cluster_name_on_cloud", "provider_config"]),
        ("handle", ["cluster_name"]),
        (
            "write_cluster_config",
            [
                "to_provision",
                "num_nodes",
                "cluster_config_template",
                "cluster_name",
                "local_wheel_path",
                "wheel_hash",
                "region",
                "zones",
                "keep_launch_fields_in_existing_config",
            ],
        ),
        ("get_cluster_info", ["provider_name", "region", "cluster_name_on_cloud", "provider_config"]),
        ("add_cluster", ["cluster_name", "cluster_handle", "requested_resources", "ready"]),
        ("update_ips", ["cluster_info"]),
        ("set_autostop", ["handle", "idle_minutes_to_autostop", "wait_for", "down", "stream_logs"]),
        ("runners", ["self"]),
        ("run_by_ssh", ["cmd", "require_outputs", "log_path", "process_stream", "stream_logs", "separate_stderr"]),
        ("run_by_kubectl", ["cmd", "require_outputs", "log_path", "process_stream", "stream_logs", "separate_stderr"]),
    ],
)
def test_the_functions_we_call_take_what_we_give(skypilot: dict[str, object], function: str, needed: list[str]) -> None:
    parameters = skypilot[function]
    assert isinstance(parameters, list)
    assert [name for name in parameters if name in needed] == needed


def test_a_further_job_is_the_two_stages_of_exec_and_a_refused_request_is_skipped(skypilot: dict[str, object]) -> None:
    assert skypilot["exec_is_these_two"] == [True, True]
    assert skypilot["blocked_is_skipped"]


def test_a_cluster_of_another_computer_is_recorded_as_a_launch_records_it(skypilot: dict[str, object]) -> None:
    assert skypilot["config_is_written_so"] and skypilot["template_of_aws"]
    assert {"has_ray", "has_skylet", "has_job_queue", "ssh_available"} <= set(skypilot["runtime"])  # type: ignore[call-overload]
    assert {"cluster_name", "cluster_name_on_cloud", "cluster_yaml", "launched_nodes", "launched_resources"} <= set(
        skypilot["new_handle"]  # type: ignore[call-overload]
    )


def test_the_calls_that_go_to_the_daemon_ask_whether_they_may(skypilot: dict[str, object]) -> None:
    calls = skypilot["through_the_daemon"]
    assert isinstance(calls, dict)
    assert {name: tuple(answer) for name, answer in calls.items()} == {
        name: (True, ["self", "handle"])
        for name in ("set_autostop", "get_job_status", "cancel_jobs", "_add_job", "_exec_code_on_head")
    }
    assert skypilot["daemon_is_called_through_the_module"] == [True]
    assert skypilot["daemon_is_a_property"]
    assert {"ssh_mode", "port_forward", "connect_timeout"} <= set(skypilot["ssh_words"])  # type: ignore[call-overload]


def test_every_region_is_asked_through_the_one_function_we_stand_before(skypilot: dict[str, object]) -> None:
    assert skypilot["called_through_the_module"] and skypilot["zones_walked_by_run_instances"]


def test_machines_are_made_through_the_one_function_that_counts_them(skypilot: dict[str, object]) -> None:
    assert skypilot["machines_made_through_the_module"]
    assert {"created_instance_ids", "resumed_instance_ids"} <= set(skypilot["record"])  # type: ignore[call-overload]


def test_what_a_machine_sends_goes_to_a_file_byte_for_byte(skypilot: dict[str, object]) -> None:
    """As on_nodes.py brings archives; with ssh, tests/engine/fetch/test_fetch.py does it."""
    assert skypilot["stdout_as_it_is"] == [True, True]


def test_job_exit_codes_and_the_hard_limit_mean_what_we_think(skypilot: dict[str, object]) -> None:
    codes = skypilot["codes"]
    assert isinstance(codes, dict)
    assert {"SUCCEEDED": 0, "FAILED": 100, "NOT_FINISHED": 101, "NOT_FOUND": 102}.items() <= codes.items()
    assert "none" in skypilot["wait_for"]  # type: ignore[operator]
    assert skypilot["armed_through_the_backend"]
    assert all(skypilot["errors"])  # type: ignore[arg-type]


def test_only_the_codes_of_a_machine_s_answer_are_an_answer(skypilot: dict[str, object]) -> None:
    assert skypilot["log_states"] == ["read", "read", "read", "no job", "read", "lost", "lost"]


def test_the_worker_answers_and_ends_with_its_parent(tmp_path: Path) -> None:
    """A run killed by SIGKILL takes the launch in its worker along: no machine is asked for by an orphan.

    The folder in which the run begins may have modules with the names of Python's own.
    """
    script = (
        "import os, sys, time\n"
        "from cvl_ci.engine.process import Worker\n"
        "worker = Worker(environment=dict(os.environ))\n"
        "print(worker.call('warm'), worker._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    (tmp_path / "script.py").write_text(script)
    folder = tmp_path / "work"
    folder.mkdir()
    for name in ("random", "queue", "types"):
        (folder / f"{name}.py").write_text("raise SystemExit('a module of the person')\n")
    words = [sys.executable, str(tmp_path / "script.py")]
    with subprocess.Popen(words, env=env, cwd=folder, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        version, pid = parent.stdout.readline().split()
        parent.kill()
    assert version.startswith("0.14.")
    for _ in range(50):
        if not _alive(int(pid)):
            return
        subprocess.run(["sleep", "0.1"], check=True)
    pytest.fail("the worker outlived its parent")


def _alive(pid: int) -> bool:
    try:
        return "Z (zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
