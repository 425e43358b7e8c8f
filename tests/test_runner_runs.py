"""SkyPilotRunner runs what the earlier runner ran, from any thread, and ends what it holds. The cloud is a dict."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.cli.main import main
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.commands.queue.queue_record import QueueRecord
from cvl_ci.errors import BudgetError, CredentialsError, NotProvedGone, RequestError
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.outcome import Ending
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.queue import JobRecord, JobState
from cvl_ci.model.resource_request import Spot
from cvl_ci.model.reuse import lock_name
from cvl_ci.ports import DetachedEnd
from cvl_ci.result.queue_result import QueueResult
from cvl_ci.result.run_result import RunResult
from cvl_ci.runner import SkyPilotRunner
from cvl_ci.wiring import directories
from tests.support.fake_library import Seen, checkout, on_fakes
from tests.support.fakes import Killed
from tests.support.git import git

PATIENCE = 60.0
"""Seconds after which a test gives up. Each wait is for an event."""


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Seen:
    return on_fakes(monkeypatch)


@pytest.fixture
def runner(tmp_path: Path) -> SkyPilotRunner:
    return SkyPilotRunner(checkout=checkout(tmp_path / "work"), outputs=tmp_path / "outputs", cloud="aws")


# ---- the seed's snippets ----------------------------------------------------------------------------------------


def test_snippet_spot(runner: SkyPilotRunner, fakes: Seen) -> None:
    assert runner.run(command="echo hello", gpu="T4:1", use_spot=True, down=True) == 0
    (plan,) = fakes.plans
    assert (plan.work.run_commands, plan.machines.spot) == (("echo hello",), Spot.ALWAYS)
    assert dict(plan.machines.needs.accelerators) == {"T4": 1}
    assert fakes.running() == []


def test_snippet_two_nodes(runner: SkyPilotRunner, fakes: Seen) -> None:
    result = runner.run(command="torchrun --nproc_per_node=8 train.py", gpu="A100:8", num_nodes=2)
    assert result == 0
    (plan,) = fakes.plans
    assert (plan.machines.num_nodes, dict(plan.machines.needs.accelerators)) == (2, {"A100": 8})
    assert len(result.outcome.machines.nodes) == 2


def test_snippet_task_file(runner: SkyPilotRunner, fakes: Seen) -> None:
    assert runner.run_from_yaml("my-task.yaml") == 0
    assert runner.run_from_yaml("my-task.yaml", gpu="A10G:1", use_spot=False) == 0
    own, overridden = fakes.plans
    assert (dict(own.machines.needs.accelerators), own.machines.spot) == ({"L4": 1}, Spot.ALWAYS)
    assert dict(overridden.machines.needs.accelerators) == {"A10G": 1}


def test_every_argument_of_the_earlier_run_in_its_order(runner: SkyPilotRunner, fakes: Seen, tmp_path: Path) -> None:
    (tmp_path / "work/data").mkdir()
    result = runner.run(
        "python train.py", ".", "A100:1", "aws", "us-east-1", True, "my-cluster", 10, True,
        {"EPOCHS": "3"}, {"/data": "./data"}, "pip install -r requirements.txt",
    )  # fmt: skip
    assert result == 0
    (plan,) = fakes.plans
    assert plan.work.commands == ("pip install -r requirements.txt", "python train.py")
    assert str(plan.machines.locations[0]) == "aws/us-east-1"
    assert plan.variables.env["EPOCHS"] == "3"
    assert plan.work.task_extra["file_mounts"] == {"/data": f"{tmp_path}/work/data"}
    assert any(text.startswith("cluster_name 'my-cluster'") for text in plan.warnings)


def test_a_script_of_a_folder_runs_as_in_the_earlier_runner(runner: SkyPilotRunner, fakes: Seen) -> None:
    assert runner.run_example(".", script="train.py", args=["--epochs", "3"]) == 0
    assert runner.run_example(".", "train.py", args="--note 'two words'", gpu="L4:1") == 0
    first, second = fakes.plans
    assert first.work.run_commands == ("python train.py --epochs 3",)
    assert dict(first.machines.needs.accelerators) == {"A100": 1}
    assert second.work.run_commands == ("python train.py --note 'two words'",)
    assert dict(second.machines.needs.accelerators) == {"L4": 1}
    with pytest.raises(RequestError, match="cannot be combined with a preset"):
        runner.run_example(".", "train", script="train.py")
    assert runner.run_example(".") == 0, "the earlier runner's default"
    assert fakes.plans[-1].work.run_commands == ("python train.py",)


def test_a_script_that_the_folder_lacks_is_refused_before_a_machine(
    runner: SkyPilotRunner, fakes: Seen, tmp_path: Path
) -> None:
    for script, preset in (("trian.py", None), (None, "trian.py")):
        with pytest.raises(RequestError) as refused:
            runner.run_example(".", preset, script=script)
        (mistake,) = refused.value.mistakes
        assert (mistake.field, mistake.value, mistake.near) == ("script", "trian.py", ("train.py",))
    with pytest.raises(RequestError) as refused:
        runner.run_example("nowhere", script="train.py", num_nodes=0)
    assert {mistake.field for mistake in refused.value.mistakes} == {"example_dir", "num_nodes"}
    assert fakes.plans == [] and not (tmp_path / "outputs").exists()
    assert runner.run_example(".", script="made.py", setup="touch made.py") == 0
    (plan,) = fakes.plans
    assert any("runs made.py, which is not among" in text for text in plan.warnings)


def test_a_path_stands_for_its_text_everywhere(runner: SkyPilotRunner, fakes: Seen, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    assert asyncio.run(runner.arun("true", workdir=folder)) == 0
    assert runner.estimate("true", workdir=folder).max_usd
    assert runner.queue([{"command": "true", "workdir": folder}]) == 0
    assert runner.run("true", file_mounts={"/data": folder / "train.py"}) == 0
    assert fakes.plans[-1].work.task_extra["file_mounts"] == {"/data": f"{folder}/train.py"}


def test_sys_exit_takes_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_fakes(monkeypatch, end=lambda plan: 7)
    runner = SkyPilotRunner(checkout=checkout(tmp_path / "work"), outputs=tmp_path / "outputs", cloud="aws")
    with pytest.raises(SystemExit) as raised:
        sys.exit(runner.run("false"))
    assert raised.value.code == 7


def test_a_run_wins_over_the_runner_under_any_name(tmp_path: Path, fakes: Seen) -> None:
    runner = SkyPilotRunner(checkout=checkout(tmp_path / "w"), outputs=tmp_path / "o", cloud="aws", use_spot=True)
    runner.run("true")
    runner.run("true", spot=False)
    assert [plan.machines.spot for plan in fakes.plans] == [Spot.ALWAYS, Spot.NEVER]


def test_estimate_starts_nothing(runner: SkyPilotRunner, fakes: Seen) -> None:
    estimate = runner.estimate("python train.py", gpu="L4:1", use_spot=True, region="us-east-1")
    assert str(estimate).startswith("Estimated cost: $")
    assert str(estimate).splitlines()[0].endswith("/hr (AWS us-east-1 spot)")
    assert estimate.max_usd is not None and estimate.hourly_usd is not None
    assert fakes.plans == []


def test_the_estimate_of_a_queue_is_the_one_of_the_command_line_and_starts_nothing(
    runner: SkyPilotRunner,
    fakes: Seen,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    jobs = [
        {"id": "prepare", "command": "true", "gpu": "none"},
        {"id": "build", "command": "true", "machine": "trainer"},
        {"id": "train", "command": "true", "needs": "build", "machine": "trainer", "retry": {"on": ["preempted"]}},
    ]
    inputs: dict[str, Any] = {"cloud": "aws/us-east-1", "gpu": "L4:1", "max_runtime": "30m"}
    monkeypatch.chdir(tmp_path / "work")
    estimate = SkyPilotRunner(**inputs).estimate_queue(jobs, budget=20)
    assert list(estimate.machines) == [("prepare",), ("build", "train")]
    assert estimate.max_usd == pytest.approx(sum(one.max_usd or 0.0 for one in estimate.machines.values()))
    assert fakes.plans == [] and not Path("cvl-outputs").exists()
    Path("q.yaml").write_text(json.dumps({"jobs": jobs, "defaults": inputs, "budget": 20}))
    assert main(["queue", "q.yaml", "--estimate-cost"]) == 0
    assert capsys.readouterr().out == f"{estimate}\n"


def test_the_estimate_of_a_queue_names_all_mistakes_and_no_secret(
    runner: SkyPilotRunner, fakes: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "correct-horse-battery")
    runner = SkyPilotRunner(cloud="aws")
    with pytest.raises(RequestError) as raised:
        runner.estimate_queue(
            [
                {"id": "a", "command": "true", "secrets": ["MY_TOKEN"]},
                {"id": "b", "command": "true", "gpu": "correct-horse-battery"},
                {"id": "c", "command": "true", "num_nodes": 0},
            ]
        )
    assert {mistake.field for mistake in raised.value.mistakes} == {"job b: gpu", "job c: num_nodes"}
    assert "correct-horse-battery" not in str(raised.value)
    assert fakes.plans == []


# ---- a quiet guest ----------------------------------------------------------------------------------------------


def test_it_prints_only_when_asked_and_leaves_signals_alone(
    runner: SkyPilotRunner, fakes: Seen, capfd: pytest.CaptureFixture[str]
) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    runner.run("true")
    assert capfd.readouterr() == ("", "")
    runner.run("true", stream_logs=True)
    assert capfd.readouterr() == ("hello\n", "")
    assert [signal.getsignal(number) for number in numbers] == before


def test_two_runs_at_once_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits in its job until the other is in its own."""
    both = threading.Barrier(2)
    on_fakes(
        monkeypatch,
        at=lambda step: (both.wait(PATIENCE), None)[1] if step == "ran" else None,
        end=lambda plan: int(plan.work.run_commands[0][-1]),
    )
    runner = SkyPilotRunner(checkout=checkout(tmp_path / "work"), outputs=tmp_path / "outputs", cloud="aws")
    results: dict[str, RunResult] = {}

    def work(command: str) -> None:
        results[command] = runner.run(command)

    threads = [threading.Thread(target=work, args=(f"exit {code}",)) for code in (3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert {command: int(result) for command, result in results.items()} == {"exit 3": 3, "exit 4": 4}
    assert len({result.cluster for result in results.values()}) == 2


# ---- stopped ----------------------------------------------------------------------------------------------------


class Held:
    """A job that runs until something stops its run."""

    def __init__(self) -> None:
        self.is_running = threading.Event()

    def __call__(self, step: str) -> None:
        if step == "ran":
            self.is_running.set()
            while True:
                threading.Event().wait(0.02)


def test_ctrl_c_in_a_notebook_ends_the_run_with_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(step: str) -> None:
        if step == "ran":
            raise KeyboardInterrupt

    fakes = on_fakes(monkeypatch, at=interrupt)
    runner = SkyPilotRunner(checkout=checkout(tmp_path / "work"), outputs=tmp_path / "outputs", cloud="aws")
    result = runner.run("sleep 1000")
    assert (int(result), result.ending) == (130, Ending.CANCELLED)
    assert result.release is not None and result.release.gone
    assert fakes.running() == []


def test_a_runner_as_context_ends_the_runs_of_other_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()
    fakes = on_fakes(monkeypatch, at=held)
    results: list[RunResult] = []
    with SkyPilotRunner(checkout=checkout(tmp_path / "work"), outputs=tmp_path / "outputs", cloud="aws") as runner:
        thread = threading.Thread(target=lambda: results.append(runner.run("sleep 1000")))
        thread.start()
        assert held.is_running.wait(PATIENCE)
        assert fakes.running() != []
    assert fakes.running() == []
    thread.join(PATIENCE)
    assert [result.ending for result in results] == [Ending.CANCELLED]
    assert results[0].release is not None and results[0].release.gone


def test_await_gives_the_result(runner: SkyPilotRunner, fakes: Seen) -> None:
    async def both() -> list[RunResult]:
        return list(await asyncio.gather(runner.arun("true"), runner.arun(task="my-task.yaml")))

    assert asyncio.run(both()) == [0, 0]
    assert len(fakes.plans) == 2


def test_a_cancelled_await_ends_the_run_with_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()
    fakes = on_fakes(monkeypatch, at=held)
    runner = SkyPilotRunner(checkout=checkout(tmp_path / "work"), outputs=tmp_path / "outputs", cloud="aws")

    async def cancelled() -> None:
        task = asyncio.create_task(runner.arun("sleep 1000"))
        await asyncio.to_thread(held.is_running.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert fakes.running() == [], "gone before the await ends"

    asyncio.run(cancelled())


def test_an_await_cancelled_while_the_run_is_planned_starts_nothing_and_leaves_the_loop_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes = on_fakes(monkeypatch)
    runner = SkyPilotRunner(checkout=checkout(tmp_path / "work"), outputs=tmp_path / "outputs", cloud="aws")
    is_planned, stopped = threading.Event(), threading.Event()

    def held(*args: Any, **inputs: Any) -> RunPlan:
        is_planned.set()
        assert stopped.wait(PATIENCE)
        return prepare(*args, **inputs)

    monkeypatch.setattr("cvl_ci.runner.prepare", held)

    async def cancelled() -> str:
        task = asyncio.create_task(runner.arun("true"))
        await asyncio.to_thread(is_planned.wait, PATIENCE)
        task.cancel()
        asyncio.get_running_loop().call_soon(stopped.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        return "alive"

    assert asyncio.run(cancelled()) == "alive"
    assert fakes.plans == []


# ---- kept machines ----------------------------------------------------------------------------------------------


def test_down_false_keeps_the_machine_until_its_lease_or_the_runner_ends_it(
    runner: SkyPilotRunner, fakes: Seen
) -> None:
    with runner:
        result = runner.run("true", cluster_name="mine", down=False, idle_minutes_to_autostop=30)
        assert result == 0 and result.release is not None and result.release.kept is not None
        assert result.cost is not None and result.cost.kept_usd is not None
        assert fakes.running() == [result.cluster]
    assert fakes.running() == []


def test_a_detached_machine_outlives_its_runner_and_another_runner_collects_it(
    runner: SkyPilotRunner, fakes: Seen, tmp_path: Path
) -> None:
    fakes.runs_on = True
    with runner:
        result = runner.run("python train.py", detach=True, detach_to="s3://results/ci", cluster_name="mine")
        assert (result, result.ending) == (0, Ending.DETACHED)
    assert fakes.running() == [result.cluster], "its job runs, and the machine ends itself"

    notices: list[str] = []
    other = SkyPilotRunner(
        checkout=tmp_path / "work", outputs=tmp_path / "outputs", cloud="aws", on_notice=notices.append
    )
    assert other.collect() == {}
    assert "its job still runs" in notices[-1] and fakes.running() == [result.cluster]
    with pytest.raises(RequestError, match="not a detached run"):
        other.collect("another")

    fakes.results.stored = DetachedEnd(node=NodeEnd(rank=0, exit_code=3), ended_at=fakes.clock.now())
    collected = runner.collect("mine")
    assert list(collected) == [result.cluster]
    assert (collected[result.cluster], collected[result.cluster].ending) == (3, Ending.FAILED)
    assert fakes.running() == []


def test_down_ends_a_kept_machine_by_its_cluster_name(runner: SkyPilotRunner, fakes: Seen) -> None:
    result = runner.run("true", cluster_name="mine", down=False)
    (lease,) = [lease.name for lease in runner.status().leases]
    assert lease == result.cluster
    proofs = runner.down("mine")
    assert list(proofs) == [result.cluster] and proofs[result.cluster].gone
    assert fakes.running() == []
    assert runner.status().leases == ()
    with pytest.raises(RequestError, match="is not a lease"):
        runner.down("another")


def test_down_without_a_proof_is_an_error(runner: SkyPilotRunner, fakes: Seen) -> None:
    result = runner.run("true", down=False)
    (cloud,) = [cloud for cloud in fakes.clouds if cloud.running()]
    cloud.silent = True
    with pytest.raises(NotProvedGone, match=result.cluster):
        runner.down(result.cluster)


def test_a_plan_names_every_word_that_it_does_not_use(runner: SkyPilotRunner) -> None:
    plan: RunPlan = runner.estimate("true", idle_minutes_to_autostop=10).plan
    assert any(text.startswith("idle_minutes_to_autostop is not used") for text in plan.warnings)


# ---- queues -------------------------------------------------------------------------------------------------------


def test_snippet_queue(runner: SkyPilotRunner, fakes: Seen) -> None:
    result = runner.queue([{"command": "python preprocess.py"}, {"command": "python train.py", "depends_on": 0}])
    assert result == 0
    assert [plan.work.run_commands for plan in fakes.plans] == [("python preprocess.py",), ("python train.py",)]
    assert [job.state for job in result.jobs.values()] == [JobState.SUCCEEDED] * 2
    assert fakes.running() == []


def test_a_queue_with_a_file_that_no_job_brings_starts_none(
    runner: SkyPilotRunner, fakes: Seen, tmp_path: Path
) -> None:
    jobs = [{"id": "good", "command": "python train.py"}, {"id": "bad", "command": "python trian.py"}]
    with pytest.raises(RequestError) as refused:
        runner.queue(jobs)
    (mistake,) = refused.value.mistakes
    assert (mistake.field, mistake.near) == ("job bad: command", ("train.py",))
    assert fakes.plans == []
    for brings in ({"inputs": {"from": "good"}}, {"machine": "one"}):
        assert runner.queue([jobs[0], {**jobs[1], **brings}], outputs=tmp_path / str(len(fakes.plans))) == 0
    assert [plan.work.run_commands for plan in fakes.plans].count(("python trian.py",)) == 2


def test_a_queue_gives_files_on_and_is_not_run_twice(runner: SkyPilotRunner, fakes: Seen, tmp_path: Path) -> None:
    jobs = [{"id": "data", "command": "make data"}, {"id": "use", "command": "cat", "inputs": {"from": "data"}}]
    assert runner.queue(jobs, outputs=tmp_path / "q") == 0
    (values,) = [file for file in fakes.plans[1].files.staged if file.path.startswith("inputs/")]
    assert values.path == "inputs/data/metrics.json"
    assert Path(str(values.source)).read_text() == '{"accuracy": 0.9}'
    again = runner.queue(jobs, outputs=tmp_path / "q")
    assert len(fakes.plans) == 2
    assert all(job.is_reused for job in again.jobs.values())
    assert "an earlier queue ran it" in again._repr_html_()


def test_every_mistake_of_every_job_comes_before_the_first_start(runner: SkyPilotRunner, fakes: Seen) -> None:
    with pytest.raises(RequestError) as raised:
        runner.queue([{"command": "true", "gpu": "L44:1"}, {"id": "b", "command": "true", "num_nodes": 0}])
    assert {mistake.field for mistake in raised.value.mistakes} == {"job 0: gpu", "job b: num_nodes"}
    assert fakes.plans == []


@pytest.mark.parametrize("limit", [{"budget": 0}, {"budget": -1}, {"budget": "3"}, {"max_parallel": -1}])
def test_a_limit_that_cannot_be_meant_is_no_missing_limit(
    runner: SkyPilotRunner, fakes: Seen, limit: dict[str, Any]
) -> None:
    with pytest.raises(RequestError, match=next(iter(limit))):
        runner.queue([{"command": "true"}], **limit)
    assert fakes.plans == []


def test_a_job_that_max_cost_cannot_pay_is_named(runner: SkyPilotRunner, fakes: Seen) -> None:
    with pytest.raises(BudgetError, match="job dear: max_cost"):
        runner.queue([{"command": "true"}, {"id": "dear", "command": "true", "gpu": "A100:8", "max_cost": 0.01}])
    assert fakes.plans == []


def test_a_queue_takes_tuples_too(runner: SkyPilotRunner, fakes: Seen) -> None:
    jobs = ({"command": "true"}, {"command": "true"}, {"command": "true", "needs": (0, 1)})
    assert runner.queue(jobs, max_parallel=1, budget=9) == 0
    assert len(fakes.plans) == 3


def test_a_committed_record_is_refused_in_any_folder(
    tmp_path: Path, fakes: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of the outputs is relative to the program's own, and not to the checkout."""
    folder = checkout(tmp_path / "work")
    monkeypatch.chdir(tmp_path)
    runner = SkyPilotRunner(checkout="work", outputs="work/outputs", cloud="aws")
    assert runner.queue([{"command": "true"}]) == 0
    git(folder, "init", "-q")
    git(folder, "add", "--force", "outputs")
    git(folder, "commit", "-qm", "forged")
    with pytest.raises(RequestError, match="is in git"):
        runner.queue([{"command": "true"}])


def test_a_failed_job_gives_the_queue_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_fakes(monkeypatch, end=lambda plan: 5 if plan.work.run_commands == ("bad",) else 0)
    runner = SkyPilotRunner(checkout=checkout(tmp_path / "work"), outputs=tmp_path / "outputs", cloud="aws")
    result = runner.queue([{"id": "a", "command": "bad"}, {"id": "b", "command": "x", "needs": "a"}])
    assert int(result) == 5
    assert (result.jobs["b"].state, result.jobs["b"].reason) == (JobState.SKIPPED, "it needs a (failed)")
    assert pickle.loads(pickle.dumps(result)).jobs == result.jobs


def test_a_context_ends_the_jobs_of_a_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()
    fakes = on_fakes(monkeypatch, at=held)
    results: list[QueueResult] = []
    jobs = [{"id": "a", "command": "sleep 1000"}, {"id": "b", "command": "true", "needs": "a"}]
    with SkyPilotRunner(checkout=checkout(tmp_path / "work"), outputs=tmp_path / "outputs", cloud="aws") as runner:
        thread = threading.Thread(target=lambda: results.append(runner.queue(jobs)))
        thread.start()
        assert held.is_running.wait(PATIENCE)
    assert fakes.running() == []
    thread.join(PATIENCE)
    assert int(results[0]) == 130
    assert {job.state for job in results[0].jobs.values()} == {JobState.CANCELLED}


def test_a_lease_of_a_queue_from_another_computer_is_looked_for(
    runner: SkyPilotRunner, fakes: Seen, tmp_path: Path
) -> None:
    """The record of the queue came along, and the record of the lease did not."""
    (tmp_path / "q").mkdir()
    lease = "cvl-lost-12345678"
    QueueRecord(tmp_path / "q").write({"a": JobRecord(state=JobState.RUNNING, lease=lease)})
    fakes.clouds[0].create(lease=lease, region="us-east-1")
    assert fakes.running() == [lease]
    assert runner.queue([{"id": "a", "command": "true"}], outputs=tmp_path / "q") == 0
    assert fakes.running() == []


def test_a_resumed_queue_tells_the_cost_of_the_machine_that_a_killed_one_left_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(step: str) -> None:
        if step == "follow" and len(seen.plans) == 1:
            seen.clouds[0].cut_off = True
            raise Killed

    seen, told, jobs = on_fakes(monkeypatch, at=at), list[str](), [{"id": "a", "command": "true"}]
    runner = SkyPilotRunner(
        checkout=checkout(tmp_path / "work"), outputs=tmp_path / "outputs", cloud="aws", on_notice=told.append
    )
    runner.queue(jobs)
    assert len(seen.running()) == 1
    queue_record = QueueRecord(tmp_path / "outputs/queue")
    queue_record.write({name: replace(one, state=JobState.RUNNING) for name, one in queue_record.read().items()})
    seen.clouds[0].cut_off = False
    seen.clock.sleep(1800)
    result = runner.queue(jobs)
    assert (int(result), seen.running()) == (0, [])
    [line] = [line for line in told if "killed queue" in line]
    assert line.startswith("a: the machine of the killed queue is")
    assert " is gone, and cost about $0.0" in line
    assert result.jobs["a"].usd == pytest.approx(seen.clouds[0].meter.usd(seen.clock.now()), rel=0.02)


@pytest.mark.parametrize(("kind", "code"), [(CredentialsError, 75), (RuntimeError, 79)])
def test_the_reason_of_a_job_holds_no_secret(
    kind: type[Exception], code: int, tmp_path: Path, fakes: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "correct-horse-battery"

    def broken(*_: object, **__: object) -> None:
        raise kind(f"refused {secret}")

    monkeypatch.setenv("MY_TOKEN", secret)
    monkeypatch.setattr("cvl_ci.wiring.queue_runs.carry_out", broken)
    runner = SkyPilotRunner(checkout=checkout(tmp_path / "work"), outputs=tmp_path / "outputs", cloud="aws")
    result = runner.queue([{"id": "a", "command": "true", "secrets": ["MY_TOKEN"]}], outputs=tmp_path / "q")
    assert int(result) == code
    assert "refused ***" in result.jobs["a"].reason
    assert secret not in (tmp_path / "q" / "queue.json").read_text()


def test_a_runner_ends_the_kept_machines_of_its_queues(tmp_path: Path, fakes: Seen) -> None:
    with SkyPilotRunner(
        checkout=checkout(tmp_path / "work"), outputs=tmp_path / "outputs", cloud="aws", down=False
    ) as runner:
        result = runner.queue([{"id": "a", "command": "true"}])
        assert int(result) == 0
        assert fakes.running() == [result.jobs["a"].lease]
    assert fakes.running() == []


def test_a_runner_leaves_a_machine_alone_that_another_process_uses(tmp_path: Path, fakes: Seen) -> None:
    lines: list[str] = []

    def runner() -> SkyPilotRunner:
        work = checkout(tmp_path / "work")
        return SkyPilotRunner(
            checkout=work, outputs=tmp_path / "outputs", cloud="aws", reuse="trainer", on_notice=lines.append
        )

    other = runner()
    with runner() as first:
        name = first.run(command="true").cluster
        assert other.run(command="true").cluster == name
    assert fakes.running() == [name], "the other one used it last"
    assert any(f"Another run uses machine {name} of reuse trainer" in line and "cvl-ci down" in line for line in lines)
    owner = first._owner("x").user_id
    lock = directories.key_locks(os.environ).acquire(lock_name(owner, "trainer"))
    assert lock is not None
    other.close()
    assert fakes.running() == [name], "a third process uses it now"
    lock.release()
    with runner() as last:
        assert last.run(command="true").cluster == name
    assert fakes.running() == [], "its last user ends it"


def test_a_budget_without_a_price_is_refused(runner: SkyPilotRunner, fakes: Seen) -> None:
    with pytest.raises(RequestError, match="no price is known for 0"):
        runner.queue([{"command": "true", "cloud": "kubernetes", "image": "ubuntu"}], budget=3)
    assert fakes.plans == []
