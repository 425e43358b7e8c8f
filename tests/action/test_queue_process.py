"""`verb: queue` as GitHub calls it: groups, outputs and one page, and post's proof of each lease after a kill."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from cvl_ci.commands.queue.queue_record import QueueRecord
from cvl_ci.model.lease_name import LABEL_OWNER
from cvl_ci.model.location import Location
from cvl_ci.model.queue import JobRecord, JobState
from cvl_ci.ports import LeaseRecord
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.matrix import source
from cvl_ci.result.matrix.claims import latest
from cvl_ci.wiring.directories import open_records
from tests import golden
from tests.action.test_main import Job, a_fork
from tests.github.runner import Runner
from tests.support.fakes import FakeReporter

MESSAGES = golden.Messages(__name__)

QUEUE = """
jobs:
  - {id: build, command: make, machine: one}
  - {id: train, command: train, machine: one, needs: build}
  - {id: other, command: other}
"""
INPUTS = {"INPUT_VERB": "queue", "INPUT_QUEUE": "queue.yaml", "INPUT_COMMAND": "", "INPUT_MAX_PARALLEL": "3"}

LEGS = ("gpu: L4 build", "gpu: L4 train", "gpu: L4 other")
"""The leg of the step, and the job."""

RECORD = "cvl-outputs/queue/queue.json"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    job = Job(tmp_path)
    job.environment.update(INPUTS)
    (job.workspace / "queue.yaml").write_text(QUEUE)
    return job


def test_a_queue_is_a_group_a_job_one_page_and_outputs(job: Job) -> None:
    code, said = job.run("/entrypoint", STAGE_LINES="mine hf_0123456789abcdef")
    assert code == 0, said
    assert job.alive() == []
    obeyed = Runner().read(said).obeyed
    assert {name for name, _, _ in obeyed} <= {"add-mask", "group", "endgroup", "notice", "warning"}, "no job's words"
    groups = [text for name, _, text in obeyed if name == "group"]
    assert sorted(groups) == ["build succeeded", "other succeeded", "train succeeded"]
    assert len([name for name, _, _ in obeyed if name == "endgroup"]) == 3
    assert said.count("epoch 1") == 3
    assert "hf_0123456789abcdef" not in said.replace("::add-mask::hf_0123456789abcdef", "")
    outputs = job.outputs()
    assert (outputs["ending"], outputs["exit_code"], outputs["released"]) == ("succeeded", "0", "true")
    assert outputs["outputs_dir"] == "cvl-outputs/queue"
    assert float(outputs["cost_usd"]) > 0
    legs = costs(job)
    assert {leg.name: leg.ending.value for leg in legs} == dict.fromkeys(LEGS, "succeeded")
    assert sum(leg.cost.usd or 0.0 for leg in legs) == pytest.approx(float(outputs["cost_usd"]), abs=0.0001)
    assert len(latest(legs)) == 3, "two jobs of one machine are two runs of the history"
    assert "3 jobs: 3 succeeded" in job.summary()
    assert "machine one: build, train run in turn" in said
    code, said = job.run("/post-entrypoint")
    assert (code, said) == (0, "")


def test_a_failed_job_is_red_and_its_dependents_are_skipped_on_the_page(job: Job) -> None:
    code, said = job.run("/entrypoint", STAGE_EXIT="7")
    assert code == 7, said
    assert "it needs build (failed)" in job.summary()
    assert job.outputs()["ending"] == "failed"
    assert job.alive() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("is_home_lost", [False, True])
def test_post_proves_each_lease_of_a_queue_that_was_cut_off(job: Job, number: int, is_home_lost: bool) -> None:
    """Two machines run. GitHub's runner gives post the state as text, even if HOME is lost."""
    process = job.hung_at("created")
    process.send_signal(number)
    process.communicate(timeout=60)
    alive = job.alive()
    assert alive
    states = [text for text in (job.folder / "GITHUB_STATE").read_text().splitlines() if text.startswith("{")]
    handover = states[-1]
    assert {(job.machines / name).read_text().partition("\n")[0] for name in alive} <= set(
        json.loads(handover)["leases"]
    )
    for folder in (job.folder / "home").iterdir():
        if is_home_lost and folder.name != ".aws":
            shutil.rmtree(folder)
    code, said = job.run("/post-entrypoint", STATE_step_state=handover)
    assert (code, job.alive()) == (0, []), said
    assert "cancelled" in job.summary()
    assert job.outputs()["released"] == "true"
    legs = costs(job)
    assert {leg.name for leg in legs} <= set(LEGS)
    assert len(legs) >= len(alive), "each machine is in the history, with its cost"
    assert sum((leg.cost.usd or 0.0) > 0 and leg.machines.is_gone for leg in legs) >= len(alive)
    assert sum(leg.cost.usd or 0.0 for leg in legs) == pytest.approx(float(job.outputs()["cost_usd"]), abs=0.0001)


