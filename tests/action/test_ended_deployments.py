"""The deployments of a service that its own step ends: all of the environment after a close, else its own one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from cvl_ci.action import deploy_verb, main
from cvl_ci.action.deploy_request import ServicePlaces
from cvl_ci.action.publication import StepPublication
from cvl_ci.action.shown_deployment import ShownDeployment
from cvl_ci.action.state import StepState
from cvl_ci.action.step import Step
from cvl_ci.commands.deploy.rollout import Rollout
from cvl_ci.model.service import ServiceResult
from tests import golden
from tests.action.test_step import api, environment
from tests.github.api import Api
from tests.result.outcomes import GONE, SUCCEEDED

MESSAGES = golden.Messages(__name__)

__all__ = ["api", "environment"]

SERVICE = ServiceResult(url="http://203.0.113.7:8080", ready_seconds=60.0)


@pytest.fixture
def step(api: Api, environment: dict[str, str]) -> Iterator[Step]:
    """A step that began a deployment, after an older one, which succeeded."""
    step = Step(environment | {"INPUT_VERB": "deploy"})
    step.owner = replace(step.owner, environment="pr-5")
    shown = ShownDeployment(step, "pr-5")
    shown.begin("hello serve")
    shown.end_of(replace(SUCCEEDED, machines=replace(SUCCEEDED.machines, service=SERVICE)))
    shown.begin("hello serve")
    yield step
    step.reporter.close()


def states(api: Api) -> list[str]:
    return [api.store.states(number)[-1] for number in sorted(api.store.deployments)]


@pytest.mark.parametrize(("is_closed", "older"), [(True, "inactive"), (False, "success")])
def test_a_service_that_its_own_rollout_ended_is_inactive(api: Api, step: Step, is_closed: bool, older: str) -> None:
    rolled = Rollout(skipped="It was first.", is_closed=is_closed)
    shown = ShownDeployment(step, "pr-5")
    places = ServicePlaces(locations=())
    assert deploy_verb._skipped(rolled, step.owner, step, StepPublication(step), shown, places=places) == 0
    assert states(api) == [older, "inactive"]


@pytest.mark.parametrize(
    ("leases", "kept_until", "expected"),
    [
        (("cvl-7-aaaaaaaa", "cvl-6-aaaaaaaa"), "", ["inactive", "inactive"]),
        (("cvl-7-aaaaaaaa",), "2026-11-29T18:00:00Z", ["success", "inactive"]),
        (("cvl-6-aaaaaaaa",), "2026-11-29T18:00:00Z", ["inactive", "success"]),
    ],
    ids=["closed", "a later run", "older ones"],
)
def test_post_shows_the_end_of_what_it_ended(  # noqa: PLR0917
    api: Api,
    step: Step,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    leases: tuple[str, ...],
    kept_until: str,
    expected: list[str],
) -> None:
    monkeypatch.setattr("cvl_ci.action.release.releases_of", lambda names, *_: dict.fromkeys(names, GONE))
    if expected[1] == "success":
        service = replace(SUCCEEDED, machines=replace(SUCCEEDED.machines, service=SERVICE))
        ShownDeployment(step, "pr-5").end_of(service)
    saved = StepState(
        lease="cvl-7-aaaaaaaa", leases=leases, kept_until=kept_until, deployment=step.state.now.deployment
    )
    assert deploy_verb.undo(saved, StepPublication(step), step, environment) == 0
    assert states(api) == expected


def test_the_comment_has_the_new_address_before_the_older_service_ends(api: Api, step: Step) -> None:
    outcome = replace(SUCCEEDED, machines=replace(SUCCEEDED.machines, service=SERVICE))
    deploy_verb._announce(outcome, ("cvl-1-00000000",), step, StepPublication(step), 30)
    assert [text for text in map(str, api.comments.values()) if SERVICE.url in text]


def test_a_new_address_of_a_name_is_announced_with_its_dns(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    """The older service ends after the notice: until then the name has to lead to the new address."""
    service = replace(SERVICE, url="https://models.example.com:8080", address="203.0.113.7")
    outcome = replace(SUCCEEDED, machines=replace(SUCCEEDED.machines, service=service))
    notices: list[str] = []
    monkeypatch.setattr(step.reporter, "notice", notices.append)
    deploy_verb._announce(outcome, ("cvl-1-00000000",), step, StepPublication(step), 30)
    [notice] = notices
    MESSAGES.check("a new address", golden.sentence(notice, "Now point"))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (StepState(lease="new"), "takes the machine down"),
        (StepState(lease="new", kept_until="12:00", leases=("new", "old")), "takes the machine down"),
        (StepState(lease="new", kept_until="12:00", leases=("old",)), "The new service stays"),
        (StepState(lease="new", kept_until="12:00", done=True), "The job runs on"),
    ],
)
def test_a_cancelled_step_says_what_post_will_end(state: StepState, words: str) -> None:
    assert words in main._final_notice(state)
