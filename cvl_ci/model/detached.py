"""A run that goes on without the process that started it: its plan, and its facts for a later process. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.launch import Launch, Spending
from cvl_ci.model.limits import Limits
from cvl_ci.model.work_identity import WorkIdentity

MANIFEST = "manifest.json"
"""The name of the last object that a machine stores. Without it, the results are not complete."""
LONGEST_SECONDS = 31 * 86_400.0
"""Seconds after which no machine of a detached run lives: 30 days are the longest max_runtime (inputs/parsers.py)."""
LINGER_SECONDS = 60.0
"""A machine lives at least so long after its handover: the run's process still labels it."""


@dataclass(frozen=True, kw_only=True)
class DetachPlan:
    """The place of the results of many runs. None: the run is not detached.

    `is_managed`: the run is a managed job of a SkyPilot API server.
    """

    place: BucketAddress | None = None
    is_managed: bool = False

    def of_run(self, lease: str) -> BucketAddress | None:
        """Return the folder of one run's results."""
        return self.place and replace(self.place, prefix=self.place.below(lease))


@dataclass(frozen=True, kw_only=True)
class Detached:
    """The facts of a detached run that another process needs for its end.

    `place`: the folder of its results. `directory`, `outputs`: as in its plan. `began_at`: epoch seconds at which its
    job was seen to run.
    """

    place: BucketAddress
    title: str
    work: WorkIdentity
    launch: Launch
    spending: Spending
    limits: Limits
    directory: str = "."
    outputs: tuple[str, ...] = ()
    began_at: float
    estimated_usd: float | None = None
    workflow: Mapping[str, str] = field(default_factory=dict)
    """The workflow's run: repository, commit, pull request, address. Empty at a terminal."""
    is_collected: bool = False
