"""An AWS on your own Docker: an emulated API whose instances are containers. Knows nothing of the other rooms."""

from cvl_ci.sandbox.faults import Faults, Throttle
from cvl_ci.sandbox.machine_types import MachineType
from cvl_ci.sandbox.sandbox import Sandbox
from cvl_ci.sandbox.sky_home import Access
from cvl_ci.sandbox.status import Instance, Status
from cvl_ci.sandbox.usage_lock import brought_up_by_a_run

__all__ = ["Access", "Faults", "Instance", "MachineType", "Sandbox", "Status", "Throttle", "brought_up_by_a_run"]
