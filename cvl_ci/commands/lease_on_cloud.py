"""A lease with the parts of an open cloud that it needs: for a run, a collection and a removal alike."""

from __future__ import annotations

from collections.abc import Callable

from cvl_ci.lease import Lease
from cvl_ci.ports import Clock, Cloud, LeaseRecord, Records


def lease_on(cloud: Cloud, record: LeaseRecord, *, records: Records, clock: Clock, say: Callable[[str], None]) -> Lease:
    return Lease(
        record,
        machines=cloud.machines,
        inventory=cloud.inventory,
        records=records,
        clock=clock,
        say=say,
        storage=cloud.storage,
    )
