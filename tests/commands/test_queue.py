"""A queue on fakes: order, skips, retries, budget, groups; and 200 queues that are killed and resumed."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.commands.queue import run_queue
from cvl_ci.commands.queue.fingerprint import fingerprint
from cvl_ci.commands.queue.job_end import record_of_end
from cvl_ci.commands.queue.queue_record import QueueRecord
from cvl_ci.errors import CredentialsError, CvlError, NotProvedGone, RequestError
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.model_plan import ModelName, ModelPlan
from cvl_ci.model.mount import Mount, MountMode
from cvl_ci.model.outcome import EXIT_NOT_PROVED_GONE, Ending, FetchedFile, FileResult, MachineResult, Outcome
from cvl_ci.model.plan import FilePlan, RunPlan
from cvl_ci.model.queue import JobRecord, JobState, Queue
from cvl_ci.model.work_identity import WorkIdentity
from cvl_ci.planning.queue_file import read
from cvl_ci.result.queue_result import QueueResult
from cvl_ci.result.units import dollars
from tests.support.cases import generated
from tests.support.fake_queue import NO_CAPACITY, USD, FakeRuns, Heard, plans, ports
from tests.support.fakes import Killed

PATIENCE = 60.0
GOOD, FAILED, SKIPPED, NOT_RUN = JobState.SUCCEEDED, JobState.FAILED, JobState.SKIPPED, JobState.NOT_RUN


def queue(*jobs: Mapping[str, object], **top: object) -> Queue:
    document = {"jobs": [{"command": f"run {job.get('id')}", **job} for job in jobs], **top}
    made, mistakes = read(document)
    assert made is not None, mistakes
    return made


def run(
    queued: Queue, runs: FakeRuns, *, prices: Mapping[str, float | None] | None = None, heard: Heard | None = None
) -> Mapping[str, JobRecord]:
    return run_queue.run(queued, plans(queued), prices=prices or {}, ports=ports(runs, runs.folder_, heard))


def states(records: Mapping[str, JobRecord]) -> dict[str, JobState]:
    return {name: record.state for name, record in records.items()}


CHAIN: tuple[Mapping[str, object], ...] = (
    {"id": "build"},
    {"id": "train", "inputs": {"from": "build"}},
    {"id": "evaluate", "needs": "train", "inputs": {"from": ["build", "train"]}},
)


def test_each_job_waits_for_its_needs_and_gets_their_files(tmp_path: Path) -> None:
    runs = FakeRuns(tmp_path)
    records = run(queue(*CHAIN), runs)
    assert runs.started == ["build", "train", "evaluate"]
    assert set(states(records).values()) == {GOOD}
    folder = Path(records["evaluate"].folder)
    assert (folder / "out.txt").read_text() == "evaluate(build()train(build()))"
    assert records["evaluate"].exit_code == 0


def test_independent_jobs_run_at_once_up_to_max_parallel(tmp_path: Path) -> None:
    """Each waits in its job until three are in theirs; a fourth would break the barrier."""
    together = threading.Barrier(3)
    runs = FakeRuns(tmp_path, at=lambda job: (together.wait(PATIENCE), None)[1])
    run(queue(*({"id": name} for name in "abcdef"), max_parallel=3), runs)
    assert runs.most_parallel == 3


def test_jobs_of_one_group_run_one_at_a_time(tmp_path: Path) -> None:
    runs = FakeRuns(tmp_path)
    run(queue(*({"id": name, "concurrency_group": "gpu"} for name in "abcd"), max_parallel=4), runs)
    assert runs.most_parallel == 1
    assert sorted(runs.started) == ["a", "b", "c", "d"]


def test_a_failure_skips_its_dependents_with_the_reason_and_no_others(tmp_path: Path) -> None:
    runs = FakeRuns(tmp_path, script={"b": [Ending.FAILED]})
    jobs = ({"id": "a"}, {"id": "b", "needs": "a"}, {"id": "c", "needs": "b"}, {"id": "d", "needs": "c"}, {"id": "e"})
    records = run(queue(*jobs), runs)
    assert states(records) == {"a": GOOD, "b": FAILED, "c": SKIPPED, "d": SKIPPED, "e": GOOD}
    assert records["c"].reason == "it needs b (failed)"
    assert records["d"].reason == "it needs c (was skipped)"


def test_soft_failures_and_allowed_ones_let_others_run(tmp_path: Path) -> None:
    runs = FakeRuns(tmp_path, script={"a": [Ending.FAILED], "b": [Ending.TIMED_OUT]})
    jobs = (
        {"id": "a", "soft_fail": True},
        {"id": "after-a", "needs": "a"},
        {"id": "b"},
        {"id": "after-b", "needs": "b", "allow_dependency_failure": True},
    )
    records = run(queue(*jobs), runs)
    assert states(records) == {"a": JobState.SOFT_FAILED, "after-a": GOOD, "b": FAILED, "after-b": GOOD}


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (NO_CAPACITY, NOT_RUN),
        (CredentialsError("expired"), NOT_RUN),
        (CvlError("SkyPilot broke"), NOT_RUN),
        (RuntimeError("a mistake"), FAILED),
        (NotProvedGone("no answer"), FAILED),
        (Ending.PREEMPTED, NOT_RUN),
        (Ending.UNFIT, NOT_RUN),
        (Ending.IDLE, FAILED),
        (RequestError([]), FAILED),
        (Ending.FAILED, FAILED),
        (Ending.TIMED_OUT, FAILED),
        (Ending.OVER_BUDGET, FAILED),
    ],
)
def test_infrastructure_says_not_run_and_the_job_says_failed(tmp_path: Path, end: object, state: JobState) -> None:
    records = run(queue({"id": "a"}, {"id": "b", "needs": "a"}), FakeRuns(tmp_path, script={"a": [end]}))
    assert states(records) == {"a": state, "b": SKIPPED}
    assert records["b"].reason == f"it needs a ({state.value})"


@pytest.mark.parametrize(("exit_code", "state"), [(124, FAILED), (0, NOT_RUN)])
def test_a_neutral_idle_job_is_not_red_and_its_dependents_do_not_run(
    tmp_path: Path, exit_code: int, state: JobState
) -> None:
    machines = MachineResult(cluster="cvl-1")
    end = Outcome(ending=Ending.IDLE, reason="", exit_code=exit_code, work=WorkIdentity(title="t"), machines=machines)
    record, cause = record_of_end(end, JobRecord(state=JobState.RUNNING), folder=tmp_path)
    assert (record.state, cause) == (state, None)
    for fails in (False, True):
        assert int(QueueResult({"a": record}, fails_on_infrastructure=fails)) == exit_code


@pytest.mark.parametrize("end", [RuntimeError("a mistake"), NotProvedGone("no answer")])
def test_a_run_that_broke_may_have_left_its_machine(tmp_path: Path, end: Exception) -> None:
    """Its release is lost with the error, so there is no proof."""
    records = run(queue({"id": "a"}, {"id": "b"}), FakeRuns(tmp_path, script={"a": [end]}))
    assert (records["a"].is_gone, records["b"].is_gone) == (False, True)
    assert int(QueueResult(records)) == EXIT_NOT_PROVED_GONE


class UnreadableFiles(FakeRuns):
    """Runs whose files are not there under the name that the outcome tells."""

    def run(self, job: str, attempt: int, plan: RunPlan) -> Outcome:
        files = FileResult(fetched=(FetchedFile(path="***.txt", bytes=1),), directory="")
        return replace(super().run(job, attempt, plan), files=files)


@pytest.mark.parametrize(("end", "code"), [(Ending.FAILED, 1), (Ending.SUCCEEDED, 70)])
def test_files_that_cannot_be_read_never_turn_a_queue_green(tmp_path: Path, end: Ending, code: int) -> None:
    records = run(queue({"id": "a"}, {"id": "b"}), UnreadableFiles(tmp_path, script={"a": [end]}))
    assert records["a"].state is FAILED
    assert records["a"].exit_code == code
    assert int(QueueResult(records)) == code


def test_capacity_and_preemption_get_further_attempts_and_nothing_else_does(tmp_path: Path) -> None:
    retry = {"on": ["capacity", "preempted"], "limit": 2}
    script: Mapping[str, list[object]] = {
        "a": [NO_CAPACITY, Ending.PREEMPTED, Ending.SUCCEEDED],
        "b": [Ending.PREEMPTED],
        "c": [Ending.FAILED],
        "d": [NO_CAPACITY],
    }
    jobs = [{"id": name, "retry": retry} for name in "abc"] + [{"id": "d", "retry": {"on": "preempted", "limit": 2}}]
    runs = FakeRuns(tmp_path, script=script)
    records = run(queue(*jobs), runs)
    assert states(records) == {"a": GOOD, "b": NOT_RUN, "c": FAILED, "d": NOT_RUN}
    assert Counter(runs.started) == {"a": 3, "b": 3, "c": 1, "d": 1}
    assert records["b"].usd == pytest.approx(3 * USD), "each attempt is paid"
    assert records["a"].attempts == 3
    assert records["a"].folder.endswith("/a/3"), "its files are not mixed with those of an earlier attempt"


def test_the_budget_is_reserved_before_each_start(tmp_path: Path) -> None:
    """1.00 buys one job of at most 0.60 at a time; after two of them, which cost a quarter each, a half is left."""
    runs = FakeRuns(tmp_path)
    jobs = [{"id": "a"}, {"id": "b"}, {"id": "c"}, {"id": "d", "needs": "c"}]
    records = run(queue(*jobs, budget=1.0, max_parallel=4), runs, prices=dict.fromkeys("abcd", 0.6))
    assert runs.most_parallel == 1
    assert states(records) == {"a": GOOD, "b": GOOD, "c": SKIPPED, "d": SKIPPED}
    assert 0.2 < USD < 0.3
    assert records["c"].reason == f"it may cost $0.60, and the budget has {dollars(1 - 2 * USD)} left"


def test_what_the_queue_tells_comes_in_order(tmp_path: Path) -> None:
    heard = Heard()
    run(queue({"id": "a"}, {"id": "b", "needs": "a"}), FakeRuns(tmp_path), heard=heard)
    running = JobState.RUNNING
    assert heard.states == [("a", running), ("a", GOOD), ("b", running), ("b", GOOD)]


def test_jobs_without_a_run_are_told_too(tmp_path: Path) -> None:
    heard = Heard()
    jobs = ({"id": "a"}, {"id": "b", "needs": "a"}, {"id": "dear"})
    runs = FakeRuns(tmp_path, script={"a": [Ending.FAILED]})
    run(queue(*jobs, budget=1.0), runs, prices={"a": 0.5, "dear": 9.0}, heard=heard)
    assert Counter(heard.states) == {
        ("a", JobState.RUNNING): 1,
        ("a", FAILED): 1,
        ("b", SKIPPED): 1,
        ("dear", SKIPPED): 1,
    }


# ---- again --------------------------------------------------------------------------------------------------------


def test_a_repeated_queue_runs_nothing_and_costs_nothing(tmp_path: Path) -> None:
    run(queue(*CHAIN), FakeRuns(tmp_path))
    again = FakeRuns(tmp_path)
    records = run(queue(*CHAIN, budget=0.1), again, prices=dict.fromkeys(("build", "train", "evaluate"), 9.0))
    assert again.started == []
    assert all(record.is_reused for record in records.values())


def test_a_changed_job_runs_again_and_so_do_those_that_get_its_files(tmp_path: Path) -> None:
    run(queue(*CHAIN, {"id": "other"}), FakeRuns(tmp_path))
    again = FakeRuns(tmp_path)
    changed = ({"id": "build"}, {**CHAIN[1], "command": "another"}, CHAIN[2], {"id": "other"})
    run(queue(*changed), again)
    assert again.started == ["train"], "its files are the same, so evaluate has nothing new to do"
    altered = FakeRuns(tmp_path)
    run(queue({"id": "build", "command": "other"}, *CHAIN[1:], {"id": "other"}), altered)
    assert altered.started == ["build", "train"]


@pytest.mark.parametrize("damage", ["remove", "change"])
def test_a_result_whose_files_are_gone_or_changed_is_made_again(tmp_path: Path, damage: str) -> None:
    records = run(queue(*CHAIN), FakeRuns(tmp_path))
    file = Path(records["train"].folder) / "out.txt"
    file.unlink() if damage == "remove" else file.write_text("other")
    again = FakeRuns(tmp_path)
    run(queue(*CHAIN), again)
    assert again.started == ["train"]


def test_a_failed_job_runs_again(tmp_path: Path) -> None:
    run(queue(*CHAIN), FakeRuns(tmp_path, script={"train": [Ending.FAILED]}))
    again = FakeRuns(tmp_path)
    assert set(states(run(queue(*CHAIN), again)).values()) == {GOOD}
    assert again.started == ["train", "evaluate"]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": 2, "jobs": {}}', '{"schema": 1, "jobs": {"a": {}}}'])
def test_a_record_that_is_not_ours_is_an_error_and_not_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "queue.json").write_text(text)
    with pytest.raises(CvlError, match="cannot be read as the record of a queue"):
        run(queue({"id": "a"}), FakeRuns(tmp_path))


def test_a_record_that_names_files_elsewhere_is_refused(tmp_path: Path) -> None:
    QueueRecord(tmp_path).write({"a": JobRecord(digests={"../../etc/passwd": "0"})})
    with pytest.raises(CvlError, match="leads out of its folder"):
        QueueRecord(tmp_path).read()


# ---- stopped and killed -------------------------------------------------------------------------------------------


def test_ctrl_c_ends_all_jobs_and_starts_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interrupt comes while two jobs run; each ends by the stop of its run."""
    both = threading.Barrier(3)
    runs = FakeRuns(tmp_path)

    def at(job: str) -> None:
        both.wait(PATIENCE)
        assert runs.stopped.wait(PATIENCE)

    runs.at = at
    wait = run_queue.QueueRun._step
    interrupted: list[bool] = []

    def step(self: run_queue.QueueRun) -> bool:
        if len(self.schedule.running) == 2 and not interrupted:
            both.wait(PATIENCE)
            interrupted.append(True)
            raise KeyboardInterrupt
        return wait(self)

    monkeypatch.setattr(run_queue.QueueRun, "_step", step)
    records = run(queue({"id": "a"}, {"id": "b"}, {"id": "c", "needs": "a"}), runs)
    assert set(states(records).values()) == {JobState.CANCELLED}
    assert sorted(runs.started) == ["a", "b"]
    assert runs.machines == set()


