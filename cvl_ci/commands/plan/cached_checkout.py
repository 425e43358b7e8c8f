"""Cache a checkout's answers: a matrix asks for hundreds of legs, and several times for each folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

from cvl_ci.planning.folder_files import FolderRule
from cvl_ci.ports import Checkout, CheckoutFile, FolderFiles, Paths

T = TypeVar("T")


class Remembering:
    """Checkout that remembers the answers of another checkout."""

    def __init__(self, checkout: Checkout) -> None:
        self._checkout = checkout
        self._known: dict[object, object] = {}

    @property
    def root(self) -> Path:
        return self._checkout.root

    def examples(self) -> Sequence[str]:
        return self._once("examples", self._checkout.examples)

    def paths(self) -> Paths:
        return self._once("paths", self._checkout.paths)

    def files(self, *prefixes: str) -> Sequence[CheckoutFile]:
        return self._once(("files", prefixes), lambda: self._checkout.files(*prefixes))

    def left_behind(self, *prefixes: str) -> Mapping[str, str]:
        return self._once(("left", prefixes), lambda: self._checkout.left_behind(*prefixes))

    def folder(self, path: str, rule: FolderRule) -> FolderFiles:
        return self._checkout.folder(path, rule)

    @property
    def head(self) -> str:
        return self._checkout.head

    def locate(self, words: str) -> str | None:
        return self._checkout.locate(words)

    def at(self, ref: str) -> Checkout:
        return self._checkout.at(ref)

    def read(self, path: str, *, limit: int) -> bytes:
        return self._once(("read", path, limit), lambda: self._checkout.read(path, limit=limit))

    def _once(self, question: object, ask: Callable[[], T]) -> T:
        if question not in self._known:
            self._known[question] = ask()
        return cast("T", self._known[question])
