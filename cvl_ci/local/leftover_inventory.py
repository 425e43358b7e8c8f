"""A cloud that no longer runs: it launches nothing, and lists and removes its leftovers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Protocol

from cvl_ci.errors import CvlError, EngineError
from cvl_ci.model.launch import Launch
from cvl_ci.model.ledger import Memory
from cvl_ci.model.location import Location
from cvl_ci.model.release import ProviderCheck
from cvl_ci.ports import Cloud, InventoryResult, JobEnd, JobRequest, LaunchRequest, Resource, ResourceKind, Watch

KINDS = ("containers", "volumes", "networks")


class LeftoverHolder(Protocol):
    """The holder of leftovers. It lists their names, of one lease or of all, and removes them."""

    def list_leftovers(self, lease: str | None) -> Sequence[str]: ...

    def remove_leftovers(self, names: Sequence[str]) -> None: ...


def opened(holder: LeftoverHolder, *, named: str) -> Cloud:
    inventory = LeftoverInventory(
        provider=named, kinds=KINDS, leftovers=holder.list_leftovers, remove=holder.remove_leftovers
    )
    return Cloud(machines=EndedMachines(), jobs=NoJobs(), inventory=inventory, billed=False, named=named)


class LeftoverInventory:
    """The Inventory port for leftovers. `leftovers` lists the names of a lease's leftovers; `remove` removes them."""

    def __init__(
        self,
        *,
        provider: str,
        kinds: tuple[str, ...],
        leftovers: Callable[[str | None], Sequence[str]],
        remove: Callable[[Sequence[str]], None],
    ) -> None:
        self._provider, self._kinds, self._list_names, self._end = provider, kinds, leftovers, remove

    def find(self, *, lease: str | None, locations: Sequence[Location]) -> InventoryResult:
        try:
            leftovers = tuple(self._list_names(lease))
        except CvlError as error:
            return InventoryResult(
                asked=(ProviderCheck(provider=self._provider, region="", kinds=self._kinds, error=error.what),)
            )
        return InventoryResult(
            resources=tuple(
                Resource(
                    provider=self._provider,
                    region="",
                    kind=ResourceKind.MACHINE,
                    id=name,
                    state="left",
                    labels={},
                )
                for name in leftovers
            ),
            asked=(ProviderCheck(provider=self._provider, region="", kinds=self._kinds, leftovers=leftovers),),
        )

    def remove(self, resources: Sequence[Resource]) -> None:
        self._end([resource.id for resource in resources])

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        _refuse()

    def lives(self, *, lease: str, locations: Sequence[Location]) -> Memory:
        """Return nothing: the cloud no longer runs."""
        return Memory()


class EndedMachines:
    """The Machines port of such a cloud: all its machines have ended, and it starts none."""

    def stop(self) -> bool:
        return False

    def down(self, cluster: str) -> None:
        """Do nothing: there is no record to clear."""

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def warm(self) -> None:
        """Do nothing: there will be no launch."""

    def launch(self, request: LaunchRequest, *, watch: Watch) -> Launch:
        _refuse()

    def enter(self, request: LaunchRequest) -> Launch:
        _refuse()

    def clean(self, cluster: str) -> None:
        _refuse()

    def address(self) -> str:
        _refuse()

    def keep(self, cluster: str, *, until: float, public_key: str | None, heartbeat: float = 0.0) -> Sequence[str]:
        _refuse()


class NoJobs:
    """The Jobs port of such a cloud: without machines there is no job."""

    def follow_until(self, *, watch: Watch, until: float, enough: Callable[[], bool]) -> JobEnd | None:
        _refuse()

    def submit(self, request: JobRequest, *, watch: Watch) -> None:
        _refuse()

    def follow(self, *, watch: Watch, until: float) -> JobEnd:
        _refuse()

    def cancel(self) -> None:
        _refuse()

    def fetch(self, *, globs: Sequence[str], within: float = math.inf) -> NoReturn:
        _refuse()

    def unpack(self, *, into: Path, within: float = math.inf) -> NoReturn:
        _refuse()

    def newest_checkpoint(self) -> NoReturn:
        _refuse()


def _refuse() -> NoReturn:
    raise EngineError("This cloud was opened only to remove its leftovers.", next_step="Run it again.")