def costs(job: Job) -> list[Leg]:
    """Return what the history of runs would read: the files of the one artifact with costs."""
    [folder] = (job.folder / "home").rglob("*.costs")
    return [source.read(path.name, path.read_bytes()) for path in folder.iterdir()]


def killed_without_state(job: Job) -> None:
    """Kill a queue with two machines, and lose HOME and what GitHub's runner kept."""
    process = job.hung_at("created")
    process.kill()
    process.communicate(timeout=60)
    assert job.alive()
    for folder in (job.folder / "home").iterdir():
        if folder.name != ".aws":
            shutil.rmtree(folder)


def test_post_without_any_state_finds_the_leases_in_the_record(job: Job) -> None:
    killed_without_state(job)
    code, said = job.run("/post-entrypoint")
    assert (code, job.alive()) == (0, []), said
    assert job.outputs()["released"] == "true"


def test_post_without_state_and_record_proves_nothing(job: Job) -> None:
    killed_without_state(job)
    (job.workspace / RECORD).unlink()
    code, said = job.run("/post-entrypoint")
    assert code == 79
    MESSAGES.check("neither state nor record", golden.line(said, "│ Post has neither"))
    assert "cvl-ci status" in said
    assert "cvl-ci down cvl-" not in said, "no lease has the step's own name, so its end would prove nothing"


@pytest.mark.parametrize("committed", [RECORD, "cvl-outputs"])
@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.SUCCEEDED])
def test_a_committed_record_is_refused_and_its_lease_lives(job: Job, committed: str, state: JobState) -> None:
    (job.machines / "i-1").write_text("cvl-other-1")
    forged(job, state)
    if committed == "cvl-outputs":  # a link to a folder that is not in git
        (job.workspace / "cvl-outputs").rename(job.folder / "elsewhere")
        (job.workspace / "cvl-outputs").symlink_to(job.folder / "elsewhere")
    git = ("git", "-C", str(job.workspace))
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--force", committed], check=True)
    code, said = job.run("/entrypoint")
    assert code == 64, said
    assert "cvl-outputs/queue/queue.json" in said
    MESSAGES.check("a committed record", golden.line(said, "│   - queue:"))
    assert (job.alive(), job.steps()) == (["i-1"], [])


def test_a_lease_of_another_repository_is_not_ended(job: Job) -> None:
    (job.machines / "i-1").write_text("cvl-other-1")
    forged(job, JobState.RUNNING)
    record = LeaseRecord(
        name="cvl-other-1",
        labels={LABEL_OWNER: "cvl-other"},
        deadline=0.0,
        locations=(Location(cloud="aws"),),
        taken_at=0.0,
    )
    reporter = FakeReporter()
    open_records(job.environment, reporter).write(record)
    code, said = job.run("/entrypoint")
    assert (code, job.alive()) == (77, ["i-1"]), said
    MESSAGES.check("another repository", golden.line(said, "│ The record of"))


