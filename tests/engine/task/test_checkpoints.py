"""Checkpoints on one computer: the shell that a node runs, its program, and a real client of an emulated S3."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from cvl_ci.clouds import AwsBuckets, service_clients
from cvl_ci.engine.sky_errors import read_end
from cvl_ci.engine.task import checkpoints, script
from cvl_ci.errors import EngineError, RequestRefused
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.checkpoint_plan import CheckpointPlan, Resume
from cvl_ci.model.node_end import CHECKPOINTS, RESULTS, NodeEnd
from cvl_ci.model.plan import RunPlan, WorkPlan
from cvl_ci.ports.storage import kept_checkpoints
from tests.engine.task.test_script import LEASE, Node
from tests.support import loaded_python

PLACE = BucketAddress(bucket="trained", prefix="of/ci")
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
TRAIN = (
    'echo "from ${CVL_RESUME_FROM:-nothing}"; last="$(cat step-*/step 2> /dev/null | sort -n | tail -n 1)"; '
    'step=$((last + 1)); mkdir step-$step; echo $step > step-$step/step; echo "weights $step" > step-$step/weights; '
    "exit ${CODE:-0}"
)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(endpoint: str) -> Any:
    return emptied(endpoint)


def emptied(endpoint: str) -> Any:
    """Return a client of the S3, which has one bucket without objects."""
    client: Any = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="t", aws_secret_access_key="t"
    )
    for entry in client.list_buckets()["Buckets"]:
        for one in client.list_objects_v2(Bucket=entry["Name"]).get("Contents", []):
            client.delete_object(Bucket=entry["Name"], Key=one["Key"])
        client.delete_bucket(Bucket=entry["Name"])
    client.create_bucket(Bucket=PLACE.bucket)
    return client


def plan(*, attempt: int = 1, run: str = "cvl-1", resume: Resume = Resume.RUN, keep: int = 3) -> RunPlan:
    stored = CheckpointPlan(
        globs=("step-*",), place=PLACE, resume=resume, folder=f"work/{run}", attempt=attempt, keep=keep
    )
    return RunPlan(title="t", work=WorkPlan(run_commands=(TRAIN,)), checkpoints=stored)


class Machines:
    """New machines, one after the other."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.folder, self.count = folder, 0
        self.variables = {**KEYS, "AWS_ENDPOINT_URL": endpoint}

    def run(self, one: RunPlan, *, before_end: str = "", **env: str) -> tuple[Node, str]:
        """`before_end`: shell text before the program that stores checkpoints begins."""
        self.count += 1
        node = Node(self.folder / f"machine-{self.count}")
        (node.home / ".sky").mkdir()
        (node.home / ".sky/python_path").write_text(str(loaded_python.program()))
        values = script.environment(one, lease=LEASE, deadline=time.time() + 3600)
        text = script.run(one, lease=LEASE).replace("cvl_ci_sync\n", f"{before_end}cvl_ci_sync\n")
        result = node.run(text, {**values, **self.variables, **env})
        return node, result.stdout + result.stderr


@pytest.fixture
def machines(tmp_path: Path, endpoint: str) -> Machines:
    return Machines(tmp_path, endpoint)


@pytest.fixture(scope="module")
def two_checkpoints(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """Return the objects that a run with two attempts, and so two checkpoints, stores: each test starts from a copy."""
    client = emptied(endpoint)
    machines = Machines(tmp_path_factory.mktemp("two"), endpoint)
    for attempt in (1, 2):
        machines.run(plan(attempt=attempt))
    keys = [one["Key"] for one in client.list_objects_v2(Bucket=PLACE.bucket)["Contents"]]
    return {key: client.get_object(Bucket=PLACE.bucket, Key=key)["Body"].read() for key in keys}


@pytest.fixture
def trained(two_checkpoints: Mapping[str, bytes], s3: Any) -> Any:
    """Return the bucket with the two checkpoints of one run."""
    for key, body in two_checkpoints.items():
        s3.put_object(Bucket=PLACE.bucket, Key=key, Body=body)
    return s3


def names(s3: Any, run: str = "cvl-1") -> list[str]:
    prefix = f"{PLACE.prefix}/work/{run}/manifests/"
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket=PLACE.bucket, Prefix=prefix).get("Contents", [])]
    return sorted(json.loads(s3.get_object(Bucket=PLACE.bucket, Key=key)["Body"].read())["name"] for key in keys)


