"""A user's own task YAML: what we read of it, what is passed on, and what is refused in one sentence."""

from __future__ import annotations

import re

import pytest

from cvl_ci.engine.catalogue import ACCELERATORS
from cvl_ci.request import taskfile
from cvl_ci.request.document import Unreadable
from cvl_ci.request.inputs import Inputs
from cvl_ci.request.plan import Needs, Place, Secret, Spot
from cvl_ci.request.taskfile import TaskFile

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
    return taskfile.read(content, known_gpus=ACCELERATORS)


def test_everything_we_must_know_is_read() -> None:
    task = read(FULL)
    assert task.wrong == ()
    assert (task.name, task.workdir, task.num_nodes, task.setup, task.run) == (
        "mine",
        "src",
        2,
        "pip install x",
        "python train.py",
    )
    assert task.needs == Needs(accelerators={"L4": 1, "A10G": 1}, cpus=4, memory_gib=16, disk_gb=200)
    assert task.places == (Place(cloud="aws", region="us-east-1"),)
    assert (task.spot, task.image) == (Spot.ALWAYS, "ubuntu:22.04")
    assert task.env == {"A": "1", "B": "two"}
    assert task.secrets == {"TOKEN": Secret("abc")}


def test_the_rest_is_passed_on_but_what_is_ours() -> None:
    extra = read(FULL).extra
    assert extra["resources"] == {"ports": 8080}
    assert extra["file_mounts"] == {
        "/data": "./data",
        "/bucket": "s3://bucket/x",
        "/more": {"source": "./more", "mode": "COPY"},
    }


def test_files_from_beside_us_get_absolute_paths() -> None:
    extra = taskfile.with_absolute_sources(
        read(FULL).extra, locate=lambda typed: typed.removeprefix("./"), root="/repo"
    )
    assert extra["file_mounts"] == {
        "/data": "/repo/data",
        "/bucket": "s3://bucket/x",
        "/more": {"source": "/repo/more", "mode": "COPY"},
    }


def test_what_is_left_to_be_given_must_be_given() -> None:
    assert read(FULL).problems(Inputs()) == ["leaves ASK to be given: use env or secrets"]
    assert read(FULL).problems(Inputs(env={"ASK": "x"})) == []


@pytest.mark.parametrize(
    ("accelerators", "wanted"),
    [
        ("L4:2", {"L4": 2}),
        ("[L4:1, A10G]", {"L4": 1, "A10G": 1}),
        ("{L4: 1, A10G: 1}", {"L4": 1, "A10G": 1}),
        ("'{L4:1, A10G:1}'", {"L4": 1, "A10G": 1}),
    ],
)
def test_accelerators_come_as_text_list_and_mapping(accelerators: str, wanted: dict[str, int]) -> None:
    assert read(f"run: x\nresources: {{accelerators: {accelerators}}}".encode()).needs.accelerators == wanted


def test_cloud_region_and_zone_are_one_place() -> None:
    task = read(b"run: x\nresources: {cloud: aws, region: us-east-1, zone: us-east-1a}")
    assert task.places == (Place(cloud="aws", region="us-east-1", zone="us-east-1a"),)


def test_an_image_that_is_no_docker_image_is_passed_on() -> None:
    task = read(b"run: x\nresources: {image_id: ami-123}")
    assert (task.image, task.extra["resources"]) == (None, {"image_id": "ami-123"})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"run: a\n---\nrun: b\n", "2 YAML documents"),
        (b"run: a\nservice: {replicas: 1}", "is a service"),
        (b"- run: a", "no mapping"),
        (b"", "0 YAML documents"),
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
        ("resources: {infra: awz}", "no cloud"),
        ("resources: {region: us-east-1}", "region without a cloud"),
        ("resources: {any_of: [{cpus: 2}]}", r"resources\.any_of"),
        ("resources: [1]", "resources that are no mapping"),
        ("num_nodes: 0", "num_nodes"),
        ("workdir: {url: https://x}", "from git"),
        ("envs: [a]", "envs that are no mapping"),
        ("setup: 5", "setup that is no text"),
    ],
)
def test_every_mistake_inside_is_kept(line: str, why: str) -> None:
    task = read(f"run: x\nname: ''\n{line}".encode())
    assert any(re.search(why, problem) for problem in task.wrong), task.wrong


def test_a_task_that_runs_nothing_is_a_mistake() -> None:
    assert read(b"setup: x").wrong == ("has no run",)
