"""A run that names no cloud goes where there are credentials, and is quoted for there."""

from __future__ import annotations

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.plan.anywhere import name_clouds
from cvl_ci.commands.plan.quote import quote
from cvl_ci.engine.task import task
from cvl_ci.errors import RequestError
from cvl_ci.model.location import Location
from cvl_ci.model.plan import MachinePlan, RunPlan, WorkPlan
from cvl_ci.model.resource_request import Alternative, ResourceRequest, Spot
from cvl_ci.planning import task_file

PRICES = CataloguePrices()
L4 = RunPlan(
    title="t",
    work=WorkPlan(run_commands=("true",)),
    machines=MachinePlan(needs=ResourceRequest(accelerators={"L4": 1})),
)


@pytest.mark.parametrize(
    ("usable", "expected"),
    [
        ([], []),
        (["aws"], ["aws"]),
        (["aws", "gcp"], ["gcp", "aws"]),
        (["azure", "aws", "gcp"], ["gcp", "aws", "azure"]),
        (["kubernetes", "aws"], ["aws", "kubernetes"]),
    ],
)
def test_the_clouds_with_credentials_the_cheapest_first(usable: list[str], expected: list[str]) -> None:
    assert [place.cloud for place in name_clouds(L4, usable, PRICES).machines.locations] == expected


def test_quote_and_launch_take_the_same_clouds() -> None:
    plan = name_clouds(L4, ["aws", "gcp"], PRICES)
    assert {offer.cloud for offer in quote(plan, PRICES).offers} == {"aws", "gcp"}
    rendered = task.render(plan)
    assert rendered.index("infra: gcp") < rendered.index("infra: aws")
    assert {offer.cloud for offer in quote(L4, PRICES).offers} > {"aws", "gcp"}, "without credentials all are shown"


def test_named_clouds_stay_and_spot_prices_decide_for_spot() -> None:
    named = RunPlan(title="t", machines=MachinePlan(locations=(Location(cloud="aws"),)))
    assert name_clouds(named, ["gcp"], PRICES) is named
    spot = RunPlan(title="t", machines=MachinePlan(needs=ResourceRequest(accelerators={"L4": 1}), spot=Spot.ALWAYS))
    offers = PRICES.offers(
        spot.machines.needs, locations=(Location(cloud="aws"), Location(cloud="gcp")), spot=Spot.ALWAYS
    )
    cheapest = min(offers, key=lambda offer: offer.hourly_usd).cloud
    assert name_clouds(spot, ["aws", "gcp"], PRICES).machines.locations[0].cloud == cheapest


def test_clouds_that_cannot_run_it_are_left_out_and_named_where_they_are_all() -> None:
    plan = RunPlan(title="t", machines=MachinePlan(unfit_clouds=frozenset({"kubernetes", "runpod"})))
    assert [place.cloud for place in name_clouds(plan, ["kubernetes", "aws"], PRICES).machines.locations] == ["aws"]
    with pytest.raises(RequestError, match="kubernetes, runpod"):
        name_clouds(plan, ["kubernetes", "runpod"], PRICES)


def test_of_a_region_of_any_cloud_those_with_credentials_stay() -> None:
    both = (Location(cloud="aws", region="us-east-1"), Location(cloud="lambda", region="us-east-1"))
    plan = RunPlan(title="t", machines=MachinePlan(locations=both, has_region_alone=True))
    assert name_clouds(plan, ["aws", "gcp"], PRICES).machines.locations == both[:1]
    assert name_clouds(plan, ["gcp"], PRICES).machines.locations == both, "so their credentials are asked for"


def test_of_an_alternative_in_a_region_of_any_cloud_those_with_credentials_stay() -> None:
    content = b"run: x\nresources: {any_of: [{infra: '*/us-east-1', accelerators: L4}, {infra: gcp, accelerators: L4}]}"
    task = task_file.read(content, known_gpus=PRICES.accelerators(), clouds_with=lambda *_: ["aws", "lambda"])
    plan = RunPlan(title="t", machines=task.machines)
    assert [one.cloud for one in plan.machines.locations] == ["aws", "lambda", "gcp"]
    assert [one.cloud for one in name_clouds(plan, ["aws"], PRICES).machines.locations] == ["aws", "gcp"]
    assert name_clouds(plan, ["aws"], PRICES).machines.needs.alternatives[0].location == Location(
        cloud="aws", region="us-east-1"
    )


def test_a_cloud_that_an_alternative_names_is_among_the_places() -> None:
    """So that credentials and proof are asked of it too."""
    alternatives = (
        Alternative(needs=ResourceRequest(accelerators={"L4": 1}), location=Location(cloud="gcp")),
        Alternative(needs=ResourceRequest(accelerators={"L4": 1})),
    )
    plan = RunPlan(
        title="t", machines=MachinePlan(needs=ResourceRequest(accelerators={"L4": 1}, alternatives=alternatives))
    )
    assert [place.cloud for place in name_clouds(plan, ["aws"], PRICES).machines.locations] == ["aws", "gcp"]
