"""Hold the archives from the machines before they are opened, and the warnings about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cvl_ci.engine.fetch import transfer, unpack, unpack_process
from cvl_ci.model.fitness import MachineState
from cvl_ci.ports import Fetched, UnpackStopped


class Brought:
    """Folder for arriving archives. `problems`: the archives that did not arrive, and why."""

    def __init__(self, *, globs: tuple[str, ...], directory: str) -> None:
        self.globs, self._directory = globs, directory
        self.problems: list[str] = []
        self.states_after: tuple[MachineState, ...] = ()
        self._folder = transfer.folder()

    @property
    def path(self) -> Path:
        return Path(self._folder.name)

    def drop(self) -> None:
        self._folder.cleanup()

    def unpacked(self, into: Path, *, environment: Mapping[str, str], within: float) -> Fetched:
        """Unpack every archive, and remove the archives. Raise UnpackStopped. `within`: seconds, at most."""
        seconds = min(within, unpack_process.UNPACK_SECONDS)
        try:
            if not transfer.arrived(self.path)[1]:  # nothing of a machine is read, so no other process has to do it
                return self._with_problems(unpack.unpack(self.path, into=into, directory=self._directory))
            fetched = unpack_process.unpack(
                self.path, into=into, directory=self._directory, environment=environment, seconds=seconds
            )
        except UnpackStopped as stop:
            raise UnpackStopped(self._with_problems(stop.fetched)) from None
        finally:
            self.drop()
        return self._with_problems(fetched)

    def _with_problems(self, fetched: Fetched) -> Fetched:
        problem = " ".join([*self.problems, *([fetched.problem] if fetched.problem else [])]) or None
        paths = [file.path for file in fetched.files]
        missed = [] if problem else transfer.unmatched(self.globs, paths, directory=self._directory)
        warnings = [f"`outputs`: {glob!r} fetched no file: the job wrote no file that matches it." for glob in missed]
        return replace(fetched, problem=problem, warnings=tuple(warnings), states_after=self.states_after)
