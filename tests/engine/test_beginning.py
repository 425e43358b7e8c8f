"""A job that no node began is infrastructure. A job that began cannot make that of its own failure."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cvl_ci.engine import beginning
from cvl_ci.engine.job_end import JobEndReader
from cvl_ci.engine.log_follower import Following
from cvl_ci.engine.process import Expired, WorkerFailed
from cvl_ci.engine.task import script
from cvl_ci.errors import EngineError
from cvl_ci.model.outcome import Ending
from cvl_ci.model.plan import RunPlan
from cvl_ci.ports import JobEnd
from cvl_ci.result.conclusion import KILLED, Conclusion, conclude
from tests import golden
from tests.support.fakes import FakeClock
from tests.support.sessions import launched

MESSAGES = golden.Messages(__name__)

BEGUN = f"(t, pid=7) {script.JOB_BEGINS}"
SETUP = f"(setup pid=9) {script.SETUP_BEGINS}"
PREPARED = "mark=began"
PLAN = RunPlan(title="t")


class Machines:
    """A worker whose nodes print these texts about the job's end. `status`: SkyPilot's state of the job."""

    alive, busy = True, False

    def __init__(self, *texts: str, status: object, is_silent: bool = False) -> None:
        self.texts, self.status, self.is_silent = texts, status, is_silent
        self.verbs: list[str] = []

    def call(self, verb: str, **_: Any) -> Any:
        self.verbs.append(verb)
        if verb == "job_status":
            if isinstance(self.status, Exception):
                raise self.status
            return self.status
        if verb == "ask_nodes" and self.is_silent:
            raise WorkerFailed(error="OSError", text="no answer")
        return [{"code": 0, "out": f"{text}\n{script.ANSWERED}\n", "err": ""} for text in self.texts]


def ended(machines: Machines, *lines: str, is_cut: bool = False) -> JobEnd:
    session = launched(machines, PLAN, clock=FakeClock(), staged=Path("/nowhere"), num_nodes=len(machines.texts))
    stream = Following(lambda _: None, num_nodes=len(machines.texts))
    for line in lines:
        stream.line(line)
    end = JobEndReader(session=session, stream=stream)
    return end.cut_short() if is_cut else end.by_itself()


def judged(end: JobEnd) -> Conclusion:
    return conclude(
        plan=PLAN,
        launch=None,
        nodes=end.nodes,
        lost=end.lost,
        release=None,
        failure=None,
        cancelled=False,
        attempts=(),
        ran_seconds=1e6,
        unfit=end.unfit,
        failed_mount=end.failed_mount,
        never_began=end.never_began,
    )


NO_TRACES = ["", "mark=other", "mark=job-begun", "log=running x", "size=other/new 5"]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        *itertools.product(
            [*NO_TRACES, PREPARED], ["FAILED_DRIVER", "FAILED_SETUP", "CANCELLED", "PENDING", "INIT", "RUNNING", None]
        ),
        (PREPARED, "FAILED"),
        (PREPARED, "SUCCEEDED"),
    ],
)
def test_a_job_that_no_node_began_is_infrastructure_in_each_state(status: str | None, text: str) -> None:
    machines = Machines(text, status=status)
    end = ended(machines)
    conclusion = judged(end)
    assert (conclusion.ending, conclusion.exit_code) == (Ending.NEVER_STARTED, 70)
    assert (status or "does not know why") in conclusion.reason
    assert "run it again" in conclusion.advice
    assert end.is_infrastructure


@pytest.mark.parametrize(
    ("texts", "lines"),
    [
        (("",), (BEGUN,)),
        (("",), (SETUP,)),
        (("mark=setup-began",), ()),
        (("mark=began\nmark=job-began",), ()),
        (("size=running/new 5",), ()),
        (("log=setup 1 2 0 0 1",), ()),
        (("", "mark=job-began"), ()),
        (("", ""), (f"(worker1, rank=1, pid=7, ip=10.0.0.5) {script.JOB_BEGINS}",)),
    ],
)
def test_a_job_that_began_on_any_node_stays_killed_whatever_it_deleted(
    texts: tuple[str, ...], lines: tuple[str, ...]
) -> None:
    machines = Machines(*texts, status="FAILED_DRIVER")
    conclusion = judged(ended(machines, *lines))
    assert (conclusion.ending, conclusion.exit_code) == (Ending.FAILED, KILLED)
    assert "job_status" not in machines.verbs, "a trace decides before what the machine stores as the state"


@pytest.mark.parametrize("status", ["FAILED", "SUCCEEDED"])
@pytest.mark.parametrize("texts", [*((text,) for text in NO_TRACES), ("", "")])
def test_a_job_that_deleted_all_its_traces_in_its_first_second_is_no_infrastructure(
    texts: tuple[str, ...], status: str
) -> None:
    """machine/prelude.sh makes its mark before anything else, so SkyPilot's state shows that the job deleted it."""
    end = ended(Machines(*texts, status=status))
    conclusion = judged(end)
    assert (conclusion.ending, conclusion.exit_code) == (Ending.FAILED, KILLED)
    assert not end.is_infrastructure
    assert judged(ended(Machines(*texts, status=status), is_cut=True)).ending is Ending.TIMED_OUT


@pytest.mark.parametrize(("code", "ending"), [(0, Ending.SUCCEEDED), (3, Ending.FAILED)])
def test_a_report_of_an_end_counts_without_any_other_trace(code: int, ending: Ending) -> None:
    assert judged(ended(Machines(f"exit_code={code}\nphase=running", status="FAILED_DRIVER"))).ending is ending


def test_a_job_that_waits_for_ever_is_infrastructure_and_one_that_only_prepares_timed_out() -> None:
    waiting = judged(ended(Machines("", status="PENDING"), is_cut=True))
    assert (waiting.ending, waiting.exit_code) == (Ending.NEVER_STARTED, 70)
    MESSAGES.check("pending for ever", waiting.reason)
    for machines, lines in (
        (Machines(PREPARED, status="RUNNING"), ()),
        (Machines("", status="RUNNING"), (BEGUN,)),
        (Machines("", status="RUNNING"), ("(t, pid=7) copying /data",)),
    ):
        assert judged(ended(machines, *lines, is_cut=True)).ending is Ending.TIMED_OUT


@pytest.mark.parametrize("failure", [Expired(), WorkerFailed(error="E", text="t"), EngineError("the worker ended")])
def test_without_any_answer_a_job_is_neither_green_nor_red(failure: Exception) -> None:
    silent = Machines("", status=failure, is_silent=True)
    conclusion = judged(ended(silent, is_cut=True))
    assert (conclusion.ending, conclusion.exit_code) == (Ending.NEVER_STARTED, 70)
    assert "does not know why" in conclusion.reason


@pytest.mark.parametrize("status", ["<b>", "A" * 99, 7, "FAILED\n::error::", SimpleNamespace(value="X")])
def test_a_state_in_another_form_is_not_shown(status: object) -> None:
    reason = beginning.why_never(status, num_nodes=2, is_out_of_time=False)
    MESSAGES.check("a state in another form", reason)
