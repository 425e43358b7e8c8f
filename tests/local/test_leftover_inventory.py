"""A cloud that is down is proved empty by what still holds its machines, and by nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cvl_ci.errors import EngineError, SandboxError
from cvl_ci.lease import Lease
from cvl_ci.local.leftover_inventory import EndedMachines, LeftoverInventory, NoJobs
from cvl_ci.model.location import Location
from cvl_ci.model.release import ProviderCheck, Release
from cvl_ci.ports import LeaseRecord
from tests.support.fakes import FakeClock, FakeRecords

KINDS = ("containers", "volumes")


class Engine:
    """Of Docker. `deaf`: it does not answer."""

    def __init__(self, *names: str, deaf: bool = False) -> None:
        self.names, self.deaf = {*names}, deaf

    def list_all(self, lease: str | None) -> Sequence[str]:
        if self.deaf:
            raise SandboxError("The Docker Engine is not running.", next_step="Start it.")
        return sorted(self.names)

    def remove(self, names: Sequence[str]) -> None:
        self.names -= {*names}


def released(docker: Engine, folder: Path) -> Release:
    clock = FakeClock()
    lease = Lease(
        LeaseRecord(
            name="cvl-1-2",
            labels={},
            deadline=0.0,
            locations=(Location(cloud="sandbox"),),
            taken_at=clock.now(),
            regions=(),
        ),
        machines=EndedMachines(),
        inventory=LeftoverInventory(provider="sandbox", kinds=KINDS, leftovers=docker.list_all, remove=docker.remove),
        records=FakeRecords(folder),
        clock=clock,
        say=print,
    )
    return lease.release(maybe_created=True)


def test_what_is_left_is_ended_and_then_proved_gone(tmp_path: Path) -> None:
    docker = Engine("a machine", "its disk")
    release = released(docker, tmp_path)
    assert (release.gone, docker.names) == (True, set())
    assert release.asked == (ProviderCheck(provider="sandbox", region="", kinds=KINDS),)


def test_nothing_left_is_proved_by_asking(tmp_path: Path) -> None:
    assert released(Engine(), tmp_path).gone


def test_no_answer_is_no_proof(tmp_path: Path) -> None:
    release = released(Engine(deaf=True), tmp_path)
    assert not release.gone
    assert release.asked[0].error == "The Docker Engine is not running."


def test_nothing_can_be_launched_there(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="opened only to remove"):
        NoJobs().follow(watch=print, until=0.0)
