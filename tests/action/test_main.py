"""The action as GitHub calls it: main and post as processes of their own, with signals, kills and lost state."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cvl_ci.model.owner import Owner
from tests import golden
from tests.github.runner import Runner, read_file
from tests.support import fork_server
from tests.support.fork_server import ForkedProcess
from tests.support.processor import children_seconds, starts_meanwhile, within

MESSAGES = golden.Messages(__name__)

ROOT = Path(__file__).resolve().parents[2]


class Job:
    """One step of a job: its environment, its machines, its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.machines = folder / "machines"
        self.workspace = folder / "workspace"
        for each in (self.machines, self.workspace, folder / "home"):
            each.mkdir(exist_ok=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder / "home"),
            "STAGE": str(self.machines),
            "GITHUB_REPOSITORY": "cvl/ci",
            "GITHUB_RUN_ID": "123456789",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_JOB": "train",
            "GITHUB_ACTION": "__self",
            "GITHUB_EVENT_NAME": "push",
            "INPUT_COMMAND": "python train.py",
            "INPUT_GPU": "none",
            "INPUT_CLOUD": "aws",
            "INPUT_LEG": '{"gpu": "L4"}',
            "INPUT_SECRETS": "HF_TOKEN=hf_0123456789abcdef",
            "INPUT_EXAMPLE": "",
        }
        for name in ("GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY"):
            (folder / name).touch()
            self.environment[name] = str(folder / name)
        (folder / "home/.aws").mkdir(exist_ok=True)
        (folder / "home/.aws/credentials").write_text("[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n")
        (self.workspace / "train.py").write_text("print(1)")

    def start(self, name: str, **changed: str) -> ForkedProcess:
        environment = {**self.environment, **changed}
        return fork_server.start("tests.support.action_stage", name, env=environment, folder=self.workspace)

    def run(self, name: str, **changed: str) -> tuple[int, str]:
        process = self.start(name, **changed)
        said, _ = process.communicate(timeout=60)
        assert process.returncode is not None
        return process.returncode, said

    def hung_at(self, step: str) -> ForkedProcess:
        process = self.start("/entrypoint", STAGE_HANG=step)
        deadline = time.monotonic() + 30
        while step not in self.steps() and time.monotonic() < deadline:
            time.sleep(0.02)
        return process

    def steps(self) -> list[str]:
        path = self.machines / "steps"
        return path.read_text().splitlines() if path.exists() else []

    def alive(self) -> list[str]:
        return [path.name for path in self.machines.glob("i-*")]

    def outputs(self) -> dict[str, str]:
        return read_file((self.folder / "GITHUB_OUTPUT").read_text())

    def summary(self) -> str:
        return (self.folder / "GITHUB_STEP_SUMMARY").read_text()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_a_run_ends_with_outputs_a_summary_its_log_and_no_machine(job: Job) -> None:
    code, said = job.run("/entrypoint")
    assert code == 0, said
    assert job.alive() == []
    assert job.outputs()["ending"] == "succeeded"
    assert job.outputs()["released"] == "true"
    assert job.outputs()["metrics"] == '{"accuracy": 0.9}'
    assert "Succeeded" in job.summary()
    [log] = job.workspace.glob("cvl-outputs/*.log")
    assert "##[error]mine" in log.read_text()


PRIVATE = {"STAGE_CORES": "2", "RUNNER_ENVIRONMENT": "github-hosted", "RUNNER_OS": "Linux", "RUNNER_ARCH": "X64"}
"""A standard runner. With an event of a private repository, it has a price."""


@pytest.mark.parametrize(
    ("private", "changed", "is_told"),
    [(True, {}, True), (False, {}, False), (True, {"STAGE_CORES": "4"}, False), (True, {"RUNNER_OS": "macOS"}, False)],
)
def test_the_page_names_the_cost_of_a_known_runner(
    job: Job, private: bool, changed: dict[str, str], is_told: bool
) -> None:
    event = job.folder / "event.json"
    event.write_text(json.dumps({"repository": {"full_name": "cvl/ci", "private": private}}))
    code, said = job.run("/entrypoint", GITHUB_EVENT_PATH=str(event), **{**PRIVATE, **changed})
    assert code == 0, said
    assert (
        re.search(r"^\| GitHub's runner \| \d+ min, about \$\d", job.summary(), re.MULTILINE) is not None
    ) is is_told
    [document] = job.workspace.glob("cvl-outputs/*.json")
    assert "GitHub's runner" not in document.read_text()


