"""A service as a deployment of its repository: its states, the older ones, and a token without the permission."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cvl_ci.errors import CvlError
from cvl_ci.github.api import Repository
from cvl_ci.github.deployments import ServiceDeployments
from tests.github.api import URL, WITHOUT_PAUSES, Api

COMMIT = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
SERVICE = "http://203.0.113.7:8080"


@pytest.fixture
def api() -> Iterator[Api]:
    with Api().serving() as api:
        yield api


def deployments(environment: str = "pr-5") -> ServiceDeployments:
    repository = Repository(api=URL, token="secret-token", name="cvl/ci", backoff=WITHOUT_PAUSES)
    return ServiceDeployments(
        repository, environment=environment, is_preview=True, log_url="https://git.example.com/cvl/ci/actions/runs/7"
    )


def test_a_service_is_in_progress_then_answers_and_the_older_one_is_inactive(api: Api) -> None:
    other = api.store.deployment("pr-6")
    first = deployments().begin(COMMIT, "hello serve")
    assert (api.store.deployments[first]["environment"], api.store.deployments[first]["ref"]) == ("pr-5", COMMIT)
    deployments().succeed(first, SERVICE)
    second = deployments().begin("f" * 40, "hello serve")
    deployments().succeed(second, SERVICE)
    assert api.store.states(first) == ["in_progress", "success", "inactive"]
    assert api.store.states(second) == ["in_progress", "success"]
    assert api.store.deployments[second]["statuses"][-1]["environment_url"] == SERVICE
    assert api.store.states(other) == [], "another environment is not touched"


def test_a_failed_service_leaves_the_one_before_active(api: Api) -> None:
    first = deployments().begin(COMMIT, "hello serve")
    deployments().succeed(first, SERVICE)
    second = deployments().begin("f" * 40, "hello serve")
    deployments().fail(second, "The service did not answer. " * 20)
    assert api.store.states(first)[-1] == "success"
    assert api.store.states(second) == ["in_progress", "failure"]


def test_an_end_sets_all_of_the_environment_to_inactive_and_can_be_repeated(api: Api) -> None:
    numbers = [deployments().begin(COMMIT, "hello serve") for _ in range(3)]
    deployments().fail(numbers[1], "no machine")
    deployments().end()
    assert [api.store.states(number)[-1] for number in numbers] == ["inactive", "failure", "inactive"]
    before = len(api.writes())
    deployments().end()
    assert len(api.writes()) == before


def test_an_end_reaches_an_older_one_behind_one_that_is_inactive(api: Api) -> None:
    """A rollout that was closed meanwhile set its own to inactive, while the one before showed a dead address."""
    first = deployments().begin(COMMIT, "hello serve")
    deployments().succeed(first, SERVICE)
    second = deployments().begin("f" * 40, "hello serve")
    deployments().drop(second, "the pull request is closed")
    deployments().end()
    assert [api.store.states(number)[-1] for number in (first, second)] == ["inactive", "inactive"]
    assert api.store.states(second).count("inactive") == 1


def test_a_token_without_the_permission_is_told_its_name(api: Api) -> None:
    api.writable = False
    with pytest.raises(CvlError) as error:
        deployments().begin(COMMIT, "hello serve")
    assert "permissions: {deployments: write}" in error.value.next_step
