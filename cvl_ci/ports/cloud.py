"""One opened cloud, and the port that opens it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from cvl_ci.model.location import Location
from cvl_ci.ports.events import Watch
from cvl_ci.ports.inventory import Inventory
from cvl_ci.ports.jobs import Jobs
from cvl_ci.ports.machine_log import MachineLog
from cvl_ci.ports.machines import Machines, SharedMachines
from cvl_ci.ports.results import Results
from cvl_ci.ports.storage import BucketContents, OpenHub, Storage


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """One opened cloud: its machines, their jobs, its inventory, and whether it costs real money."""

    machines: Machines
    jobs: Jobs
    inventory: Inventory
    billed: bool = True
    named: str | None = None
    """The name that a person uses, if SkyPilot uses another (`sandbox` runs as `aws`)."""
    storage: Storage | None = None
    """The store in which a run may make buckets. None: there is none whose answer proves their end."""
    contents: BucketContents | None = None
    """The contents of the buckets of mounts, in every store that cvl-ci can list here. None: in no store."""
    hub: OpenHub | None = None
    """The repositories of the model hub. None: no mount of this cloud reads them."""
    results: Results | None = None
    """The results of detached runs. None: this cloud has no place for them."""
    shared: SharedMachines | None = None
    """The machines that several runners enter. None: this cloud has none."""
    log: MachineLog | None = None
    """The logs on live machines. None: cvl-ci reads none there."""
    through: str = ""
    """The name of an API server that answers for the clouds, for machines and for leftovers."""


class Clouds(Protocol):
    def open(self, locations: Sequence[Location], *, user_id: str, watch: Watch) -> AbstractContextManager[Cloud]:
        """Check credentials and open the cloud. Starts the sandbox if necessary, and stops it if this call started it.

        `user_id`: eight letters and digits that SkyPilot appends to each name on the cloud.
        """