def test_nothing_the_job_printed_is_obeyed_and_masks_come_first(job: Job) -> None:
    _, said = job.run("/entrypoint")
    obeyed = Runner().read(said).obeyed
    assert obeyed[0] == ("add-mask", {}, "hf_0123456789abcdef")
    assert {name for name, _, _ in obeyed} <= {"add-mask", "group", "endgroup", "notice", "warning"}
    assert "hf_0123456789abcdef" not in said.replace("::add-mask::hf_0123456789abcdef", "")


def test_post_after_a_run_that_ended_does_nothing_in_half_a_second(job: Job) -> None:
    job.run("/entrypoint")
    before = job.steps()
    program = (
        "import sys; from cvl_ci.action import main as action; code = action.called_as('/post-entrypoint')\n"
        "print(code, *sorted({'sky', 'github', 'requests', 'boto3', 'actions_toolkit'} & {*sys.modules}))"
    )
    worked = []
    for _ in range(3):  # the first may compile byte code
        began = children_seconds()
        done = subprocess.run(
            [sys.executable, "-I", "-c", program],
            env=job.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        worked.append(children_seconds() - began)
        assert done.stdout == "0\n"
    assert within(min(worked), 0.5)
    assert job.steps() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", ["created", "follow"])
def test_a_cancelled_main_is_gone_at_once_and_post_ends_the_machine(job: Job, step: str, number: int) -> None:
    process = job.hung_at(step)
    with starts_meanwhile() as starts:
        process.send_signal(number)
        said, _ = process.communicate(timeout=600)
        count = starts()
    assert count < 40, "a second, where nothing else runs"
    assert process.returncode == 130
    assert "post step takes the machine down" in said
    assert Runner().read(said).stopped_by == ""
    assert len(job.alive()) == 1
    assert list((job.folder / "home").rglob("*.revoked"))
    code, said = job.run("/post-entrypoint")
    assert (code, job.alive()) == (0, []), said
    assert "Cancelled" in job.summary()
    assert "Cost" in job.summary()


KEPT = {
    "STAGE_EXIT": "7",
    "INPUT_KEEP_ON_FAILURE": "10",
    "INPUT_SSH_PUBLIC_KEY": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFDYWOCYXsx/YEGKrwzFq1h/QsJXCohAlanozKzQ9lRc anna",
}


def test_post_leaves_a_machine_that_is_kept_and_says_so_at_once(job: Job) -> None:
    code, said = job.run("/entrypoint", **KEPT)
    assert code == 7, said
    assert len(job.alive()) == 1
    assert job.outputs()["released"].startswith("kept until 2")
    assert job.outputs()["ssh_command"] == "ssh ubuntu@10.0.0.0"
    assert "[!NOTE]" in job.summary() and "may still be running" not in job.summary()
    before = job.steps()
    code, said = job.run("/post-entrypoint", **KEPT)
    assert (code, job.steps()) == (0, before), "no cloud is asked"
    assert "kept until 2" in said and len(said.splitlines()) == 1
    assert len(job.alive()) == 1


SHARED = {"INPUT_REUSE": "trainer", "INPUT_REUSE_KEY": "0123456789abcdef" * 2, "INPUT_IDLE": "20m"}


def another_runner(job: Job, run: str) -> dict[str, str]:
    """Return the variables of a later run, on a runner with an empty home folder."""
    home = job.folder / f"home-{run}"
    shutil.copytree(job.folder / "home/.aws", home / ".aws")
    return {**SHARED, "HOME": str(home), "GITHUB_RUN_ID": run}


def test_the_machine_of_a_key_waits_for_a_run_on_another_runner_and_both_posts_leave_it(job: Job) -> None:
    code, said = job.run("/entrypoint", **SHARED)
    assert code == 0, said
    (machine,) = job.alive()
    assert job.outputs()["released"].startswith("kept until 2")
    assert job.run("/post-entrypoint", **SHARED)[0] == 0 and job.alive() == [machine]
    later = another_runner(job, "123456790")
    code, said = job.run("/entrypoint", **later)
    assert code == 0 and "use 2 of machine" in said, said
    assert job.run("/post-entrypoint", **later)[0] == 0 and job.alive() == [machine]
    shown = [line for line in said.splitlines() if SHARED["INPUT_REUSE_KEY"] in line]
    assert all(line.startswith("::add-mask::") for line in shown)
    files = [file for file in job.folder.rglob("*") if file.is_file()]
    assert not [file for file in files if SHARED["INPUT_REUSE_KEY"].encode() in file.read_bytes()]


def test_post_of_a_run_that_entered_another_run_s_machine_ends_that_machine(job: Job) -> None:
    job.run("/entrypoint", **SHARED)
    later = another_runner(job, "123456790")
    main = job.start("/entrypoint", STAGE_HANG="follow", **later)
    while job.steps().count("follow") < 2:
        time.sleep(0.02)
    main.kill()
    main.communicate()
    assert len(job.alive()) == 1
    code, said = job.run("/post-entrypoint", **later)
    assert (code, job.alive()) == (0, []), said


def test_post_leaves_a_machine_that_a_killed_main_has_already_let_wait(job: Job) -> None:
    """Another run may have entered it since."""
    main = job.start("/entrypoint", STAGE_HANG="unpack", **SHARED)
    while "unpack" not in job.steps():
        time.sleep(0.02)
    main.kill()
    main.communicate()
    assert len(job.alive()) == 1
    code, said = job.run("/post-entrypoint", **SHARED)
    assert code == 0 and len(job.alive()) == 1, said
    assert job.outputs()["released"].startswith("kept until 2")


def killed_at(job: Job, step: str, **environ: str) -> None:
    """Kill the next main at a step."""
    before = job.steps().count(step)
    main = job.start("/entrypoint", STAGE_HANG=step, **environ)
    while job.steps().count(step) == before:
        time.sleep(0.02)
    main.kill()
    main.communicate()


def test_post_leaves_a_machine_to_the_run_that_entered_it_also_after_the_wait_of_its_own_run(job: Job) -> None:
    """The record of this run knows nothing of the other one. Only the provider's labels do."""
    killed_at(job, "unpack", **SHARED)
    killed_at(job, "follow", **another_runner(job, "123456790"))
    for file in (job.folder / "home").rglob("cvl-*.json"):
        if '"deadline"' in (text := file.read_text()):
            file.write_text(json.dumps({**json.loads(text), "deadline": time.time() - 60}))
    code, said = job.run("/post-entrypoint", **SHARED)
    assert code == 0 and len(job.alive()) == 1, said
    assert job.outputs()["released"].startswith("kept until 2")


def test_post_ends_a_machine_that_main_began_to_let_wait_and_whose_label_lets_nobody_in(job: Job) -> None:
    killed_at(job, "keep", **SHARED)
    assert len(job.alive()) == 1
    code, said = job.run("/post-entrypoint", **SHARED)
    assert (code, job.alive()) == (0, []), said


def test_post_without_an_answer_neither_ends_a_waiting_machine_nor_tells_that_it_waits(job: Job) -> None:
    killed_at(job, "unpack", **SHARED)
    code, said = job.run("/post-entrypoint", STAGE_SILENT="", **SHARED)
    assert code == 79 and len(job.alive()) == 1, said
    assert "So post does not end it" in said and job.outputs()["released"] == "false"


def test_a_fork_that_may_run_shares_no_machine(job: Job) -> None:
    fork = {**SHARED, "GITHUB_EVENT_NAME": "pull_request", "INPUT_FORK": "run", **a_fork(job, "pull_request")}
    code, said = job.run("/entrypoint", **fork)
    assert code == 0 and "a machine of its own" in said, said
    assert job.alive() == []


def test_a_reviewed_commit_of_a_fork_shares_no_machine_whatever_the_event(job: Job) -> None:
    """The event of a comment does not say that the commit is of a fork."""
    code, said = job.run("/entrypoint", **SHARED, INPUT_ALLOW_FORK_SHA="a" * 40)
    assert code == 0 and "a machine of its own" in said, said
    assert job.alive() == []


def test_a_workflow_without_the_secret_of_its_key_is_refused(job: Job) -> None:
    code, said = job.run("/entrypoint", INPUT_REUSE="trainer")
    assert code == 64 and "needs reuse_key" in said and job.alive() == []


def test_a_main_killed_while_it_keeps_a_machine_leaves_it_to_post_which_ends_it(job: Job) -> None:
    """Nobody was told how to get in, so nobody will come."""
    process = job.start("/entrypoint", STAGE_HANG="keep", **KEPT)
    deadline = time.monotonic() + 30
    while "keep" not in job.steps() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=60)
    assert len(job.alive()) == 1
    code, said = job.run("/post-entrypoint", **KEPT)
    assert (code, job.alive()) == (0, []), said


