"""A refusal of a mount's storage is one sentence about that storage, in SkyPilot's own words of 0.14.1."""

from __future__ import annotations

from typing import Any

import pytest

from cvl_ci.engine import storage_refusals
from cvl_ci.engine.process import WorkerFailed
from cvl_ci.errors import CredentialsError, StorageError
from cvl_ci.inputs.mounts import read
from cvl_ci.model.plan import FilePlan, RunPlan, WorkPlan

PLAN = RunPlan(title="t", files=FilePlan(mounts=read("/copied=s3://weights/tiny")))
LIST = "An error occurred ({}) when calling the ListObjects operation{}"
COPY = (
    "Command mkdir -p /copied && aws s3 sync s3://weights/tiny /copied failed with return code 1.\n\x1b[0m\x1b[2m---"
    "-- CMD -----\n\x1b[31mFailed to run command before rsync s3://weights/tiny -> /copied. \x1b[0mView logs: x\n"
)
DENIED = "download failed: s3://weights/tiny/a.bin to ../a.bin An error occurred (403) when calling HeadObject"


def failed(text: str, *, error: str = "CommandError") -> WorkerFailed:
    return WorkerFailed(error=error, text=text)


@pytest.mark.parametrize(
    ("text", "kind", "what"),
    [
        (
            LIST.format("AccessDenied", ": Access Denied"),
            CredentialsError,
            "S3 answered ListObjects with AccessDenied: the mount is /copied=s3://weights/tiny.",
        ),
        (
            LIST.format("SlowDown", " (reached max retries: 2): Please reduce your request rate."),
            StorageError,
            "S3 answered ListObjects with SlowDown: the mount is /copied=s3://weights/tiny.",
        ),
        (
            COPY + DENIED,
            CredentialsError,
            f"The machine could not copy s3://weights/tiny to /copied: {DENIED}.",
        ),
        (
            COPY,
            StorageError,
            "The machine could not copy s3://weights/tiny to /copied: its copy ended early.",
        ),
        (
            "The bucket, 'weights', could not be mounted on cluster 'c'. Please verify that the bucket exists.",
            StorageError,
            "The machine could not mount its storage: the mount is /copied=s3://weights/tiny.",
        ),
    ],
)
def test_a_failure_of_a_mount_is_one_sentence_and_never_the_job_s(text: str, kind: type, what: str) -> None:
    error = storage_refusals.of_mounts(failed(text), PLAN)
    assert error is not None
    assert type(error) is kind
    assert error.what == what
    assert error.exit_code in {70, 77}
    assert error.next_step


@pytest.mark.parametrize(
    "text",
    [
        "An error occurred (UnauthorizedOperation) when calling the RunInstances operation",
        "An error occurred (AccessDenied) when calling the CreateRole operation",
        "Failed to run command before rsync /home/me/data -> /copied. ",
    ],
)
def test_other_failures_keep_their_own_words(text: str) -> None:
    assert storage_refusals.of_mounts(failed(text), PLAN) is None


def test_a_plan_without_remote_storage_has_no_such_failure() -> None:
    local = RunPlan(title="t", files=FilePlan(mounts=read("/data=folder")))
    assert storage_refusals.of_mounts(failed(LIST.format("AccessDenied", "")), local) is None


def test_the_mounts_of_a_task_are_named_too() -> None:
    entries: Any = {"/kept": {"name": "b-b", "mode": "MOUNT_CACHED"}, "/w": "s3://w/p", "/local": "folder"}
    plan = RunPlan(title="t", work=WorkPlan(task_extra={"file_mounts": entries}))
    error = storage_refusals.of_mounts(failed(LIST.format("NoSuchBucket", "")), plan)
    assert error is not None
    assert error.what.endswith("the mounts are /kept=b-b, /w=s3://w/p.")
    assert "name of the bucket" in error.next_step
