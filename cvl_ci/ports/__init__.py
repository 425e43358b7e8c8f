"""The protocols through which commands reach the world, in plain names and labels: no SDK's type crosses them."""

from __future__ import annotations

from cvl_ci.model.resource import Resource, ResourceKind
from cvl_ci.ports.checkout import Checkout, CheckoutFile, FolderFiles, Paths, Staging
from cvl_ci.ports.clock import Clock
from cvl_ci.ports.cloud import Cloud, Clouds
from cvl_ci.ports.events import (
    AttemptFailed,
    Attempting,
    AttemptNamed,
    Began,
    CheckpointBytes,
    Event,
    Line,
    MakingBucket,
    Progress,
    Watch,
)
from cvl_ci.ports.inventory import Inventory, InventoryResult
from cvl_ci.ports.jobs import Fetched, JobEnd, JobRequest, Jobs, UnpackStopped
from cvl_ci.ports.leases import KeyLock, KeyLocks, LeaseRecord, Records
from cvl_ci.ports.machine_log import MachineLog
from cvl_ci.ports.machines import LaunchRequest, Machines, RecoveredMachines, SharedMachines
from cvl_ci.ports.prices import Prices
from cvl_ci.ports.publishing import Artifacts, NotUploaded, Publication, Uploaded
from cvl_ci.ports.results import DetachedEnd, Results, StoredFile
from cvl_ci.ports.run_logs import RunLog
from cvl_ci.ports.run_reporter import RunReporter
from cvl_ci.ports.services import ServiceAnswer, ServiceRequest, Services
from cvl_ci.ports.storage import BucketContents, OpenHub, Storage

__all__ = [
    "Artifacts",
    "AttemptFailed",
    "AttemptNamed",
    "Attempting",
    "Began",
    "BucketContents",
    "Checkout",
    "CheckoutFile",
    "CheckpointBytes",
    "Clock",
    "Cloud",
    "Clouds",
    "DetachedEnd",
    "Event",
    "Fetched",
    "FolderFiles",
    "Inventory",
    "InventoryResult",
    "JobEnd",
    "JobRequest",
    "Jobs",
    "KeyLock",
    "KeyLocks",
    "LaunchRequest",
    "LeaseRecord",
    "Line",
    "MachineLog",
    "Machines",
    "MakingBucket",
    "NotUploaded",
    "OpenHub",
    "Paths",
    "Prices",
    "Progress",
    "Publication",
    "Records",
    "RecoveredMachines",
    "Resource",
    "ResourceKind",
    "Results",
    "RunLog",
    "RunReporter",
    "ServiceAnswer",
    "ServiceRequest",
    "Services",
    "SharedMachines",
    "Staging",
    "Storage",
    "StoredFile",
    "UnpackStopped",
    "Uploaded",
    "Watch",
]