def test_in_a_workflow_a_machine_is_kept_for_somebody_with_a_key_only(job: Job) -> None:
    code, said = job.run("/entrypoint", **{**KEPT, "INPUT_SSH_PUBLIC_KEY": ""})
    assert code == 64
    assert "keep_on_failure" in said and "give ssh_public_key" in said
    assert job.steps() == []


def test_a_main_cancelled_before_its_lease_is_told_by_post_and_no_cloud_is_asked(job: Job) -> None:
    process = job.hung_at("warm")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    code, said = job.run("/post-entrypoint")
    assert code == 0, said
    assert "the run requested none" in job.summary()
    assert "Cancelled" in job.summary()
    assert job.steps() == ["warm"]


def test_a_killed_main_leaves_its_machine_to_post(job: Job) -> None:
    process = job.hung_at("follow")
    process.kill()
    process.communicate(timeout=60)
    assert len(job.alive()) == 1
    code, said = job.run("/post-entrypoint")
    assert (code, job.alive()) == (0, []), said


def test_post_finds_the_machine_by_its_name_when_home_and_state_are_lost(job: Job) -> None:
    process = job.hung_at("follow")
    process.kill()
    process.communicate(timeout=60)
    code, said = job.run("/post-entrypoint", HOME=str(job.folder / "another"))
    assert (code, job.alive()) == (0, []), said
    assert "post looked for the lease cvl-" in said and "The leases of other legs" in said