class FullDisk(QueueRecord):
    """A record that can be written twice."""

    writes = 0

    def write(self, records: Mapping[str, JobRecord]) -> None:
        self.writes += 1
        if self.writes > 2:
            raise OSError("no space left")
        super().write(records)


@pytest.mark.parametrize(("end", "error"), [(Ending.CANCELLED, OSError), (RuntimeError("broke"), NotProvedGone)])
def test_an_error_of_the_queue_itself_ends_all_jobs(tmp_path: Path, end: object, error: type[Exception]) -> None:
    """Two jobs run when the record cannot be written. Each ends by the stop of its run."""
    runs = FakeRuns(tmp_path, script={"a": [end]})
    runs.at = lambda job: (runs.stopped.wait(PATIENCE), None)[1]
    queued = queue({"id": "a"}, {"id": "b"})
    try:
        with pytest.raises(error, match="no space left"):
            run_queue.run(queued, plans(queued), prices={}, ports=ports(runs, tmp_path, record=FullDisk(tmp_path)))
        assert runs.stopped.is_set()
        assert runs.machines == set()
    finally:
        runs.stopped.set()


def test_a_second_queue_in_a_folder_is_refused_and_ends_no_lease(tmp_path: Path) -> None:
    other, refusals = FakeRuns(tmp_path), list[str]()

    def at(job: str) -> None:
        try:
            run(queue({"id": "b"}), other)
        except CvlError as error:
            refusals.append(str(error))

    records = run(queue({"id": "a"}), FakeRuns(tmp_path, at=at))
    assert ["Another queue is running" in text for text in refusals] == [True]
    assert (other.started, other.ended) == ([], [])
    assert states(records) == {"a": GOOD}
    assert states(run(queue({"id": "b"}), other)) == {"b": GOOD}, "the folder is free after the first queue"