def forged(job: Job, state: JobState) -> None:
    record = JobRecord(state=state, lease="cvl-other-1", is_gone=state is JobState.SUCCEEDED)
    QueueRecord((job.workspace / RECORD).parent).write({"build": record})


@pytest.mark.parametrize("is_record_lost", [False, True])
def test_a_provider_that_does_not_answer_is_no_proof(job: Job, is_record_lost: bool) -> None:
    process = job.hung_at("created")
    process.kill()
    process.communicate(timeout=60)
    if is_record_lost:
        (job.workspace / RECORD).unlink()
    handover = (job.folder / "GITHUB_STATE").read_text().splitlines()
    state = [text for text in handover if text.startswith("{")][-1]
    code, said = job.run("/post-entrypoint", STATE_step_state=state, STAGE_SILENT="1")
    assert code == 79
    assert "A MACHINE MAY STILL BE RUNNING" in said
    assert job.outputs()["released"] == "false"
    assert (job.outputs()["cost_usd"] == "") is is_record_lost, "an unknown cost is not zero"


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"INPUT_QUEUE": ""}, "name the file with the jobs"),
        ({"INPUT_QUEUE": "none.yaml"}, "is not a readable file"),
        ({"INPUT_MAX_PARALLEL": "0"}, "max_parallel"),
        ({"INPUT_GPU": "L44:1"}, "L44"),
    ],
)
def test_a_wrong_input_starts_nothing(job: Job, changed: dict[str, str], problem: str) -> None:
    code, said = job.run("/entrypoint", **changed)
    assert code == 64
    assert problem in said
    assert job.steps() == []
    assert job.run("/post-entrypoint") == (0, "")


@pytest.mark.parametrize(("policy", "exit_code"), [("neutral", 0), ("fail", 75), ("", 0)])
def test_infrastructure_is_red_by_policy_alone(job: Job, policy: str, exit_code: int) -> None:
    code, said = job.run("/entrypoint", STAGE_REFUSES="other", INPUT_INFRA_FAILURES=policy)
    assert code == exit_code, said
    assert "3 jobs: 2 succeeded, 1 not run" in job.summary()
    assert job.outputs()["ending"] == ("failed" if exit_code else "succeeded")
    assert job.alive() == []
    assert said.count("::error") == bool(exit_code), "a neutral failure is not an error of the workflow"


def test_a_queue_without_any_machine_is_75_by_each_policy(job: Job) -> None:
    (job.workspace / "queue.yaml").write_text("jobs:\n  - {id: other, command: other}\n")
    for policy in ("neutral", "fail"):
        code, said = job.run("/entrypoint", STAGE_REFUSES="other", INPUT_INFRA_FAILURES=policy)
        assert code == 75, said


def test_the_lines_of_each_job_stay_in_its_own_group(job: Job) -> None:
    code, said = job.run("/entrypoint", STAGE_REFUSES="other", INPUT_MAX_PARALLEL="1")
    assert code == 0, said
    groups = said.split("::group::")[1:]
    assert [group.splitlines()[0] for group in groups] == ["build succeeded", "train succeeded"]
    for group in groups:
        inside, _, after = group.partition("::endgroup::")
        assert inside.count("epoch 1") == 1 and "epoch 1" not in after
    assert "other not run: no machine is free" in said


def test_a_fork_gets_the_plan_of_a_queue_and_no_machine(job: Job) -> None:
    fork = a_fork(job, "pull_request")
    code, said = job.run("/entrypoint", **fork)
    assert code == 0, said
    assert "from a fork" in said and job.steps() == [], "a plan runs nothing"


PACK = {
    "jobs": [
        {"id": "1", "leg": "digits train L4:1", "command": "build", "machine": "pack", "clean": True},
        {"id": "2", "leg": "digits predict L4:1", "command": "other", "machine": "pack", "clean": True},
        {"id": "3", "leg": "words train L4:1", "command": "train", "machine": "pack", "clean": True},
    ]
}
"""As `verb: matrix` with `pack` writes it."""
PACK_NAMES = tuple(str(one["leg"]) for one in PACK["jobs"])


