"""Tell the cost of an open lease so far: by the provider's answer, or else by the requests that its run recorded."""

from __future__ import annotations

from dataclasses import dataclass

from cvl_ci.model.location import REPLICATED
from cvl_ci.ports import LeaseRecord, Records
from cvl_ci.result import spent
from cvl_ci.result.ledger import missing
from cvl_ci.result.units import dollars


@dataclass(frozen=True, kw_only=True)
class CostSoFar:
    """The cost of a lease until now, in US dollars; None: no price is known.

    `usd`: of the resources that a provider shows. `estimated_usd`: by the recorded requests, as if the latest machines
    ran until now, or until the deadline. `is_bound`: the real cost is at most this estimate.
    """

    usd: float | None = None
    estimated_usd: float | None = None
    is_bound: bool = False
    missing: str = ""
    """The parts whose price no source gives. The estimate lacks them."""
    billed: bool = True
    has_request: bool = True
    """False: its record shows that it requested no machine yet."""

    @classmethod
    def of_record(cls, record: LeaseRecord, *, now: float, records: Records) -> CostSoFar:
        """Return the cost by the record. The controller of a service launches machines that no record here has."""
        spending = records.spending(record.name)
        if spending is None or any(location.cloud == REPLICATED for location in record.locations):
            return cls(has_request=bool(record.regions))
        ledger = spent.so_far(spending, until=min(now, record.deadline) if record.deadline else now)
        return cls(
            estimated_usd=spent.known_usd(ledger) if spending.billed else None,
            is_bound=ledger.is_bound or record.is_managed,
            missing=missing(ledger),
            billed=spending.billed,
        )

    def in_words(self, *, is_shown: bool) -> str:
        """Return the cost with its source. `is_shown`: False where a provider answered, and shows nothing of it."""
        if not self.billed:
            return "not billed"
        if self.usd is not None:
            return f"{dollars(self.usd)} so far"
        if not self.has_request:
            return "no machine requested so far"
        if self.estimated_usd is None:
            return "its cost so far is unknown"
        amount, without = dollars(self.estimated_usd), f" without {self.missing}" if self.missing else ""
        if self.is_bound or not is_shown:
            return f"at most {amount} so far, by its record{without}"
        return f"about {amount} so far, an estimate by its record{without}"

    def as_json(self) -> dict[str, object]:
        """Return the facts for a program."""
        return {
            "usd": self.usd,
            "estimated_usd": self.estimated_usd,
            "estimate_is_bound": self.is_bound,
            "billed": self.billed,
        }
