"""The wait for the replicas of a service, and their task: on the answers of a controller in a list."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from cvl_ci.engine.server.serve_jobs import ReplicaJobs, ReplicaLog
from cvl_ci.engine.server.serve_machines import ReplicaMachines
from cvl_ci.engine.session import Session
from cvl_ci.errors import EngineError, RequestError
from cvl_ci.model.location import Location
from cvl_ci.model.plan import MachinePlan, RunPlan, WorkPlan
from cvl_ci.model.replicas import ReplicaPlan
from cvl_ci.model.secret import Secret
from cvl_ci.model.service import Probe, ServicePlan, token_digest
from cvl_ci.ports import Event, JobEnd, LaunchRequest, Line, Progress
from tests import golden
from tests.e2e.cloud import eventually
from tests.support.fakes import FakeClock

MESSAGES = golden.Messages(__name__)

LEASE, TOKEN, PROBE = "cvl-1a-0123abcd", "the-token-of-the-callers-0123", "the-token-of-the-probe-0123"
SERVICE = ServicePlan(
    port=8123,
    probe=Probe(path="/health"),
    token_digest=token_digest(TOKEN),
    replicas=ReplicaPlan(least=2, most=3, policy={"replicas": 2}, probe_token=Secret(PROBE)),
)
PLAN = RunPlan(
    title="hello serve",
    work=WorkPlan(setup_commands=("make",), run_commands=("bash serve.sh",)),
    machines=MachinePlan(num_nodes=3, locations=(Location(cloud="aws", region="us-east-1"),)),
    service=SERVICE,
)


class Machines:
    """A controller whose answers come one after the other. The last one stays."""

    def __init__(self, *answers: Sequence[str], log: Sequence[str] = ()) -> None:
        self.answers, self.log = list(answers), log

    def look(self, _cluster: str) -> Mapping[str, Any]:
        states = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        replicas = [
            {"id": number, "state": state.removeprefix("old "), "version": 1 if state.startswith("old ") else 2}
            for number, state in enumerate(states, start=1)
        ]
        return {"state": "READY", "version": 2, "endpoint": "sky.example.com:30001", "replicas": replicas}

    def log_of(self, _cluster: str, *, replica: int, count: int) -> list[str]:
        return [f"{replica}: {text}" for text in self.log][-count:]


class Wait:
    """One wait of ten minutes. `answers`: whether the address answers."""

    def __init__(self, machines: Machines, *, answers: bool = True) -> None:
        self.clock, self.events = FakeClock(), list[Event]()
        request = SimpleNamespace(request=SimpleNamespace(cluster=LEASE))
        session = SimpleNamespace(machines=request, job_plan=PLAN, clock=self.clock)
        jobs = ReplicaJobs(cast("Session", session), cast("ReplicaMachines", machines))
        start = self.clock.now()
        self.end: JobEnd | None = jobs.follow_until(watch=self.events.append, until=start + 600, enough=lambda: answers)
        self.seconds = self.clock.now() - start

    @property
    def progress(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Progress)]

    @property
    def lines(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Line)]


def test_the_wait_ends_when_the_least_number_of_new_replicas_is_ready() -> None:
    wait = Wait(Machines([], ["PENDING"] * 2, ["READY", "STARTING"], ["READY", "STARTING"], ["READY", "READY"]))
    assert wait.end is None and wait.lines == []
    states = ["none yet", "2 PENDING", "1 READY, 1 STARTING", "2 READY"]
    assert wait.progress == [f"replicas: {state}" for state in states]


def test_old_replicas_do_not_count_in_an_update() -> None:
    wait = Wait(Machines(["old READY", "old READY", "STARTING"], ["old READY", "READY", "READY"]))
    assert wait.end is None
    assert wait.progress == [
        "replicas: 2 READY (old version), 1 STARTING",
        "replicas: 2 READY, 1 READY (old version)",
    ]


def test_one_ready_replica_is_sufficient_when_the_time_is_over() -> None:
    wait = Wait(Machines(["READY", "PROVISIONING"]))
    assert wait.end is None and wait.seconds >= 600
    assert "1 of 2 replicas are ready" in wait.progress[-1]
    silent = Wait(Machines(["READY", "READY"]), answers=False).end
    assert silent is not None and silent.nodes[0].timed_out


def test_a_replica_that_fails_before_any_answer_ends_the_wait_with_its_code_and_last_lines() -> None:
    log = ("\x1b[31mOSError: no weights\x1b[0m", "ERROR: Job 1 failed with return code list: [7]")
    wait = Wait(Machines(["STARTING", "STARTING"], ["STARTING", "FAILED"], log=log))
    assert wait.end is not None and wait.end.nodes[0].exit_code == 7 and not wait.end.nodes[0].timed_out
    assert "replica 2 is FAILED" in wait.lines[0] and "2: OSError: no weights" in wait.lines


def test_a_failed_replica_beside_a_ready_one_ends_nothing() -> None:
    assert Wait(Machines(["READY", "FAILED"], ["READY", "FAILED", "READY"])).end is None


@pytest.mark.parametrize("state", ["STARTING", "FAILED_INITIAL_DELAY"])
def test_a_service_that_is_never_ready_has_timed_out(state: str) -> None:
    wait = Wait(Machines([state, state], log=("still loading",)))
    assert wait.end is not None and wait.end.nodes[0].timed_out and wait.end.nodes[0].exit_code is None
    assert "1: still loading" in wait.lines


def test_a_replica_that_cannot_be_launched_is_an_error_of_the_engine() -> None:
    with pytest.raises(EngineError, match="could not launch a replica"):
        Wait(Machines(["FAILED_PROVISION", "PENDING"]))


def test_the_log_has_the_lines_of_each_living_replica_and_nothing_to_follow() -> None:
    shown: list[str] = []
    log = ReplicaLog(cast("ReplicaMachines", Machines(["READY", "SHUTTING_DOWN", "STARTING"], log=("a", "b"))))
    log.show(LEASE, count=200, is_following=False, line=shown.append)
    assert shown == ["replica 1 (ready):", "1: a", "1: b", "replica 3 (starting):", "3: a", "3: b"]
    with pytest.raises(RequestError, match="--follow"):
        log.show(LEASE, count=200, is_following=True, line=shown.append)


def task(tmp_path: Path) -> dict[str, Any]:
    machines = ReplicaMachines(Session(environment={}, clock=FakeClock()))
    request = LaunchRequest(
        plan=PLAN,
        cluster=LEASE,
        labels={"cvl-ci-lease": LEASE},
        staged=tmp_path,
        deadline=FakeClock().now() + 3600,
        fence=tmp_path / "fence",
    )
    return dict(machines._task(request))


def test_the_task_of_a_replica_has_its_end_its_proxy_and_no_token_of_the_callers(tmp_path: Path) -> None:
    made = task(tmp_path)
    assert (made["num_nodes"], made.get("setup")) == (1, None), "each replica is one machine"
    assert made["service"]["ports"] == made["resources"]["ports"] == SERVICE.public_port
    assert made["service"]["readiness_probe"]["headers"] == {"Authorization": f"Bearer {PROBE}"}
    assert made["resources"]["autostop"] == {"idle_minutes": 60, "down": True, "wait_for": "none"}
    assert made["envs"]["CVL_CI_DEADLINE"] == str(int(FakeClock().now() + 3600))
    run = made["run"]
    assert run.index("the service is over") < run.index("cvl_ci_state="), "nothing comes before the check"
    assert f"{token_digest(TOKEN)},{token_digest(PROBE)},/health" in run
    assert TOKEN not in yaml.safe_dump(made) and PROBE not in run
    plain = replace(PLAN, service=replace(SERVICE, replicas=None), machines=replace(PLAN.machines, num_nodes=1))
    assert "the service is over" not in _script(plain)


def _script(plan: RunPlan) -> str:
    from cvl_ci.engine.task import script

    return script.run(plan, lease=LEASE)


def test_skypilot_s_own_checks_accept_the_task(tmp_path: Path) -> None:
    import sky
    from sky.serve import serve_utils

    made = sky.Task.from_yaml_config(task(tmp_path))
    serve_utils.validate_service_task(made, pool=False)
    again = sky.Task.from_yaml_config(yaml.safe_load(yaml.safe_dump(made.to_yaml_config())))
    assert again.service is not None and again.service.readiness_headers == {"Authorization": f"Bearer {PROBE}"}
    assert again.service.min_replicas == 2


def test_a_replica_after_the_end_of_its_service_fails_before_anything_else(tmp_path: Path) -> None:
    text, environment = _script(PLAN), {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CVL_CI_DEADLINE": "1"}
    done = subprocess.run(["bash", "-c", text], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 124
    MESSAGES.check("a service that is over", done.stdout)
    assert not (tmp_path / ".cvl-ci").exists()


def test_a_replica_powers_itself_off_after_its_deadline(tmp_path: Path) -> None:
    programs, told = tmp_path / "bin", tmp_path / "told"
    programs.mkdir()
    for name, body in (("sleep", "exec /bin/sleep 0.1"), ("sudo", f'printf "%s" "$*" > {told}; kill -9 "$PPID"')):
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    text = resources.files("cvl_ci.engine").joinpath("machine/replica.sh").read_text().replace("@SECONDS@", "0")
    path = f"{programs}:{os.environ['PATH']}"
    environment = {"PATH": path, "CVL_CI_DEADLINE": str(int(time.time()) + 2)}
    done = subprocess.run(["bash", "-c", f"{text}\necho goes on"], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"goes on\n"), "the job does not wait for its timer"
    assert eventually(told.exists)
    assert told.read_text() == "-n systemctl poweroff --force"
