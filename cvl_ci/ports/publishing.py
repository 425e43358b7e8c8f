"""What outlives the run: files a person can fetch, and where its end is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cvl_ci.model.outcome import Outcome
from cvl_ci.result.report import Link


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """An artifact that the workflow now holds. `bytes`, `sha256`: of the zip, as the service knows it."""

    name: str
    id: int
    url: str
    bytes: int
    sha256: str
    files: int
    left_out: Mapping[str, str]
    """Path → why: hidden, a link out of the root, gone, not readable."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Nothing was uploaded, the files are where they were, and that fails nobody."""

    name: str
    reason: str
    empty: bool = False
    """There was no file."""


class Artifacts(Protocol):
    """Files that a person can fetch from the workflow's page after the machine and the runner are gone."""

    def upload(
        self, name: str, *, root: Path, paths: Sequence[str], retention_days: int | None = None
    ) -> Uploaded | Kept:
        """Files, and all below directories, relative to the root. Raises ArtifactError when it should have worked."""


class Publication(Protocol):
    """Where the end of a run is told: to later steps, on the pull request, on the step's page."""

    def set_outputs(self, values: Mapping[str, str]) -> None:
        """One of the same name that was set before is overwritten."""

    def comment(self, outcome: Outcome, artifacts: Sequence[Link]) -> None:
        """In place of what was said before; does not wait until it is said."""

    def point_to(self, artifacts: Sequence[Link]) -> None:
        """On the page that has the summary already."""
