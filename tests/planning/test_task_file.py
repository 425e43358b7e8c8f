"""A user's own task YAML: what we read of it, what is passed on, and what is refused in one sentence."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import pytest

from cvl_ci.clouds.catalogue.names import ACCELERATORS
from cvl_ci.inputs.machine_inputs import MachineInputs
from cvl_ci.inputs.reader import Inputs, from_keywords
from cvl_ci.inputs.run_inputs import VariableInputs
from cvl_ci.model.location import Location
from cvl_ci.model.resource_request import Alternative, ResourceRequest, Spot
from cvl_ci.model.secret import Secret
from cvl_ci.planning import build_plan, task_file
from cvl_ci.planning.safe_yaml import Unreadable
from cvl_ci.planning.task_file import TaskFile
from tests import golden
from tests.support.processor import within

MESSAGES = golden.Messages(__name__)

FULL = b"""
name: mine
workdir: src
num_nodes: 2
resources:
  infra: aws/us-east-1
  accelerators: {l4: 1, A10G: 1}
  use_spot: true
  image_id: docker:ubuntu:22.04
  cpus: 4+
  memory: 16+
  disk_size: 200
  ports: 8080
  autostop: 10
  labels: {a: b}
envs: {A: 1, B: two, ASK: null}
secrets: {TOKEN: abc}
setup: pip install x
run: python train.py
file_mounts:
  /data: ./data
  /bucket: s3://bucket/x
  /more: {source: ./more, mode: COPY}
