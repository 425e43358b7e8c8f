"""A resource that a provider bills or keeps, the kinds of them, and the order in which they are removed."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass


class ResourceKind(enum.Enum):
    """The kinds of resources, in the order of their removal.

    A creator goes before its creations: a controller that lives starts new replicas. Machines go before the disks,
    keys and groups that they use: a provider refuses to remove a resource in use.
    """

    LAUNCH = "launch"
    MANAGED_JOB = "managed job"
    SERVICE_CONTROLLER = "service controller"
    SPOT_REQUEST = "spot request"
    CLUSTER = "cluster"
    MACHINE = "machine"
    TPU = "TPU node"
    ENDPOINT = "endpoint"
    ADDRESS = "address"
    DISK = "disk"
    SNAPSHOT = "snapshot"
    MULTIPART_UPLOAD = "multipart upload"
    BUCKET = "bucket"
    KEY_PAIR = "key pair"
    SECURITY_GROUP = "security group"
    RESOURCE_GROUP = "resource group"

    @property
    def has_machines(self) -> bool:
        """Return whether it is a machine that runs, or stands for those of a job."""
        return self in {ResourceKind.MACHINE, ResourceKind.TPU, ResourceKind.MANAGED_JOB}

    @property
    def creates_others(self) -> bool:
        """Return whether a living resource of this kind may request machines at any moment."""
        return self in {ResourceKind.LAUNCH, ResourceKind.MANAGED_JOB, ResourceKind.SERVICE_CONTROLLER}


class Maker(enum.Enum):
    """The program that made a resource."""

    SKYPILOT = "SkyPilot"
    CVL_CI = "cvl-ci"


@dataclass(frozen=True, kw_only=True)
class Pricing:
    """The facts on which a resource's price depends, next to its type, as the provider reports them.

    `size_gb`: of a disk; 0: unknown.
    """

    size_gb: float = 0.0
    spot: bool = False


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource that a provider bills or keeps. `created_at`: seconds since the epoch, if the provider reports it."""

    provider: str
    region: str
    kind: ResourceKind
    id: str
    state: str
    labels: Mapping[str, str]
    instance_type: str = ""
    created_at: float | None = None
    ending: bool = False  # the provider has accepted its end and no longer bills it (AWS: shutting-down, deleting)
    made_by: Maker = Maker.SKYPILOT
    stays: bool = False
    """Whether it is meant to outlive its run, such as a bucket of checkpoints. A release never removes it."""
    pricing: Pricing = Pricing()

    @property
    def is_leftover(self) -> bool:
        """Return whether a finished lease must not have it."""
        return not (self.ending or self.stays)


def in_removal_order(resources: Iterable[Resource]) -> Iterator[list[Resource]]:
    """Yield the resources to remove, one kind after the other. Resources that end or stay are left out."""
    order = list(ResourceKind)
    leftovers = sorted((one for one in resources if one.is_leftover), key=lambda one: order.index(one.kind))
    for _, batch in itertools.groupby(leftovers, key=lambda one: one.kind):
        yield list(batch)


def buckets_apart(resources: Iterable[Resource]) -> tuple[list[Resource], list[Resource]]:
    """Return the other resources and the buckets."""
    everything = list(resources)
    buckets = [one for one in everything if one.kind is ResourceKind.BUCKET]
    return [one for one in everything if one.kind is not ResourceKind.BUCKET], buckets
