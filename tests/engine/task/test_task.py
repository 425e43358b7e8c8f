"""A plan becomes the task that SkyPilot's own schema accepts, with our limits in it whatever the user's task says."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.engine.task import script, task
from cvl_ci.model.location import SANDBOX, Location
from cvl_ci.model.offer import Offer
from cvl_ci.model.plan import FilePlan, MachinePlan, RunPlan, VariablePlan, WorkPlan
from cvl_ci.model.resource_request import Alternative, ResourceRequest, Spot
from cvl_ci.model.secret import Secret
from cvl_ci.model.service import ServicePlan, TlsPlan
from cvl_ci.model.staged_files import CommitCopy, StagedFile
from tests.support import probed, sky_process

PLAN = RunPlan(
    title="digits-sgd train",
    work=WorkPlan(
        directory="examples/digits sgd", setup_commands=("bash build.sh",), run_commands=("bash train.sh --epochs 3",)
    ),
    files=FilePlan(staged=(StagedFile(path="a", source="/a", bytes=1),)),
    variables=VariablePlan(env={"A": "1"}, secrets={"HF_TOKEN": Secret("hf_value")}),
    machines=MachinePlan(
        needs=ResourceRequest(accelerators={"L4": 1, "A10G": 1}, cpus=4, memory_gib=16, disk_gb=120),
        locations=(Location(cloud="aws", region="us-east-1"),),
    ),
)

ALTERNATIVES = ResourceRequest(
    alternatives=(
        Alternative(
            needs=ResourceRequest(accelerators={"L4": 1}),
            location=Location(cloud="aws"),
            spot=True,
            extra={"labels": {"cvl-lease": "theirs"}},
        ),
        Alternative(needs=ResourceRequest(accelerators={"L4": 1}), location=Location(cloud="gcp")),
    )
)


def config(plan: RunPlan, **given: Any) -> dict[str, Any]:
    with_defaults: dict[str, Any] = {
        "name": "cvl-x",
        "workdir": "/staged",
        "labels": {"cvl-lease": "x"},
        "autodown_minutes": 80,
        "env": {"A": "1", "CVL_CI_LEASE": "x"},
        "setup": "wrapped setup",
        "run": "wrapped run",
        **given,
    }
    return task.task_config(plan, **with_defaults)


def resources(plan: RunPlan) -> dict[str, Any]:
    found = config(plan)["resources"]
    assert isinstance(found, dict)
    return found


def test_one_place_has_the_set_of_gpus_so_that_skypilot_takes_the_cheapest() -> None:
    assert config(PLAN) == {
        "name": "cvl-x",
        "workdir": "/staged",
        "num_nodes": 1,
        "resources": {
            "cpus": "4+",
            "memory": "16+",
            "disk_size": 120,
            "labels": {"cvl-lease": "x"},
            "autostop": {"idle_minutes": 80, "down": True, "wait_for": "none"},
            "accelerators": {"L4": 1, "A10G": 1},
            "infra": "aws/us-east-1",
        },
        "envs": {"A": "1", "CVL_CI_LEASE": "x"},
        "secrets": {"HF_TOKEN": "hf_value"},
        "setup": "wrapped setup",
        "run": "wrapped run",
    }


def test_without_a_place_no_infra_is_named() -> None:
    assert "infra" not in resources(replace(PLAN, machines=replace(PLAN.machines, locations=())))


def test_several_places_are_tried_in_their_order_each_with_each_gpu() -> None:
    plan = replace(
        PLAN,
        machines=replace(PLAN.machines, locations=(Location(cloud="gcp"), Location(cloud="aws", region="r", zone="z"))),
    )
    assert resources(plan)["ordered"] == [
        {"infra": "gcp", "accelerators": {"L4": 1}},
        {"infra": "gcp", "accelerators": {"A10G": 1}},
        {"infra": "aws/r/z", "accelerators": {"L4": 1}},
        {"infra": "aws/r/z", "accelerators": {"A10G": 1}},
    ]


def test_gpus_without_an_order_stand_by_their_price_at_each_place() -> None:
    """SkyPilot takes the first entry of a list that it can have, and the quote is of the cheapest."""
    locations = (Location(cloud="gcp"), Location(cloud="aws"))
    plan = replace(
        PLAN,
        machines=replace(
            PLAN.machines, locations=locations, needs=ResourceRequest(accelerators={"A100": 8, "L4": 1, "MI300X": 8})
        ),
    )

    def resources(plan: RunPlan) -> dict[str, Any]:
        offers = CataloguePrices().offers(plan.machines.needs, locations=locations, spot=Spot.NEVER)
        found = config(plan, offers=offers)["resources"]
        assert isinstance(found, dict)
        return found

    entries = resources(plan)["ordered"]
    assert [(entry["infra"], *entry["accelerators"]) for entry in entries] == [
        *(("gcp", name) for name in ("L4", "A100", "MI300X")),
        *(("aws", name) for name in ("L4", "A100", "MI300X")),
    ]
    kept = resources(replace(plan, machines=replace(plan.machines, needs=replace(plan.machines.needs, in_order=True))))[
        "ordered"
    ]
    assert [*kept[0]["accelerators"]] == ["A100"]


def test_the_prices_of_the_quote_order_the_gpus_and_no_other_catalogue() -> None:
    """A person's own catalogue may say the opposite of the table inside the program."""
    locations = (Location(cloud="gcp"), Location(cloud=SANDBOX))
    plan = replace(
        PLAN,
        machines=replace(PLAN.machines, locations=locations, needs=ResourceRequest(accelerators={"L4": 1, "A100": 8})),
    )
    common: dict[str, Any] = {"instance_type": "x", "spot": False}
    offers = [
        Offer(cloud="gcp", region="r", accelerators={"L4": 1}, hourly_usd=90.0, **common),
        Offer(cloud="gcp", region="r", accelerators={"A100": 8}, hourly_usd=5.0, **common),
        Offer(cloud=SANDBOX, region="us-east-1", accelerators={"A100": 8}, hourly_usd=7.0, **common),
        Offer(cloud=SANDBOX, region="us-east-1", accelerators={"L4": 1}, hourly_usd=8.0, **common),
        Offer(cloud=SANDBOX, region="us-west-2", accelerators={"L4": 1}, hourly_usd=1.0, **common),
        Offer(cloud=SANDBOX, region="us-west-2", accelerators={"A100": 8}, hourly_usd=2.0, **common),
    ]
    entries = config(plan, offers=offers)["resources"]["ordered"]
    assert [(entry["infra"], *entry["accelerators"]) for entry in entries] == [
        ("gcp", "A100"),
        ("gcp", "L4"),
        ("aws/us-east-1", "A100"),
        ("aws/us-east-1", "L4"),
        ("aws/us-west-2", "L4"),
        ("aws/us-west-2", "A100"),
    ]


