"""Name where a machine may stand: cloud, region and zone."""

from __future__ import annotations

from dataclasses import dataclass

SANDBOX = "sandbox"
"""The cloud that bills nothing: an emulated AWS on the local Docker Engine."""
MANAGED = "managed-jobs"
"""The place of a managed job: a SkyPilot API server, whose controller launches the machines and ends them."""
REPLICATED = "sky-serve"
"""The place of a service with several replicas: a SkyPilot API server, whose controller launches them and ends them."""


@dataclass(frozen=True, kw_only=True)
class Location:
    """Possible place of a machine: `aws`, `aws/us-east-1`, `aws/us-east-1/us-east-1a`. Region and zone None: any."""

    cloud: str
    region: str | None = None
    zone: str | None = None

    def __str__(self) -> str:
        region = self.region or ("*" if self.zone else None)
        return "/".join(part for part in (self.cloud, region, self.zone) if part)

    @classmethod
    def parse(cls, text: str) -> Location:
        """Parse the output of `str`. inputs/locations.py reads a person's words."""
        cloud, region, zone = (*text.split("/"), "", "")[:3]
        return cls(cloud=cloud, region=region if region != "*" and region else None, zone=zone or None)