def test_post_finds_the_machine_when_home_is_lost_and_github_has_the_state(job: Job) -> None:
    """A runner hands the state over from GITHUB_STATE: it says that a provider was asked, and no record says where."""
    process = job.hung_at("follow")
    process.kill()
    process.communicate(timeout=60)
    left = read_file(Path(job.environment["GITHUB_STATE"]).read_text(encoding="utf-8"))["step_state"]
    code, said = job.run("/post-entrypoint", HOME=str(job.folder / "another"), STATE_step_state=left)
    assert (code, job.alive()) == (0, []), said


def test_post_asks_the_sandbox_as_well_when_all_state_is_lost(job: Job) -> None:
    process = job.hung_at("follow")
    process.kill()
    process.communicate(timeout=60)
    code, said = job.run("/post-entrypoint", HOME=str(job.folder / "another"), INPUT_CLOUD="sandbox")
    assert (code, job.alive()) == (0, []), said
    assert "gone, proved at" in said


def test_post_finds_the_machine_though_its_inputs_are_not_main_s(job: Job) -> None:
    process = job.hung_at("follow")
    process.kill()
    process.communicate(timeout=60)
    inputs = {name: "" for name in job.environment if name.startswith("INPUT_")}
    code, said = job.run("/post-entrypoint", **inputs)
    assert (code, job.alive()) == (0, []), said


def test_post_ends_the_machine_of_its_own_leg_and_leaves_another_leg_in_the_same_home_alone(job: Job) -> None:
    killed = job.hung_at("follow")
    (machine,) = job.alive()
    other = job.start("/entrypoint", STAGE_HANG="follow", INPUT_LEG='{"gpu": "A10G"}')
    deadline = time.monotonic() + 30
    while job.steps().count("follow") < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.kill()
    killed.communicate(timeout=60)
    code, said = job.run("/post-entrypoint")
    assert code == 0, said
    (left,) = job.alive()
    assert left != machine and other.poll() is None
    other.kill()
    other.communicate(timeout=60)


def test_post_of_a_killed_leg_is_not_told_by_another_leg_that_all_is_done(job: Job) -> None:
    killed = job.hung_at("follow")
    code, said = job.run("/entrypoint", INPUT_LEG='{"gpu": "A10G"}')
    assert code == 0, said
    killed.kill()
    killed.communicate(timeout=60)
    code, said = job.run("/post-entrypoint")
    assert (code, job.alive()) == (0, []), said