@pytest.mark.parametrize("ending", [Ending.SUCCEEDED, Ending.FAILED])
def test_a_lease_without_a_proof_is_ended_by_the_next_queue(tmp_path: Path, ending: Ending) -> None:
    queued = queue({"id": "a"})
    run(queued, FakeRuns(tmp_path, script={"a": [ending]}))
    first = QueueRecord(tmp_path).read()["a"]
    QueueRecord(tmp_path).write({"a": replace(first, is_gone=False)})
    again = FakeRuns(tmp_path)
    records = run(queued, again)
    assert again.ended == [first.lease]
    assert again.started == ([] if ending is Ending.SUCCEEDED else ["a"])
    assert int(QueueResult(records)) == 0
    assert QueueRecord(tmp_path).read()["a"].is_gone


def test_a_queue_in_which_nothing_ran_is_not_green() -> None:
    lost = JobRecord(state=NOT_RUN, exit_code=77)
    assert int(QueueResult({"a": lost, "b": JobRecord(state=SKIPPED)})) == 75
    assert int(QueueResult({"a": lost, "b": JobRecord(state=GOOD)})) == 0


def test_storage_and_models_are_a_part_of_the_content() -> None:
    mounts = [
        Mount(target="/data", source="s3://one"),
        Mount(target="/data", source="s3://two"),
        Mount(target="/other", source="s3://one"),
        Mount(target="/data", source="s3://one", mode=MountMode.STREAM),
        Mount(target="/data", source="folder", via=BucketAddress(bucket="one")),
    ]
    names = [ModelName(repo="a/b"), ModelName(repo="a/b", revision="v2")]
    made = [RunPlan(title="a"), *(RunPlan(title="a", files=FilePlan(mounts=(mount,))) for mount in mounts)]
    made += [RunPlan(title="a", models=ModelPlan(names=(name,))) for name in names]
    assert len({fingerprint(plan) for plan in made}) == len(made)
    moved = [FilePlan(mounts=(Mount(target="/data", source=place),)) for place in ("/a/data", "/b/data")]
    assert len({fingerprint(RunPlan(title="a", files=files)) for files in moved}) == 1, "its files count, not its place"


