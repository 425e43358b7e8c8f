"""The plan is priced honestly, refused when money cannot buy it, and shown in under a second without any network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.commands.plan.quote import quote
from cvl_ci.commands.plan.quote_text import as_json, as_text, in_one_line
from cvl_ci.errors import BudgetError
from cvl_ci.inputs.reader import from_keywords
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.model.location import Location
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.resource_request import ResourceRequest, Spot
from tests import golden
from tests.support.field import plant
from tests.support.processor import children_seconds, within

MESSAGES = golden.Messages(__name__)

PRICES = CataloguePrices(today=date(2026, 11, 29))
AWS_EXTRA = (100 * 0.08 + 500 * 0.005 + 93 * 0.04) / (28 * 24) + 0.005
"""AWS's disk of 100 GB in the shortest month, and a public address, for an hour: docs/limits.md has the sources."""
Ask = Callable[..., RunPlan]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    checkout = open_checkout(plant(tmp_path / "field"))

    def asked(**given: object) -> RunPlan:
        return prepare(from_keywords(given, environment={}), checkout=checkout, prices=PRICES)

    return asked


def test_the_most_it_can_cost_is_the_highest_price_times_nodes_times_its_deadline(ask: Ask) -> None:
    """SkyPilot may take any of the offers: where the cheapest machine is not to be had, the next one."""
    quoted = quote(ask(example="plain", cloud="aws", num_nodes=3, max_runtime="40m"), PRICES)
    assert quoted.hourly_usd == pytest.approx(3 * 0.096)
    assert quoted.deadline_minutes == 15 + 40 + 5
    assert max(offer.hourly_usd for offer in quoted.offers) == 0.107
    assert quoted.first_usd == pytest.approx(3 * (0.096 + AWS_EXTRA))
    assert quoted.dearest_usd == quoted.max_usd == pytest.approx(3 * (0.107 + AWS_EXTRA))
    MESSAGES.check("old prices", quoted.warnings)


def test_a_cloud_that_cannot_run_it_is_not_offered(ask: Ask) -> None:
    docker = quote(ask(example="usual", preset="train", gpu="L4"), PRICES)
    plain = quote(ask(example="plain", gpu="L4"), PRICES)
    assert "runpod" not in {offer.cloud for offer in docker.offers}
    assert plain.offers[0].cloud == "runpod"


def test_a_budget_ends_it_sooner_and_says_so(ask: Ask) -> None:
    quoted = quote(ask(example="plain", gpu="L4", cloud="aws", max_cost="0.40"), PRICES)
    assert quoted.deadline_minutes == pytest.approx(0.40 / (0.8048 + AWS_EXTRA) * 60)
    assert quoted.max_usd == pytest.approx(0.40)
    assert "max_cost ends it after 28 min 53 s" in quoted.warnings[0]


def test_the_most_expensive_candidate_bounds_whatever_its_place_in_the_list(ask: Ask) -> None:
    """In order of preference the first offer is of the first GPU, which need not be the most expensive."""
    for gpu in ("L4:1,A10G:1", "A10G:1,L4:1"):
        quoted = quote(ask(example="plain", gpu=gpu, cloud="aws", max_runtime="40m"), PRICES)
        dearest = max(offer.hourly_usd for offer in quoted.offers)
        assert quoted.max_usd == pytest.approx(dearest + AWS_EXTRA), gpu
        assert {"L4", "A10G"} == {name for offer in quoted.offers for name in offer.accelerators}


def test_a_fallback_is_priced_at_what_is_fallen_back_to(ask: Ask) -> None:
    quoted = quote(ask(example="plain", gpu="T4", cloud="aws", spot="fallback", max_runtime="40m"), PRICES)
    assert quoted.hourly_usd == 0.1901
    assert quoted.max_usd == pytest.approx(0.838 + AWS_EXTRA)
    capped = quote(ask(example="plain", gpu="T4", cloud="aws", spot="fallback", max_cost="0.3"), PRICES)
    assert capped.max_usd == 0.3


@pytest.mark.parametrize(("cost", "cloud"), [("0.01", "aws"), ("0.19", "aws"), ("0.01", "sandbox")])
def test_a_budget_that_buys_no_run_is_refused_with_what_would(ask: Ask, cost: str, cloud: str) -> None:
    with pytest.raises(BudgetError, match=r"an hour\. That is too short") as caught:
        quote(ask(example="plain", gpu="L4", cloud=cloud, max_cost=cost), PRICES)
    assert caught.value.exit_code == 78
    enough = caught.value.next_step.split("$")[1].split(",")[0]
    quote(ask(example="plain", gpu="L4", cloud=cloud, max_cost=enough), PRICES)


