"""Estimate a run in a few lines: the price of an hour, and the bounds of the whole run."""

from __future__ import annotations

from dataclasses import dataclass

from cvl_ci.commands.plan import bounds
from cvl_ci.model.limits import RELEASE_MINUTES
from cvl_ci.model.location import SANDBOX
from cvl_ci.model.offer import Offer, Quote
from cvl_ci.model.plan import RunPlan
from cvl_ci.result.units import dollars, duration

_CLOUDS = {
    "aws": "AWS",
    "gcp": "GCP",
    "ibm": "IBM",
    "scp": "SCP",
    "oci": "OCI",
    "runpod": "RunPod",
    "do": "DigitalOcean",
    "ssh": "SSH",
}
"""Names of clouds that a capital letter alone does not make."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A plan and its quote. As text, it is the lines of `--estimate-cost`."""

    plan: RunPlan
    quote: Quote

    @property
    def hourly_usd(self) -> float | None:
        """Return the price of all machines an hour; None if the catalogue has none."""
        return self.quote.hourly_usd

    @property
    def max_usd(self) -> float | None:
        """Return the most that the whole run can cost."""
        return self.quote.max_usd

    @property
    def lines(self) -> tuple[str, ...]:
        """Return `Estimated cost: $2.50/hr (AWS us-east-1 spot)` and the bounds."""
        return (self._price(), *self._dearest(), *self._bounds(), *self.quote.warnings)

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def _price(self) -> str:
        if not self.quote.offers or self.quote.hourly_usd is None:
            return "Estimated cost: unknown (no price in the catalogue)"
        place = _place(self.quote.offers[0], self.plan.machines.num_nodes)
        return f"Estimated cost: {dollars(self.quote.hourly_usd)}/hr ({place})"

    def _dearest(self) -> list[str]:
        if not self.quote.offers or self.quote.hourly_usd is None:
            return []
        dearest = bounds.most_expensive(self.plan, self.quote.offers)
        hourly = max(dearest.hourly_usd, dearest.most_usd) * self.plan.machines.num_nodes
        if hourly <= self.quote.hourly_usd:
            return []
        place = _place(dearest, self.plan.machines.num_nodes)
        return [f"If that is not available: up to {dollars(hourly)}/hr ({place})"]

    def _bounds(self) -> list[str]:
        limits = self.plan.limits
        minutes = self.quote.deadline_minutes + limits.keep_minutes
        parts = [
            f"{limits.provisioning_minutes:g} min to get machines",
            f"{limits.max_runtime_minutes:g} min for the job",
            f"{RELEASE_MINUTES:g} min to release",
            *([f"{limits.keep_minutes:g} min kept"] if limits.keep_minutes else []),
        ]
        span = f"within {duration(minutes * 60)}"
        if self.quote.deadline_minutes < limits.longest_minutes:
            span += f", where max_cost ends it ({', '.join(parts)} without it)"
        else:
            span += f" ({', '.join(parts)})"
        if self.quote.max_usd is None:
            return [f"The run ends {span}."]
        lines = [f"At most {dollars(self.quote.max_usd)} with disk and address, {span}."]
        if self.plan.machines.is_on_sandbox:
            lines.append("The sandbox bills nothing: this is the price of AWS.")
        return lines


def _place(offer: Offer, num_nodes: int) -> str:
    cloud = _CLOUDS["aws"] if offer.cloud == SANDBOX else _CLOUDS.get(offer.cloud, offer.cloud.capitalize())
    kind = "spot" if offer.spot else "on-demand"
    machines = f", {num_nodes} machines" if num_nodes > 1 else ""
    return f"{cloud} {offer.region} {kind}{machines}"
