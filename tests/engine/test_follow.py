"""A limit is a limit of the phase, on the runner too: the machine may not keep to it."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.engine import skypilot
from cvl_ci.engine.process import Expired
from cvl_ci.engine.script import ANSWERED
from cvl_ci.engine.skypilot import OVERTIME_SECONDS, SkyPilotEngine
from cvl_ci.local.clock import SystemClock
from cvl_ci.model.plan import Limits, RunPlan, WorkPlan
from cvl_ci.ports import LaunchRequest

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


def engine(worker: Hanging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SkyPilotEngine:
    monkeypatch.setattr(skypilot, "Worker", lambda **_: worker)
    made = SkyPilotEngine(environment={}, clock=SystemClock())
    made._worker = worker  # type: ignore[assignment]
    plan = RunPlan(title="t", work=WorkPlan(run_commands=("true",)), limits=Limits(max_runtime_minutes=1))
    deadline = time.time() + 80 * 60
    made._request = LaunchRequest(
        plan=plan, cluster="c", labels={}, staged=tmp_path, deadline=deadline, fence=tmp_path / "fence"
    )
    return made


def test_max_runtime_counts_from_the_jobs_first_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Hanging(lines=(RUN + "going",))
    end = engine(worker, tmp_path, monkeypatch).follow(watch=lambda _: None, until=time.time() + 70 * 60)
    before, after = worker.limits
    assert 60 * 60 < before < math.inf
    assert 0 < after <= 60 + OVERTIME_SECONDS
    assert [node.timed_out for node in end.nodes] == [True]
    assert "cancel" in worker.verbs


def test_a_job_whose_machine_says_that_it_ended_did_not_time_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Hanging(end="exit_code=0\ntimed_out=0\nphase=running\n")
    end = engine(worker, tmp_path, monkeypatch).follow(watch=lambda _: None, until=time.time() + 70 * 60)
    assert [(node.exit_code, node.timed_out) for node in end.nodes] == [(0, False)]
    assert "cancel" not in worker.verbs