def test_a_job_goes_on_from_the_last_checkpoint_of_its_run_on_new_machines(s3: Any, machines: Machines) -> None:
    """At its end the last checkpoint goes first. The acts after it, as a wait for mounts, get the job's own code."""
    node, out = machines.run(plan(keep=2))
    assert "from nothing" in out and "there is no checkpoint to go on from" in out
    assert "stored step-1" in out
    assert names(s3) == ["root/step-1"]
    node, out = machines.run(plan(attempt=2, keep=2))
    assert f"from {node.workdir}/step-1\n" in out
    assert (node.workdir / "step-2/weights").read_text() == "weights 2\n"
    assert "stored step-1" not in out, "it came from the bucket"
    act = 'told() { echo "told $1, $(ls "$cvl_ci_state/sync/pid" 2> /dev/null)"; }\ncvl_ci_last+=(told)\n'
    node, out = machines.run(plan(attempt=3, keep=2), before_end=act, CODE="7")
    assert node.end()["exit_code"] == "7", "the last checkpoint of a failed job is stored too, and its code stands"
    assert "told 7, \n" in out
    assert names(s3) == ["root/step-2", "root/step-3"]
    assert not (node.state / "sync/pid").exists()


@pytest.mark.parametrize("told", [CHECKPOINTS, RESULTS])
@pytest.mark.parametrize(("code", "begun", "is_true"), [(75, 0, True), (75, 1, False), (1, 0, False), (None, 0, False)])
def test_a_job_s_own_words_name_no_phase_before_it(told: str, code: int | None, begun: int, is_true: bool) -> None:
    one, phase = NodeEnd(rank=0, exit_code=code, phase=told), told if is_true else "running"
    assert [node.phase for node in checkpoints.believed([one], begun=begun)] == [phase]
    peer = NodeEnd(rank=1, exit_code=1, phase="setup")
    both = checkpoints.believed([one, peer], begun=begun + 1)
    assert [node.phase for node in both] == [phase, "setup"]


def test_a_later_run_goes_on_from_the_latest_one_only_if_it_asks_for_it(trained: Any, machines: Machines) -> None:
    machines.run(plan(run="cvl-2", resume=Resume.LATEST))
    assert names(trained, "cvl-2") == ["root/step-3"]
    _, out = machines.run(plan(run="cvl-3"))
    assert "from nothing" in out
    _, out = machines.run(plan(run="cvl-2", attempt=2, resume=Resume.NONE))
    assert "from nothing" in out


def test_a_torn_checkpoint_is_left_out_and_a_bucket_that_is_not_there_begins_no_job(
    trained: Any, machines: Machines
) -> None:
    s3, prefix = trained, f"{PLACE.prefix}/work/cvl-1/"
    key = next(
        entry["key"]
        for name in s3.list_objects_v2(Bucket=PLACE.bucket, Prefix=f"{prefix}manifests/")["Contents"]
        for document in [json.loads(s3.get_object(Bucket=PLACE.bucket, Key=name["Key"])["Body"].read())]
        for entry in document["files"]
        if document["name"] == "root/step-2"
    )
    s3.put_object(Bucket=PLACE.bucket, Key=prefix + key, Body=b"w")
    node, out = machines.run(plan(attempt=3))
    assert f"from {node.workdir}/step-1\n" in out
    missing = plan().checkpoints
    elsewhere = RunPlan(
        title="t",
        work=WorkPlan(run_commands=(TRAIN,)),
        checkpoints=CheckpointPlan(globs=missing.globs, place=BucketAddress(bucket="absent"), folder="w/r"),
    )
    node, out = machines.run(elsewhere)
    assert (node.end()["exit_code"], node.end()["phase"]) == ("75", "checkpoints")
    end = read_end(0, node.run(script.end(lease=LEASE), {}).stdout)
    assert (end.exit_code, end.phase) == (75, CHECKPOINTS), "so that it counts as a fault of the storage"
    assert "the checkpoints cannot be read" in out and "from nothing" not in out


