"""The deployment on GitHub of one step's service: in progress, a success with its address, a failure, or inactive."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cvl_ci.errors import CvlError

if TYPE_CHECKING:
    from cvl_ci.action.step import Step
    from cvl_ci.github.deployments import ServiceDeployments
    from cvl_ci.model.outcome import Outcome


class ShownDeployment:
    """The deployment on GitHub. It is a picture of the service: a failure is one warning, and decides nothing."""

    def __init__(self, step: Step, environment: str) -> None:
        self._step, self._environment = step, environment
        self._is_over = False
        self._deployments = self._of_step() if step.github_token and step.context.repository else None

    def _of_step(self) -> ServiceDeployments:
        from cvl_ci.github.api import Repository
        from cvl_ci.github.deployments import ServiceDeployments
        from cvl_ci.model.lease_name import pull_request_of

        context = self._step.context
        repository = Repository(api=context.server.api, token=self._step.github_token, name=context.repository)
        is_preview = pull_request_of(self._environment) is not None
        return ServiceDeployments(
            repository, environment=self._environment, is_preview=is_preview, log_url=context.run_url
        )

    def begin(self, title: str) -> None:
        context = self._step.context
        commit = context.event.head_sha or context.event.sha or context.sha

        def ask(deployments: ServiceDeployments) -> None:
            self._step.state.update(deployment=deployments.begin(commit, title))

        self._ask(ask)

    def end_of(self, outcome: Outcome) -> None:
        """Show that the service answers at its address, or that it did not come up. A second call changes nothing."""
        number, service = self._step.state.now.deployment, outcome.machines.service
        if not number or self._is_over:
            return
        self._is_over = True
        if outcome.exit_code == 0 and service is not None:
            self._ask(lambda deployments: deployments.succeed(number, service.url))
        else:
            self.fail(number, outcome.reason)

    def fail(self, number: int, reason: str) -> None:
        text = self._step.masks.hide(reason)
        self._ask(lambda deployments: deployments.fail(number, text))

    def drop(self, number: int) -> None:
        self._ask(lambda deployments: deployments.drop(number, "another run's service took its place"))

    def end(self) -> None:
        self._ask(lambda deployments: deployments.end())

    def _ask(self, ask: Callable[[ServiceDeployments], None]) -> None:
        if self._deployments is None:
            return
        try:
            ask(self._deployments)
        except CvlError as error:
            self._deployments = None
            advice = f" {error.next_step}" if error.next_step else ""
            self._step.reporter.warning(
                f"GitHub does not show the deployment of {self._environment}: {error.what}{advice}\n"
                "The service itself and its end do not depend on it."
            )
