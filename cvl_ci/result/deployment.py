"""The result of a deployment for a program: the result of its run, and what a caller needs."""

from __future__ import annotations

from dataclasses import dataclass, field

from cvl_ci.result.run_result import RunResult


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A deployment. It has a URL only if its service answered. The token is not in its repr."""

    result: RunResult
    token: str = field(repr=False)

    @property
    def name(self) -> str:
        """Return the name of its lease, which `down` takes."""
        return self.result.cluster

    @property
    def url(self) -> str:
        """Return the URL; empty if the service never answered."""
        service = self.result.outcome.machines.service
        return service.url if service is not None and self.result == 0 else ""

    @property
    def until(self) -> float | None:
        """Return the moment at which its machine ends itself, in seconds since the epoch; None: it is gone."""
        release = self.result.release
        return release.kept.until if release is not None and release.kept is not None else None
