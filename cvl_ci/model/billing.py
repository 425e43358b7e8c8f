"""Hold the providers' rules of billing, with their sources: values, and what follows from them alone.

A figure without a source here is None, and the ledger reports it as unknown. Each source names the day on which it was
read. SkyPilot gives every machine its disk of the tier `medium` (sky/clouds/cloud.py, `_DEFAULT_DISK_TIER`, 0.14.1).
"""

from __future__ import annotations

import calendar
import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

from cvl_ci.model.location import SANDBOX

READ_ON = "2026-11-30"
"""The day on which the sources below were read, in stored copies of these pages where they could not be opened."""


class BilledUntil(enum.Enum):
    """The moment at which a provider stops billing a machine that is being ended."""

    REQUEST = "the provider accepts the request to end it"
    GONE = "it has stopped or is gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class UnitPrice:
    """A price with its source. `usd` None: no source gives it. `per`: hour, GB-month or GB."""

    usd: float | None
    per: str
    source: str = ""
    fixed_usd: float = 0.0
    """For a disk: the dollars of a month that do not depend on its size."""


UNKNOWN_MONTHLY = UnitPrice(usd=None, per="GB-month")
UNKNOWN_HOURLY = UnitPrice(usd=None, per="hour")
UNKNOWN_TRAFFIC = UnitPrice(usd=None, per="GB")


@dataclass(frozen=True, kw_only=True)
class BillingRules:
    """The rules of one provider.

    `granularity_seconds`: time is rounded up to whole units of it. `minimum_seconds`: the least that one machine costs.
    None: no source gives it, and the ledger counts seconds without a minimum. `free_spot_seconds`: a spot machine that
    the provider takes sooner costs nothing.
    """

    granularity_seconds: float | None = None
    minimum_seconds: float | None = None
    begins: str = "unknown"
    until: BilledUntil = BilledUntil.UNKNOWN
    free_spot_seconds: float = 0.0
    disk_type: str = ""
    disk: UnitPrice = UNKNOWN_MONTHLY
    address: UnitPrice = UNKNOWN_HOURLY
    traffic: UnitPrice = UNKNOWN_TRAFFIC
    sources: tuple[str, ...] = field(default_factory=tuple)

    def billed_seconds(self, seconds: float) -> float:
        """Return the seconds that the provider bills for one machine that lived this long."""
        if seconds <= 0:
            return 0.0
        unit = self.granularity_seconds or 0.0
        # A sum of floats may be a hair above a whole unit.
        rounded = math.ceil(seconds / unit - 1e-6) * unit if unit else seconds
        return max(rounded, self.minimum_seconds or 0.0)


_AWS_GP3 = UnitPrice(
    usd=0.08,
    per="GB-month",
    fixed_usd=(3500 - 3000) * 0.005 + (218 - 125) * 0.04,
    source="us-east-1, 2021-02-04; https://www.saisci.com/aws/gp2-vs-gp3-cost-comparison-ebs-volumes/ quotes Amazon",
)
"""SkyPilot's gp3 has 3,500 IOPS and 218 MB/s (sky/clouds/aws.py, `_get_disk_specs`); 3,000 and 125 are included."""

_AWS = BillingRules(
    granularity_seconds=1.0,
    minimum_seconds=60.0,
    begins="it runs; `pending` is free",
    until=BilledUntil.REQUEST,
    free_spot_seconds=3600.0,
    disk_type="gp3",
    disk=_AWS_GP3,
    address=UnitPrice(
        usd=0.005,
        per="hour",
        source="https://www.repost.aws/articles/ARknH_OR0cTvqoTfJrVGaB8A (since 2024-02-01, in use or not)",
    ),
    traffic=UnitPrice(
        usd=0.09,
        per="GB",
        source="https://wring.co/blog/aws-data-transfer-pricing-guide (a third party; 100 GB a month are free)",
    ),
    sources=(
        "https://aws.amazon.com/about-aws/whats-new/2017/10/announcing-amazon-ec2-per-second-billing/",
        "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html",
        "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/billing-for-interrupted-spot-instances.html",
    ),
)

