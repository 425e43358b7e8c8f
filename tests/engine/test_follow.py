"""A limit is a limit of the phase, on the runner too: the machine may not keep to it."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.engine import session
from cvl_ci.engine.jobs import OVERTIME_SECONDS, SkyPilotJobs
from cvl_ci.engine.process import Expired, WorkerFailed
from cvl_ci.engine.task.script import ANSWERED
from cvl_ci.local.clock import SystemClock
from cvl_ci.model.limits import Limits
from cvl_ci.model.loss import LossKind
from cvl_ci.model.plan import RunPlan, WorkPlan
from cvl_ci.ports import JobRequest
from tests.support.fakes import FakeClock
from tests.support.sessions import launched

RUN = "(cvl-try-1, pid=691) "


class Hanging:
    """A worker whose stream goes on for ever. `end`: what its machine says of the job's end."""

    alive = True
    busy = True

    def __init__(self, *, lines: tuple[str, ...] = (), end: str = "") -> None:
        self.lines, self.end = lines, end
        self.limits: list[float] = []
        self.verbs: list[str] = []

    def call(self, verb: str, **request: Any) -> Any:
        self.verbs.append(verb)
        if verb == "follow":
            self.limits.append(request["until"]() - time.monotonic())
            for line in self.lines:
                request["on_line"](line)
            self.limits.append(request["until"]() - time.monotonic())
            raise Expired
        return [{"code": 0, "out": f"{self.end}\n{ANSWERED}\n", "err": ""}] if verb == "ask_nodes" else None

    def abort(self) -> None: ...
    def kill(self) -> None: ...
    def close(self) -> None: ...


def jobs(worker: Hanging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SkyPilotJobs:
    monkeypatch.setattr(session, "Worker", lambda **_: worker)
    plan = RunPlan(title="t", work=WorkPlan(run_commands=("true",)), limits=Limits(max_runtime_minutes=1))
    return SkyPilotJobs(launched(worker, plan, clock=SystemClock(), staged=tmp_path, seconds=80 * 60))


def test_max_runtime_counts_from_the_jobs_first_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Hanging(lines=(RUN + "going",))
    end = jobs(worker, tmp_path, monkeypatch).follow(watch=lambda _: None, until=time.time() + 70 * 60)
    before, after = worker.limits
    assert 60 * 60 < before < math.inf
    assert 0 < after <= 60 + OVERTIME_SECONDS
    assert [node.timed_out for node in end.nodes] == [True]
    assert "cancel" in worker.verbs


def test_a_job_whose_machine_says_that_it_ended_did_not_time_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Hanging(end="exit_code=0\ntimed_out=0\nphase=running\n")
    end = jobs(worker, tmp_path, monkeypatch).follow(watch=lambda _: None, until=time.time() + 70 * 60)
    assert [(node.exit_code, node.timed_out) for node in end.nodes] == [(0, False)]
    assert "cancel" not in worker.verbs


class Gone(Hanging):
    """A worker whose machine is silent; the provider shows so many machines, or raises."""

    def __init__(self, shown: int | Exception) -> None:
        super().__init__()
        self.shown = shown

    def call(self, verb: str, **request: Any) -> Any:
        self.verbs.append(verb)
        if verb == "follow":
            raise WorkerFailed(error="ClusterNotUpError", text="the cluster is not up")
        if verb == "count_machines" and isinstance(self.shown, Exception):
            raise self.shown
        return self.shown if verb == "count_machines" else None


@pytest.mark.parametrize(
    ("shown", "spot", "seconds", "kind"),
    [
        (0, True, 60.0, LossKind.PREEMPTED),
        (0, False, 60.0, LossKind.NODE_LOST),
        (0, True, 0.0, LossKind.ENDED_ITSELF),
        (1, True, 60.0, LossKind.UNREACHABLE),
        (WorkerFailed(error="ClientError", text="throttled"), True, 60.0, LossKind.UNREACHABLE),
        (Expired(), True, 60.0, LossKind.UNREACHABLE),
    ],
)
def test_the_provider_decides_what_kind_of_loss_a_silent_machine_is(
    shown: int | Exception, spot: bool, seconds: float, kind: LossKind, tmp_path: Path
) -> None:
    worker, plan = Gone(shown), RunPlan(title="t")
    session = launched(worker, plan, clock=FakeClock(), staged=tmp_path, seconds=seconds, spot=spot)
    end = SkyPilotJobs(session).follow(watch=lambda _: None, until=FakeClock().now() + 60)
    assert end.lost is not None and end.lost.kind is kind


class Taking(Hanging):
    """A worker that takes further jobs, and remembers its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[dict[str, Any]] = []

    def call(self, verb: str, **request: Any) -> Any:
        self.requests.append({"verb": verb, **request})
        return len(self.requests) + 1 if verb == "submit" else []


def test_a_further_job_has_a_folder_setup_and_limit_of_its_own_and_only_its_files_are_fetched(tmp_path: Path) -> None:
    worker = Taking()
    first = RunPlan(title="first")
    session = launched(worker, first, clock=FakeClock(), staged=tmp_path, cluster="cvl-1-2")
    jobs = SkyPilotJobs(session)
    work = WorkPlan(setup_commands=("pip install x",), run_commands=("python second.py",), directory="second")
    second = RunPlan(title="second", work=work, limits=Limits(max_runtime_minutes=7))
    jobs.fetch(globs=())
    jobs.submit(JobRequest(plan=second, staged=tmp_path / "second"), watch=lambda _: None)
    jobs.fetch(globs=())
    session.close()
    fetched, submitted, fetched_again = worker.requests[0], worker.requests[2], worker.requests[3]
    assert " cvl-1-2 " in fetched["command"] and " cvl-1-2.2 " in fetched_again["command"]
    assert submitted["cluster"] == "cvl-1-2"
    task = submitted["task"]
    assert task["envs"]["CVL_CI_LEASE"] == "cvl-1-2.2" and task["envs"]["CVL_CI_MAX_SECONDS"] == str(7 * 60)
    assert task["workdir"] == str(tmp_path / "second")
    assert "setup" not in task and "autostop" not in task["resources"], "its machines keep their own end"
    assert task["run"].index("pip install x") < task["run"].index("python second.py")
