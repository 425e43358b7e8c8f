"""Buckets of a run: made, labelled, ended with it or named as kept; mounted and copied byte for byte."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvl_ci.clouds import service_clients
from cvl_ci.sandbox.faults import BucketFault, Faults
from tests.e2e.conftest import ROOT, Ran, Terminal
from tests.e2e.whole_state import unknown_changes, whole_state

RIGHT_OF = {"s3:HeadBucket": "s3:ListBucket", "s3:HeadObject": "s3:GetObject"}
"""Requests that have no right of their own: Service Authorization Reference, "Actions defined by Amazon S3"."""
TRAIN = b"a,b\n1,2\n"
WEIGHTS = {"tiny/a.bin": bytes(range(256)) * 5000, "tiny/sub/b.bin": b"b" * 7, "other/c.bin": b"not of the prefix"}
CONTENTS = {
    "/temporary/train.csv": TRAIN,
    "/kept/train.csv": TRAIN,
    "/weights/a.bin": WEIGHTS["tiny/a.bin"],
    "/weights/sub/b.bin": WEIGHTS["tiny/sub/b.bin"],
    "/copied/a.bin": WEIGHTS["tiny/a.bin"],
    "/copied/sub/b.bin": WEIGHTS["tiny/sub/b.bin"],
    "/cached/b.bin": WEIGHTS["tiny/sub/b.bin"],
    "/local/train.csv": TRAIN,
    "/uploaded/train.csv": TRAIN,
}
"""The job's files and their bytes."""


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


def prepared(terminal: Terminal, tmp_path: Path) -> tuple[Any, Path]:
    """Return a client, and a checkout with files and a task that uses them on two nodes."""
    s3 = s3_of(terminal)
    for bucket in ("weights", "mounted"):
        s3.create_bucket(Bucket=bucket)
        # The job writes below another prefix than the copy's: a node checks its copy while another one may write.
        for key, body in {**WEIGHTS, "shared/b.bin": WEIGHTS["tiny/sub/b.bin"]}.items():
            s3.put_object(Bucket=bucket, Key=key, Body=body)
    folder = tmp_path / "repository"
    (folder / "data").mkdir(parents=True)
    (folder / "data/train.csv").write_bytes(TRAIN)
    (folder / "ignored").mkdir()
    (folder / "ignored/train.csv").write_bytes(TRAIN)
    (folder / "ignored/.gitignore").write_bytes(b"*.csv\n")
    task = {
        "num_nodes": 2,
        "resources": {"infra": "aws/us-east-1", "cpus": "2+", "ports": ["8888", "9000-9001"]},
        "file_mounts": {
            "/temporary": {"name": "cvl-temporary", "source": "data", "persistent": False, "mode": "COPY"},
            "/kept": {"name": "cvl-kept", "source": "data", "mode": "MOUNT_CACHED"},
            "/weights": "s3://weights/tiny",
        },
        "run": f"for file in {' '.join(CONTENTS)}; do "
        'echo "$SKYPILOT_NODE_RANK $(sha256sum $file)"; done\n'
        "echo $SKYPILOT_NODE_RANK > /cached/from-$SKYPILOT_NODE_RANK.txt\n"
        'if [ "$SKYPILOT_NODE_RANK" = 0 ]; then echo checkpoint > /kept/out.txt; fi\n'
        "docker run --rm debian:bookworm-slim sha256sum /copied/sub/b.bin /cached/b.bin\n",
    }
    (folder / "task.yaml").write_text(yaml.safe_dump(task))
    return s3, folder