_FREE_ON_LAMBDA = "https://docs.lambda.ai/public-cloud/billing (not among the billable resources)"
_FREE_ON_RUNPOD = "https://docs.runpod.io/pods/pricing (no fees for ingress or egress)"

RULES: Mapping[str, BillingRules] = {
    "aws": _AWS,
    SANDBOX: _AWS,
    "gcp": BillingRules(
        granularity_seconds=1.0,
        minimum_seconds=60.0,
        begins="it is started",
        until=BilledUntil.GONE,
        disk_type="pd-balanced",
        disk=UnitPrice(
            usd=0.10, per="GB-month", source="https://c3x.dev/blog/gcp-persistent-disk-types-cost/ (a third party)"
        ),
        sources=(
            "https://cloud.google.com/compute/vm-instance-pricing",
            "https://cloud.google.com/compute/disks-image-pricing",
        ),
    ),
    "azure": BillingRules(
        begins="it is `starting`; `creating` is free",
        until=BilledUntil.GONE,
        disk_type="Premium_LRS",
        sources=(
            "https://learn.microsoft.com/en-us/azure/virtual-machines/states-billing",
            "https://learn.microsoft.com/en-us/answers/questions/2259765 (an unconfirmed answer: 1 s, at least 300 s)",
        ),
    ),
    "lambda": BillingRules(
        granularity_seconds=60.0,
        begins="it has passed its health checks",
        until=BilledUntil.REQUEST,
        disk_type="included",
        disk=UnitPrice(usd=0.0, per="GB-month", source=_FREE_ON_LAMBDA),
        address=UnitPrice(usd=0.0, per="hour", source=_FREE_ON_LAMBDA),
        traffic=UnitPrice(usd=0.0, per="GB", source=_FREE_ON_LAMBDA),
        sources=("https://docs.lambda.ai/public-cloud/billing",),
    ),
    "runpod": BillingRules(
        granularity_seconds=1.0,
        begins="the pod runs",
        until=BilledUntil.GONE,
        disk_type="container disk",
        disk=UnitPrice(
            usd=0.10, per="GB-month", source="https://docs.runpod.io/get-started/billing-information (a running pod)"
        ),
        address=UnitPrice(usd=0.0, per="hour", source=_FREE_ON_RUNPOD),
        traffic=UnitPrice(usd=0.0, per="GB", source=_FREE_ON_RUNPOD),
        sources=(
            "https://docs.runpod.io/pods/pricing (per second; the page of its billing information says per minute)",
        ),
    ),
    "nebius": BillingRules(
        granularity_seconds=1.0,
        begins="it is started",
        until=BilledUntil.GONE,
        disk_type="network SSD",
        sources=(
            "https://docs.nebius.com/object-storage/resources/pricing (its example of a machine)",
            "https://docs.nebius.com/legal/specific-terms/compute",
        ),
    ),
}

UNKNOWN_RULES = BillingRules()


def rules_of(cloud: str) -> BillingRules:
    """Return the rules of a provider; of an unlisted one, rules in which everything is unknown."""
    return RULES.get(cloud, UNKNOWN_RULES)


def month_hours(at: float) -> float:
    """Return the hours of the month, UTC, in which this moment lies: they make a GB-month an hourly price."""
    day = datetime.fromtimestamp(at, tz=timezone.utc)
    return calendar.monthrange(day.year, day.month)[1] * 24.0


def disk_hourly_usd(cloud: str, *, disk_gb: float, at: float) -> float | None:
    """Return the price of one machine's disk for an hour; None where no source gives it."""
    price = rules_of(cloud).disk
    if price.usd is None:
        return None
    return (price.usd * disk_gb + price.fixed_usd) / month_hours(at)


def extra_hourly_usd(cloud: str, *, disk_gb: float, at: float) -> float:
    """Return a price of one machine's disk and address for an hour that is not too low, to be added to the machine's.

    The highest price that a source gives for another provider stands for an unknown one.
    """
    disk = disk_hourly_usd(cloud, disk_gb=disk_gb, at=at)
    if disk is None:
        disk = max(disk_hourly_usd(other, disk_gb=disk_gb, at=at) or 0.0 for other in RULES)
    address = rules_of(cloud).address.usd
    return disk + (max(rules.address.usd or 0.0 for rules in RULES.values()) if address is None else address)