"""


def read(content: bytes) -> TaskFile:
    return task_file.read(content, known_gpus=ACCELERATORS)


def test_everything_we_must_know_is_read() -> None:
    task = read(FULL)
    assert task.wrong == ()
    assert (task.name, task.workdir, task.machines.num_nodes, task.work.setup_commands, task.work.run_commands) == (
        "mine",
        "src",
        2,
        ("pip install x",),
        ("python train.py",),
    )
    assert task.machines.needs == ResourceRequest(accelerators={"L4": 1, "A10G": 1}, cpus=4, memory_gib=16, disk_gb=200)
    assert task.machines.locations == (Location(cloud="aws", region="us-east-1"),)
    assert (task.machines.spot, task.work.image) == (Spot.ALWAYS, "ubuntu:22.04")
    assert task.variables.env == {"A": "1", "B": "two"}
    assert task.variables.secrets == {"TOKEN": Secret("abc")}


def test_the_rest_is_passed_on_but_what_is_ours() -> None:
    extra = read(FULL).work.task_extra
    assert extra["resources"] == {"ports": 8080, "labels": {"a": "b"}}
    assert extra["file_mounts"] == {
        "/data": "./data",
        "/bucket": "s3://bucket/x",
        "/more": {"source": "./more", "mode": "COPY"},
    }


def test_what_is_left_to_be_given_must_be_given() -> None:
    MESSAGES.check("no value", read(FULL).problems(Inputs()))
    assert read(FULL).problems(Inputs(variables=VariableInputs(env={"ASK": "x"}))) == []


@pytest.mark.parametrize(
    ("accelerators", "expected"),
    [
        ("L4:2", {"L4": 2}),
        ("[L4:1, A10G]", {"L4": 1, "A10G": 1}),
        ("{L4: 1, A10G: 1}", {"L4": 1, "A10G": 1}),
        ("{L4:1, A10G:1}", {"L4": 1, "A10G": 1}),
        ("{A100: null}", {"A100": 1}),
        ("T4:0.5", {"T4": 0.5}),
        ("Inferentia:6", {"Inferentia": 6}),
        ("'{L4:1, A10G:1}'", {"L4": 1, "A10G": 1}),
    ],
)
def test_accelerators_come_as_text_list_and_mapping(accelerators: str, expected: dict[str, float]) -> None:
    assert read(f"run: x\nresources: {{accelerators: {accelerators}}}".encode()).machines.needs.accelerators == expected


def test_a_header_that_names_one_task_is_its_name() -> None:
    task = read(b"name: mine\n---\nrun: x\n")
    assert (task.wrong, task.name, task.work.run_commands) == ((), "mine", ("x",))


def test_an_own_cluster_has_its_own_names_of_gpus() -> None:
    task = read(b"run: x\nresources: {infra: k8s/mine, accelerators: 'MI300:8'}")
    assert (task.wrong, task.machines.needs.accelerators) == ((), {"MI300": 8})
    (elsewhere,) = read(b"run: x\nresources: {accelerators: 'my-gpu:8'}").wrong
    MESSAGES.check("no such GPU", elsewhere)


def test_a_name_with_several_counts_makes_alternatives_with_the_tasks_place_and_use_of_spot() -> None:
    task = read(b"run: x\nresources: {infra: aws, use_spot: true, accelerators: {L4:8, A100:4, A100:8}}")
    needs = task.machines.needs
    assert task.wrong == ()
    assert [one.needs.accelerators for one in needs.alternatives] == [{"L4": 8}, {"A100": 4}, {"A100": 8}]
    assert {(str(one.location), one.spot) for one in needs.alternatives} == {("aws", True)}
    assert (needs.in_order, task.machines.spot) == (False, Spot.ALWAYS)
    assert read(b"run: x\nresources: {accelerators: ['A100:8', 'A100:4']}").machines.needs.in_order


def test_the_users_gpus_with_several_counts_replace_the_tasks() -> None:
    request = from_keywords({"task": "t.yaml", "gpu": "any:L4:1,L4:4", "cloud": "aws"}, environment={})
    draft = read(b"run: x\nresources: {use_spot: true, cpus: 4}").draft(request)
    needs = build_plan.plan(request, draft, gpu=request.machine.gpu).machines.needs
    assert [(one.needs.accelerators, one.spot) for one in needs.alternatives] == [({"L4": 1}, True), ({"L4": 4}, True)]
    assert {(one.needs.cpus, str(one.location)) for one in needs.alternatives} == {(4, "aws")}


@pytest.mark.parametrize(
    ("line", "needs"),
    [
        ("cpus: 4", ResourceRequest(cpus=4, exact=frozenset({"cpus"}), disk_gb=256)),
        ("cpus: 4+", ResourceRequest(cpus=4, disk_gb=256)),
        ("memory: 16", ResourceRequest(memory_gib=16, exact=frozenset({"memory_gib"}), disk_gb=256)),
        ("memory: 512MB+", ResourceRequest(memory_gib=0.5, disk_gb=256)),
        ("memory: 8x", ResourceRequest(memory_per_vcpu=8, disk_gb=256)),
        ("disk_size: 1TB", ResourceRequest(disk_gb=1024)),
        ("disk_size: 50", ResourceRequest(disk_gb=50)),
    ],
)
def test_sizes_mean_what_skypilot_means_by_them(line: str, needs: ResourceRequest) -> None:
    task = read(f"run: x\nresources: {{{line}}}".encode())
    assert (task.wrong, task.machines.needs) == ((), needs)


def test_cloud_region_and_zone_are_one_place() -> None:
    task = read(b"run: x\nresources: {cloud: aws, region: us-east-1, zone: us-east-1a}")
    assert task.machines.locations == (Location(cloud="aws", region="us-east-1", zone="us-east-1a"),)


def test_an_image_that_is_no_docker_image_is_passed_on() -> None:
    task = read(b"run: x\nresources: {image_id: ami-123}")
    assert (task.work.image, task.work.task_extra["resources"]) == (None, {"image_id": "ami-123"})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"run: a\n---\nrun: b\n", "a pipeline of 2 tasks, one after the other"),
        (b"name: p\nexecution: parallel\n---\nrun: a\n---\nrun: b\n", "a group of 2 jobs side by side"),
        (b"run: a\nservice: {replicas: 1}", "is a service"),
        (b"- run: a", "not a mapping"),
        (b"", "no task in it"),
    ],
)
def test_what_is_no_single_task_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read(content)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("runn: y", "the key 'runn'"),
        ("resources: {accelerators: H1000}", "no GPU that SkyPilot knows"),
        ("resources: {infra: awz}", "not a cloud"),
        ("resources: {region: us-east-1}", "region 'us-east-1' without a cloud"),
        ("resources: {any_of: [{cpus: 2x}]}", r"resources\.any_of\[0\]\.cpus '2x', which is not a number"),
        ("resources: {infra: awz, any_of: [{cpus: 2}]}", r"resources\.infra 'awz'"),
        ("resources: {ordered: [{infra: sandbox}, {infra: aws}]}", "mixes the sandbox with a cloud that bills"),
        ("resources: {ordered: [{infra: aws, region: r}]}", r"resources\.ordered\[0\]\.infra next to region"),
        ("resources: {accelerators: [L4, A100], any_of: [{infra: aws}]}", "name the GPU of each in its entry"),
        ("resources: {accelerators: {L4: 1, T4: 1}, ordered: [{infra: aws}]}", "name the GPU of each in its entry"),
        ("resources: {any_of: [{image_id: 'docker:x'}]}", "give one image for all with resources.image_id"),
        ("resources: {any_of: [{ephemeral_storage: 5}]}", r"resources\.any_of\[0\]\.ephemeral_storage"),
        ("resources: [1]", "resources \\[1\\], which is not a mapping"),
        ("num_nodes: 0", "num_nodes"),
        ("workdir: {url: https://x}", "from git"),
        ("envs: [a]", "envs \\*\\*\\*, which is not a mapping"),
        ("setup: 5", "setup 5, which is not text"),
        (r'setup: "a\0"', "a setup that holds a NUL character"),
        (r'envs: {GOOD: 1, BAD: "hid\0den"}', "^has envs 'BAD', which has a value that holds a NUL character"),
        (r'secrets: {BAD: "hid\0den"}', "^has secrets 'BAD', which has a value that holds a NUL character"),
        (r'secrets: {A-B: x, BAD: "hid\0den"}', "^has secrets 'BAD', which has a value"),
        ("secrets: {A-B: x}", "^has secrets 'A-B', which is not the name of a variable"),
        ("secrets: {CVL_CI_LEASE: x}", "^has secrets 'CVL_CI_LEASE', which begins with CVL_CI_"),
    ],
)
def test_every_mistake_inside_is_kept(line: str, why: str) -> None:
    task = read(f"run: x\nname: ''\n{line}".encode())
    assert any(re.search(why, problem) for problem in task.wrong), task.wrong
    assert not any("hid" in problem for problem in task.wrong)


def test_a_task_that_runs_nothing_is_a_mistake() -> None:
    assert read(b"setup: x").wrong == ("has no run",)


@pytest.mark.parametrize(
    ("lines", "problems"),
    [
        ("resources: {acelerators: 'H100:8'}", ["'resources.acelerators', which SkyPilot .* mean accelerators"]),
        ("resources: {gpu: 'H100:8'}", ["'resources.gpu', which SkyPilot does not know"]),
        ("resources: {spot: true}", ["'resources.spot', .* mean use_spot"]),
        ("resources: {gpus: L4, accelerators: A100}", ["both resources.gpus and resources.accelerators"]),
        ("resources: {any_of: [{gpus: L4, acelerators: L4}]}", ["any_of"]),
        ("resources: {autostop: {idle_minuts: 5}}", [r"'resources.autostop.idle_minuts', .* mean idle_minutes"]),
        ("resources: {job_recovery: {stratgy: x}}", ["'resources.job_recovery.stratgy', .* mean strategy"]),
        ("resources: {spot_recovery: FAILOVER}", ["'resources.spot_recovery', .* mean job_recovery"]),
        ("resources: {hooks: [{run: x}]}", ["'resources.hooks', which SkyPilot does not know"]),
        ("resources: {volumes: [{disk_sise: 5}]}", [r"'resources.volumes\[0\].disk_sise', .* mean disk_size"]),
        ("resources: {ports: [1.5]}", [r"resources.ports"]),
        ("resources: {_docker_login_config: {}}", ["'resources._docker_login_config', which SkyPilot writes"]),
        ("resources: {infra: aws, region: us-east-1}", ["resources.infra next to region"]),
        ("resources: {priority: 2000}", ["priority 2000, which is more than 1000"]),
        ("resources: {max_hourly_cost: 0}", ["max_hourly_cost 0, which is not more than 0"]),
        ("resources: {use_spot: 1}", ["use_spot '1', which is neither true nor false"]),
        ("resources: {infra: '*/us-east-1'}", ["region 'us-east-1' without a cloud: name the cloud too"]),
        ("resources: {accelerators: 900GB+}", ["'900GB\\+', which fits no GPU: the largest has 288GB"]),
        ("resources: {ephemeral_storage: 5}", ["give disk_size"]),
        ("file_mounts: {/d: {sorce: s3://b}}", ["'file_mounts./d.sorce', .* mean source"]),
        ("file_mounts: {/d: {source: s3://b, mode: MONT}}", ["mode 'MONT', which is not one of .* mean MOUNT"]),
        (
            "file_mounts: {/d: {source: s3://b, config: {mount: {readonly: true}}}}",
            ["readonly', .* mean read_only"],
        ),
        ("file_mounts: {/d: 5}", ["/d 5, which is not text or a mapping"]),
        ("file_mounts: [/d]", ["file_mounts .* not a mapping"]),
        ("volumes: {/d: {siz: 5Gi}}", ["'volumes./d.siz', .* mean size"]),
        ("volumes: {/d: {labels: {a: b}}}", ["volumes./d without a name, a size"]),
        ("config: {kubernets: {}}", ["'config.kubernets', .* mean kubernetes"]),
        ("config: {docker: {run_option: [x]}}", ["'config.docker.run_option', .* mean run_options"]),
        ("config: {hooks: [{events: [dwn]}]}", [r"config.hooks\[0\] without run", "'dwn', .* mean down"]),
        ("config: {kubernetes: {custom_metadata: {name: x}}}", ["custom_metadata.name', which SkyPilot sets itself"]),
        ("workdir: {urll: x}", ["from git"]),
        ("num_nodes: '2'", ["num_nodes '2', which is not a whole number"]),
        ("secrets: [HF_TOKEN]", ["an API server keeps"]),
        ("envs: {A-B: secret}", ["'A-B', which is not the name of a variable"]),
        ("event_callbak: x", ["'event_callbak', .* mean event_callback"]),
        ("_metadata: {}", ["'_metadata', which SkyPilot writes for itself"]),
        ("resorces: {gpus: L4}\nnum_node: 2", ["'resorces', .* mean resources", "'num_node', .* mean num_nodes"]),
    ],
)
def test_what_skypilot_does_not_know_is_refused_with_the_near_word(lines: str, problems: list[str]) -> None:
    wrong = read(f"run: x\n{lines}".encode()).wrong
    for problem in problems:
        assert any(re.search(problem, item) for item in wrong), wrong


def test_all_mistakes_come_at_once_each_place_once() -> None:
    task = read(b"run: x\nnum_nodes: 0\nresources: {acelerators: L4, infra: awz, prots: 80}\nenvs: {A-B: 1}")
    assert len(task.wrong) == 5, task.wrong


def test_a_value_that_may_be_a_secret_is_not_repeated() -> None:
    assert not any("hf_value" in item for item in read(b"run: x\nsecrets: [hf_value]\nenvs: [hf_value]").wrong)


def test_a_hostile_file_is_answered_soon_and_in_plain_letters() -> None:
    keys = "\n".join(f"key{number}: x" for number in range(1000))
    mounts = 'file_mounts: {"/d\\n::error::owned\\e[31m": 5}'
    codes = f"resources: {{job_recovery: {{recover_on_exit_codes: {[*range(256)] * 4}}}}}"
    start = time.process_time()
    wrong = [*read(f"run: x\n{keys}".encode()).wrong, *read(f"run: x\n{mounts}\n{codes}".encode()).wrong]
    assert within(time.process_time() - start, 5)
    assert 40 < len(wrong) < 50
    assert all(item.isprintable() and len(item) <= 400 for item in wrong)
    assert any("with an entry twice" in item for item in wrong)


def test_the_alias_of_accelerators_is_read_and_not_passed_on() -> None:
    task = read(b"run: x\nresources: {gpus: 'H100:8'}")
    assert (task.wrong, task.machines.needs.accelerators, task.work.task_extra) == ((), {"H100": 8}, {})


@pytest.mark.parametrize("word", ["true", "'true'", "True", "'True'"])
def test_spot_is_spot_in_any_spelling(word: str) -> None:
    task = read(f"run: x\nresources: {{use_spot: {word}}}".encode())
    assert (task.wrong, task.machines.spot) == ((), Spot.ALWAYS)


def test_what_has_no_price_and_what_a_run_sets_itself_is_told() -> None:
    task = read(b"run: x\nresources: {local_disk: '1000+', disk_tier: best, autostop: 5, job_recovery: FAILOVER}")
    assert task.wrong == ()
    assert task.work.task_extra == {"resources": {"local_disk": "1000+", "disk_tier": "best"}}
    assert task.machines.recoveries == 3
    MESSAGES.check("no price and no use", task.warnings)


def test_a_size_that_skypilot_would_choose_otherwise_is_told() -> None:
    MESSAGES.check("no size", read(b"run: x").draft(Inputs()).warnings)
    assert read(b"run: x").draft(Inputs(machine=MachineInputs(cpus=4))).warnings == ()
    assert read(b"run: x\nresources: {cpus: 2}").draft(Inputs()).warnings == ()
    assert read(b"run: x\nresources: {gpus: L4}").draft(Inputs()).warnings == ()


def test_the_sandbox_is_a_place_for_a_task_too() -> None:
    assert read(b"run: x\nresources: {infra: sandbox/us-west-2}").machines.locations == (
        Location(cloud="sandbox", region="us-west-2"),
    )


ALTERNATIVES = b"""
run: x
resources:
  cpus: 4+
  any_of:
  - {infra: aws/us-east-1, accelerators: L4}
  - {infra: gcp, gpus: 'A100:2', use_spot: true, disk_tier: best, autostop: 5}
