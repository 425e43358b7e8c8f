"""The estimate of a run: the price of an hour, the most that it costs, and when it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.plan import quote as quoting
from cvl_ci.commands.plan.estimate import Estimate
from cvl_ci.model.limits import Limits
from cvl_ci.model.location import Location
from cvl_ci.model.offer import Offer, Quote
from cvl_ci.model.plan import MachinePlan, RunPlan
from cvl_ci.model.resource_request import ResourceRequest, Spot
from tests import golden

MESSAGES = golden.Messages(__name__)

OFFER = Offer(cloud="aws", region="us-east-1", instance_type="p", accelerators={}, spot=True, hourly_usd=2.5)
QUOTE = Quote(
    offers=(OFFER,),
    hourly_usd=2.5,
    first_usd=3.33,
    dearest_usd=3.33,
    max_usd=3.33,
    deadline_minutes=80,
    catalogue_date="",
)
PLAN = RunPlan(title="train", limits=Limits(max_runtime_minutes=60))


def lines(quote: Quote = QUOTE, plan: RunPlan = PLAN) -> list[str]:
    return str(Estimate(plan=plan, quote=quote)).splitlines()


SPAN = "within 1 h 20 min (15 min to get machines, 60 min for the job, 5 min to release)"


def test_the_line_and_the_bounds() -> None:
    MESSAGES.check("the bounds", lines())


@pytest.mark.parametrize(
    ("cloud", "spot", "nodes", "place"),
    [
        ("gcp", False, 1, "GCP us-east-1 on-demand"),
        ("lambda", False, 2, "Lambda us-east-1 on-demand, 2 machines"),
        ("runpod", True, 1, "RunPod us-east-1 spot"),
    ],
)
def test_each_place_is_named(cloud: str, spot: bool, nodes: int, place: str) -> None:
    offer = replace(OFFER, cloud=cloud, spot=spot)
    plan = replace(PLAN, machines=MachinePlan(num_nodes=nodes))
    assert lines(replace(QUOTE, offers=(offer,)), plan)[0] == f"Estimated cost: $2.50/hr ({place})"


def test_a_dearer_place_is_told() -> None:
    dear = replace(OFFER, region="eu-west-1", spot=False, hourly_usd=9.0)
    MESSAGES.check("a dearer place", lines(replace(QUOTE, offers=(OFFER, dear)))[1])


def test_without_a_price_the_time_is_still_bounded() -> None:
    unknown = replace(
        QUOTE, offers=(), hourly_usd=None, first_usd=None, dearest_usd=None, max_usd=None, warnings=("why",)
    )
    MESSAGES.check("no price", lines(unknown))


def test_real_prices_max_cost_and_a_kept_machine() -> None:
    machines = MachinePlan(
        needs=ResourceRequest(accelerators={"L4": 1}), locations=(Location(cloud="aws"),), spot=Spot.ALWAYS
    )
    plan = replace(PLAN, machines=machines, limits=Limits(max_cost_usd=0.2, keep_minutes=10, keeps_after_success=True))
    first, *rest = lines(quoting.quote(plan, CataloguePrices()), plan)
    assert first.startswith("Estimated cost: $0.") and first.endswith(" spot)")
    (bound,) = [line for line in rest if line.startswith("At most")]
    assert bound.startswith("At most $0.20 with disk and address,")
    assert "10 min kept" in bound
    assert "where max_cost ends it" in bound


def test_the_sandbox_bills_nothing() -> None:
    plan = replace(PLAN, machines=MachinePlan(locations=(Location(cloud="sandbox"),)))
    told = lines(replace(QUOTE, offers=(replace(OFFER, cloud="sandbox"),)), plan)
    MESSAGES.check("the sandbox", [told[0], told[-1]])
