"""A mount: remote storage, or a local folder, at a path of the machine."""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass

from cvl_ci.model.bucket import BucketAddress

COPIES_FOLDER = ".cvl-ci-mounts"
"""The folder of local folders to copy, among the staged files."""
UPLOADS_FOLDER = ".cvl-ci-uploads"
"""The folder of local folders that go into a bucket, among the staged files. It stays on this computer."""


VOLUME = "volume://"
"""The scheme of a volume that exists already, on a cloud that has volumes."""
ALL_CACHED = "0" * 8
"""The digest that stands for all cached mounts of a node."""


class MountMode(enum.Enum):
    """How the files come to the path.

    `copy`: all of them before the job, and checked. `cached`: read on demand, written back. `stream`: without a cache.
    """

    COPY = "copy"
    CACHED = "cached"
    STREAM = "stream"


def digest(target: str) -> str:
    """Return the short name of a path on the machine."""
    return hashlib.sha256(target.encode()).hexdigest()[:8]


@dataclass(frozen=True, kw_only=True)
class Mount:
    """One mount. `source`: the address of remote storage, or a folder of this computer.

    `via`: the bucket that gets a local folder first; None: a bucket of the run's own, where the mode needs one.
    `files`, `bytes`: of a local folder.
    """

    target: str
    source: str
    mode: MountMode = MountMode.COPY
    via: BucketAddress | None = None
    files: int = 0
    bytes: int = 0

    @property
    def volume(self) -> str:
        """Return the name of the provider's volume that is mounted; empty for other storage."""
        return self.source.removeprefix(VOLUME) if self.source.startswith(VOLUME) else ""

    @property
    def is_local(self) -> bool:
        return "://" not in self.source

    @property
    def needs_bucket(self) -> bool:
        """Return whether a local folder goes through a bucket."""
        return self.is_local and (self.via is not None or self.mode is not MountMode.COPY)

    @property
    def digest(self) -> str:
        return digest(self.target)

    def own_bucket(self, lease: str) -> str:
        """Return the name of the bucket that a run makes for it. It ends with the run."""
        return f"{lease}-{self.digest}"
