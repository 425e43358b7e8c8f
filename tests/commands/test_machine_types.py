"""A machine type that no cloud sells, or that lacks what is asked for, is told before it costs."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.commands.plan.quote import quote
from cvl_ci.errors import BudgetError, RequestError
from cvl_ci.inputs.reader import from_keywords
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.model.plan import RunPlan
from tests import golden
from tests.clouds.catalogue import files
from tests.support.field import plant

MESSAGES = golden.Messages(__name__)

OURS = CataloguePrices(today=date(2026, 11, 29))


@pytest.fixture
def complete(tmp_path: Path) -> CataloguePrices:
    files.write(tmp_path / "catalogue", "aws", files.AWS)
    return CataloguePrices(tmp_path / "catalogue", today=date(2026, 10, 1))


def plan(folder: Path, prices: CataloguePrices, **given: object) -> RunPlan:
    checkout = open_checkout(plant(folder / "field"))
    return prepare(from_keywords({"command": "ls", **given}, environment={}), checkout=checkout, prices=prices)


CONTRADICTIONS = [
    ({"instance_type": "m6i.large", "gpu": "H100:3", "cloud": "aws"}, "has no GPU, and the request is for H100:3"),
    ({"instance_type": "g6.xlarge", "gpu": "L4:2", "cloud": "aws"}, "has L4:1, and the request is for L4:2"),
    ({"instance_type": "g6.xlarge", "gpu": "T4", "cloud": "sandbox"}, "has L4:1, and the request is for T4:1"),
    ({"instance_type": "m6i.large", "cpus": "64", "cloud": "aws"}, "has 2 vCPUs, and the request is for 64"),
    ({"instance_type": "m6i.large", "memory": "64", "cloud": "aws"}, "has 8 GiB, and the request is for 64 GiB"),
    ({"instance_type": "g6.xlarg", "cloud": "sandbox"}, "is not a machine type of sandbox"),
]


@pytest.mark.parametrize(("given", "problem"), CONTRADICTIONS)
def test_a_type_that_cannot_be_meant_is_refused(given: dict[str, object], problem: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        plan(tmp_path, OURS, **given)
    (mistake,) = caught.value.mistakes
    assert (mistake.field, mistake.problem) == ("instance_type", problem)


@pytest.mark.parametrize(
    "given",
    [
        {"instance_type": "g6.xlarge", "gpu": "{L4:1, H100:8}", "cloud": "aws"},
        {"instance_type": "g6.xlarge", "gpu": "L4", "cpus": "4+", "memory": "16", "cloud": "aws"},
        {"instance_type": "n1-highmem-8", "gpu": "T4:2", "cloud": "gcp"},
        {"instance_type": "any-name", "cloud": "kubernetes"},
    ],
)
def test_a_type_that_has_it_or_may_have_it_is_taken(given: dict[str, object], tmp_path: Path) -> None:
    assert plan(tmp_path, OURS, **given).machines.needs.instance_type == given["instance_type"]


def test_a_catalogue_that_lists_a_few_types_warns_with_near_names(tmp_path: Path) -> None:
    asked = plan(tmp_path / "a", OURS, instance_type="g6.xlarg", cloud="aws")
    MESSAGES.check("a near name", quote(asked, OURS).warnings[-1])
    limited = plan(tmp_path / "b", OURS, instance_type="g6.xlarg", cloud="aws", max_cost=3)
    with pytest.raises(BudgetError) as refused:
        quote(limited, OURS)
    MESSAGES.check("no bound", str(refused.value))


def test_a_complete_catalogue_refuses_the_type(tmp_path: Path, complete: CataloguePrices) -> None:
    known = complete.machine_types("aws")
    with pytest.raises(RequestError) as caught:
        plan(tmp_path, complete, instance_type=known[0] + "x", cloud="aws")
    (mistake,) = caught.value.mistakes
    assert mistake.problem == "is not a machine type of aws"
    assert known[0] in mistake.near


def test_a_type_of_another_region_is_refused_with_the_regions_that_have_it(
    tmp_path: Path, complete: CataloguePrices
) -> None:
    with pytest.raises(RequestError, match=r"not sold in .*south-1, but in us-east-1"):
        plan(tmp_path, complete, instance_type=complete.machine_types("aws")[0], cloud="aws/ap-south-1")


def test_a_task_that_names_the_type_is_blamed_for_it(tmp_path: Path) -> None:
    checkout = open_checkout(plant(tmp_path / "field"))
    (tmp_path / "field/task.yaml").write_text("resources: {infra: aws, instance_type: m6i.large}\nrun: ls\n")
    inputs = from_keywords({"task": "task.yaml", "gpu": "H100"}, environment={})
    assert prepare(inputs, checkout=checkout, prices=OURS).machines.needs.accelerators == {"H100": 1}
    (tmp_path / "field/task.yaml").write_text(
        "resources: {infra: aws, instance_type: m6i.large, accelerators: 'H100:1'}\nrun: ls\n"
    )
    with pytest.raises(RequestError) as caught:
        prepare(from_keywords({"task": "task.yaml"}, environment={}), checkout=checkout, prices=OURS)
    (mistake,) = caught.value.mistakes
    assert (mistake.field, mistake.value) == ("task", "m6i.large")


@pytest.mark.parametrize(
    ("given", "is_warned"),
    [
        ({"cloud": "sandbox", "gpu": "H100"}, True),
        ({"cloud": "sandbox", "instance_type": "g6.xlarge"}, True),
        ({"cloud": "sandbox", "gpu": "none"}, False),
        ({"cloud": "aws", "gpu": "H100"}, False),
    ],
)
def test_the_sandbox_says_that_it_has_no_gpu(given: dict[str, object], is_warned: bool, tmp_path: Path) -> None:
    warnings = plan(tmp_path, OURS, **given).warnings
    assert any("The sandbox has no GPU" in text for text in warnings) is is_warned
