"""The results that outlive a run: files for a person, and the report of its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cvl_ci.model.outcome import Outcome
from cvl_ci.result.report import Link


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """An artifact that the workflow now holds. `bytes` and `sha256` describe the zip, as the service reports them."""

    name: str
    id: int
    url: str
    bytes: int
    sha256: str
    files: int
    left_out: Mapping[str, str]
    """For each omitted path, the reason: hidden, a link out of the root, missing, unreadable."""


@dataclass(frozen=True, kw_only=True)
class NotUploaded:
    """Nothing was uploaded: the files stay where they are, and this is not an error."""

    name: str
    reason: str
    empty: bool = False
    """There was no file."""


class Artifacts(Protocol):
    """Files on the workflow's page, available after the machine and the runner have ended."""

    def upload(
        self, name: str, *, root: Path, paths: Sequence[str], retention_days: int | None = None
    ) -> Uploaded | NotUploaded:
        """Upload files and the contents of directories, relative to the root. Raises ArtifactError for a failure."""


class Publication(Protocol):
    """The places that report a run's end: outputs for later steps, the pull request, the step's page."""

    def set_outputs(self, values: Mapping[str, str]) -> None:
        """Set outputs of the step. A new value replaces one of the same name."""

    def comment(self, outcome: Outcome, artifacts: Sequence[Link]) -> None:
        """Replace the earlier comment. Returns before the comment is written."""

    def point_to(self, artifacts: Sequence[Link]) -> None:
        """Add the links to the page that already has the summary."""
