"""A cloud that is no more: nothing is driven there; what it may have left is asked of whoever would still hold it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Protocol

from cvl_ci.errors import CvlError, EngineError
from cvl_ci.model.outcome import Asked, Launch
from cvl_ci.model.plan import Place, RunPlan
from cvl_ci.ports import Cloud, Found, JobEnd, LaunchRequest, Resource, Watch

KINDS = ("containers", "volumes", "networks")


class Held(Protocol):
    """Whoever holds what is left: names of it, for a lease or all; and their end."""

    def remains(self, lease: str | None) -> Sequence[str]: ...

    def remove_remains(self, names: Sequence[str]) -> None: ...


def opened(held: Held, *, named: str) -> Cloud:
    inventory = Remains(provider=named, kinds=KINDS, left=held.remains, remove=held.remove_remains)
    return Cloud(engine=NothingToDrive(), inventory=inventory, billed=False, named=named)


class Remains:
    """The Inventory port. `left`: names of what is left of a lease; `remove`: ends them."""

    def __init__(
        self,
        *,
        provider: str,
        kinds: tuple[str, ...],
        left: Callable[[str | None], Sequence[str]],
        remove: Callable[[Sequence[str]], None],
    ) -> None:
        self._provider, self._kinds, self._left, self._end = provider, kinds, left, remove

    def find(self, *, lease: str | None, places: Sequence[Place]) -> Found:
        try:
            left = tuple(self._left(lease))
        except CvlError as error:
            return Found(asked=(Asked(provider=self._provider, region="", kinds=self._kinds, error=error.what),))
        return Found(
            resources=tuple(
                Resource(provider=self._provider, region="", kind=self._kinds[0], id=name, state="left", labels={})
                for name in left
            ),
            asked=(Asked(provider=self._provider, region="", kinds=self._kinds, left=left),),
        )

    def remove(self, resources: Sequence[Resource]) -> None:
        self._end([each.id for each in resources])

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        _refuse()


class NothingToDrive:
    """The Engine port of such a cloud: all its machines are gone, and none can be had."""

    def stop(self) -> bool:
        return False

    def down(self, cluster: str) -> None:
        """There is no record of it to clear."""

    def close(self) -> None:
        """Nothing is held."""

    def warm(self) -> None:
        """Nothing will be launched."""

    def render(self, plan: RunPlan) -> str:
        _refuse()

    def launch(self, request: LaunchRequest, *, watch: Watch) -> Launch:
        _refuse()

    def follow(self, *, watch: Watch, until: float) -> JobEnd:
        _refuse()

    def keep(self, cluster: str, *, until: float, public_key: str | None) -> Sequence[str]:
        _refuse()

    def fetch(self, *, globs: Sequence[str], within: float = math.inf) -> NoReturn:
        _refuse()

    def unpack(self, *, into: Path, within: float = math.inf) -> NoReturn:
        _refuse()


def _refuse() -> NoReturn:
    raise EngineError("This cloud was only opened to end what was left there.", next_step="Run it again.")
