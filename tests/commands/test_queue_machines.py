"""Jobs of a queue that share a machine: in turn, one machine a key, with the files of the jobs before."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.commands.queue import machines, run_queue
from cvl_ci.commands.queue.queue_ports import TurnEnded
from cvl_ci.commands.queue.queue_record import QueueRecord
from cvl_ci.errors import CvlError, EngineError
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.detached import DetachPlan
from cvl_ci.model.limits import Limits
from cvl_ci.model.location import Location
from cvl_ci.model.mount import Mount, MountMode
from cvl_ci.model.outcome import EXIT_NOT_PROVED_GONE, Ending, Outcome
from cvl_ci.model.plan import FilePlan, MachinePlan, RunPlan, WorkPlan
from cvl_ci.model.queue import JobRecord, JobState
from cvl_ci.model.release import Release
from cvl_ci.model.resource_request import ResourceRequest, Spot
from cvl_ci.model.reuse import ReusePlan
from cvl_ci.planning.queue_file import read
from cvl_ci.result.queue_result import QueueResult
from tests import golden
from tests.commands.test_queue import PATIENCE, KilledRecord, queue, run, states
from tests.support.fake_queue import NO_CAPACITY, USD, FakeRuns, plans, ports
from tests.support.fakes import Killed

MESSAGES = golden.Messages(__name__)

GOOD, FAILED, SKIPPED, NOT_RUN = JobState.SUCCEEDED, JobState.FAILED, JobState.SKIPPED, JobState.NOT_RUN
ON_ONE = {"machine": "gpu"}
CHAIN = (
    {"id": "build", **ON_ONE},
    {"id": "train", "needs": "build", **ON_ONE},
    {"id": "evaluate", "needs": "train", **ON_ONE},
)


def test_jobs_of_one_key_run_in_turn_on_one_machine(tmp_path: Path) -> None:
    runs = FakeRuns(tmp_path)
    records = run(queue(*CHAIN, {"id": "other"}, {"id": "second", "machine": "b"}), runs)
    assert sorted(map(tuple, runs.served)) == [("build", "train", "evaluate"), ("second",)]
    assert set(states(records).values()) == {GOOD}
    assert {records[name].lease for name in ("build", "train", "evaluate")} == {"lease-build-1"}
    assert all(record.is_gone for record in records.values())
    assert records["train"].usd == pytest.approx(USD), "its share comes with the end of the machine"
    assert runs.machines == set()


def test_a_machine_lasts_as_long_as_all_its_jobs_may(tmp_path: Path) -> None:
    runs = FakeRuns(tmp_path)
    run(queue(*CHAIN), runs)
    one = Limits()
    assert [limits.longest_minutes for limits in runs.limits] == [3 * one.longest_minutes]


def test_the_machine_waits_for_a_job_elsewhere_and_ends_when_none_of_its_jobs_is_left(tmp_path: Path) -> None:
    """`data` runs elsewhere while the machine waits. `late` starts only after the machine has ended."""
    runs = FakeRuns(tmp_path)
    seen: list[bool] = []
    runs.at = lambda job: seen.append("lease-build-1" in runs.machines) if job == "data" else None
    jobs = (
        {"id": "build", **ON_ONE},
        {"id": "data", "needs": "build"},
        {"id": "train", "needs": ["build", "data"], **ON_ONE},
    )
    run(queue(*jobs), runs)
    assert runs.served == [["build", "train"]]
    assert seen == [True]


def test_a_failed_job_skips_its_dependents_and_the_machine_goes_on(tmp_path: Path) -> None:
    runs = FakeRuns(tmp_path, script={"train": [Ending.FAILED]})
    records = run(queue(*CHAIN, {"id": "lint", **ON_ONE}), runs)
    assert states(records) == {"build": GOOD, "train": FAILED, "evaluate": SKIPPED, "lint": GOOD}
    assert len(runs.served) == 1
    assert int(QueueResult(records)) == 1


def test_a_preempted_machine_is_replaced_and_the_needs_run_again_on_the_new_one(tmp_path: Path) -> None:
    retry = {"retry": {"on": "preempted", "limit": 1}}
    runs = FakeRuns(tmp_path, script={"train": [Ending.PREEMPTED, Ending.SUCCEEDED]})
    records = run(queue(CHAIN[0], {**CHAIN[1], **retry}, CHAIN[2]), runs)
    assert runs.served == [["build", "train"], ["build", "train", "evaluate"]]
    assert set(states(records).values()) == {GOOD}
    assert records["build"].usd == pytest.approx(2 * USD), "both of its runs are paid"
    assert records["evaluate"].lease == "lease-build-2"


def test_files_that_a_job_gets_by_inputs_need_no_second_run_of_their_maker(tmp_path: Path) -> None:
    retry = {"retry": {"on": "preempted", "limit": 1}}
    runs = FakeRuns(tmp_path, script={"train": [Ending.PREEMPTED, Ending.SUCCEEDED]})
    run(queue(CHAIN[0], {"id": "train", "inputs": {"from": "build"}, **ON_ONE, **retry}), runs)
    assert runs.served == [["build", "train"], ["train"]]


class ShortLived(FakeRuns):
    """Machines that end after each job."""

    def _next(self, jobs: machines.MachineJobs) -> None:
        while not jobs.end():
            jobs.next_job(0.05)


def test_a_machine_that_never_lasts_does_not_repeat_for_ever(tmp_path: Path) -> None:
    runs = ShortLived(tmp_path)
    records = run(queue(*CHAIN[:2]), runs)
    assert states(records) == {"build": GOOD, "train": NOT_RUN}
    assert runs.served == [["build"]] * 4
    MESSAGES.check("a machine that never lasts", records["train"].reason)


class Unproved(ShortLived):
    """Machines that end after each job, the first of them without proof."""

    def serve(
        self, jobs: machines.MachineJobs, limits: Limits, *, on_end: TurnEnded
    ) -> Sequence[tuple[machines.QueuedTurn, Outcome]]:
        outcomes = super().serve(jobs, limits, on_end=on_end)
        release = Release(gone=len(self.served) > 1, at=1.0)
        return [(turn, replace(outcome, release=release)) for turn, outcome in outcomes]


def test_a_machine_without_proof_is_not_forgotten_for_a_second_one(tmp_path: Path) -> None:
    runs = Unproved(tmp_path)
    records = run(queue(*CHAIN[:2]), runs)
    assert runs.served == [["build"]], "the second run of `build` would overwrite the only record of the lease"
    assert states(records) == {"build": GOOD, "train": NOT_RUN}
    MESSAGES.check("a machine without proof", records["train"].reason)
    assert int(QueueResult(records)) == EXIT_NOT_PROVED_GONE
    kept = QueueRecord(tmp_path).read()["build"]
    assert (kept.lease, kept.is_gone) == ("lease-build-1", False)


@pytest.mark.parametrize(("error", "is_gone"), [(NO_CAPACITY, True), (RuntimeError("a mistake"), False)])
def test_a_machine_that_breaks_ends_its_job_with_the_reason(tmp_path: Path, error: Exception, *, is_gone: bool) -> None:
    records = run(queue(*CHAIN[:2]), FakeRuns(tmp_path, script={"build": [error]}))
    assert states(records)["train"] is SKIPPED
    assert records["build"].is_gone is is_gone
    assert (int(QueueResult(records)) == EXIT_NOT_PROVED_GONE) is not is_gone


def test_an_earlier_job_has_no_proof_if_its_machine_breaks_later(tmp_path: Path) -> None:
    records = run(queue(*CHAIN[:2]), FakeRuns(tmp_path, script={"train": [RuntimeError("a mistake")]}))
    assert states(records) == {"build": GOOD, "train": FAILED}
    assert not records["build"].is_gone
    assert int(QueueResult(records)) == EXIT_NOT_PROVED_GONE


def test_the_budget_reserves_a_machine_once_for_all_its_jobs(tmp_path: Path) -> None:
    prices = dict.fromkeys(("build", "train", "evaluate", "other"), 0.6)
    runs = FakeRuns(tmp_path)
    records = run(queue(*CHAIN, {"id": "other"}, budget=2.0), runs, prices=prices)
    assert set(states(records).values()) == {GOOD}
    assert runs.most_parallel == 1, "the other job waits for the end of the machine"
    poor = run(queue(*CHAIN, budget=1.0), FakeRuns(tmp_path / "poor"), prices=prices)
    assert set(states(poor).values()) == {SKIPPED}
    MESSAGES.check("too dear", poor["build"].reason)


def test_a_machine_that_only_waits_does_not_block_the_queue(tmp_path: Path) -> None:
    """The budget cannot pay for the job that the machine waits for. So it is skipped, and the machine ends."""
    jobs = (CHAIN[0], {"id": "data", "needs": "build"}, {"id": "train", "needs": ["build", "data"], **ON_ONE})
    prices = {"build": 0.6, "train": 0.6, "data": 0.6}
    runs = FakeRuns(tmp_path)
    records = run(queue(*jobs, budget=1.5), runs, prices=prices)
    assert states(records) == {"build": GOOD, "data": SKIPPED, "train": SKIPPED}
    assert runs.machines == set()


def test_ctrl_c_ends_a_machine_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, began = FakeRuns(tmp_path), threading.Event()

    def at(job: str) -> None:
        if job == "data":
            began.set()
            assert runs.stopped.wait(PATIENCE)

    runs.at = at
    step = run_queue.QueueRun._step
    interrupted: list[bool] = []

    def interrupting(self: run_queue.QueueRun) -> bool:
        if began.is_set() and not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(run_queue.QueueRun, "_step", interrupting)
    jobs = (CHAIN[0], {"id": "data", "needs": "build"}, {"id": "train", "needs": ["build", "data"], **ON_ONE})
    records = run(queue(*jobs), runs)
    assert states(records) == {"build": GOOD, "data": JobState.CANCELLED, "train": JobState.CANCELLED}
    assert runs.machines == set()
    assert all(record.is_gone for record in records.values())


class Deaf(FakeRuns):
    """A machine that misses its stop, and hears only that no further job comes."""

    def _next(self, jobs: machines.MachineJobs) -> machines.QueuedTurn | None:
        for _ in range(100):
            turn = jobs.next_job(0.05)
            if turn is not None or not jobs.is_open:
                return turn
        raise AssertionError("it waits for ever")


@pytest.mark.parametrize("kind", [FakeRuns, Deaf])
def test_an_error_of_the_queue_ends_a_machine_that_waits(tmp_path: Path, kind: type[FakeRuns]) -> None:
    runs = kind(tmp_path)

    class FullDisk(QueueRecord):
        def write(self, records: Mapping[str, JobRecord]) -> None:
            if any(one.state is GOOD for one in records.values()):
                raise OSError("no space left")
            super().write(records)

    queued = queue(*CHAIN)
    with pytest.raises(OSError, match="no space left"):
        run_queue.run(queued, plans(queued), prices={}, ports=ports(runs, tmp_path, record=FullDisk(tmp_path)))
    assert runs.machines == set()


# ---- again --------------------------------------------------------------------------------------------------------


def killed(runs: FakeRuns, folder: Path, *, at: int) -> None:
    queued = queue(*CHAIN)
    queue_record = KilledRecord(folder, runs, at=at, is_after=True)
    with pytest.raises(Killed):
        run_queue.run(queued, plans(queued), prices={}, ports=ports(runs, folder, record=queue_record))
    for thread in threading.enumerate():
        if thread.name.startswith("job "):
            thread.join(PATIENCE)


def killed_after_build(folder: Path) -> FakeRuns:
    """Return the runs of a queue that was killed when `build` had succeeded and before `train` ended."""
    for at in range(1, 30):
        runs = FakeRuns(folder / str(at))
        killed(runs, folder / str(at), at=at)
        record = QueueRecord(folder / str(at)).read()
        if record.get("build", JobRecord()).state is GOOD and "train" not in record:
            return runs
    raise AssertionError("no such moment")


def test_the_lease_of_a_machine_that_waited_is_ended_by_the_next_queue(tmp_path: Path) -> None:
    dead = killed_after_build(tmp_path)
    record = QueueRecord(dead.folder_).read()["build"]
    assert (record.state, record.is_gone) == (GOOD, False)
    again = FakeRuns(dead.folder_, machines=set(dead.machines))
    records = run(queue(*CHAIN), again)
    assert again.ended == ["lease-build-1"]
    assert again.machines == set()
    assert again.served == [["build", "train", "evaluate"]], "the files of build went with its machine"
    assert set(states(records).values()) == {GOOD}


def test_a_repeated_chain_runs_nothing_and_a_changed_job_only_runs_with_its_needs(tmp_path: Path) -> None:
    run(queue(*CHAIN), FakeRuns(tmp_path))
    again = FakeRuns(tmp_path)
    records = run(queue(*CHAIN), again)
    assert again.started == []
    assert all(record.is_reused for record in records.values())
    changed = FakeRuns(tmp_path)
    run(queue(CHAIN[0], CHAIN[1], {**CHAIN[2], "command": "other"}), changed)
    assert changed.served == [["build", "train", "evaluate"]]
    first = FakeRuns(tmp_path)
    run(queue({**CHAIN[0], "command": "other"}, CHAIN[1], {**CHAIN[2], "command": "other"}), first)
    assert first.served == [["build", "train", "evaluate"]], "a changed job changes those that find its files"


# ---- mistakes -----------------------------------------------------------------------------------------------------


def plan(**changes: object) -> RunPlan:
    made = MachinePlan(locations=(Location(cloud="aws"),), needs=ResourceRequest(accelerators={"L4": 1}))
    return replace(RunPlan(title="x", work=WorkPlan(run_commands=("x",)), machines=made), **changes)  # type: ignore[arg-type]


MACHINES = plan().machines


@pytest.mark.parametrize(
    ("other", "field", "value"),
    [
        (plan(machines=replace(MACHINES, num_nodes=2)), "num_nodes", "2"),
        (plan(machines=replace(MACHINES, spot=Spot.ALWAYS)), "spot", "true"),
        (plan(machines=replace(MACHINES, needs=ResourceRequest())), "resources", "no GPU, 100 GB disk"),
        (plan(machines=replace(MACHINES, locations=(Location(cloud="gcp"),))), "cloud", "gcp"),
        (plan(work=WorkPlan(image="python:3.12")), "image", "python:3.12"),
        (plan(machines=replace(MACHINES, recoveries=2)), "recover", "2"),
        (plan(limits=Limits(keep_minutes=30)), "keep", "30 minutes"),
        (plan(files=FilePlan(mounts=(Mount(target="/data", source="s3://a/b"),))), "mounts", "/data"),
        (plan(files=FilePlan(mounts=(Mount(target="/d", source="x", mode=MountMode.CACHED),))), "mounts", "/d"),
        (plan(work=WorkPlan(task_extra={"file_mounts": {"/d": "s3://a"}})), "mounts", "file_mounts"),
    ],
)
def test_a_machine_cannot_be_two_things(other: RunPlan, field: str, value: str) -> None:
    queued = queue({"id": "a", **ON_ONE}, {"id": "b", **ON_ONE}, {"id": "c"})
    problems = machines.mistakes(queued, {"a": plan(), "b": other, "c": other})
    assert [(one.field, one.value) for one in problems] == [(f"job b: {field}", value)]
    assert machines.mistakes(queued, {"a": plan(), "b": plan(), "c": other}) == []


def test_a_queue_waits_for_each_of_its_jobs() -> None:
    detached = plan(detach=DetachPlan(place=BucketAddress(bucket="results")))
    (problem,) = machines.mistakes(queue({"id": "a"}, {"id": "b"}), {"a": plan(), "b": detached})
    assert problem.field == "job b: detach"


def test_a_job_of_a_queue_never_enters_a_machine_of_another_run() -> None:
    """Post finds the leases of a queue by the names of its jobs, and such a machine has the name of another run."""
    shared = plan(machines=replace(MACHINES, reuse=ReusePlan(key="trainer")))
    (problem,) = machines.mistakes(queue({"id": "a"}, {"id": "b"}), {"a": plan(), "b": shared})
    assert (problem.field, problem.value) == ("job b: reuse", "trainer")
    assert "machine: KEY" in problem.problem


def test_a_key_is_a_name() -> None:
    assert [job.machine for job in queue({"id": "a", "machine": "own"}, {"id": "b", "machine": "k"}).jobs] == [
        None,
        "k",
    ]
    for wrong in (1, "", "a b", ["k"]):
        _, mistakes = read([{"command": "x", "machine": wrong}])
        assert [one.field for one in mistakes] == ["jobs[0].machine"]


def test_an_engine_error_of_a_machine_says_not_run(tmp_path: Path) -> None:
    records = run(queue(*CHAIN[:1]), FakeRuns(tmp_path, script={"build": [EngineError("SkyPilot broke")]}))
    assert states(records) == {"build": NOT_RUN}
    assert isinstance(EngineError("x"), CvlError)


# ---- legs of a matrix in turn ------------------------------------------------------------------------------------


LEGS = tuple({"id": name, "machine": "pack", "clean": True} for name in ("one", "two", "three", "four"))


def test_legs_that_fail_stop_no_other_and_a_lost_machine_is_replaced_for_the_next_one(tmp_path: Path) -> None:
    runs = FakeRuns(tmp_path, script={"one": [Ending.FAILED], "two": [Ending.PREEMPTED]})
    records = run(queue(*LEGS), runs)
    assert runs.served == [["one", "two"], ["three", "four"]]
    assert states(records) == {"one": FAILED, "two": NOT_RUN, "three": GOOD, "four": GOOD}
    assert runs.started == ["one", "two", "three", "four"], "no leg runs twice"
    assert runs.machines == set() and all(record.is_gone for record in records.values())


def test_a_machine_is_cleaned_after_each_of_its_jobs_or_after_none() -> None:
    queued = queue({"id": "a", **ON_ONE, "clean": True}, {"id": "b", **ON_ONE}, {"id": "c", "clean": True})
    problems = machines.mistakes(queued, {name: plan() for name in "abc"})
    assert [(one.field, one.value) for one in problems] == [("job b: clean", "false"), ("job c: clean", "true")]


def test_a_job_cannot_need_files_that_were_removed(tmp_path: Path) -> None:
    cleaned = {**ON_ONE, "clean": True}
    queued = queue({"id": "a", **cleaned}, {"id": "b", **cleaned, "needs": "a"})
    (problem,) = machines.mistakes(queued, {"a": plan(), "b": plan()})
    assert (problem.field, problem.value) == ("job b: needs", "a") and "inputs: {from: ID}" in problem.problem
    by_inputs = queue({"id": "a", **cleaned}, {"id": "b", **cleaned, "inputs": {"from": "a"}})
    assert machines.mistakes(by_inputs, {"a": plan(), "b": plan()}) == []
    assert set(states(run(by_inputs, FakeRuns(tmp_path))).values()) == {GOOD}


def test_only_plans_of_one_machine_have_one_name() -> None:
    name = machines.machine_of(plan())
    assert name and name == machines.machine_of(plan(limits=Limits(max_runtime_minutes=5)))
    others = (
        plan(machines=replace(MACHINES, num_nodes=2)),
        plan(machines=replace(MACHINES, spot=Spot.ALWAYS)),
        plan(machines=replace(MACHINES, needs=ResourceRequest())),
        plan(machines=replace(MACHINES, locations=(Location(cloud="gcp"),))),
        plan(work=WorkPlan(image="python:3.12")),
    )
    assert name not in map(machines.machine_of, others)
    alone = (
        plan(machines=replace(MACHINES, recoveries=2)),
        plan(files=FilePlan(mounts=(Mount(target="/data", source="s3://a/b"),))),
        plan(machines=replace(MACHINES, reuse=ReusePlan(key="trainer"))),
        plan(detach=DetachPlan(place=BucketAddress(bucket="results"))),
    )
    assert [machines.machine_of(one) for one in alone] == [""] * len(alone)


@pytest.mark.parametrize("wrong", ["", "a\nb", 7, "x" * 301])
def test_the_name_of_a_leg_is_one_line(wrong: object) -> None:
    _, mistakes = read([{"command": "x", "leg": wrong}])
    assert [one.field for one in mistakes] == ["jobs[0].leg"]
