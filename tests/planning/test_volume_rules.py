"""Volumes go to SkyPilot where the cloud has them. Elsewhere the message names what to use instead."""

from __future__ import annotations

from typing import Any

import pytest

from cvl_ci.commands.plan import mount_lines
from cvl_ci.engine.task import task, volumes
from cvl_ci.inputs import mounts
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.location import Location
from cvl_ci.model.plan import FilePlan, MachinePlan, RunPlan, WorkPlan
from cvl_ci.planning import storage_rules
from tests import golden

MESSAGES = golden.Messages(__name__)


def plan(text: str = "", *, locations: tuple[str, ...] = ("kubernetes/ctx",), own: Any = None) -> RunPlan:
    return RunPlan(
        title="t",
        work=WorkPlan(run_commands=("true",), task_extra={"volumes": own} if own else {}),
        files=FilePlan(mounts=mounts.read(text)),
        machines=MachinePlan(locations=tuple(Location.parse(place) for place in locations)),
    )


TEXT = "/data=volume://cache"
OWN: Any = {"/more": "other", "/deep": {"name": "other", "sub_path": "a"}}


@pytest.mark.parametrize("locations", [("kubernetes/ctx",), ("kubernetes",), ("runpod/RO/EU-RO-1",)])
def test_volumes_pass_where_the_cloud_has_them(locations: tuple[str, ...]) -> None:
    one = plan(TEXT, own=OWN, locations=locations)
    assert list(storage_rules.mistakes(one)) == []
    config = task.task_config(
        one, name="c", workdir=None, labels={}, autodown_minutes=1, env={}, setup=None, run="true", lease="cvl-1-abc"
    )
    assert config["volumes"] == {**OWN, "/data": "cache"}
    assert "file_mounts" not in config
    assert [volume["name"] for volume in volumes.required(one)] == ["other", "cache"]
    place = Location.parse(locations[0])
    assert {(volume["cloud"], volume["region"], volume["zone"]) for volume in volumes.required(one)} == {
        (place.cloud, place.region, place.zone)
    }


@pytest.mark.parametrize(
    ("location", "price"),
    [
        ("kubernetes/ctx", "its provider bills it"),
        ("runpod/RO/EU-RO-1", "RunPod bills $0.07 for a GB and month, and $0.05 above 1 TB"),
    ],
)
def test_a_plan_names_volumes_with_the_price_that_is_known(location: str, price: str) -> None:
    lines = list(mount_lines.lines(plan(TEXT, own=OWN, locations=(location,))))
    assert price in lines[-1]
    MESSAGES.check("a volume", lines[-1].replace(price, "PRICE"))
    assert len(lines) == 3
    messages = mount_lines.as_json(plan(TEXT, own=OWN))
    assert {(one["path"], one["source"], one["mode"]) for one in messages} == {
        ("/data", "volume://cache", "volume"),
        ("/more", "volume://other", "volume"),
        ("/deep", "volume://other", "volume"),
    }
    assert all(one["monthly_usd"] is None for one in messages)


@pytest.mark.parametrize("cloud", ["aws", "gcp/us-central1", "sandbox", "lambda"])
def test_elsewhere_the_message_names_what_to_use_instead(cloud: str) -> None:
    by_mount, by_task = (
        list(storage_rules.mistakes(plan("/data=volume://cache", locations=(cloud,)))),
        list(storage_rules.mistakes(plan(own={"/data": "cache"}, locations=(cloud,)))),
    )
    assert by_mount[0].startswith(f"/data is a volume, and on {cloud.partition('/')[0]} SkyPilot mounts none")
    assert by_task[0].startswith("volumes./data is a volume")
    assert "such as /data=s3://my-bucket/prefix:cached" in by_mount[0]


@pytest.mark.parametrize(
    ("own", "locations", "words"),
    [
        ({"/d": {"size": 10}}, ("kubernetes/ctx",), "exists already"),
        ({"/d": {"host_path": "/x"}}, ("kubernetes/ctx",), "Slurm alone"),
        ({"/d": "cache"}, (), "name the cloud"),
        ({"/d": "cache"}, ("runpod/RO",), "data center"),
        ({"/d": "cache"}, ("kubernetes/ctx", "aws"), "on aws SkyPilot mounts none"),
    ],
)
def test_a_volume_that_the_run_would_make_or_cannot_find_is_refused(
    own: Any, locations: tuple[str, ...], words: str
) -> None:
    [mistake] = storage_rules.mistakes(plan(own=own, locations=locations))
    assert words in mistake


@pytest.mark.parametrize("text", ["/d=volume://", "/d=volume://Upper", "/d=volume://a/b", "/d=volume://a:cached"])
def test_a_volume_has_a_plain_name_and_no_mode(text: str) -> None:
    with pytest.raises(Wrong):
        mounts.read(text)
