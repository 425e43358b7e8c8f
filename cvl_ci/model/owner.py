"""The owner of a lease, from which the lease's name and labels follow."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cvl_ci.model.lease_name import (
    LABEL_DEADLINE,
    LABEL_ENVIRONMENT,
    LABEL_LEASE,
    LABEL_OWNER,
    LABEL_RUN,
    format_name,
)


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The owner of a lease. The same facts give the same name, so that a later process can compute it again.

    `run` is unique for a run (a GitHub run id, or a random word on a terminal). `attempt`, `job`, `step` and `leg`
    distinguish leases within it. `environment`: of a service; it is a label, and no part of the name.
    """

    repository: str
    run: str
    attempt: str = "1"
    job: str = ""
    step: str = ""
    leg: str = ""
    environment: str = ""

    @property
    def user_id(self) -> str:
        """Return SkyPilot's user hash. It ends each name on the cloud, so it must be computable again too."""
        return _digest(self.repository)[:8]

    @property
    def name(self) -> str:
        """Return the lease's name, which follows from the first six facts."""
        facts = (self.repository, self.run, self.attempt, self.job, self.step, self.leg)
        return format_name(run=self.run, digest=_digest(repr(facts)))

    def labels(self, *, deadline: float) -> dict[str, str]:
        """Return labels that each cloud accepts: [a-z0-9_-], a letter or digit at each end (GCP's narrow rule)."""
        return {
            LABEL_OWNER: _label(self.repository),
            LABEL_LEASE: self.name,
            LABEL_RUN: _label(f"{self.run}-{self.attempt}"),
            LABEL_DEADLINE: str(int(deadline)),
            **({LABEL_ENVIRONMENT: self.environment} if self.environment else {}),
        }

    def is_another(self, labels: Mapping[str, str]) -> bool:
        """Return whether a lease's labels name another repository. Without that label nothing is known."""
        own = _label(self.repository)
        return labels.get(LABEL_OWNER, own) != own


def owner_label(repository: str) -> str:
    """Return the value of LABEL_OWNER for a repository. Two that differ only in punctuation share one."""
    return _label(repository)


def _label(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[-63:].strip("-_") or "none"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