def test_gpus_in_order_of_preference_stay_in_order_at_one_place() -> None:
    plan = replace(
        PLAN, machines=replace(PLAN.machines, needs=ResourceRequest(accelerators={"H100": 1, "L4": 1}, in_order=True))
    )
    assert resources(plan)["ordered"] == [
        {"infra": "aws/us-east-1", "accelerators": {"H100": 1}},
        {"infra": "aws/us-east-1", "accelerators": {"L4": 1}},
    ]
    assert "ordered" not in resources(
        replace(PLAN, machines=replace(PLAN.machines, needs=ResourceRequest(accelerators={"H100": 1}, in_order=True)))
    )


def test_fallback_tries_spot_everywhere_before_any_on_demand() -> None:
    plan = replace(
        PLAN,
        machines=replace(
            PLAN.machines,
            needs=ResourceRequest(),
            locations=(Location(cloud="gcp"), Location(cloud="aws")),
            spot=Spot.FALLBACK,
        ),
    )
    tried = resources(plan)["ordered"]
    assert [(entry["infra"], entry.get("use_spot", False)) for entry in tried] == [
        ("gcp", True),
        ("aws", True),
        ("gcp", False),
        ("aws", False),
    ]
    assert resources(replace(plan, machines=replace(plan.machines, locations=(), spot=Spot.FALLBACK)))["ordered"] == [
        {"use_spot": True},
        {},
    ]
    assert resources(replace(PLAN, machines=replace(PLAN.machines, spot=Spot.ALWAYS)))["use_spot"] is True


