"""A step that is cancelled as GitHub's runner cancels it: signals to the docker command, ten seconds, then post."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from tests import golden
from tests.action import github
from tests.action.conftest import Runner, machines_of
from tests.action.job import Job, Step
from tests.e2e.cloud import eventually
from tests.github.api import Api

MESSAGES = golden.Messages(__name__)

SLOW = {"INPUT_EXAMPLE": "examples/tabular/digits_sgd", "INPUT_PRESET": "slow", "INPUT_CLOUD": "sandbox"}


@pytest.fixture
def job(runner: Runner, api_url: str) -> Iterator[Job]:
    job = runner.job()
    (job.folder / "_temp/_github_workflow/event.json").write_text(json.dumps(github.event()))
    job.given = {
        **SLOW,
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": "/github/workflow/event.json",
        "GITHUB_API_URL": api_url,
        "INPUT_GITHUB_TOKEN": "secret-token",
    }
    yield job
    for step in job.steps:
        step.process.kill()
        step.ended()


def test_cancelled_while_it_runs_it_leaves_no_machine_and_tells_the_cost(job: Job, api: Api) -> None:
    main = job.main()
    main.until("second 3 of")
    lease = lease_of(main)
    assert len(machines_of(lease)) == 1
    assert main.cancel() is signal.SIGINT
    assert not main.alive()
    MESSAGES.check("a cancelled step", golden.sentence(main.output.rstrip().splitlines()[-1], "The post step"))
    post = job.post()
    assert post.ended() == 0, post.output
    assert machines_of(lease) == []
    assert "Cancelled" in post.summary
    [comment] = api.bodies()
    assert "Cancelled" in comment
    assert "0 left" in comment
    assert "$0." in comment


def test_cancelled_while_machines_are_asked_for_it_leaves_none_and_tells_the_cost(job: Job, api: Api) -> None:
    main = job.main()
    main.until("lease cvl-")
    lease = lease_of(main)
    assert eventually(lambda: machines_of(lease) != [], within=300), main.output
    assert main.cancel() is signal.SIGINT
    post = job.post()
    assert post.ended() == 0, post.output
    assert machines_of(lease) == []
    [comment] = api.bodies()
    assert "Cancelled" in comment
    assert "0 left" in comment
    assert "$0." in comment


def test_a_main_that_slept_through_its_cancellation_can_launch_nothing_when_it_wakes(job: Job, api: Api) -> None:
    main = job.main()
    main.until("lease cvl-")
    lease = lease_of(main)
    assert eventually(api.bodies)  # and its next word is held back a while: none is on its way
    main.signal_all("STOP")
    assert main.cancel() is signal.SIGKILL
    assert main.alive()
    post = job.post()
    assert post.ended() == 0, post.output
    main.signal_all("CONT")
    assert eventually(lambda: not main.alive(), within=60)
    assert machines_of(lease) == []
    [comment] = api.bodies()
    assert "Cancelled" in comment


def test_a_main_that_goes_on_beside_post_finds_its_door_shut(job: Job, api: Api) -> None:
    """The worst that the runner's cancellation leads to: the docker command is gone, its container heard nothing."""
    main = job.main()
    main.until("lease cvl-")
    lease = lease_of(main)
    main.process.kill()
    post = job.post()
    assert post.ended() == 0, post.output
    assert machines_of(lease) == []
    assert eventually(lambda: not main.alive(), within=120)
    assert machines_of(lease) == []
    [comment] = api.bodies()
    assert "Cancelled" in comment, main.output


def lease_of(step: Step) -> str:
    return str(json.loads(step.wrote("GITHUB_STATE")["step_state"])["lease"])
