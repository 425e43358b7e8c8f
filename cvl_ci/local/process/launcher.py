"""Starts the runs of a drill on this computer: `cvl-ci` in an empty folder, as a person would type it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from cvl_ci.local.process.run_process import Child


class LocalLauncher:
    """Starter of a drill's runs, in one folder.

    `hear` receives each line of a child's stderr. `outage` separates a run from its cloud.
    """

    def __init__(
        self,
        folder: Path,
        *,
        environment: Mapping[str, str],
        hear: Callable[[str], None],
        outage: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._folder = folder
        self._environment = environment
        self._hear = hear
        self.outage = outage

    def start(self, options: Sequence[str], *, task: str) -> Child:
        (self._folder / "task.yaml").write_text(task)
        outputs = str(self._folder / "outputs")
        return self._start(["run", "--task", "task.yaml", *options, "--outputs-dir", outputs])

    def type(self, words: Sequence[str]) -> Child:
        return self._start(words)

    def _start(self, words: Sequence[str]) -> Child:
        return Child(words, environment=self._environment, folder=self._folder, hear=self._hear)