def test_the_sandbox_is_aws_in_the_regions_it_emulates() -> None:
    plan = replace(
        PLAN, machines=replace(PLAN.machines, needs=ResourceRequest(), locations=(Location(cloud="sandbox"),))
    )
    assert resources(plan)["ordered"] == [{"infra": "aws/us-east-1"}, {"infra": "aws/us-west-2"}]
    assert (
        resources(
            replace(plan, machines=replace(plan.machines, locations=(Location(cloud="sandbox", region="us-west-2"),)))
        )["infra"]
        == "aws/us-west-2"
    )


def test_a_machine_without_gpu_has_two_vcpus_unless_said_otherwise() -> None:
    assert resources(replace(PLAN, machines=replace(PLAN.machines, needs=ResourceRequest())))["cpus"] == "2+"
    assert resources(replace(PLAN, machines=replace(PLAN.machines, needs=ResourceRequest(cpus=2.5))))["cpus"] == "2.5+"
    assert "cpus" not in resources(
        replace(PLAN, machines=replace(PLAN.machines, needs=ResourceRequest(accelerators={"T4": 1})))
    )


def test_an_exact_size_stays_exact() -> None:
    found = resources(
        replace(
            PLAN,
            machines=replace(
                PLAN.machines, needs=ResourceRequest(cpus=4, memory_gib=16, exact=frozenset({"cpus", "memory_gib"}))
            ),
        )
    )
    assert (found["cpus"], found["memory"]) == ("4", "16")
    assert (
        resources(replace(PLAN, machines=replace(PLAN.machines, needs=ResourceRequest(cpus=4, memory_gib=16))))[
            "memory"
        ]
        == "16+"
    )


def test_a_type_of_machine_says_it_all() -> None:
    gpus = {"A10G": 4}
    needs = ResourceRequest(accelerators=gpus, unnamed=frozenset(gpus), instance_type="g5.12xlarge", disk_gb=100)
    found = resources(replace(PLAN, machines=replace(PLAN.machines, needs=needs)))
    assert found["instance_type"] == "g5.12xlarge"
    assert not {"accelerators", "cpus", "memory"} & found.keys()


def test_a_gpu_named_next_to_a_type_is_requested_because_an_n1_of_google_cloud_has_none_without() -> None:
    needs = ResourceRequest(accelerators={"T4": 1}, instance_type="n1-highmem-8", disk_gb=100)
    found = resources(replace(PLAN, machines=replace(PLAN.machines, needs=needs)))
    assert (found["instance_type"], found["accelerators"]) == ("n1-highmem-8", {"T4": 1})


def test_an_image_is_a_docker_image() -> None:
    assert resources(replace(PLAN, work=replace(PLAN.work, image="ubuntu:22.04")))["image_id"] == "docker:ubuntu:22.04"


def test_a_users_own_keys_pass_but_never_over_our_limits() -> None:
    extra = {
        "file_mounts": {"/d": "/x"},
        "name": "theirs",
        "resources": {"ports": 8080, "autostop": False, "disk_size": 1, "labels": {"a": "b", "cvl-lease": "theirs"}},
    }
    found = config(replace(PLAN, work=replace(PLAN.work, task_extra=extra)))
    assert found["file_mounts"] == {"/d": "/x"}
    assert found["name"] == "cvl-x"
    assert found["resources"]["ports"] == 8080
    assert found["resources"]["autostop"] == {"idle_minutes": 80, "down": True, "wait_for": "none"}
    assert (found["resources"]["disk_size"], found["resources"]["labels"]) == (
        120,
        {"a": "b", "cvl-lease": "x"},
    )


