"""Show a service as a deployment of its repository: GitHub then links it from the pull request, and lists its end.

Shapes after GitHub's REST API, "Create a deployment" and "Create a deployment status". Each call raises CvlError, which
names the permission. No call decides about a machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvl_ci.errors import CvlError
from cvl_ci.github.api import Repository

WRITE = "deployments: write"
MOST_OLDER = 30
"""The most older deployments of an environment that are set to inactive."""
LONGEST = 140
"""Characters of a description, as GitHub limits a status."""
_OVER = frozenset({"inactive", "failure", "error"})


class ServiceDeployments:
    """The deployments of one environment. `log_url`: the page of the workflow's run."""

    def __init__(self, repository: Repository, *, environment: str, is_preview: bool, log_url: str) -> None:
        self._repository, self._environment = repository, environment
        self._is_preview, self._log_url = is_preview, log_url

    def begin(self, commit: str, description: str) -> int:
        """Create a deployment in progress, and return its number."""
        body = {
            "ref": commit,
            "environment": self._environment,
            "description": description[:LONGEST],
            "auto_merge": False,
            "required_contexts": [],
            "transient_environment": self._is_preview,
            "production_environment": False,
        }
        number = _number(self._repository.send("POST", "/deployments", body, needs=WRITE))
        self._set(number, "in_progress", "cvl-ci starts the service")
        return number

    def succeed(self, number: int, url: str) -> None:
        """Show the service's address, and set the older deployments to inactive."""
        self._set(number, "success", "the service answers", environment_url=url)
        self._end_others(number)

    def fail(self, number: int, reason: str) -> None:
        """Show that the service did not come up. Older deployments stay as they are."""
        self._set(number, "failure", reason)

    def drop(self, number: int, reason: str) -> None:
        """Set one deployment to inactive."""
        self._set(number, "inactive", reason)

    def end(self) -> None:
        """Set all deployments of the environment to inactive."""
        self._end_others(None)

    def _end_others(self, but: int | None) -> None:
        """Set the newest ones to inactive, but leave those that are over."""
        entries = self._repository.list_entries(
            "/deployments", needs=WRITE, most=MOST_OLDER, environment=self._environment
        )
        for number in [number for entry in entries if (number := _number(entry)) != but]:
            if self._state(number) not in _OVER:
                self._set(number, "inactive", "the service was taken down")

    def _state(self, number: int) -> str:
        """Return the latest state; empty without one."""
        path = f"/deployments/{number}/statuses"
        latest = next(self._repository.list_entries(path, needs=WRITE, most=1), None)
        return str(latest.get("state") or "") if latest is not None else ""

    def _set(self, number: int, state: str, description: str, *, environment_url: str = "") -> None:
        body: dict[str, object] = {
            "state": state,
            "description": description[:LONGEST],
            "log_url": self._log_url,
            "auto_inactive": False,
            **({"environment_url": environment_url} if environment_url else {}),
        }
        self._repository.send("POST", f"/deployments/{number}/statuses", body, needs=WRITE)


def _number(entry: Mapping[str, Any] | Any) -> int:
    number = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(number, int) or isinstance(number, bool):
        raise CvlError("GitHub answered with something else than a deployment.", next_step="Run this job again.")
    return number
