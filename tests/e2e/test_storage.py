"""Buckets of a run: made, labelled, ended with it or named as kept; mounted and copied byte for byte."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvl_ci.clouds import service_clients
from tests.e2e.conftest import ROOT, Terminal
from tests.e2e.whole_state import unknown_changes, whole_state

RIGHT_OF = {"s3:HeadBucket": "s3:ListBucket", "s3:HeadObject": "s3:GetObject"}
"""Requests that have no right of their own: Service Authorization Reference, "Actions defined by Amazon S3"."""
WEIGHTS = {"tiny/a.bin": bytes(range(256)) * 5000, "tiny/sub/b.bin": b"b" * 7, "other/c.bin": b"not of the prefix"}


def unlisted_rights(directory: Path) -> dict[str, set[str]]:
    """Return the requests to S3 that our policies for buckets do not allow. The test itself lists all buckets."""
    policies = {"client": "aws-buckets.json", "machine": "aws-machine-buckets.json"}
    seen, missing = json.loads((directory / "actions.json").read_text()), {}
    for caller, name in policies.items():
        statements = json.loads((ROOT / "cvl_ci/clouds/policies" / name).read_text())["Statement"]
        allowed = {action for statement in statements for action in statement["Action"]}
        needed = {RIGHT_OF.get(action, action) for action in seen[caller] if action.startswith("s3:")}
        missing[caller] = needed - allowed - {"s3:ListAllMyBuckets"}
    return missing


def s3_of(terminal: Terminal) -> Any:
    access = terminal.sandbox.access()
    make = service_clients(
        access_key_id=access.access_key_id,
        secret_access_key=access.secret_access_key,
        endpoint_url=access.endpoint_url,
    )
    return make("s3", "us-east-1")


@pytest.mark.minutes(3)
def test_every_bucket_of_a_run_ends_with_it_or_is_named(terminal: Terminal, tmp_path: Path) -> None:
    """One run and the whole account before and after: equal but for the bucket that the run names as kept."""
    s3 = s3_of(terminal)
    s3.create_bucket(Bucket="weights")
    for key, body in WEIGHTS.items():
        s3.put_object(Bucket="weights", Key=key, Body=body)
    folder = tmp_path / "repository"
    (folder / "data").mkdir(parents=True)
    (folder / "data/train.csv").write_bytes(b"a,b\n1,2\n")
    task = {
        "resources": {"infra": "aws/us-east-1", "cpus": "2+"},
        "file_mounts": {
            "/temporary": {"name": "cvl-temporary", "source": "data", "persistent": False, "mode": "COPY"},
            "/kept": {"name": "cvl-kept", "source": "data", "mode": "MOUNT_CACHED"},
            "/weights": "s3://weights/tiny",
        },
        "run": "sha256sum /temporary/train.csv /kept/train.csv /weights/a.bin /weights/sub/b.bin\n"
        "echo checkpoint > /kept/out.txt\n",
    }
    (folder / "task.yaml").write_text(yaml.safe_dump(task))
    before = whole_state(terminal.sandbox.access())

    ran = terminal.run("--task", "task.yaml", "--max-runtime", "10m", checkout=folder)

    assert ran.code == 0, ran.err
    for content, name in (
        (b"a,b\n1,2\n", "/temporary/train.csv"),
        (b"a,b\n1,2\n", "/kept/train.csv"),
        (WEIGHTS["tiny/a.bin"], "/weights/a.bin"),
        (WEIGHTS["tiny/sub/b.bin"], "/weights/sub/b.bin"),
    ):
        assert f"{hashlib.sha256(content).hexdigest()}  {name}" in ran.out
    assert "making the bucket s3://cvl-temporary in us-east-1, which ends with the run" in ran.err

    after = whole_state(terminal.sandbox.access())
    kept: Any = after.pop("bucket cvl-kept")
    groups = {name for name in after if name.startswith("groups in") and after[name] != before[name]}
    assert {name: part for name, part in after.items() if name not in groups} == {
        name: part for name, part in before.items() if name not in groups
    }
    assert unknown_changes(terminal.directory) == []
    assert unlisted_rights(terminal.directory) == {"client": set(), "machine": set()}

    assert set(kept["objects"]) == {"train.csv", "out.txt"}
    assert kept["labels"]["cvl-ci-lease"] == ran.summary["cluster"]
    assert kept["labels"]["cvl-ci-persistent"] == "true"
    [named] = ran.summary["released"]["buckets"]
    assert (named["name"], named["files"], named["bytes"]) == ("s3://cvl-kept", 2, 8 + 11)
    assert "s3://cvl-kept stays, as the run asked: 2 files, 19 B, $0.00 a month" in " ".join(ran.err.split())

    swept = terminal.type("reap", "--cloud", "sandbox", "--grace", "0", "--all-owners")
    assert swept.returncode == 0, swept.stdout + swept.stderr
    assert "stays on purpose: bucket cvl-kept" in swept.stdout
    shown = json.loads(terminal.type("status", "--cloud", "sandbox", "--json").stdout)
    assert shown["leases"] == []
    assert any("bucket cvl-kept" in answer["stays"] for answer in shown["answers"])


@pytest.mark.minutes(4)
def test_mounts_of_every_kind_bring_the_same_bytes_to_every_node(terminal: Terminal, tmp_path: Path) -> None:
    """Copy and cache below a prefix, folders of the runner, on two nodes and in a container that the job starts."""
    s3 = s3_of(terminal)
    s3.create_bucket(Bucket="mounted")
    # The job writes below another prefix than the copy's: a node checks its copy while another node may write already.
    for key, body in {**WEIGHTS, "shared/b.bin": WEIGHTS["tiny/sub/b.bin"]}.items():
        s3.put_object(Bucket="mounted", Key=key, Body=body)
    folder = tmp_path / "repository"
    (folder / "data").mkdir(parents=True)
    (folder / "data/train.csv").write_bytes(b"a,b\n1,2\n")
    (folder / "data/.gitignore").write_bytes(b"*.csv\n")
    command = (
        "for file in /copied/a.bin /copied/sub/b.bin /cached/b.bin /local/train.csv /uploaded/train.csv; do "
        'echo "$SKYPILOT_NODE_RANK $(sha256sum $file)"; done; '
        "echo $SKYPILOT_NODE_RANK > /cached/from-$SKYPILOT_NODE_RANK.txt; ls /copied; "
        "docker run --rm debian:bookworm-slim sha256sum /copied/sub/b.bin /cached/b.bin"
    )
    before = whole_state(terminal.sandbox.access())

    ran = terminal.run(
        *("--command", command, "--gpu", "none", "--num-nodes", "2", "--max-runtime", "10m"),
        *("--mount", "/copied=s3://mounted/tiny", "--mount", "/cached=s3://mounted/shared:cached"),
        *("--mount", "/local=data", "--mount", "/uploaded=data:cached"),
        checkout=folder,
    )

    assert ran.code == 0, ran.err + ran.out
    sums = {
        "/copied/a.bin": WEIGHTS["tiny/a.bin"],
        "/copied/sub/b.bin": WEIGHTS["tiny/sub/b.bin"],
        "/cached/b.bin": WEIGHTS["tiny/sub/b.bin"],
        "/local/train.csv": b"a,b\n1,2\n",
        "/uploaded/train.csv": b"a,b\n1,2\n",
    }
    for rank in (0, 1):
        for name, content in sums.items():
            assert f"{rank} {hashlib.sha256(content).hexdigest()}  {name}" in ran.out
    assert "/copied is checked: 2 files, 2 of them by content" in ran.out + ran.err
    for name in ("/copied/sub/b.bin", "/cached/b.bin"):
        assert f"\n{hashlib.sha256(WEIGHTS['tiny/sub/b.bin']).hexdigest()}  {name}" in ran.out.replace(") ", "\n")
    after = whole_state(terminal.sandbox.access())
    written: Any = after.pop("bucket mounted")
    earlier: Any = before.pop("bucket mounted")
    assert set(written["objects"]) - set(earlier["objects"]) == {"shared/from-0.txt", "shared/from-1.txt"}
    assert {name for name in after if name.startswith("bucket")} == {
        name for name in before if name.startswith("bucket")
    }
    assert ran.summary["released"]["buckets"] == []
