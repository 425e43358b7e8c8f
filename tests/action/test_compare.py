"""A pull request and its base in turns on one machine, asked for in a workflow: the comment has the verdict."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.action import github
from tests.action.conftest import Runner, machines_of
from tests.action.job import RUNNER_UID
from tests.github.api import Api
from tests.support.field import run_git
from tests.support.timing import SLOWER, WORK, timing


@pytest.mark.minutes(3)
def test_a_step_that_compares_is_red_where_its_pull_request_is_slower(
    runner: Runner, api: Api, api_url: str, tmp_path: Path
) -> None:
    job = runner.job()
    repository = timing(tmp_path / "repository")
    (repository / WORK).write_text(SLOWER)
    run_git(repository, "commit", "--all", "--quiet", "--message", "slower")
    shutil.copytree(repository, job.workspace, dirs_exist_ok=True)
    given_to_the_runner(job.workspace)
    (job.folder / "_temp/_github_workflow/event.json").write_text(json.dumps(github.event()))
    job.given = {
        "INPUT_EXAMPLE": "examples/timing",
        "INPUT_CLOUD": "sandbox",
        "INPUT_COMPARE": "HEAD~1",
        "INPUT_FAIL_ON_REGRESSION": "true",
        "INPUT_GITHUB_TOKEN": "secret-token",
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": "/github/workflow/event.json",
        "GITHUB_API_URL": api_url,
    }
    main = job.main()
    assert main.ended() == 1, main.output
    post = job.post()
    assert post.ended() == 0, post.output
    [comment] = api.bodies()
    for told in (comment, main.summary):
        assert "### Worse than its base: `timing train`" in told
        assert re.search(r"`latency_ms \+\d+\.\d % worse \(", told), told
        assert "`accuracy +0.0 % same`" in told
    assert main.wrote("GITHUB_OUTPUT")["exit_code"] == "1"
    [summary] = (job.workspace / "cvl-outputs").glob("*.json")
    check_both_sides(json.loads(summary.read_text()))
    assert (job.workspace / WORK).read_text() == SLOWER, "the working tree is as it was"
    assert machines_of(json.loads(main.wrote("GITHUB_STATE")["step_state"])["lease"]) == []


def check_both_sides(summary: dict[str, Any]) -> None:
    comparison = summary["comparison"]
    assert sorted(comparison["order"]) == sorted(
        f"{side}-{trial}" for side in ("head", "base") for trial in range(1, 6)
    )
    verdicts = {change["metric"]: change["verdict"] for change in comparison["changes"]}
    assert (verdicts["accuracy"], verdicts["latency_ms"]) == ("same", "worse"), comparison
    assert (len(summary["samples"]["latency_ms"]), len(summary["samples"]["time.trial"])) == (5, 5)
    fetched = [f"{side}-{trial}/outputs/metrics.json" for side in ("base", "head") for trial in range(1, 6)]
    assert sorted(each["path"] for each in summary["files"]) == fetched


def given_to_the_runner(folder: Path) -> None:
    """Whose files they are, for a container that is root, is why git refuses a checkout on GitHub."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, RUNNER_UID, RUNNER_UID, follow_symlinks=False)