def test_a_job_shorter_than_the_shortest_run_needs_no_more_than_it_costs(ask: Ask) -> None:
    quoted = quote(ask(example="plain", cloud="aws", max_runtime="1m", max_cost="0.05"), PRICES)
    assert quoted.deadline_minutes == 21


def test_a_machine_that_a_cloud_does_not_have_is_answered_with_what_there_is(ask: Ask) -> None:
    quoted = quote(ask(example="plain", gpu="A100:1", cloud="aws"), PRICES)
    assert quoted.offers == ()
    told = quoted.warnings[0]
    assert "No price is known for A100:1" in told
    assert "8 × A100 on aws" in told
    elsewhere = told.partition("1 × A100 on ")[2].partition(";")[0]
    assert {"gcp", "lambda"} <= set(elsewhere.partition(")")[0].split(", "))


def test_an_exact_size_is_shown_as_one(ask: Ask) -> None:
    plan = ask(example="plain", cpus="4")
    assert "4+ vCPUs" in as_text(plan, quote(plan, PRICES), PRICES)
    exact = replace(
        plan, machines=replace(plan.machines, needs=replace(plan.machines.needs, exact=frozenset({"cpus"})))
    )
    assert "4 vCPUs" in as_text(exact, quote(exact, PRICES), PRICES).partition("$/hour")[0]


def test_without_a_price_it_is_warned_of_and_a_budget_is_refused(ask: Ask) -> None:
    quoted = quote(ask(example="plain", gpu="B300:8"), PRICES)
    assert (quoted.hourly_usd, quoted.max_usd, quoted.offers) == (None, None, ())
    assert "No price is known for B300:8" in quoted.warnings[0]
    with pytest.raises(BudgetError, match="cannot be guaranteed"):
        quote(ask(example="plain", gpu="B300:8", max_cost=100), PRICES)


@pytest.mark.parametrize("spot", [False, True])
def test_the_price_with_another_use_of_spot_has_the_disk_of_the_first_offer(ask: Ask, spot: bool) -> None:
    """A disk of 16 TB costs twenty times its machine: a price without it would promise what no run gets."""
    given = {"example": "plain", "cloud": "aws", "disk_size": 16384}
    plan, other = ask(**given, spot=spot), ask(**given, spot=not spot)
    amount = re.search(r"On(?: spot|-demand) from \$([\d.]+) an hour", as_text(plan, quote(plan, PRICES), PRICES))
    first = re.search(r"First offer: \$([\d.]+) an hour", as_text(other, quote(other, PRICES), PRICES))
    assert amount is not None and first is not None
    assert float(amount[1]) == float(first[1]) > 1.9
    assert f"{amount[1]} an hour" in in_one_line(other, quote(other, PRICES))


def test_programs_get_exactly_these_keys(ask: Ask) -> None:
    plan = ask(
        example="usual", preset="train_list", gpu="{L4:1, A10G:1}", cloud="aws", num_nodes=2, secrets={"S": "hide"}
    )
    text = as_json(plan, quote(plan, PRICES))
    read = json.loads(text)
    assert list(read) == [
        "example",
        "preset",
        "accelerators",
        "num_nodes",
        "commands",
        "image",
        "files",
        "not_sent",
        "mounts",
        "offers",
        "hourly_usd",
        "disk_and_address_hourly_usd",
        "total_hourly_usd",
        "dearest_hourly_usd",
        "first_usd",
        "dearest_usd",
        "max_cost_usd",
        "max_usd",
        "monthly_budget",
        "catalogue",
        "max_runtime_minutes",
        "warnings",
    ]
    assert (read["example"], read["preset"], read["num_nodes"]) == ("usual-example", "train_list", 2)
    assert read["accelerators"] == {"L4": 1, "A10G": 1}
    assert read["commands"] == ["bash build.sh", "bash train.sh --epochs 3"]
    assert {"path": "pyproject.toml", "bytes": 25} in read["files"]
    assert read["offers"][0] == {
        "cloud": "aws",
        "region": "us-east-1",
        "instance_type": "g6.xlarge",
        "accelerators": {"L4": 1},
        "spot": False,
        "hourly_usd": 0.8048,
    }
    assert read["hourly_usd"] == 1.6096
    assert read["disk_and_address_hourly_usd"] == pytest.approx(2 * AWS_EXTRA, abs=1e-6)
    assert read["total_hourly_usd"] == pytest.approx(1.6096 + 2 * AWS_EXTRA, abs=1e-6)
    assert read["first_usd"] == pytest.approx(read["total_hourly_usd"] * 80 / 60, abs=1e-4)
    assert read["dearest_usd"] == pytest.approx(read["dearest_hourly_usd"] * 80 / 60, abs=1e-4)
    dearest = max(offer["hourly_usd"] for offer in read["offers"])
    assert (read["max_usd"], read["max_runtime_minutes"]) == (round(2 * (dearest + AWS_EXTRA) * 80 / 60, 4), 60)
    assert "hide" not in text