TWELVE: tuple[Mapping[str, object], ...] = (
    {"id": "fetch"},
    {"id": "clean", "inputs": {"from": "fetch"}},
    {"id": "split", "inputs": {"from": "clean"}},
    *({"id": f"train-{n}", "inputs": {"from": "split"}, "retry": {"limit": 2}} for n in range(4)),
    {"id": "broken", "needs": "split"},
    {"id": "after-broken", "needs": "broken"},
    {"id": "merge", "inputs": {"from": [f"train-{n}" for n in range(4)]}},
    {"id": "evaluate", "inputs": {"from": ["merge", "split"]}},
    {"id": "report", "needs": ["evaluate", "broken"], "allow_dependency_failure": True},
)
SHARED = ("fetch", "clean", "split", "train-0", "train-1", "train-2", "train-3", "merge")
SCRIPT: Mapping[str, list[object]] = {
    "broken": [Ending.FAILED],
    "train-2": [Ending.PREEMPTED, Ending.SUCCEEDED],
    "train-3": [NO_CAPACITY, Ending.SUCCEEDED],
}


class KilledRecord(QueueRecord):
    """A record on disk. The runner dies at one of its writes, before or after the file is there."""

    def __init__(self, folder: Path, runs: FakeRuns, *, at: int | None, is_after: bool) -> None:
        super().__init__(folder)
        self._runs, self._at, self._is_after, self._count = runs, at, is_after, 0

    def write(self, records: Mapping[str, JobRecord]) -> None:
        self._count += 1
        if self._count == self._at and not self._is_after:
            self._die()
        super().write(records)
        if self._count == self._at:
            self._die()

    def _die(self) -> None:
        with self._runs.lock:
            self._runs.is_dead = True
        raise Killed