"""


def test_each_alternative_has_its_own_machine_place_and_use_of_spot() -> None:
    task = read(ALTERNATIVES)
    first, second = task.machines.needs.alternatives
    assert (task.wrong, task.machines.locations, task.machines.spot) == (
        (),
        (first.location, second.location),
        Spot.FALLBACK,
    )
    assert first == Alternative(
        needs=ResourceRequest(accelerators={"L4": 1}, cpus=4, disk_gb=256),
        location=Location(cloud="aws", region="us-east-1"),
    )
    assert second.needs == ResourceRequest(accelerators={"A100": 2}, cpus=4, disk_gb=256)
    assert (second.location, second.spot, second.extra) == (Location(cloud="gcp"), True, {"disk_tier": "best"})
    MESSAGES.check("of alternatives", task.warnings)


def test_the_users_words_replace_those_of_every_alternative() -> None:
    def planned(**inputs: str) -> list[tuple[Mapping[str, float], str, bool]]:
        request = from_keywords({"task": "t.yaml", **inputs}, environment={})
        content = ALTERNATIVES.replace(b", disk_tier: best, autostop: 5", b"")
        plan = build_plan.plan(request, read(content).draft(request), gpu=request.machine.gpu)
        return [(one.needs.accelerators, str(one.location), one.spot) for one in plan.machines.needs.alternatives]

    assert planned(gpu="H100") == [({"H100": 1}, "aws/us-east-1", False), ({"H100": 1}, "gcp", True)]
    assert planned(cloud="azure", spot="false") == [({"L4": 1}, "azure", False), ({"A100": 2}, "azure", False)]
    assert planned(gpu="H100", cloud="aws", spot="true") == [({"H100": 1}, "aws", True)]
    assert [spot for *_, spot in planned(cloud="aws", gpu="L4", spot="fallback")] == [True, False]


def test_a_region_of_any_cloud_is_looked_up() -> None:
    for words in ("infra: '*/us-x/us-x-1'", "region: us-x, zone: us-x-1"):
        content = f"run: x\nresources: {{{words}}}".encode()
        task = task_file.read(content, known_gpus=ACCELERATORS, clouds_with=lambda region, _needs: [f"c-{region}"])
        assert (task.wrong, task.machines.locations) == ((), (Location(cloud="c-us-x", region="us-x", zone="us-x-1"),))
        assert task.machines.has_region_alone
    assert not read(b"run: x\nresources: {infra: aws/us-east-1}").machines.has_region_alone


def test_a_variable_is_text_as_skypilot_writes_it() -> None:
    assert read(b"run: x\nenvs: {A: true, B: 1.50, C: no}").variables.env == {"A": "True", "B": "1.5", "C": "False"}


def test_an_entry_may_have_the_words_that_a_task_may_have() -> None:
    task = read(b"run: x\nresources: {any_of: [{infra: sandbox, use_spot: 'true'}, {infra: sandbox/us-west-2}]}")
    assert (task.wrong, [one.spot for one in task.machines.needs.alternatives]) == ((), [True, False])
