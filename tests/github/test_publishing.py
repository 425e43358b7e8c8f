"""What becomes of a run's files: main and post as processes, and what the official client finds of them afterwards."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cvl_ci.result.benchmark import leg_file
from cvl_ci.result.matrix.failures import Failure, failure
from tests.action.test_main import Job
from tests.github.runner import Runner
from tests.peers import node
from tests.peers.results import Results

SECRET = "hf_0123456789abcdef"
pytestmark = [pytest.mark.peers, pytest.mark.timeout(180)]


@pytest.fixture
def job(tmp_path: Path, service: Results) -> Job:
    job = Job(tmp_path)
    job.environment |= service.environ
    job.environment["GITHUB_JOB"] = "train"
    return job


def names(service: Results) -> list[str]:
    return [item.name for item in service.artifacts.values() if item.size is not None]


def downloaded(service: Results, name: str, into: Path) -> dict[str, bytes]:
    results = node.run("download.mjs", name, into, environ=service.environ)
    assert results["digestMismatch"] is False
    return {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()}


def until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_run_s_files_log_and_cost_are_there_after_machine_and_runner(
    job: Job, service: Results, tmp_path: Path
) -> None:
    code, output = job.run("/entrypoint", INPUT_RETENTION_DAYS="7", GITHUB_SHA="c" * 40, INPUT_CHECK_RUN="51725241954")
    assert code == 0, output
    assert names(service) == [f"cvl-train-L4-attempt2{end}" for end in ("-cost", "-log", "")]
    fetched = downloaded(service, "cvl-train-L4-attempt2", tmp_path / "outputs")
    assert fetched == {"metrics.json": b'{"accuracy": 0.9}'}
    kept = downloaded(service, "cvl-train-L4-attempt2-log", tmp_path / "log")
    [log] = [text for name, text in kept.items() if name.endswith(".log")]
    assert b"epoch 1\n::set-output name=ending::mine\n##[error]mine\n" in log
    [text] = downloaded(service, "cvl-train-L4-attempt2-cost", tmp_path / "cost").values()
    cost = json.loads(text)
    assert (cost["schema"], cost["ending"], cost["leg"], cost["released"]["gone"]) == (1, "succeeded", "gpu: L4", True)
    assert cost["commit"] == "c" * 40
    assert (cost["example"], cost["title"]) == ("", "python train.py")
    assert cost["run_url"] == "https://github.com/cvl/examples/actions/runs/77/attempts/2"
    assert (cost["job"], cost["check_run"]) == ("train (L4)", "51725241954")
    assert all(item.expires_at for item in service.artifacts.values())


def test_later_steps_and_the_page_point_to_the_artifact(job: Job, service: Results) -> None:
    job.run("/entrypoint")
    outputs = service.artifacts["cvl-train-L4-attempt2"]
    url = f"https://github.com/cvl/examples/actions/runs/77/artifacts/{outputs.number}"
    assert (job.outputs()["artifact_id"], job.outputs()["artifact_url"]) == (str(outputs.number), url)
    assert f"- [`cvl-train-L4-attempt2`]({url})" in job.summary()
    assert job.run("/post-entrypoint") == (0, "")


@pytest.mark.parametrize(
    "output",
    [
        SECRET,
        f"https://user:{SECRET}@example.com",
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"user:{SECRET}".encode()).decode(),
    ],
    ids=["plain", "in a URL", "base64", "base64 of a header"],
)
def test_a_secret_that_the_job_prints_is_in_no_artifact(
    job: Job, service: Results, tmp_path: Path, output: str
) -> None:
    assert job.run("/entrypoint", STAGE_LINES=f"Authorization: {output}")[0] == 0
    hidden = {SECRET.encode(), *(base64.b64encode(b"\0" * shift + SECRET.encode())[4:-4] for shift in range(3))}
    for name in names(service):
        for path, text in downloaded(service, name, tmp_path / name).items():
            assert not [form for form in hidden if form in text], path
    log = next((tmp_path / "cvl-train-L4-attempt2-log").glob("*.log"))
    assert "Authorization: " in log.read_text()
    assert "***" in log.read_text()


def test_an_upload_that_fails_makes_no_green_run_red_and_hides_no_red_one(job: Job, service: Results) -> None:
    for code in (0, 7):
        service.faults.troubled = 1_000
        end, text = job.run("/entrypoint", STAGE_EXIT=str(code), GITHUB_ACTION=f"step{code}")
        assert end == code, text
        warnings = Runner().read(text).commands("warning")
        [warning] = [item for item in warnings if "could not be uploaded" in item]
        assert "cvl-outputs" in warning
    service.faults.troubled = 0


def test_a_used_up_quota_is_said_once_and_the_run_is_green(job: Job, service: Results) -> None:
    service.faults.quota = True
    code, text = job.run("/entrypoint")
    assert code == 0
    assert text.count("used up") == 1


def test_two_legs_and_two_attempts_never_take_each_other_s_place(job: Job, service: Results) -> None:
    for leg in ("L4", "T4"):
        for attempt in ("1", "2"):
            changed = {"INPUT_LEG": json.dumps({"gpu": leg}), "GITHUB_RUN_ATTEMPT": attempt}
            assert job.run("/entrypoint", **changed, INPUT_ARTIFACT_NAME="digits")[0] == 0
    stems = ["digits-L4", "digits-L4-attempt2", "digits-T4", "digits-T4-attempt2"]
    assert sorted(names(service)) == sorted([*stems, *(f"{stem}-{kind}" for stem in stems for kind in ("log", "cost"))])


def test_a_cancelled_run_s_log_and_cost_are_uploaded_by_post(job: Job, service: Results, tmp_path: Path) -> None:
    process = job.hung_at("ran")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert names(service) == []
    code, output = job.run("/post-entrypoint")
    assert (code, job.alive()) == (0, []), output
    assert sorted(names(service)) == ["cvl-train-L4-attempt2-cost", "cvl-train-L4-attempt2-log"]
    kept = downloaded(service, "cvl-train-L4-attempt2-log", tmp_path / "log")
    [text] = downloaded(service, "cvl-train-L4-attempt2-cost", tmp_path / "cost").values()
    cost = json.loads(text)
    assert cost["ending"] == "cancelled"
    assert cost["cost_usd"] > 0
    assert any(b"epoch 1" in text for name, text in kept.items() if name.endswith(".log"))


def test_the_machine_is_gone_before_post_uploads_anything(job: Job, service: Results) -> None:
    process = job.hung_at("ran")
    process.kill()
    process.communicate(timeout=60)
    service.faults.stuck_after = 0
    post = job.start("/post-entrypoint")
    until(lambda: blocks(service) == 1)
    assert job.alive() == []
    post.kill()
    post.communicate(timeout=60)
    service.unstuck.set()


def test_post_finishes_what_a_killed_main_was_uploading_and_does_nothing_twice(
    job: Job, service: Results, tmp_path: Path
) -> None:
    service.faults.stuck_after = 2
    process = job.start("/entrypoint")
    until(lambda: blocks(service) == 3)
    process.kill()
    process.communicate(timeout=60)
    service.unstuck.set()
    assert names(service) == ["cvl-train-L4-attempt2-cost", "cvl-train-L4-attempt2-log"]
    code, text = job.run("/post-entrypoint")
    assert code == 0, text
    assert names(service) == [f"cvl-train-L4-attempt2{end}" for end in ("-cost", "-log", "-2")]
    assert downloaded(service, "cvl-train-L4-attempt2-2", tmp_path / "back") == {"metrics.json": b'{"accuracy": 0.9}'}
    assert "Succeeded" in job.summary()
    assert "- [`cvl-train-L4-attempt2-log`](" in job.summary()


def test_post_tells_the_cost_again_when_it_proved_what_main_could_not(
    job: Job, service: Results, tmp_path: Path
) -> None:
    assert job.run("/entrypoint", STAGE_SILENT="1")[0] == 79
    assert job.run("/post-entrypoint")[0] == 0
    assert names(service) == [f"cvl-train-L4-attempt2{end}" for end in ("-cost", "-log", "", "-cost-2")]
    costs = [
        json.loads(text)
        for name in ("cvl-train-L4-attempt2-cost", "cvl-train-L4-attempt2-cost-2")
        for path, text in downloaded(service, name, tmp_path / name).items()
        if path.endswith(".json")
    ]
    assert [cost["released"]["gone"] for cost in costs] == [False, True]
    assert costs[0]["cluster"] == costs[1]["cluster"]


def test_a_leg_that_was_refused_leaves_its_cost_and_why_for_the_report(
    job: Job, service: Results, tmp_path: Path
) -> None:
    assert job.run("/entrypoint", INPUT_MAX_COST="0.0001")[0] == 78
    assert names(service) == ["cvl-train-L4-attempt2-cost"]
    [text] = downloaded(service, "cvl-train-L4-attempt2-cost", tmp_path / "cost").values()
    leg = leg_file.read(text)
    assert (leg.name, leg.machines.is_gone, failure(leg)) == ("gpu: L4", True, Failure.BUDGET)
    assert job.run("/post-entrypoint") == (0, "")


def blocks(service: Results) -> int:
    return sum(item.startswith("PUT block ") for item in service.seen)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away, as the action does in its container")
def test_a_link_that_a_checkout_left_in_our_place_leads_nobody_out(job: Job, service: Results, tmp_path: Path) -> None:
    os.chown(job.workspace, 1001, 1001)
    private = job.folder / "private"
    private.mkdir()
    (private / "key").write_text("-----BEGIN")
    (job.workspace / "cvl-outputs").symlink_to(private)
    job.run("/entrypoint")
    for name in names(service):
        assert not any(b"BEGIN" in text for text in downloaded(service, name, tmp_path / name).values())
    assert (private / "key").stat().st_uid == 0