@pytest.mark.parametrize("seed", range(generated(200)))
def test_a_killed_queue_runs_no_finished_job_twice_and_leaves_nothing(tmp_path: Path, seed: int) -> None:
    """With odd seeds, jobs share machines. They get their files by `inputs`, so none of them has to run again."""
    chance = random.Random(seed)
    keys = {name: chance.choice(["a", "b", "own"]) if seed % 2 else "own" for name in SHARED}
    jobs = [{**job, "machine": keys.get(str(job["id"]))} for job in TWELVE]
    queued = queue(*jobs, max_parallel=chance.randint(1, 5))
    recorded: set[str] = set()
    machines: set[str] = set()
    turns: Counter[str] = Counter()
    records: Mapping[str, JobRecord] = {}
    for kill in (*(chance.randint(1, 30) for _ in range(chance.randint(1, 3))), None):
        script = {name: ends[min(turns[name], len(ends) - 1) :] for name, ends in SCRIPT.items()}
        runs = FakeRuns(tmp_path, script=script, machines=machines)
        queue_record = KilledRecord(tmp_path, runs, at=kill, is_after=chance.random() < 0.5)
        try:
            records = run_queue.run(queued, plans(queued), prices={}, ports=ports(runs, tmp_path, record=queue_record))
        except Killed:
            for thread in threading.enumerate():
                if thread.name.startswith("job "):
                    thread.join(PATIENCE)
        assert not recorded & set(runs.started), "a job whose end was on disk ran again"
        recorded = {name for name, one in QueueRecord(tmp_path).read().items() if one.state is GOOD}
        turns.update(runs.started)
        machines = runs.machines
        if kill is None or records:
            break
    assert machines == set()
    assert all(record.is_gone for record in records.values())
    skipped, failed = {"after-broken"}, {"broken"}
    assert states(records) == {
        job.id: SKIPPED if job.id in skipped else FAILED if job.id in failed else GOOD for job in queued.jobs
    }
    split = "split(clean(fetch()))"
    merged = f"merge({''.join(f'train-{n}({split})' for n in range(4))})"
    assert (Path(records["evaluate"].folder) / "out.txt").read_text() == f"evaluate({merged}{split})"
