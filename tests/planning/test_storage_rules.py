"""The storage of a plan: buckets whose end cvl-ci cannot prove are refused, and every other mount is not."""

from __future__ import annotations

from typing import Any

import pytest

from cvl_ci.inputs import mounts
from cvl_ci.model.location import SANDBOX, Location
from cvl_ci.model.plan import FilePlan, MachinePlan, RunPlan, WorkPlan
from cvl_ci.planning import storage_rules


def plan(text: str = "", *, cloud: str = "aws", **entries: Any) -> RunPlan:
    return RunPlan(
        title="t",
        work=WorkPlan(run_commands=("true",), task_extra={"file_mounts": {f"/{k}": v for k, v in entries.items()}}),
        files=FilePlan(mounts=mounts.read(text)),
        machines=MachinePlan(locations=(Location(cloud=cloud),)),
    )


@pytest.mark.parametrize("text", ["/a=x:cached", "/a=x:stream", "/a=x,via=s3://named/p", "/a=x:cached,via=s3://named"])
def test_a_mount_that_makes_a_bucket_is_refused_through_a_server(text: str) -> None:
    [mistake] = storage_rules.mistakes_through_server(plan(text))
    assert mistake.startswith("/a may make a bucket through a SkyPilot")


@pytest.mark.parametrize("entry", [{"name": "made"}, {"name": "made", "source": "data", "store": "s3"}])
def test_an_entry_of_a_task_that_makes_a_bucket_is_refused_through_a_server(entry: Any) -> None:
    [mistake] = storage_rules.mistakes_through_server(plan(m=entry))
    assert mistake.startswith("file_mounts./m may make the bucket made")


def test_a_server_mounts_what_makes_no_bucket() -> None:
    allowed = plan(
        "/a=x\n/b=s3://b-b/p\n/c=s3://b-b/p:cached\n/d=gs://b-b:stream",
        e="s3://b-b/p",
        f={"name": "b-b", "source": "s3://b-b", "mode": "MOUNT"},
    )
    assert not storage_rules.makes_buckets(allowed)
    assert list(storage_rules.mistakes_through_server(allowed)) == []


def test_the_sandbox_never_goes_through_a_server() -> None:
    assert list(storage_rules.mistakes_through_server(plan("/a=x:cached", cloud=SANDBOX))) == []


@pytest.mark.parametrize(
    ("text", "entries"), [("/a=x", {}), ("/a=x:cached", {}), ("", {"m": {"name": "made"}}), ("/b=s3://b-b:cached", {})]
)
def test_a_server_refuses_exactly_the_plans_that_make_buckets(text: str, entries: Any) -> None:
    one = plan(text, **entries)
    assert bool(list(storage_rules.mistakes_through_server(one))) is storage_rules.makes_buckets(one)
