"""A folder of this computer as a ModelSource. Its commit is a digest of its files: equal files are one snapshot."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cvl_ci.errors import CvlError, InputProblem, RequestError
from cvl_ci.model.snapshot import DEFAULT_REF, ModelFile, Snapshot, is_safe_path

PIECE = 1 << 20
MOST_FILES = 100_000
_LEFT_OUT = {".git", ".cache"}
"""`.cache`: huggingface_hub writes its own records there below a local folder."""


class ModelFolder:
    """`folder`: the files. A link counts where it leads to the folder itself, or to `blobs` of the same cache."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def snapshot(self, repo: str, revision: str) -> Snapshot:
        if not self._folder.is_dir():
            raise RequestError([InputProblem(field="REPO", value=str(self._folder), problem="is not a folder")])
        files = tuple(sorted((self._file(path) for path in self._paths()), key=lambda file: file.path))
        digest = hashlib.sha256("\n".join(f"{one.sha256} {one.path}" for one in files).encode()).hexdigest()
        return Snapshot(repo=repo, commit=digest[:40], files=files, ref=revision or DEFAULT_REF, of_hub=False)

    @contextmanager
    def read(self, snapshot: Snapshot, file: ModelFile, *, start: int) -> Iterator[Iterator[bytes]]:
        try:
            with self._opened(file.path).open("rb") as stream:
                stream.seek(start)
                yield iter(lambda: stream.read(PIECE), b"")
        except OSError as error:
            raise CvlError(f"{file.path} of {self._folder} cannot be read: {error.strerror}.") from None

    def _paths(self) -> Iterator[str]:
        count = 0
        for at, folders, names in os.walk(self._folder):
            folders[:] = sorted(set(folders) - _LEFT_OUT)
            for name in sorted(names):
                count += 1
                path = (Path(at) / name).relative_to(self._folder).as_posix()
                if count > MOST_FILES or not is_safe_path(path):
                    problem = f"has more than {MOST_FILES} files" if count > MOST_FILES else f"holds {path!r}"
                    raise RequestError([InputProblem(field="REPO", value=str(self._folder), problem=problem)])
                yield path

    def _opened(self, path: str) -> Path:
        """Return the real path of a file. Raise RequestError for a link to another place, such as ~/.aws."""
        real = (self._folder / path).resolve()
        roots = (self._folder, (self._folder / ".." / ".." / "blobs").resolve())
        if not real.is_file() or not any(real.is_relative_to(root) for root in roots):
            problem = f"holds {path}, which is not a file of this folder"
            raise RequestError([InputProblem(field="REPO", value=str(self._folder), problem=problem)])
        return real

    def _file(self, path: str) -> ModelFile:
        digest, size = hashlib.sha256(), 0
        try:
            with self._opened(path).open("rb") as stream:
                while piece := stream.read(PIECE):
                    digest.update(piece)
                    size += len(piece)
        except OSError as error:
            raise CvlError(f"{path} of {self._folder} cannot be read: {error.strerror}.") from None
        return ModelFile(path=path, size=size, blob=digest.hexdigest(), sha256=digest.hexdigest())
