"""Find the files of an example, to send and to watch, by the one rule of planning/example_files.py."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from cvl_ci.planning import example, example_files, presets, python_packages
from cvl_ci.planning.example import Example
from cvl_ci.planning.example_files import ExamplePath, ExampleSources
from cvl_ci.ports import Checkout, CheckoutFile, Paths


class Belonging:
    """Files of one example. `gone`: paths that the checkout once held; a change of them counts as well."""

    def __init__(self, subject: ExampleSources, *, checkout: Checkout, lost_paths: Iterable[str] = ()) -> None:
        self._checkout = checkout
        paths = checkout.paths()
        lost = {*lost_paths} - paths.files
        tree = Paths([*paths.files, *lost]) if lost else paths
        self._parts = example_files.paths(subject, tree=tree, read=self._read)

    def entries(self) -> Sequence[CheckoutFile]:
        """Return the files for the machine."""
        by_path: dict[str, CheckoutFile] = {}
        for part in self._parts:
            by_path |= {entry.path: entry for entry in self._checkout.files(part.path) if part.holds(entry.path)}
        return list(by_path.values())

    def is_touched(self, changed: Collection[str]) -> bool:
        """Return whether one of these paths belongs to the example, also as the target of one of its links."""
        if any(part.holds(path) for part in self._parts for path in changed):
            return True
        return bool({*changed} & self._targets())

    def unmatched(self) -> list[str]:
        """Return globs that match no file."""
        return [part.glob for part in self._parts if part.glob and not self._some(part)]

    def _some(self, part: ExamplePath) -> bool:
        return any(part.holds(entry.path) for entry in self._checkout.files(part.path))

    def _targets(self) -> set[str]:
        root = self._checkout.root
        sources = (Path(entry.source) for entry in self.entries() if isinstance(entry.source, str))
        return {path.relative_to(root).as_posix() for path in sources if path.is_relative_to(root)}

    def _read(self, path: str) -> bytes:
        try:
            return self._checkout.read(path, limit=python_packages.LARGEST_BYTES)
        except OSError:
            return b""


def subject(
    described: Example, *, texts: Mapping[str, str], globs: tuple[str, ...] | None, checkout: Checkout
) -> ExampleSources:
    """Return the subject of the rule.

    `texts`: by their paths below the example. `globs`: those of this run, which replace the example's own.
    """
    sources = {python_packages.join(described.directory, path): text for path, text in texts.items()}
    return ExampleSources(
        directory=described.directory,
        texts={
            **sources,
            python_packages.join(described.directory, example.FILE_NAME): presets.commands(described.presets),
        },
        globs=described.sends if globs is None else globs,
        examples=tuple(checkout.examples()),
        unseen=bool(described.unseen),
    )
