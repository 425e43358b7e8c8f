"""Addresses of every store, in every mode, held to SkyPilot's own readers and to the official shapes of the clouds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cvl_ci.engine.task import mounts
from cvl_ci.inputs.mounts import read
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.location import Location
from cvl_ci.model.plan import FilePlan, MachinePlan, RunPlan
from cvl_ci.planning import storage_rules

ACCOUNT = "https://acct.blob.core.windows.net/cont"
STORES = {
    "s3://b-b": ("s3://b-b", "S3CloudStorage", "S3Store"),
    "gs://b-b": ("gs://b-b", "GcsCloudStorage", "GcsStore"),
    "r2://b-b": ("r2://b-b", "R2CloudStorage", "R2Store"),
    "az://acct/cont": (ACCOUNT, "AzureBlobCloudStorage", "AzureBlobStore"),
}
"""Typed address → SkyPilot's own address, its reader of copies, and its store of mounts."""
MODES = {"": "COPY", ":cached": "MOUNT_CACHED", ":stream": "MOUNT"}


def plan(text: str, *, cloud: str = "aws") -> RunPlan:
    return RunPlan(
        title="t",
        files=FilePlan(mounts=read(text)),
        machines=MachinePlan(locations=(Location(cloud=cloud),)),
    )


@pytest.mark.sky
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", ["", "/p/q"])
@pytest.mark.parametrize("address", STORES)
def test_every_store_and_mode_is_one_that_skypilot_reads(address: str, path: str, mode: str) -> None:
    import sky
    from sky import cloud_stores
    from sky.data import storage

    own, reader, store = STORES[address]
    entries = mounts.entries(plan(f"/data={address}{path}{mode}"), lease="cvl-1-abc", staged="/s")
    task: Any = sky.Task.from_yaml_config({"run": "true", "file_mounts": entries})
    if not mode:
        assert task.file_mounts == {"/data": f"{own}{path}"}
        assert type(cloud_stores.get_storage_from_path(f"{own}{path}")).__name__ == reader
        return
    [mounted] = task.storage_mounts.values()
    assert (mounted.source, mounted._bucket_sub_path, mounted.mode.value) == (own, path.strip("/") or None, MODES[mode])
    command = {"": "mount_command", ":cached": "mount_cached_command", ":stream": "mount_command"}[mode]
    assert getattr(getattr(storage, store), command) is not getattr(storage.AbstractStore, command)


@pytest.mark.sky
def test_azure_s_address_is_the_one_of_its_documents() -> None:
    """learn.microsoft.com, "Naming and Referencing Containers, Blobs, and Metadata"."""
    from sky.data import data_utils

    [address] = mounts.entries(plan("/d=az://acct/cont/p/q"), lease="l", staged="/s").values()
    assert data_utils.split_az_path(str(address)) == ("acct", "cont", "p/q")
    assert data_utils.is_az_container_endpoint(ACCOUNT)


@pytest.mark.sky
def test_the_hub_is_read_in_each_mode() -> None:
    import sky
    from sky import cloud_stores

    for mode, name in MODES.items():
        entries = mounts.entries(plan(f"/m=hf://acme/tiny/sub{mode}"), lease="l", staged="/s")
        task: Any = sky.Task.from_yaml_config({"run": "true", "file_mounts": entries})
        if mode:
            mounted = task.storage_mounts["/m"]
            assert (mounted.mode.value, mounted.source) == (name, "hf://acme/tiny/sub")
        else:
            assert type(cloud_stores.get_storage_from_path(task.file_mounts["/m"])).__name__ == "HFCloudStorage"


@pytest.mark.parametrize("text", ["/d=az://cont", "/d=az://UPPER/cont", "/d=az://acct/c", "/d=az://acct/co--nt"])
def test_an_address_that_azure_cannot_have_is_refused_before_anything_is_spent(text: str) -> None:
    with pytest.raises(Wrong, match="ACCOUNT/CONTAINER"):
        read(text)


@pytest.mark.parametrize("address", [*STORES, "hf://acme/tiny"])
@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure", "kubernetes"])
def test_a_store_of_one_cloud_may_be_read_on_another(address: str, cloud: str) -> None:
    assert list(storage_rules.mistakes(plan(f"/d={address}/p:cached", cloud=cloud))) == []
    assert not storage_rules.makes_buckets(plan(f"/d={address}/p:cached", cloud=cloud))


@pytest.mark.parametrize("store", ["gcs", "azure", "r2"])
def test_a_run_makes_no_bucket_outside_s3(store: str) -> None:
    one = plan("", cloud="gcp")
    entries = {"/m": {"name": "made", "source": "data", "store": store}}
    one = replace(one, work=replace(one.work, task_extra={"file_mounts": entries}))
    [mistake] = storage_rules.mistakes(one)
    assert f"in {store}, where cvl-ci cannot prove its end" in mistake
