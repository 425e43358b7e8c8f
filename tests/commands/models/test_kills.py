"""An upload that is killed in mid-file continues, and memory does not grow with the file.

The upload runs in a process of its own. The hub counts the bytes that it sends and kills the process at a seeded one.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from cvl_ci.commands.models import listing
from cvl_ci.commands.models.model_store import ModelStore
from tests.support import loaded_python
from tests.support.hub import Hub, HubFile, small

NAME = "acme/tiny"
MANY = bool(os.environ.get("TEST_MANY"))
KILLS = 20 if MANY else 4
PROGRAM = """
import resource, sys
from cvl_ci.clouds.aws.object_store import S3Bucket, s3_client
from cvl_ci.commands.models.model_store import ModelStore
from cvl_ci.commands.models.upload import UploadRequest, UploadPorts, upload
from cvl_ci.hub.client import HuggingFaceHub
from cvl_ci.local.clock import SystemClock
from cvl_ci.model.bucket import BucketAddress
from tests.support import s3

hub, store = sys.argv[1:]
model_store = ModelStore(S3Bucket(s3.client(store), s3.BUCKET), BucketAddress(bucket=s3.BUCKET, prefix="hub"))
hf = HuggingFaceHub(endpoint=hub, token=False)
ports = UploadPorts(source=hf, model_store=model_store, clock=SystemClock(), tell=print)
done = upload(UploadRequest(repo="acme/tiny"), ports)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("moved", done.moved_bytes, "peak", peak * 1024)
"""
ROOT = Path(__file__).resolve().parents[3]


def start(hub: Hub, endpoint: str, python: Path = Path(sys.executable)) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, "-c", PROGRAM, hub.endpoint, endpoint],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.timeout(600)
def test_kills_in_mid_file_leave_a_whole_object_and_no_part(endpoint: str, hub: Hub, model_store: ModelStore) -> None:
    """Each process gets further: the bytes of all together stay near the file's, and the last one finds it whole."""
    size = KILLS * (12 << 20)
    hub.add(NAME, {"model.safetensors": HubFile(size=size, seed=7), "config.json": small("{}")})
    dice = random.Random(20)
    kills = 0
    while kills < KILLS:
        process = start(hub, endpoint, loaded_python.program())
        limit = hub.sent + dice.randrange(1 << 20, 24 << 20)

        def kill(sent: int, process: subprocess.Popen[str] = process, limit: int = limit) -> None:
            if sent >= limit:
                process.kill()

        hub.on_bytes = kill
        output, _ = process.communicate(timeout=120)
        if process.returncode == 0:
            break
        assert process.returncode == -9, output
        kills += 1
        assert model_store.find(NAME, "main") is None
        assert len(list(model_store.store.uploads("hub/"))) <= 1
    hub.on_bytes = lambda _: None
    output, _ = start(hub, endpoint, loaded_python.program()).communicate(timeout=120)
    assert int(output.split()[-3]) < size
    assert listing.verify(model_store, NAME, "main").problems == ()
    assert list(model_store.store.uploads("")) == []
    assert kills == KILLS


@pytest.mark.timeout(900)
def test_memory_does_not_grow_with_the_file(endpoint: str, hub: Hub, model_store: ModelStore) -> None:
    """Three files at once, 240 MB together, or 2 GB in seven of them where all cases are wanted.

    moto joins the parts of an object while its client waits, so one object of 2 GB outlasts that patience.
    """
    sizes = [300 << 20] * 7 if MANY else [96 << 20, 80 << 20, 64 << 20]
    hub.add(NAME, {f"model-{n}.safetensors": HubFile(size=size, seed=n) for n, size in enumerate(sizes)})
    output, _ = start(hub, endpoint).communicate(timeout=800)
    assert "\nmoved " in output, output[-3000:]
    moved, peak = (int(word) for word in output.split()[-3::2])
    assert moved == sum(sizes)
    print(f"{moved} bytes moved with {peak} bytes of memory")
    assert peak <= 200 * 10**6
    assert model_store.find(NAME, "main") is not None