@pytest.fixture
def packed(job: Job) -> Job:
    job.environment["INPUT_QUEUE"] = json.dumps(PACK)
    return job


def test_each_leg_of_a_pack_is_a_run_of_the_report_by_its_own_name(packed: Job) -> None:
    code, said = packed.run("/entrypoint")
    assert code == 0, said
    MESSAGES.check("a pack", golden.sentence(said, "cleaned after each").partition("] ")[2])
    assert [step for step in packed.steps() if step in {"launch", "submit", "clean"}] == [
        "launch", "clean", "submit", "clean", "submit", "clean"
    ]  # fmt: skip
    legs = {leg.name: leg for leg in costs(packed)}
    assert {name: leg.ending.value for name, leg in legs.items()} == dict.fromkeys(PACK_NAMES, "succeeded")
    assert [legs[name].key.warm for name in PACK_NAMES] == [False, True, True], "compared only with their kind"
    assert len(latest(legs.values())) == 3 and all(leg.machines.is_gone for leg in legs.values())
    assert packed.run("/post-entrypoint") == (0, "")


def test_a_leg_that_fails_shows_its_error_and_stops_no_other(packed: Job) -> None:
    code, said = packed.run("/entrypoint", STAGE_EXIT="7", STAGE_LINES="ValueError: wrong shape")
    assert code == 7, said
    legs = costs(packed)
    assert sorted((leg.name, leg.exit_code) for leg in legs) == sorted((name, 7) for name in PACK_NAMES)
    assert {leg.evidence.first_error for leg in legs} == {"ValueError: wrong shape"}
    assert packed.alive() == []


def test_legs_without_a_machine_are_rows_of_the_report_too(packed: Job) -> None:
    code, said = packed.run("/entrypoint", STAGE_REFUSES="build")
    assert code == 0, said
    told = {leg.name: (leg.ending.value, leg.exit_code) for leg in costs(packed)}
    never, good = ("never_started", 75), ("succeeded", 0)
    assert told == dict(zip(PACK_NAMES, (never, good, good), strict=True)), "the next leg launches a machine"


def test_legs_of_a_pack_that_cannot_start_name_the_reason(packed: Job) -> None:
    code, said = packed.run("/entrypoint", INPUT_GPU="L44:1")
    assert code == 64, said
    legs = costs(packed)
    assert {leg.name: (leg.ending.value, leg.exit_code) for leg in legs} == dict.fromkeys(
        PACK_NAMES, ("never_started", 64)
    )
    assert all("L44" in leg.reason for leg in legs)


def test_legs_of_a_pack_that_was_cut_off_are_cancelled(packed: Job) -> None:
    process = packed.hung_at("created")
    process.kill()
    process.communicate(timeout=60)
    code, said = packed.run("/post-entrypoint")
    assert (code, packed.alive()) == (0, []), said
    legs = {leg.name: leg for leg in costs(packed)}
    assert {name: leg.ending.value for name, leg in legs.items()} == dict.fromkeys(PACK_NAMES, "cancelled")
    assert sum(bool(leg.cost.usd) for leg in legs.values()) == 1, "the machine is paid once"


def test_a_pack_of_a_fork_is_a_plan_of_each_leg(packed: Job) -> None:
    code, said = packed.run("/entrypoint", **a_fork(packed, "pull_request"))
    assert code == 0, said
    assert packed.steps() == []
    assert {leg.name: leg.exit_code for leg in costs(packed)} == dict.fromkeys(PACK_NAMES, 77)


def test_text_that_is_no_queue_is_one_error(job: Job) -> None:
    code, said = job.run("/entrypoint", INPUT_QUEUE='{"jobs": [')
    assert code == 64 and "is not a JSON object" in said