def test_post_that_gets_no_answer_says_that_a_machine_may_run_and_fails(job: Job) -> None:
    process = job.hung_at("follow")
    process.kill()
    process.communicate(timeout=60)
    code, said = job.run("/post-entrypoint", STAGE_SILENT="1")
    assert code == 79
    assert "A MACHINE MAY STILL BE RUNNING" in said
    assert "[!CAUTION]" in job.summary()


def test_post_asks_again_when_main_had_no_proof_and_tells_how_it_had_ended(job: Job) -> None:
    code, _ = job.run("/entrypoint", STAGE_SILENT="1")
    assert code == 79
    code, _ = job.run("/post-entrypoint")
    assert code == 0
    assert job.alive() == []
    first, last = job.summary().split("### ")[1:]
    assert "[!CAUTION]" in first
    assert "Succeeded" in last
    assert "gone, proved at" in last


def test_post_never_launches_whatever_the_state_says(job: Job) -> None:
    job.run("/post-entrypoint", STATE_isPost="", STATE_step_state="nonsense")
    assert "launch" not in job.steps()


def test_another_name_is_no_phase(job: Job) -> None:
    code, said = job.run("/bin/sh")
    assert code == 64
    assert "not a phase" in said
    assert job.steps() == []


def test_every_mistake_is_an_annotation_and_post_has_nothing_to_do(job: Job) -> None:
    wrong = {"INPUT_MAX_COST": "much", "INPUT_NUM_NODES": "-1", "INPUT_MAX_COTS": "1", "INPUT_VERB": "rum"}
    code, said = job.run("/entrypoint", **wrong, INPUT_RETENTION_DAYS="week")
    assert code == 64
    [error] = Runner().read(said).commands("error")
    assert "max_cost" in error
    assert "num_nodes" in error
    assert "max_cots" in error
    assert "retention_days" in error
    MESSAGES.check("a wrong verb", golden.line(error, "'rum'"))
    assert job.run("/post-entrypoint") == (0, "")


def test_a_plan_asks_no_cloud(job: Job) -> None:
    code, said = job.run("/entrypoint", INPUT_VERB="plan")
    assert code == 0, said
    assert "an hour" in said
    assert job.steps() == []
    assert job.run("/post-entrypoint") == (0, "")


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_month_without_money_left_starts_nothing_and_post_has_nothing_to_do(job: Job, verb: str) -> None:
    """The budget of the repository is less than one run may cost, whatever the history says."""
    (job.workspace / "cvl-ci.yml").write_text("monthly_budget: 0.01\n")
    checked_out(job)
    remote = job.folder / "remote.git"
    for words in (
        ["init", "--quiet", "--bare", str(remote)],
        ["-C", str(job.workspace), "remote", "add", "origin", str(remote)],
    ):
        subprocess.run(["git", *words], check=True)
    code, said = job.run("/entrypoint", INPUT_VERB=verb)
    assert code == 78, said
    [error] = Runner().read(said).commands("error")
    assert "monthly_budget leaves $0.01" in error
    assert job.steps() == []
    assert job.alive() == []
    assert job.run("/post-entrypoint")[0] == 0


@pytest.mark.parametrize(("name", "value"), [("INPUT_VERB", "sweep"), ("INPUT_COMMENT", "sometimes")])
def test_a_word_that_is_no_choice_starts_nothing(job: Job, name: str, value: str) -> None:
    code, said = job.run("/entrypoint", **{name: value})
    assert code == 64
    assert value in said
    assert job.steps() == []


def test_legs_steps_and_attempts_never_share_a_lease(job: Job) -> None:
    from cvl_ci.action.step import Step

    changes = [{}, {"INPUT_LEG": '{"gpu": "T4"}'}, {"GITHUB_ACTION": "__self_2"}, {"GITHUB_RUN_ATTEMPT": "2"}]
    changes += [{"GITHUB_JOB": "other"}, {"GITHUB_RUN_ID": "1"}, {"GITHUB_REPOSITORY": "cvl/other"}]
    files = {"GITHUB_STATE": ""}
    names = {Step({**job.environment, **files, **change}).owner.name for change in changes}
    assert len(names) == len(changes)


