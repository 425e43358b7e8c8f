"""The comment of `verb: queue` on a pull request, on GitHub's API as it answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.action import queue_verb
from cvl_ci.action.publication import StepPublication
from cvl_ci.action.step import Step
from cvl_ci.commands.queue.queue_record import QueueRecord
from cvl_ci.model.queue import JobRecord, JobState
from tests.action.test_step import REQUEST
from tests.github.api import URL, Api

DONE = JobRecord(state=JobState.SUCCEEDED, usd=0.25, seconds=60, attempts=1)
BROKEN = JobRecord(state=JobState.FAILED, exit_code=7, reason="The job failed with exit code 7.", attempts=1)
LOST = JobRecord(state=JobState.NOT_RUN, exit_code=75, reason="No machine was free.", attempts=1)


@pytest.fixture
def api() -> Iterator[Api]:
    with Api().serving() as api:
        yield api


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": REQUEST}))
    return {
        "HOME": str(tmp_path),
        "GITHUB_API_URL": URL,
        "GITHUB_SERVER_URL": "https://git.example.com",
        "GITHUB_REPOSITORY": "cvl/ci",
        "GITHUB_RUN_ID": "7",
        "GITHUB_JOB": "train",
        "GITHUB_WORKFLOW": "nightly",
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": str(event),
        "INPUT_GITHUB_TOKEN": "secret-token",
        "INPUT_VERB": "queue",
        "INPUT_QUEUE": "queue.yaml",
    }


def publish(environment: Mapping[str, str], records: Mapping[str, JobRecord]) -> int:
    """Publish the end of a queue as post does, by its record."""
    QueueRecord(queue_verb.OUTPUTS).write(records)
    step = Step(environment)
    return queue_verb.undo(step, StepPublication(step), {}, environment, leases=())


def test_one_comment_has_the_table_and_a_later_queue_changes_it(api: Api, environment: dict[str, str]) -> None:
    publish(environment, {"prepare": DONE, "train": BROKEN})
    (body,) = api.bodies()
    assert "2 jobs: 1 succeeded, 1 failed" in body and "exit code 7" in body
    publish({**environment, "GITHUB_RUN_ID": "8"}, {"prepare": DONE, "train": DONE})
    (body,) = api.bodies()
    assert "2 jobs: 2 succeeded" in body and "exit code 7" not in body


def test_two_queues_of_one_pull_request_have_a_comment_each_by_their_groups(
    api: Api, environment: dict[str, str]
) -> None:
    publish({**environment, "INPUT_COMMENT_GROUP": "nightly"}, {"prepare": DONE})
    publish({**environment, "INPUT_COMMENT_GROUP": "release"}, {"prepare": BROKEN})
    assert len(api.comments) == 2


def test_never_writes_none_and_failure_writes_after_a_failure_alone(api: Api, environment: dict[str, str]) -> None:
    publish({**environment, "INPUT_COMMENT": "never"}, {"train": BROKEN})
    publish({**environment, "INPUT_COMMENT": "failure"}, {"train": DONE})
    assert api.bodies() == []
    publish({**environment, "INPUT_COMMENT": "failure"}, {"train": BROKEN})
    assert "1 failed" in api.bodies()[0]
    publish({**environment, "INPUT_COMMENT": "failure"}, {"train": DONE})
    (body,) = api.bodies()
    assert "1 succeeded" in body, "the older failure is over"


def test_words_of_a_job_stay_in_its_table_and_secrets_are_hidden(api: Api, environment: dict[str, str]) -> None:
    reason = "``` </details><img src=x> @everyone hf_0123456789abcdef\n# head"
    QueueRecord(queue_verb.OUTPUTS).write({"train": replace(BROKEN, reason=reason)})
    step = Step(environment)
    step.reporter.mask("hf_0123456789abcdef")  # as carry_out does, before the first job
    queue_verb.undo(step, StepPublication(step), {}, environment, leases=())
    (body,) = api.bodies()
    assert "hf_0123456789abcdef" not in body
    fence = re.search(r"^(`{3,}|~{3,})\w*$", body, re.MULTILINE)
    assert fence is not None
    inside = body[fence.end() :].split(f"\n{fence[1]}", 1)[0]
    assert "<img" in inside and body.count("<img") == 1, "harmless as code"
    assert not re.search(rf"^{re.escape(fence[1])}", inside, re.MULTILINE)


def test_post_learns_the_secrets_of_all_jobs_again_before_it_tells_a_recorded_reason(
    api: Api, environment: dict[str, str]
) -> None:
    """No name here looks like a secret's: only the queue's file says which value is one."""
    Path("queue.yaml").write_text(
        "jobs:\n"
        "- {id: gone, example: no_such_example, secrets: [HARBOUR]}\n"
        "- {id: train, task: task.yaml, secrets: [LANTERN]}\n"
    )
    Path("task.yaml").write_text("run: 'true'\nenvs: {API_TOKEN: orchard-0123456789}\n")
    values = {"HARBOUR": "harbour-0123456789", "LANTERN": "lantern-0123456789"}
    reason = f"The job failed: {values['HARBOUR']} {values['LANTERN']} orchard-0123456789"
    publish({**environment, **values}, {"train": replace(BROKEN, reason=reason)})
    (body,) = api.bodies()
    assert "The job failed" in body
    assert not re.search(r"(harbour|lantern|orchard)-0123456789", body)


def test_a_comment_that_github_refuses_changes_no_end(api: Api, environment: dict[str, str]) -> None:
    api.writable = False
    assert publish(environment, {"train": DONE}) == 0
    assert api.bodies() == []


def test_infrastructure_alone_is_told_as_not_run(api: Api, environment: dict[str, str]) -> None:
    publish(environment, {"prepare": DONE, "train": LOST})
    (body,) = api.bodies()
    assert "1 not run" in body and "1 failed" not in body