@pytest.mark.minutes(4)
def test_storage_of_every_kind_brings_the_same_bytes_and_ends_with_the_run_or_is_named(
    terminal: Terminal, tmp_path: Path
) -> None:
    """One run on two nodes, and the whole account before and after: equal but for what the run names as kept.

    Copies and caches, below a prefix, from buckets and from folders of the runner, and in a container of the job.
    """
    _, folder = prepared(terminal, tmp_path)
    before = whole_state(terminal.sandbox.access())

    ran = terminal.run(
        *("--task", "task.yaml", "--max-runtime", "10m"),
        *("--mount", "/copied=s3://mounted/tiny", "--mount", "/cached=s3://mounted/shared:cached"),
        *("--mount", "/local=ignored", "--mount", "/uploaded=ignored:cached"),
        checkout=folder,
    )

    assert ran.code == 0, ran.err + ran.out
    for rank in (0, 1):
        for name, content in CONTENTS.items():
            assert f"{rank} {hashlib.sha256(content).hexdigest()}  {name}" in ran.out
    for name in ("/copied/sub/b.bin", "/cached/b.bin"):
        assert f"\n{hashlib.sha256(WEIGHTS['tiny/sub/b.bin']).hexdigest()}  {name}" in ran.out.replace(") ", "\n")
    assert "/copied is checked: 2 files" in ran.out + ran.err
    assert "2 files, 2 of them by content" in ran.out + ran.err
    assert "making the bucket s3://cvl-temporary in" in ran.err
    assert "in us-east-1, which ends with the run" in ran.err

    after = whole_state(terminal.sandbox.access())
    kept: Any = after.pop("bucket cvl-kept")
    written: Any = after.pop("bucket mounted")
    earlier: Any = before.pop("bucket mounted")
    assert set(written["objects"]) - set(earlier["objects"]) == {"shared/from-0.txt", "shared/from-1.txt"}
    assert_equal_but_for_what_is_named(before, after, ran)
    assert unknown_changes(terminal.directory) == []
    assert unlisted_rights(terminal.directory) == {"client": set(), "machine": set()}

    assert set(kept["objects"]) >= {"train.csv", "out.txt"}
    assert kept["labels"]["cvl-ci-lease"] == ran.summary["cluster"]
    assert kept["labels"]["cvl-ci-persistent"] == "true"
    [named] = ran.summary["released"]["buckets"]
    assert (named["name"], named["files"]) == ("s3://cvl-kept", len(kept["objects"]))
    assert f"s3://cvl-kept stays, as the run asked: {len(kept['objects'])} files" in " ".join(ran.err.split())
    stored = {entry["item"]: entry for entry in ran.summary["ledger"] if entry["kind"] == "bucket"}
    assert "S3 Standard in s3://cvl-kept" in stored and "S3 Standard in s3://cvl-temporary" in stored
    assert round(stored["S3 Standard in s3://cvl-kept"]["quantity"] * (1 << 30)) == named["bytes"]
    assert all(entry["usd"] is not None and entry["billed_seconds"] > 60 for entry in stored.values())

    swept = terminal.type("reap", "--cloud", "sandbox", "--grace", "0", "--all-owners")
    assert swept.returncode == 0, swept.stdout + swept.stderr
    assert "stays on purpose: bucket cvl-kept" in swept.stdout
    shown = json.loads(terminal.type("status", "--cloud", "sandbox", "--json").stdout)
    assert shown["leases"] == []
    assert any("bucket cvl-kept" in answer["stays"] for answer in shown["answers"])


def assert_equal_but_for_what_is_named(before: dict[str, Any], after: dict[str, Any], ran: Ran) -> None:
    """Assert that nothing else was left than the resources that the receipt calls shared by the repository's runs.

    The group admits ssh and its own machines, and none of the ports that the task opened.
    """
    receipt = " ".join(name for asked in ran.summary["released"]["asked"] for name in asked["shared"])
    for name in [name for name in after if name.startswith("groups in")]:
        new = {group: after[name][group]["GroupId"] for group in after[name].keys() - before[name].keys()}
        for group, identity in new.items():
            assert f"security group {group} ({identity})" in receipt
            assert f"security group {group} ({identity})" in " ".join(ran.err.split())
            assert {rule.get("FromPort") for rule in after[name][group]["IpPermissions"]} <= {22, -1, None}
            del after[name][group]
    assert after == before


@pytest.mark.minutes(2)
def test_a_fault_of_the_bucket_never_makes_a_red_test(terminal: Terminal, tmp_path: Path) -> None:
    """The bucket takes the job's reads, and no write. The job itself succeeds."""
    s3 = s3_of(terminal)
    s3.create_bucket(Bucket="read-only")
    terminal.sandbox.set_faults(Faults(buckets=(BucketFault(kind="denied", bucket="read-only", method="PUT"),)))
    (tmp_path / "repository").mkdir()
    ran = terminal.run(
        *("--command", "echo lost > /out/lost.txt", "--mount", "/out=s3://read-only:cached"),
        *("--gpu", "none", "--max-runtime", "1m"),
        checkout=tmp_path / "repository",
    )
    assert (ran.code, ran.summary["ending"]) == (70, "storage_failed"), ran.err
    assert ran.summary["reason"].startswith("The job succeeded, but the bucket is")
    assert "bucket is not proved to have all files" in ran.summary["reason"]
    assert terminal.machines() == []