def checked_out(job: Job) -> str:
    """The workspace as a repository: its commit."""
    who = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"]
    git = ["git", "-C", str(job.workspace), *who]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "x"]):
        subprocess.run([*git, *words], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def a_fork(job: Job, name: str, *, sha: str = "a" * 40) -> dict[str, str]:
    pull = {"number": 5, "head": {"sha": sha, "repo": {"full_name": "mallory/ci"}}}
    path = job.folder / "event.json"
    path.write_text(json.dumps({"pull_request": {**pull, "base": {"repo": {"full_name": "cvl/ci"}}}}))
    return {"GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(path)}


def test_a_fork_gets_its_plan_and_asks_no_cloud(job: Job) -> None:
    code, said = job.run("/entrypoint", **a_fork(job, "pull_request"))
    assert code == 0, said
    assert "from a fork" in Runner().read(said).commands("notice")[0]
    assert "an hour" in said
    assert "Skipped" in job.summary()
    assert job.outputs()["ending"] == "skipped"
    assert job.steps() == []
    assert job.run("/post-entrypoint", **a_fork(job, "pull_request")) == (0, "")
    [left] = [json.loads(path.read_text()) for path in job.workspace.rglob("cvl-*.json")]
    assert (left["schema"], left["ending"], left["exit_code"]) == (1, "never_started", 77), "its report says why"
    assert "from a fork" in left["reason"]


def test_a_fork_s_code_meets_our_secrets_only_as_the_reviewed_commit(job: Job) -> None:
    sha = checked_out(job)
    fork = a_fork(job, "pull_request_target", sha=sha)
    code, said = job.run("/entrypoint", **fork, INPUT_ALLOW_FORK_SHA="b" * 40)
    assert (code, job.steps()) == (77, []), said
    assert "moved" in said
    other = a_fork(job, "pull_request_target")
    code, said = job.run("/entrypoint", **other, INPUT_ALLOW_FORK_SHA="a" * 40)
    assert (code, job.steps()) == (77, []), said
    assert f"{sha} is checked out" in said
    fork = a_fork(job, "pull_request_target", sha=sha)
    assert job.run("/entrypoint", **fork, INPUT_ALLOW_FORK_SHA=sha)[0] == 0
    assert "launch" in job.steps()


def test_a_comment_runs_what_its_workflow_was_started_for_if_a_member_wrote_it(job: Job) -> None:
    sha = checked_out(job)
    path = job.folder / "event.json"
    commented = {"GITHUB_EVENT_NAME": "issue_comment", "GITHUB_EVENT_PATH": str(path), "GITHUB_SHA": sha}
    for who, wanted in (("NONE", 77), ("MEMBER", 0)):
        path.write_text(json.dumps({"issue": {"number": 5}, "comment": {"author_association": who}}))
        code, said = job.run("/entrypoint", **commented)
        assert code == wanted, said
        assert ("launch" in job.steps()) is (wanted == 0)


@pytest.mark.parametrize("patched", ["train.py", "sitecustomize.py", "task.yaml"])
@pytest.mark.parametrize("reviewed", [True, False])
def test_a_patch_over_a_known_commit_meets_no_secret(job: Job, patched: str, reviewed: bool) -> None:
    """With GitHub's own trigger for it: `issue_comment`, checkout, `git apply`."""
    sha = checked_out(job)
    path = job.folder / "event.json"
    path.write_text(json.dumps({"issue": {"number": 5}, "comment": {"author_association": "MEMBER"}}))
    asked = {"GITHUB_EVENT_NAME": "issue_comment", "GITHUB_EVENT_PATH": str(path), "GITHUB_SHA": sha}
    if reviewed:
        asked = {**a_fork(job, "pull_request_target", sha=sha), "INPUT_ALLOW_FORK_SHA": sha}
    if patched == "task.yaml":
        asked |= {"INPUT_COMMAND": "", "INPUT_TASK": "task.yaml"}
    (job.workspace / patched).write_text("run: curl https://mallory.example")
    code, printed = job.run("/entrypoint", **asked)
    assert (code, job.steps()) == (77, []), printed
    assert patched in job.outputs()["reason"]
    assert "known commit only" in job.outputs()["reason"]


def test_a_fork_that_runs_on_the_sandbox_is_told_so(job: Job) -> None:
    code, said = job.run("/entrypoint", **a_fork(job, "pull_request"), INPUT_FORK="sandbox")
    assert code == 0, said
    assert "runs on the sandbox" in Runner().read(said).commands("notice")[0]


def test_dependabot_s_run_spends_what_was_given_to_it_and_plans_else(job: Job) -> None:
    mine = {"number": 5, "head": {"repo": {"full_name": "cvl/ci"}}, "base": {"repo": {"full_name": "cvl/ci"}}}
    path = job.folder / "event.json"
    path.write_text(json.dumps({"pull_request": mine}))
    dependabot = {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(path)}
    dependabot["GITHUB_ACTOR"] = "dependabot[bot]"
    (job.folder / "home/.aws/credentials").unlink()
    code, said = job.run("/entrypoint", **dependabot)
    assert (code, job.steps()) == (0, []), said
    assert "from Dependabot" in said
    keys = {"INPUT_AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "INPUT_AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI0123"}
    code, said = job.run("/entrypoint", **dependabot, **keys)
    assert code == 0, said
    assert "launch" in job.steps()


def test_what_skypilot_calls_looks_for_modules_where_we_do_not_either() -> None:
    """A workflow's PYTHONPATH leads into its checkout, and a pull request may add a yaml.py there."""
    program = "from cvl_ci.wiring import clouds; print(*clouds._for_skypilot({'PYTHONPATH': '.', 'LANG': 'C'}, 'u'))"
    for isolated, expected in (((), True), (("-I",), False)):
        said = subprocess.run([sys.executable, *isolated, "-c", program], capture_output=True, text=True, check=True)
        assert ("PYTHONPATH" in said.stdout.split()) is expected
        assert "LANG" in said.stdout.split()


# ---- a sweep ---------------------------------------------------------------------------------------------------------


def left_behind(job: Job, *, ends_in: float) -> str:
    owner = Owner(repository="cvl/ci", run="100")
    labels = owner.labels(deadline=time.time() + ends_in)
    (job.machines / "i-0").write_text(f"{owner.name}\n{json.dumps(labels)}")
    return owner.name


def test_a_sweep_ends_what_is_past_its_deadline_and_turns_the_step_red(job: Job) -> None:
    lease = left_behind(job, ends_in=-3600)
    code, said = job.run("/entrypoint", INPUT_VERB="reap")
    assert code == 1, said
    assert job.alive() == []
    MESSAGES.check("a sweep", golden.line(said, "::error::").partition("%0A")[0])
    assert lease in job.summary()
    assert job.outputs()["ending"] == "leftovers_removed"
    assert job.outputs()["released"] == "true"
    assert job.run("/post-entrypoint", INPUT_VERB="reap") == (0, "")


def test_a_dry_sweep_ends_nothing(job: Job) -> None:
    left_behind(job, ends_in=-3600)
    code, said = job.run("/entrypoint", INPUT_VERB="reap", INPUT_DRY_RUN="true")
    assert code == 1, said
    assert job.alive() == ["i-0"]
    assert job.outputs()["ending"] == "leftovers_found"


def test_a_sweep_leaves_the_living_alone_and_is_green(job: Job) -> None:
    left_behind(job, ends_in=3600)
    code, said = job.run("/entrypoint", INPUT_VERB="reap")
    assert code == 0, said
    assert job.alive() == ["i-0"]
    assert job.outputs()["ending"] == "nothing_left"
    assert "1 lease still in use and untouched" in said


def test_a_sweep_that_gets_no_answer_is_as_loud_as_a_release_that_does_not(job: Job) -> None:
    code, said = job.run("/entrypoint", INPUT_VERB="reap", STAGE_SILENT="1")
    assert code == 79, said
    assert job.outputs()["ending"] == "not_proved_gone"


def test_what_is_wrong_with_a_sweep_s_inputs_is_told_before_a_cloud_is_asked(job: Job) -> None:
    code, said = job.run("/entrypoint", INPUT_VERB="reap", INPUT_GRACE="soon", INPUT_CLOUD="aws/us-esat-1")
    assert code == 64, said
    assert "us-east-1" in said
    assert "grace" in said
    assert "still is, and is billed" in said
    assert "nothing is billed" not in said
    code, said = job.run("/entrypoint", INPUT_VERB="reap", INPUT_DRY_RUN="perhaps")
    assert code == 64, said
    left_behind(job, ends_in=-3600)
    code, said = job.run("/entrypoint", INPUT_VERB="reap", INPUT_DRY_RUM="true")
    assert (code, job.alive()) == (64, ["i-0"]), "a mistyped dry run is none, and may end nothing"
