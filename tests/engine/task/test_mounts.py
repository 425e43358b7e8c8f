"""Mounts as SkyPilot's file_mounts, held to SkyPilot's own loader, and the text that a machine runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.engine.task import mounts
from cvl_ci.inputs.mounts import read
from cvl_ci.model.mount import digest
from cvl_ci.model.plan import RunPlan

LEASE = "cvl-1-0123abcd"


def plan(text: str = "", file_mounts: Any = None) -> RunPlan:
    one = RunPlan(title="t")
    work = replace(one.work, task_extra={"file_mounts": file_mounts} if file_mounts else {})
    return replace(one, work=work, files=replace(one.files, mounts=read(text) if text else ()))


def test_a_path_below_a_bucket_works_in_every_mode() -> None:
    text = "/copied=s3://b-b/p\n/cached=s3://b-b/p/q:cached\n/streamed=gs://b-b/p:stream"
    assert mounts.entries(plan(text), lease=LEASE, staged="/s") == {
        "/copied": "s3://b-b/p",
        mounts._hidden("/cached"): {"source": "s3://b-b", "mode": "MOUNT_CACHED", "_bucket_sub_path": "p/q"},
        "/streamed": {"source": "gs://b-b", "mode": "MOUNT", "_bucket_sub_path": "p"},
    }


def test_a_path_below_a_bucket_works_in_a_task_too() -> None:
    """SkyPilot refuses it: sky/data/storage.py, _validate_source."""
    task = plan(
        file_mounts={
            "/m": {"source": "s3://b-b/models/", "mode": "MOUNT_CACHED"},
            "/c": {"source": "s3://b-b/x", "mode": "COPY"},
        }
    )
    assert mounts.entries(task, lease=LEASE, staged="/s") == {
        mounts._hidden("/m"): {"source": "s3://b-b", "mode": "MOUNT_CACHED", "_bucket_sub_path": "models"},
        "/c": {"source": "s3://b-b/x", "mode": "COPY"},
    }


def test_a_path_leads_to_the_prefix_of_a_cached_bucket() -> None:
    """SkyPilot's cached mode mounts the whole bucket and ignores the path below it."""
    assert f"cvl_ci_link {digest('/c')} {mounts._hidden('/c')}/p/q /c" in mounts.prepare(plan("/c=s3://b-b/p/q:cached"))


def test_a_local_folder_goes_through_a_bucket_of_the_run_or_a_named_one() -> None:
    entries: Any = mounts.entries(plan("/a=x:cached\n/b=x:cached,via=s3://named/p\n/c=x"), lease=LEASE, staged="/s")
    assert entries["/a"]["name"].startswith(f"{LEASE}-")
    assert entries["/a"]["persistent"] is False
    assert (
        entries[mounts._hidden("/b")]["name"],
        entries[mounts._hidden("/b")]["persistent"],
        entries[mounts._hidden("/b")]["_bucket_sub_path"],
    ) == (
        "named",
        True,
        "p",
    )
    assert "/c" not in entries


@pytest.mark.sky
def test_skypilot_reads_them() -> None:
    import sky

    entries = mounts.entries(plan("/a=s3://b-b/p:cached\n/b=s3://b-b/p"), lease=LEASE, staged="/s")
    task: Any = sky.Task.from_yaml_config({"run": "true", "file_mounts": entries})
    assert task.storage_mounts[mounts._hidden("/a")]._bucket_sub_path == "p"
    assert task.file_mounts == {"/b": "s3://b-b/p"}


def test_a_container_gets_the_mounts_unless_its_script_uses_the_path(tmp_path: Path) -> None:
    """The wrapper, in a shell, in front of a docker that prints its words."""
    bin_folder, state = tmp_path / "bin", tmp_path / "state"
    for made in (bin_folder, state, tmp_path / "root"):
        made.mkdir()
    (bin_folder / "docker").write_text('#!/bin/bash\necho "$@"\n')
    (bin_folder / "docker").chmod(0o755)
    text = mounts.prepare(plan("/data=gs://b-b:cached"))
    script = f"cvl_ci_state={state} cvl_ci_root={tmp_path / 'root'}\n{text}\n"
    script += "docker run -v /x:/y image\ndocker run -v /here:/data image\ndocker ps\ndocker container run image"
    path = f"{bin_folder}:{os.environ['PATH']}"
    said = subprocess.run(["bash", "-c", script], env={"PATH": path}, capture_output=True, text=True, check=True)
    bind = "--mount type=bind,src=/data,dst=/data"
    assert said.stdout.splitlines() == [
        f"run {bind} -v /x:/y image",
        "run -v /here:/data image",
        "ps",
        f"container run {bind} image",
    ]


def test_an_image_needs_neither_docker_nor_sudo_for_its_mounts(tmp_path: Path) -> None:
    """With `image`, all of this runs in that image as root, in which there may be no more than a shell."""
    programs, state, root = tmp_path / "bin", tmp_path / "state", tmp_path / "root"
    for made in (programs, state, root):
        made.mkdir()
    for name in ("bash", "cat", "cp", "chmod", "dirname", "ln", "mkdir", "sha256sum"):
        (programs / name).symlink_to(shutil.which(name) or name)
    local, cached = tmp_path / "local", tmp_path / "cached"
    one = plan(f"{local}=data\n{cached}=s3://b-b/p:cached")
    (root / ".cvl-ci-mounts" / digest(str(local))).mkdir(parents=True)
    (root / ".cvl-ci-mounts" / digest(str(local)) / "a.txt").write_text("a")
    text = mounts.prepare(one).replace("/.cvl-ci-buckets", f"{tmp_path}/buckets")
    done = subprocess.run(
        ["bash", "-c", f"cvl_ci_state={state} cvl_ci_root={root}\n{text}\necho x > {cached}/out.txt"],
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert (local / "a.txt").read_text() == "a"
    [written] = (tmp_path / "buckets").rglob("out.txt")
    assert written.parent.name == "p", "the path leads to the prefix of the bucket"


@pytest.mark.sky
def test_skypilot_lets_an_image_mount_storage() -> None:
    """FUSE needs the device and the right: sky/provision/docker_utils.py, docker_start_cmds."""
    from sky.provision import docker_utils

    start = docker_utils.docker_start_cmds("image", "name", [], "docker")
    assert "--device=/dev/fuse" in start
    assert "--cap-add=SYS_ADMIN" in start
