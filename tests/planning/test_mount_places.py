"""The places of mounts: none of the machine's own, none with two sources; addresses that SkyPilot knows."""

from __future__ import annotations

from typing import Any

import pytest

from cvl_ci.inputs import mounts
from cvl_ci.model.location import Location
from cvl_ci.model.plan import FilePlan, MachinePlan, RunPlan, WorkPlan
from cvl_ci.planning import mount_places, storage_rules


def plan(text: str = "", *, volumes: Any = None, **entries: Any) -> RunPlan:
    extra = {"file_mounts": {name.replace("_", "/"): entry for name, entry in entries.items()}}
    return RunPlan(
        title="t",
        work=WorkPlan(run_commands=("true",), task_extra={**extra, **({"volumes": volumes} if volumes else {})}),
        files=FilePlan(mounts=mounts.read(text)),
        machines=MachinePlan(locations=(Location(cloud="aws"),)),
    )


OF_SYSTEM = ["/usr", "/etc", "/etc/cvl", "/proc/1", "/dev/shm", "/lib64", "/home/ubuntu", "/root", "/tmp", "/var/lib"]
FREE = [
    "/data",
    "/mnt",
    "/mnt/data",
    "/home/ubuntu/data",
    "/root/x",
    "/opt/models",
    "/usr/local/data",
    "/var/www",
    "/tmp/x",
]
READ = ["s3://$BUCKET/x", "hf://buckets/a/b", "hf://o/n@v1/x", "https://acct.blob.core.windows.net/c", "cw://b", "./x"]


@pytest.mark.parametrize("path", OF_SYSTEM)
def test_a_folder_of_the_machine_s_own_system_is_refused(path: str) -> None:
    [mistake] = storage_rules.mistakes(plan(f"{path}=s3://bucket:cached"))
    assert mistake.startswith(f"{path} is a folder of the machine's own")


@pytest.mark.parametrize("path", ["/home/ubuntu/.ssh", "/root/.sky/x", "/home/ubuntu/.cvl-ci"])
def test_a_folder_by_which_the_machine_is_reached_is_refused(path: str) -> None:
    [mistake] = storage_rules.mistakes(plan(f"{path}=s3://bucket"))
    assert "by which the machine is reached" in mistake


@pytest.mark.parametrize("path", FREE)
def test_a_path_of_its_own_is_taken(path: str) -> None:
    assert list(storage_rules.mistakes(plan(f"{path}=s3://bucket"))) == []


@pytest.mark.parametrize("path", ["_", "_etc", "_usr_", "_home_ubuntu", "_tmp"])
def test_an_entry_of_a_task_is_no_folder_of_the_system_either(path: str) -> None:
    entries: dict[str, Any] = {path: "s3://bucket"}
    [mistake] = mount_places.mistakes(plan(**entries))
    assert mistake.startswith("file_mounts./")


def test_an_entry_of_a_task_may_be_a_file_below_one() -> None:
    entries: dict[str, Any] = {
        "_etc_cvl.conf": "cvl.conf",
        "~_x": "x",
        "rel_x": "x",
        "_tmp_x": {"source": "s3://bucket", "mode": "COPY"},
    }
    assert list(mount_places.mistakes(plan(**entries))) == []


@pytest.mark.parametrize(
    ("text", "entries", "words"),
    [
        ("/data=s3://bucket", {"_data_": "x"}, "/data has two sources: this mount, and file_mounts./data/"),
        ("/data/x=x", {"_data": "s3://bucket"}, "/data/x and file_mounts./data are one inside the other"),
        (
            "/data=x",
            {"_data_x": {"name": "b"}},
            "/data and file_mounts./data/x are one inside the other",
        ),
    ],
)
def test_two_sources_of_one_path_are_refused(text: str, entries: Any, words: str) -> None:
    [mistake] = mount_places.mistakes(plan(text, **entries))
    assert mistake.startswith(words)


def test_a_volume_and_a_mount_share_no_path() -> None:
    [mistake] = mount_places.mistakes(plan("/data=s3://bucket", volumes={"/data": "claim"}))
    assert "volumes./data" in mistake
    assert list(mount_places.mistakes(plan("/data=volume://claim", volumes={"/data2": "claim"}))) == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("s5://bucket", "it has s3, gs"),
        ("S3://bucket", "did you mean s3://?"),
        ("ftp://host/x", "it has s3, gs"),
        ("s3://Bucket/x", "no valid name of a bucket"),
        ("s3://b_b", "no valid name of a bucket"),
        ("hf://gpt2", "is not hf://OWNER/NAME"),
        ({"source": "hf://datasets/squad", "mode": "MOUNT"}, "is not hf://OWNER/NAME"),
        ({"source": ["./here", "s4://b"], "name": "b", "store": "s3"}, "it has s3, gs"),
    ],
)
def test_an_address_that_skypilot_cannot_read_is_refused(source: Any, words: str) -> None:
    [mistake] = mount_places.mistakes(plan(_d=source))
    assert mistake.startswith("file_mounts./d has the source ") and words in mistake


@pytest.mark.parametrize("source", READ)
def test_an_address_that_skypilot_reads_is_taken(source: str) -> None:
    assert list(mount_places.mistakes(plan(_d=source))) == []


@pytest.mark.sky
def test_the_schemes_are_those_of_skypilot() -> None:
    from sky import cloud_stores

    assert set(mount_places._SCHEMES) == {*cloud_stores._REGISTRY, "az"}
