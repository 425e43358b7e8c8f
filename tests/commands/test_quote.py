"""The quote of a plan, as tables: its figures, its limits, a machine without a price, and the names of machines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from cvl_ci.commands.plan.quote import alternatives_text, catalogue_hourly_usd, machine, machines, on_demand, quote
from cvl_ci.errors import BudgetError, RequestError
from cvl_ci.model.detached import DetachPlan
from cvl_ci.model.limits import Limits
from cvl_ci.model.location import Location
from cvl_ci.model.month import MonthBudget
from cvl_ci.model.offer import Offer
from cvl_ci.model.plan import MachinePlan, RunPlan
from cvl_ci.model.resource_request import Alternative, ResourceRequest, Spot
from tests import golden

MESSAGES = golden.Messages(__name__)

LAMBDA, GCP = Location(cloud="lambda", region="us-east-1"), Location(cloud="gcp", region="us-central1")
"""Lambda bills neither disks nor addresses, so its figures are round."""
L4 = ResourceRequest(accelerators={"L4": 1})


def offer(usd: float = 3.0, *, cloud: str = "lambda", name: str = "gpu_1x", **changed: object) -> Offer:
    region = GCP.region if cloud == "gcp" else LAMBDA.region
    plain = Offer(
        cloud=cloud, region=region or "", instance_type=name, accelerators={"L4": 1}, spot=False, hourly_usd=usd
    )
    return replace(plain, **changed)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class TablePrices:
    """Prices of a table: offers by the first GPU and its count, or by the instance type."""

    table: Mapping[str, Sequence[Offer]] = field(default_factory=dict)
    complete: Collection[str] = ()
    age: str = ""
    date: str = "a Tuesday"

    def date_of(self, clouds: Collection[str]) -> str:
        return ", ".join(clouds)

    def age_warning(self, clouds: Collection[str]) -> str:
        return self.age

    def offers(self, needs: ResourceRequest, *, locations: Sequence[Location], spot: Spot) -> Sequence[Offer]:
        requests = [one.needs for one in needs.alternatives] or [needs]
        gpus = [f"{name}:{count:g}" for one in requests for name, count in one.accelerators.items()]
        keys = [needs.instance_type] if needs.instance_type else gpus
        clouds = {location.cloud for location in locations}
        return [
            one
            for key in keys
            for one in self.table.get(key, ())
            if (not clouds or one.cloud in clouds) and (spot is Spot.FALLBACK or one.spot is (spot is Spot.ALWAYS))
        ]

    def accelerators(self) -> Sequence[str]:
        return ["L4"]

    def is_complete(self, cloud: str) -> bool:
        return cloud in self.complete

    def clouds(self) -> Sequence[str]:
        return ["lambda", "gcp"]

    def regions(self, cloud: str) -> Sequence[str]:
        return []

    def machine_types(self, cloud: str) -> Sequence[str]:
        return ["gpu_1x"]


def plan(needs: ResourceRequest = L4, *, limits: Limits | None = None, **machine_plan: object) -> RunPlan:
    fields = {"needs": needs, "locations": (LAMBDA,), **machine_plan}
    return RunPlan(title="train", machines=MachinePlan(**fields), limits=limits or Limits())  # type: ignore[arg-type]


ONE = TablePrices(table={"L4:1": [offer()]})
TWO = TablePrices(table={"L4:1": [offer(), offer(6.0, name="gpu_2x")]})


@pytest.mark.parametrize(
    ("asked", "prices", "expected"),
    [
        pytest.param(plan(), ONE, (3.0, 4.0, 4.0, 4.0, 80.0), id="one offer"),
        pytest.param(plan(num_nodes=3), ONE, (9.0, 12.0, 12.0, 12.0, 80.0), id="three nodes"),
        pytest.param(plan(), TWO, (3.0, 4.0, 8.0, 8.0, 80.0), id="a more expensive offer"),
        pytest.param(
            plan(), TablePrices(table={"L4:1": [offer(most_usd=6.0)]}), (3.0, 4.0, 8.0, 8.0, 80.0), id="a zone"
        ),
        pytest.param(plan(limits=Limits(keep_minutes=40)), ONE, (3.0, 6.0, 6.0, 6.0, 80.0), id="a kept machine"),
        pytest.param(plan(limits=Limits(max_cost_usd=9.0)), ONE, (3.0, 4.0, 4.0, 4.0, 80.0), id="a high max_cost"),
        pytest.param(plan(limits=Limits(max_cost_usd=2.0)), TWO, (3.0, 4.0, 8.0, 2.0, 40.0), id="a low max_cost"),
        pytest.param(
            replace(plan(limits=Limits(max_cost_usd=4.0)), detach=DetachPlan(is_managed=True)),
            TWO,
            (3.0, 4.0, 8.0, 4.0, 40.0),
            id="a controller takes any offer",
        ),
    ],
)
def test_figures(asked: RunPlan, prices: TablePrices, expected: tuple[float, ...]) -> None:
    quoted = quote(asked, prices)
    figures = (quoted.hourly_usd, quoted.first_usd, quoted.dearest_usd, quoted.max_usd, quoted.deadline_minutes)
    assert (figures, quoted.catalogue_date) == (expected, "lambda")


MONTH = MonthBudget(limit_usd=10.0, month="2026-11", branch="history", spent_usd=1.0, runs=1)
EITHER = ResourceRequest(
    accelerators={"L4": 1},
    alternatives=(Alternative(needs=L4), Alternative(needs=ResourceRequest(accelerators={"T4": 1}), location=GCP)),
)


@pytest.mark.parametrize(
    ("asked", "prices", "warnings"),
    [
        pytest.param(plan(), ONE, [], id="none"),
        pytest.param(plan(limits=Limits(max_cost_usd=2.0)), ONE, ["max_cost ends it after 40 min"], id="max_cost"),
        pytest.param(plan(), replace(ONE, age="The prices are old."), ["The prices are old."], id="old prices"),
        pytest.param(
            plan(),
            TablePrices(table={"L4:1": [offer(doubted_usd=0.01)]}),
            ["lambda/us-east-1 gpu_1x: the catalogue says $0.01 an hour"],
            id="a price that is not believed",
        ),
        pytest.param(
            plan(limits=Limits(month=replace(MONTH, spent_usd=None))),
            ONE,
            ["monthly_budget is held against this run alone"],
            id="a month without history",
        ),
    ],
)
def test_warnings(asked: RunPlan, prices: TablePrices, warnings: list[str]) -> None:
    found = quote(asked, prices).warnings
    assert len(found) == len(warnings)
    assert all(text.startswith(start) for text, start in zip(found, warnings, strict=True))


def test_an_alternative_without_a_price_is_a_warning() -> None:
    asked = plan(EITHER)
    prices = TablePrices(table={"L4:1": [offer()]})
    [warning] = quote(asked, prices).warnings
    assert "T4:1" in warning


@pytest.mark.parametrize(
    ("asked", "usd", "next_step"),
    [
        pytest.param(plan(limits=Limits(max_cost_usd=0.5)), 3.0, "Allow at least $0.76", id="too short"),
        pytest.param(plan(limits=Limits(max_cost_usd=0.5), num_nodes=2), 3.0, "Allow at least $1.50", id="nodes"),
        pytest.param(
            plan(limits=Limits(month=replace(MONTH, spent_usd=9.0))), 3.0, "Give max_cost 1.00 or less", id="the month"
        ),
    ],
)
def test_a_budget_that_pays_no_run(asked: RunPlan, usd: float, next_step: str) -> None:
    with pytest.raises(BudgetError) as refused:
        quote(asked, TablePrices(table={"L4:1": [offer(usd)]}))
    assert refused.value.next_step.startswith(next_step), refused.value.next_step


@pytest.mark.parametrize(
    ("asked", "cloud"),
    [
        pytest.param(plan(limits=Limits(max_cost_usd=0.1), locations=()), "sandbox", id="a minute of the sandbox"),
        pytest.param(
            plan(limits=Limits(max_cost_usd=0.5, max_runtime_minutes=1.0, provisioning_minutes=1.0)),
            "lambda",
            id="a run that is shorter",
        ),
        pytest.param(plan(limits=Limits(max_cost_usd=0.75)), "lambda", id="the shortest run"),
    ],
)
def test_a_budget_that_pays_a_short_run(asked: RunPlan, cloud: str) -> None:
    assert quote(asked, TablePrices(table={"L4:1": [offer(cloud=cloud)]})).offers


def test_offers_of_an_unfit_cloud_do_not_count() -> None:
    asked = plan(locations=(), unfit_clouds=frozenset({"gcp"}))
    prices = TablePrices(table={"L4:1": [offer(1.0, cloud="gcp"), offer()]})
    assert [one.cloud for one in quote(asked, prices).offers] == ["lambda"]


ELSEWHERE = {"L4:1": [offer(cloud="gcp")], "L4:4": [offer(name="gpu_4x")]}


@pytest.mark.parametrize(
    ("asked", "table", "problem"),
    [
        pytest.param(plan(), {}, "No price is known for L4:1, 100 GB disk on lambda/us-east-1", id="nothing"),
        pytest.param(plan(locations=()), {}, "No price is known for L4:1, 100 GB disk on any cloud", id="any cloud"),
        pytest.param(
            plan(spot=Spot.ALWAYS), {}, "No price is known for L4:1, 100 GB disk as spot on lambda/us-east-1", id="spot"
        ),
        pytest.param(
            plan(),
            ELSEWHERE,
            "No price is known for L4:1, 100 GB disk on lambda/us-east-1 (1 × L4 on gcp; 4 × L4 on lambda)",
            id="elsewhere",
        ),
    ],
)
def test_a_machine_without_a_price(asked: RunPlan, table: Mapping[str, Sequence[Offer]], problem: str) -> None:
    quoted = quote(asked, TablePrices(table=table))
    [warning] = quoted.warnings
    assert warning.startswith(f"{problem}: ")
    MESSAGES.check("no price", warning.removeprefix(f"{problem}: "))
    assert (quoted.offers, quoted.max_usd, quoted.deadline_minutes, quoted.catalogue_date) == (
        (),
        None,
        80,
        "a Tuesday",
    )
    with pytest.raises(BudgetError) as refused:
        quote(replace(asked, limits=Limits(max_cost_usd=9.0)), TablePrices(table=table))
    assert refused.value.what == f"{problem}, so max_cost cannot be guaranteed."


def test_an_unknown_machine_type_is_a_warning_with_a_near_one() -> None:
    needs = ResourceRequest(instance_type="gpu_1y")
    [_, doubt] = quote(plan(needs), TablePrices()).warnings
    assert doubt.endswith("Did you mean gpu_1x?")


ANYWHERE = replace(EITHER, alternatives=(Alternative(needs=L4), Alternative(needs=L4, location=LAMBDA)))
AT_PLACES = replace(EITHER, alternatives=(Alternative(needs=L4, location=LAMBDA),))


@pytest.mark.parametrize(
    ("asked", "complete", "refused"),
    [
        pytest.param(plan(), {"lambda"}, True, id="a complete catalogue of its cloud"),
        pytest.param(plan(), {"gcp"}, False, id="a complete catalogue of another"),
        pytest.param(plan(locations=()), {"lambda"}, False, id="any cloud, and one incomplete"),
        pytest.param(plan(locations=()), {"lambda", "gcp"}, True, id="any cloud, and all complete"),
        pytest.param(
            plan(locations=(), unfit_clouds=frozenset({"gcp"})), {"lambda"}, True, id="the incomplete one is unfit"
        ),
        pytest.param(plan(AT_PLACES, locations=()), {"lambda"}, True, id="the places of alternatives"),
        pytest.param(plan(ANYWHERE), {"lambda"}, False, id="an alternative of any cloud"),
    ],
)
def test_a_machine_that_no_cloud_sells(asked: RunPlan, complete: set[str], refused: bool) -> None:
    prices = TablePrices(complete=complete)
    if not refused:
        assert quote(asked, prices).offers == ()
        return
    with pytest.raises(RequestError) as error:
        quote(asked, prices)
    [problem] = error.value.mistakes
    assert (problem.field, problem.problem.startswith("does not exist")) == ("gpu", True)


def test_a_refused_machine_names_the_machines_with_a_price() -> None:
    with pytest.raises(RequestError) as error:
        quote(plan(), TablePrices(table=ELSEWHERE, complete={"lambda"}))
    [problem] = error.value.mistakes
    assert problem.problem.endswith("(1 × L4 on gcp; 4 × L4 on lambda)")


def test_alternatives_leave_unfit_clouds_out() -> None:
    asked = plan(unfit_clouds=frozenset({"gcp"}))
    assert alternatives_text(asked, TablePrices(table=ELSEWHERE)) == "4 × L4 on lambda"


SPOT = [offer(1.0, spot=True), offer(0.5, spot=True), offer(3.0)]


@pytest.mark.parametrize(
    ("offers", "is_spot", "expected"),
    [
        pytest.param(SPOT, True, 0.5, id="the cheapest spot"),
        pytest.param(SPOT, False, 3.0, id="on demand"),
        pytest.param(SPOT[2:], True, 3.0, id="no price of spot"),
        pytest.param([], True, None, id="no price"),
    ],
)
def test_the_price_of_a_machine_that_runs(offers: Sequence[Offer], is_spot: bool, expected: float | None) -> None:
    prices = TablePrices(table={"gpu_1x": offers})
    assert catalogue_hourly_usd("gpu_1x", location=LAMBDA, is_spot=is_spot, prices=prices) == expected


def test_offers_on_demand_are_never_spot() -> None:
    assert on_demand(L4, location=LAMBDA, prices=TablePrices(table={"L4:1": SPOT})) == SPOT[2:]


A10G = ResourceRequest(accelerators={"A10G": 1})
BIG = ResourceRequest(cpus=4, memory_gib=16, disk_gb=200)


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        pytest.param(ResourceRequest(), "no GPU, 100 GB disk", id="nothing"),
        pytest.param(ResourceRequest(instance_type="g6.xlarge"), "g6.xlarge, 100 GB disk", id="a type"),
        pytest.param(ResourceRequest(accelerators={"L4": 1, "T4": 0.5}), "L4:1 or T4:0.5, 100 GB disk", id="GPUs"),
        pytest.param(
            ResourceRequest(accelerators={"L4": 1, "T4": 2}, in_order=True), "L4:1, else T4:2, 100 GB disk", id="order"
        ),
        pytest.param(BIG, "no GPU, 4+ vCPUs, 16+ GiB, 200 GB disk", id="at least"),
        pytest.param(
            replace(BIG, exact=frozenset({"cpus", "memory_gib"})), "no GPU, 4 vCPUs, 16 GiB, 200 GB disk", id="exactly"
        ),
        pytest.param(ResourceRequest(memory_per_vcpu=4), "no GPU, 4+ GiB per vCPU, 100 GB disk", id="ratio"),
        pytest.param(
            replace(EITHER, alternatives=(Alternative(needs=L4), Alternative(needs=A10G))),
            "L4:1 or A10G:1, 100 GB disk",
            id="alternatives that differ in GPUs",
        ),
        pytest.param(EITHER, "L4:1, 100 GB disk; or T4:1, 100 GB disk on gcp/us-central1", id="alternatives at places"),
        pytest.param(
            replace(EITHER, alternatives=(Alternative(needs=L4, spot=True), Alternative(needs=BIG)), in_order=True),
            "L4:1, 100 GB disk spot, else no GPU, 4+ vCPUs, 16+ GiB, 200 GB disk",
            id="alternatives in order",
        ),
    ],
)
def test_the_name_of_a_machine(needs: ResourceRequest, expected: str) -> None:
    assert machine(needs) == expected


@pytest.mark.parametrize(("nodes", "expected"), [(1, "gpu_1x"), (3, "3 × gpu_1x")])
def test_the_name_of_machines(nodes: int, expected: str) -> None:
    assert machines(plan(num_nodes=nodes), offer()) == expected
