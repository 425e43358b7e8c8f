"""Emulate AWS on a local Docker engine: an API whose instances are containers. Imports no other adapter."""

from cvl_ci.sandbox.faults import BucketFault, Faults, Throttle
from cvl_ci.sandbox.machine_types import MachineType
from cvl_ci.sandbox.sandbox import Sandbox
from cvl_ci.sandbox.sky_home import SkyAccess
from cvl_ci.sandbox.status import Instance, Status
from cvl_ci.sandbox.usage_lock import is_started_by_run

__all__ = [
    "BucketFault",
    "Faults",
    "Instance",
    "MachineType",
    "Sandbox",
    "SkyAccess",
    "Status",
    "Throttle",
    "is_started_by_run",
]
