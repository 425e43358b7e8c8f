"""The models that a run takes from a bucket. Values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.snapshot import DEFAULT_REF


@dataclass(frozen=True, kw_only=True)
class ModelName:
    """A model of the hub at a commit, branch or tag: `OWNER/NAME` or `OWNER/NAME@REVISION`."""

    repo: str
    revision: str = DEFAULT_REF

    def __str__(self) -> str:
        return self.repo if self.revision == DEFAULT_REF else f"{self.repo}@{self.revision}"


@dataclass(frozen=True, kw_only=True)
class ModelPlan:
    """`cache`: the bucket of models; None: the job asks the hub alone. `names`: the models that must be there."""

    cache: BucketAddress | None = None
    names: tuple[ModelName, ...] = ()