def test_the_labels_of_an_alternative_pass_but_never_over_those_of_the_lease() -> None:
    own = Alternative(needs=ResourceRequest(cpus=4), extra={"labels": {"a": "b", "cvl-lease": "theirs"}})
    plan = replace(
        PLAN,
        machines=replace(
            PLAN.machines, needs=ResourceRequest(alternatives=(own, Alternative(needs=ResourceRequest(cpus=8))))
        ),
    )
    found = resources(plan)
    assert found["labels"] == {"cvl-lease": "x"}
    assert found["autostop"] == {"idle_minutes": 80, "down": True, "wait_for": "none"}
    assert [each.get("labels") for each in found["any_of"]] == [{"a": "b", "cvl-lease": "x"}, None]


def test_an_alternative_without_a_place_may_run_in_each_place_of_the_plan() -> None:
    here = Alternative(needs=ResourceRequest(cpus=4), location=Location(cloud="gcp"))
    needs = ResourceRequest(alternatives=(here, Alternative(needs=ResourceRequest(cpus=8))), in_order=True)
    plan = replace(
        PLAN, machines=replace(PLAN.machines, needs=needs, locations=(Location(cloud="aws"), Location(cloud="azure")))
    )
    tried = resources(plan)["ordered"]
    assert [(each["cpus"], each["infra"]) for each in tried] == [("4+", "gcp"), ("8+", "aws"), ("8+", "azure")]


def test_a_folder_that_is_sent_alone_is_the_workdir_of_what_is_rendered() -> None:
    commit = CommitCopy(path=".", root="/repository", commit="0" * 40, folder="src")
    assert yaml.safe_load(task.render(replace(PLAN, files=replace(PLAN.files, commits=(commit,)))))["workdir"] == "src"
    assert "workdir" not in yaml.safe_load(
        task.render(replace(PLAN, files=replace(PLAN.files, staged=(), commits=(commit,))))
    )


@pytest.mark.parametrize(
    ("title", "name"), [("My_Task.v2", "My_Task.v2"), ("digits train", "digits-train"), ("é", "task")]
)
def test_a_name_that_skypilot_takes_stays_as_it_is(title: str, name: str) -> None:
    assert yaml.safe_load(task.render(replace(PLAN, title=title)))["name"] == name


def test_what_is_not_there_is_left_out() -> None:
    found = config(
        replace(PLAN, variables=replace(PLAN.variables, secrets={})),
        setup=None,
        workdir=None,
        labels={},
        autodown_minutes=None,
    )
    assert not {"setup", "workdir", "secrets"} & found.keys()
    assert not {"labels", "autostop"} & found["resources"].keys()


def test_rendered_it_is_plain_commands_and_no_secrets_value() -> None:
    text = task.render(replace(PLAN, machines=replace(PLAN.machines, spot=Spot.FALLBACK)))
    assert "hf_value" not in text
    assert "&id" not in text
    read = yaml.safe_load(text)
    assert read["secrets"] == {"HF_TOKEN": None}
    assert read["name"] == "digits-sgd-train"
    assert read["run"].split("\n") == ["set -e", "cd 'examples/digits sgd'", "bash train.sh --epochs 3", ""]
    assert read["setup"].split("\n") == ["set -e", "cd 'examples/digits sgd'", "bash build.sh", ""]
    assert read["workdir"] == "."