def test_programs_get_empty_accelerators_and_no_price_as_such(ask: Ask) -> None:
    plain = ask(example="plain")
    assert json.loads(as_json(plain, quote(plain, PRICES)))["accelerators"] == {}
    rare = ask(command="ls", gpu="B300:8", workdir="cvlization")
    read = json.loads(as_json(rare, quote(rare, PRICES)))
    assert (read["example"], read["preset"], read["hourly_usd"], read["max_usd"]) == (None, None, None, None)
    assert (read["total_hourly_usd"], read["disk_and_address_hourly_usd"], read["dearest_hourly_usd"]) == (None,) * 3


SHOWN: dict[str, dict[str, object]] = {
    "plan_cpu": {"example": "plain", "cloud": "aws/us-east-1"},
    "plan_gpu": {
        "example": "usual",
        "preset": "train_text",
        "spot": "fallback",
        "cloud": "aws,gcp/us-central1",
        "max_cost": 1,
        "env": {"A": "b"},
        "secrets": {"HF_TOKEN": "x"},
    },
    "plan_sandbox": {
        "command": "echo one\necho two",
        "cloud": "sandbox",
        "num_nodes": 2,
        "workdir": "cvlization",
    },
    "plan_unpriced": {"example": "plain", "gpu": "B300:8"},
    "plan_h100_everywhere": {"example": "plain", "gpu": "H100:8"},
    "plan_spot_fallback": {"example": "plain", "gpu": "L4", "cloud": "aws,gcp", "spot": "fallback"},
    "plan_16_tb": {"example": "plain", "cloud": "aws", "disk_size": 16384, "max_cost": 2},
    "plan_two_nodes": {"example": "plain", "gpu": "A10G", "cloud": "aws/us-west-2", "num_nodes": 2},
    "plan_keep": {"example": "plain", "gpu": "L4", "cloud": "aws", "keep_on_failure": 60},
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_person_reads_it_in_plain_text(ask: Ask, name: str) -> None:
    plan = ask(**SHOWN[name])
    text = as_text(plan, quote(plan, PRICES), PRICES)
    golden.check(f"{name}.txt", text + "\n")


COLD = """
import sys
def watch(event, arguments):
    if event.startswith("socket."):
        print("SOCKET", event, file=sys.stderr)
sys.addaudithook(watch)
from pathlib import Path
from cvl_ci.commands.plan.quote import quote
from cvl_ci.commands.plan.quote_text import as_json, as_text, in_one_line
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.engine.task.task import render
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.inputs.reader import from_keywords
prices = CataloguePrices()
inputs = from_keywords({"example": "usual-example", "preset": "train"}, environment={})
plan = prepare(inputs, checkout=open_checkout(Path.cwd()), prices=prices)
quoted = quote(plan, prices)
print(as_json(plan, quoted), as_text(plan, quoted, prices), render(plan))
print("LOADED", *sorted({"sky", "boto3", "requests", "docker", "moto"} & set(sys.modules)), file=sys.stderr)
"""


def test_a_plan_works_under_a_second_and_neither_loads_skypilot_nor_opens_a_socket(tmp_path: Path) -> None:
    field = plant(tmp_path / "field")
    many = {f"examples/many/e{n}/example.yaml": f"name: many-{n}\npresets: [train]\n" for n in range(230)}
    plant(field, many)
    root = str(Path(__file__).resolve().parents[2])
    worked = []
    for _ in range(3):  # the first may compile byte code
        before = children_seconds()
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{COLD}"],
            cwd=field,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        worked.append(children_seconds() - before)
        assert (done.returncode, done.stderr.split()) == (0, ["LOADED"])
        assert '"usual-example"' in done.stdout
    assert within(min(worked), 1)


@pytest.mark.parametrize(("key", "first"), [("any_of", "L4"), ("ordered", "A100")])
def test_the_alternatives_of_a_task_are_priced_each_at_its_place(tmp_path: Path, key: str, first: str) -> None:
    root = plant(tmp_path / "field")
    task = f"run: x\nresources: {{{key}: [{{infra: gcp, accelerators: A100}}, {{infra: aws, accelerators: L4}}]}}"
    (root / "task.yaml").write_text(task)
    plan = prepare(from_keywords({"task": "task.yaml"}, environment={}), checkout=open_checkout(root), prices=PRICES)
    quoted = quote(plan, PRICES)
    assert {(offer.cloud, *offer.accelerators) for offer in quoted.offers} == {("gcp", "A100"), ("aws", "L4")}
    assert [*quoted.offers[0].accelerators] == [first]
    text = as_text(plan, quoted, PRICES)
    assert "A100:1, 256 GB disk on gcp" in text
    assert "On spot from" not in text


def test_memory_for_each_vcpu_is_a_least_ratio(tmp_path: Path) -> None:
    root = plant(tmp_path / "field")
    (root / "task.yaml").write_text("run: x\nresources: {cpus: 4+, memory: 4x}")
    plan = prepare(from_keywords({"task": "task.yaml"}, environment={}), checkout=open_checkout(root), prices=PRICES)
    offers = quote(plan, PRICES).offers
    assert offers
    assert all(offer.memory_gib >= 4 * offer.vcpus for offer in offers)
    assert any(
        offer.memory_gib < 4 * offer.vcpus
        for offer in PRICES.offers(ResourceRequest(cpus=4, memory_gib=1), locations=(), spot=Spot.NEVER)
    )


def test_a_region_of_any_cloud_is_of_the_clouds_that_have_the_machine(tmp_path: Path) -> None:
    root = plant(tmp_path / "field")
    (root / "task.yaml").write_text("run: x\nresources: {infra: '*/us-east-1', accelerators: L4}")
    plan = prepare(from_keywords({"task": "task.yaml"}, environment={}), checkout=open_checkout(root), prices=PRICES)
    assert plan.machines.locations == (Location(cloud="aws", region="us-east-1"),)


def test_of_a_requested_memory_the_gpus_that_a_place_offers_stay(tmp_path: Path) -> None:
    root = plant(tmp_path / "field")

    def gpus(task: str) -> list[list[str]]:
        (root / "t.yaml").write_text(f"run: x\nresources: {{{task}}}")
        asked = from_keywords({"task": "t.yaml"}, environment={})
        needs = prepare(asked, checkout=open_checkout(root), prices=PRICES).machines.needs
        return [list(one.needs.accelerators) for one in needs.alternatives] or [list(needs.accelerators)]

    assert gpus("infra: aws, accelerators: 80GB+:8") == [["A100-80GB", "H100", "H200"]]
    assert gpus("infra: lambda, accelerators: 80GB+") == [["H100", "GH200", "B200"]]
    assert gpus("infra: aws, accelerators: {'80GB:8': null, MI300X:8}") == [["A100-80GB", "H100", "MI300X"]]
    places = "any_of: [{infra: aws, gpus: '80GB:8'}, {infra: gcp, gpus: '80GB'}]"
    assert gpus(places) == [["A100-80GB"], ["H100"], ["A100-80GB"]]
    assert gpus("accelerators: 250GB+") == [["B300", "GB300"]], "unpriced everywhere: all of them stay"


def test_an_alternative_without_a_price_is_named(tmp_path: Path) -> None:
    root = plant(tmp_path / "field")
    (root / "t.yaml").write_text("run: x\nresources: {any_of: [{infra: k8s, gpus: MY}, {infra: aws, gpus: L4}]}")
    plan = prepare(from_keywords({"task": "t.yaml"}, environment={}), checkout=open_checkout(root), prices=PRICES)
    unpriced, old = quote(plan, PRICES).warnings
    MESSAGES.check("old prices", old)
    MESSAGES.check("an alternative without a price", unpriced)


def test_a_bucket_through_an_api_server_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """At every entry point, one line for each bucket: cvl-ci cannot prove the end of a bucket behind a server."""
    root = plant(tmp_path / "field")
    (root / "data").mkdir()
    (root / "data/a.csv").write_text("1\n")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    served = {
        "SKYPILOT_API_SERVER_ENDPOINT": "https://sky.example",
        "SKYPILOT_SERVICE_ACCOUNT_TOKEN": "sky_012345",
    }
    (root / "task.yaml").write_text("run: 'true'\nfile_mounts: {/made: {name: made, store: s3}}\n")
    words = ["plan", "--task", "task.yaml", "--cloud", "aws", "--mount", "/in=data", "--mount", "/out=data:cached"]

    def planned(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).parent / "cvl-ci"
        environment = {**environ, **variables}
        return subprocess.run(
            [program, *words], cwd=root, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    direct, through_server = planned({}), planned(served)
    assert direct.returncode == 0, direct.stderr
    refused = " ".join(through_server.stderr.split())
    assert through_server.returncode == 64, refused
    assert "'/out' may make a bucket through a" in refused
    assert "may make the bucket made through a" in refused
    assert "/in" not in refused