def test_the_program_ends_with_the_job_s_shell(s3: Any, machines: Machines) -> None:
    """A job's shell may be killed, without a chance to say so."""
    node = Node(machines.folder / "killed")
    (node.home / ".sky").mkdir()
    (node.home / ".sky/python_path").write_text(sys.executable)  # a process of its own, with boto3
    values = script.environment(plan(), lease=LEASE, deadline=time.time() + 3600)
    text = script.run(plan(), lease=LEASE).replace("cvl_ci_sync\n", "cvl_ci_sync\nkill -9 $$\n")
    node.run(text, {**values, **machines.variables})
    pid = int((node.state / "sync/pid").read_text())
    for _ in range(300):
        if not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text():
            return
        time.sleep(0.1)
    raise AssertionError("the program that stores checkpoints outlives its job")


def test_the_runner_reads_what_stays_and_ends_unfinished_uploads(trained: Any, endpoint: str) -> None:
    s3, place = trained, plan().checkpoints.run_place
    assert place is not None
    s3.create_multipart_upload(Bucket=PLACE.bucket, Key=f"{place.prefix}/objects/0-1/0")
    s3.create_multipart_upload(Bucket=PLACE.bucket, Key="another/upload")
    s3.put_object(Bucket=PLACE.bucket, Key=f"{place.prefix}/manifests/x", Body=b'{"name": "root/x", "at": 1e999}')
    clients = service_clients(access_key_id="t", secret_access_key="t", endpoint_url=endpoint)
    said: list[str] = []
    kept = kept_checkpoints(AwsBuckets(clients=clients), place, is_over=True, say=said.append)
    assert said == []
    assert kept is not None and kept.stored is not None and kept.stored.newest is not None
    objects = s3.list_objects_v2(Bucket=PLACE.bucket, Prefix=f"{place.prefix}/")["Contents"]
    assert kept.stored.content.files == len(objects)
    assert kept.stored.content.bytes == sum(one["Size"] for one in objects)
    assert (kept.stored.newest.name, kept.stored.newest.step) == ("step-2", 2)
    assert [one["Key"] for one in s3.list_multipart_uploads(Bucket=PLACE.bucket)["Uploads"]] == ["another/upload"]
    with pytest.raises(RequestRefused, match="does not exist"):
        AwsBuckets(clients=clients).checkpoints(BucketAddress(bucket="absent", prefix="x"))
    silent = AwsBuckets(
        clients=service_clients(access_key_id="t", secret_access_key="t", endpoint_url="http://[::1]:9")
    )
    with pytest.raises(EngineError):
        silent.checkpoints(place)
    silent_kept = kept_checkpoints(silent, place, is_over=False, say=said.append)
    assert silent_kept is not None and silent_kept.stored is None and len(said) == 1


def test_large_files_arrive_whole(s3: Any, machines: Machines) -> None:
    """In several parts: the manifest's sum is that of the whole file."""
    job = "head -c 20000000 /dev/urandom > step-1.bin; sha256sum step-1.bin"
    one = RunPlan(title="t", work=WorkPlan(run_commands=(job,)), checkpoints=plan().checkpoints)
    node, _ = machines.run(one)
    digest = hashlib.sha256((node.workdir / "step-1.bin").read_bytes()).hexdigest()
    second, _ = machines.run(RunPlan(title="t", work=WorkPlan(run_commands=("true",)), checkpoints=plan().checkpoints))
    assert hashlib.sha256((second.workdir / "step-1.bin").read_bytes()).hexdigest() == digest