@pytest.mark.parametrize(
    ("commands", "fail_fast"),
    [
        (("false\necho after",), False),
        (("false\necho after",), True),
        (("false | true; echo after",), True),
        (("false | true; echo after",), False),
        (("exit 3",), False),
        (("cd /; false", "echo after"), False),
        (("export A=1; true", 'echo "A is $A"'), False),
        (("echo one", "false", "echo two"), False),
        (("echo 'a b'", "echo c"), False),
        (("A=1 env", "echo c"), False),
        (("exit 0", "echo after"), False),
    ],
)
@pytest.mark.parametrize("directory", [".", "a b"])
def test_what_is_rendered_does_what_the_machine_does(
    tmp_path: Path, commands: tuple[str, ...], fail_fast: bool, directory: str
) -> None:
    (tmp_path / "a b").mkdir()
    plan = RunPlan(title="x", work=WorkPlan(directory=directory, run_commands=commands, fail_fast=fail_fast))
    rendered = yaml.safe_load(task.render(plan))["run"]
    env = {**script.environment(plan, lease="cvl-1-abc", deadline=time.time() + 3600), "PATH": os.environ["PATH"]}
    done = [
        subprocess.run(
            ["bash", "-c", probed.briefly(text)],
            cwd=tmp_path,
            env={**env, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        for text in (rendered, script.run(plan, lease="cvl-1-abc"))
    ]
    words = [
        [line for line in each.stdout.splitlines() if line in {"after", "one", "two", "a b", "c"} or "A is" in line]
        for each in done
    ]
    assert words[0] == words[1]
    assert done[0].returncode == done[1].returncode


def test_a_tasks_own_script_is_rendered_as_it_is() -> None:
    text = "false\ncd x\n# a comment\necho $A"
    rendered = yaml.safe_load(
        task.render(RunPlan(title="x", work=WorkPlan(setup_commands=(text,), run_commands=(text,))))
    )
    assert (rendered["setup"], rendered["run"]) == (text, text)


# ---- what SkyPilot itself says of it ----------------------------------------------------------------------------

READ_BY_SKYPILOT = """
import json, sys
import sky
for config in json.load(sys.stdin):
    task = sky.Task.from_yaml_config(config)
    print(json.dumps({
        "nodes": task.num_nodes, "name": task.name,
        "resources": [
            {"cloud": str(r.cloud).lower(), "region": r.region, "spot": r.use_spot, "gpus": r.accelerators,
             "disk": r.disk_size, "image": r.extract_docker_image(), "cpus": r.cpus, "labels": r.labels,
             "autostop": r.autostop_config.idle_minutes if r.autostop_config else None,
             "type": r.instance_type}
            for r in task.get_resource_config() and list(task.resources)
        ],
        "ordered": isinstance(task.resources, list),
    }))
"""
AWS_COLUMNS = (
    "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone,Arch"
)


def catalogues(home: Path) -> None:
    """The least that lets SkyPilot parse a task offline."""
    root = home / ".sky" / "catalogs" / "v8"
    for folder in ("aws", "gcp", "common"):
        (root / folder).mkdir(parents=True)
    rows = [
        f"{name},{gpu},{count},4.0,16.0,,0.5,0.2,{region},{region}a,x86_64"
        for name, gpu, count in (("m6i.xlarge", "", ""), ("g6.xlarge", "L4", "1.0"), ("g5.xlarge", "A10G", "1.0"))
        for region in ("us-east-1", "us-west-2")
    ]
    (root / "aws" / "vms.csv").write_text("\n".join([AWS_COLUMNS, *rows]) + "\n")
    (root / "aws" / "images.csv").write_text("Tag,Region,OS,OSVersion,ImageId,CreationDate,BaseImageId\n")
    (root / "aws" / "instance_quota_mapping.csv").write_text("InstanceType,OnDemandInstanceCode,SpotInstanceCode\n")
    gcp = [
        "g2-standard-4,,,4.0,16.0,,0.5,0.2,us-central1,us-central1-a,x86_64",
        ",L4,1.0,,,,0.3,0.1,us-central1,us-central1-a,",
    ]
    (root / "gcp" / "vms.csv").write_text("\n".join([AWS_COLUMNS, *gcp]) + "\n")
    (root / "gcp" / "images.csv").write_text("Tag,Region,OS,OSVersion,ImageId,CreationDate,BaseImageId\n")
    (root / "common" / "accelerators.csv").write_text("AcceleratorName,Clouds\nL4,\"['AWS', 'GCP']\"\nA10G,['AWS']\n")
    (root / "common" / "metadata.csv").write_text("GPU,MemoryGB,Manufacturer\nL4,24,NVIDIA\nA10G,24,NVIDIA\n")


@pytest.mark.sky
def test_skypilot_accepts_every_shape_of_task_and_understands_it_as_meant(tmp_path: Path) -> None:
    (tmp_path / "staged").mkdir()
    home = sky_process.empty_home()
    catalogues(home)
    plans = [
        PLAN,
        replace(
            PLAN,
            machines=replace(
                PLAN.machines, needs=ResourceRequest(), locations=(Location(cloud="sandbox"),), num_nodes=2
            ),
        ),
        replace(
            PLAN, machines=replace(PLAN.machines, spot=Spot.FALLBACK), work=replace(PLAN.work, image="ubuntu:22.04")
        ),
        replace(
            PLAN,
            machines=replace(
                PLAN.machines, needs=ResourceRequest(instance_type="g5.xlarge"), locations=(Location(cloud="aws"),)
            ),
        ),
        replace(
            PLAN,
            machines=replace(PLAN.machines, locations=()),
            work=replace(PLAN.work, task_extra={"resources": {"ports": 8080}}),
        ),
        replace(
            PLAN, work=replace(PLAN.work, image="ubuntu:22.04"), machines=replace(PLAN.machines, needs=ALTERNATIVES)
        ),
    ]
    configs = [config(plan, workdir=str(tmp_path / "staged")) for plan in plans]
    configs.append(
        yaml.safe_load(
            task.render(
                replace(PLAN, variables=replace(PLAN.variables, secrets={}), files=replace(PLAN.files, staged=()))
            )
        )
    )
    done = sky_process.run(
        READ_BY_SKYPILOT,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"},
        text=json.dumps(configs),
        loaded=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    plain, nodes, fallback, typed, anywhere, alternatives, _rendered = map(json.loads, done.stdout.splitlines())
    assert [list(each["gpus"].items()) for each in plain["resources"]] in (
        [[("L4", 1)], [("A10G", 1)]],
        [[("A10G", 1)], [("L4", 1)]],
    )
    assert {
        (each["cloud"], each["region"], each["disk"], each["cpus"], each["autostop"]) for each in plain["resources"]
    } == {("aws", "us-east-1", 120, "4+", 80)}
    assert plain["resources"][0]["labels"] == {"cvl-lease": "x"}
    assert (nodes["nodes"], nodes["ordered"], [each["region"] for each in nodes["resources"]]) == (
        2,
        True,
        ["us-east-1", "us-west-2"],
    )
    assert [(each["spot"], *each["gpus"]) for each in fallback["resources"]] == [
        (True, "L4"),
        (True, "A10G"),
        (False, "L4"),
        (False, "A10G"),
    ]
    assert {each["image"] for each in fallback["resources"]} == {"ubuntu:22.04"}
    assert typed["resources"][0]["type"] == "g5.xlarge"
    assert {each["cloud"] for each in anywhere["resources"]} == {"none"}
    assert {each["autostop"] for each in alternatives["resources"]} == {80}
    assert {each["image"] for each in alternatives["resources"]} == {"ubuntu:22.04"}
    assert all(each["labels"]["cvl-lease"] == "x" for each in alternatives["resources"])
    assert {(each["cloud"], each["spot"]) for each in alternatives["resources"]} == {("aws", True), ("gcp", False)}


def test_the_key_of_a_service_goes_to_its_machine_as_a_secret_and_into_no_task_for_a_person() -> None:
    tls = TlsPlan(chain="chain\n", key=Secret("private words"))
    plan = replace(PLAN, service=ServicePlan(port=8000, tls=tls))
    assert config(plan, lease="cvl-1")["secrets"] == {
        "HF_TOKEN": "hf_value",
        "CVL_CI_TLS_KEY": "private words",
    }
    assert "CVL_CI_TLS_KEY" not in config(PLAN, lease="cvl-1")["secrets"]
    assert "CVL_CI_TLS_KEY" not in str(config(plan)) and "private words" not in task.render(plan) + repr(plan)
    env = script.environment(plan, lease="cvl-1", deadline=0.0)
    assert "private words" not in f"{env}{script.setup(plan)}{script.run(plan, lease='cvl-1')}"
