"""A run with a model cache: its second run asks the hub nothing, and eight legs download once.

Each leg is a run without a machine: the runner's part in a process, then the node's own shell text. Its job is the
hub's real client.
"""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cvl_ci.clouds.aws.object_store import S3Bucket
from cvl_ci.commands.models import listing
from cvl_ci.commands.models.model_store import ModelStore
from cvl_ci.engine.task import script
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.model_plan import ModelName, ModelPlan
from cvl_ci.model.plan import RunPlan, VariablePlan, WorkPlan
from tests import golden
from tests.support import loaded_python, probed, s3
from tests.support.hub import Fault, Hub, HubFile, small

MESSAGES = golden.Messages(__name__)

NAME = "acme/tiny"
FILES = {
    "config.json": small('{"model_type": "tiny"}'),
    "sub/model.safetensors": HubFile(size=(8 << 20) + 77, seed=1),
}
LOAD = f"""python3 -c '
from huggingface_hub import snapshot_download
import pathlib
path = pathlib.Path(snapshot_download("{NAME}"))
print("loaded", (path / "config.json").read_text(), (path / "sub/model.safetensors").stat().st_size)
'"""
ENSURE = """
import sys
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.model_plan import ModelName, ModelPlan
from cvl_ci.wiring.models import models_of_run
import os
plan = ModelPlan(cache=BucketAddress(bucket=sys.argv[1], prefix="hub"), names=(ModelName(repo=sys.argv[2]),))
models_of_run(dict(os.environ))(plan, sys.argv[3], print)
"""


class Leg:
    """One leg: a runner that has the models stored, and a node with a HOME of its own."""

    def __init__(self, home: Path, hub: Hub, endpoint: str, *, name: str = "leg", script: str = LOAD) -> None:
        self.home, self.staged, self.script, self.name = home, home / "staged", script, name
        self.environment = {**s3.s3_environment(endpoint), "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1"}
        (home / "work").mkdir(parents=True)
        self.staged.mkdir()
        (self.staged / "train.py").write_text("print(1)")
        programs = home / "programs"
        programs.mkdir()
        # The node's Docker prints the words that it gets, and its Python has loaded boto3.
        (programs / "docker").write_text('#!/bin/sh\necho docker "$@"\n')
        (programs / "docker").chmod(0o755)
        (home / ".sky").mkdir()
        (home / ".sky" / "python_path").write_text(str(loaded_python.program()))
        (programs / "python3").symlink_to(loaded_python.program())

    def plan(self, *names: str) -> RunPlan:
        return RunPlan(
            title="tiny",
            work=WorkPlan(run_commands=(self.script,)),
            variables=VariablePlan(env={"HF_ENDPOINT": self.environment["HF_ENDPOINT"]}),
            models=ModelPlan(
                cache=BucketAddress(bucket=s3.BUCKET, prefix="hub"), names=tuple(ModelName(repo=name) for name in names)
            ),
        )

    def ensure(self) -> str:
        return self._run([str(loaded_python.program()), "-c", ENSURE, s3.BUCKET, NAME, self.name], {})

    def node(self, *names: str) -> str:
        plan = self.plan(*names)
        values = script.environment(plan, lease="cvl-1-abc", deadline=2**33, staged=self.staged)
        return self._run(["bash", "-c", probed.briefly(script.run(plan, lease="cvl-1-abc"))], values)

    def _run(self, words: list[str], values: dict[str, str]) -> str:
        own = {"HOME": str(self.home), "PATH": f"{self.home}/programs:{os.environ['PATH']}", "LANG": "C.UTF-8"}
        done = subprocess.run(
            words,
            cwd=self.home / "work" if values else Path(__file__).parents[3],
            env={**self.environment, **own, **values},
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
        return f"{done.stdout}{done.stderr}[exit {done.returncode}]"


@pytest.fixture
def legs(hub: Hub, endpoint: str, bucket: S3Bucket, tmp_path: Path) -> list[Leg]:
    hub.add(NAME, FILES)
    return [Leg(tmp_path / f"leg{number}", hub, endpoint, name=f"leg{number}") for number in range(8)]


LOADED = f'loaded {{"model_type": "tiny"}} {(8 << 20) + 77}\n'


@pytest.mark.timeout(300)
def test_eight_legs_at_once_download_a_named_model_once(legs: list[Leg], hub: Hub, model_store: ModelStore) -> None:
    with ThreadPoolExecutor(len(legs)) as pool:
        runners = list(pool.map(lambda leg: leg.ensure(), legs))
    assert all(output.endswith("[exit 0]") for output in runners), runners
    assert hub.sent == sum(one.size for one in FILES.values())
    assert sum(path.startswith("GET /api/models/") for path in hub.requests) == 1
    assert listing.verify(model_store, NAME, "main").problems == ()
    assert [one.key for one in model_store.store.objects("hub/locks")] == []
    hub.requests.clear()
    output = legs[0].node(NAME)
    assert LOADED in output
    assert "1 models, 0.01 GB, came from the bucket" in output
    assert "The hub is not asked." in output
    assert legs[1].ensure().endswith("[exit 0]")
    assert hub.requests == []


@pytest.mark.timeout(300)
def test_the_second_run_of_the_same_work_asks_the_hub_nothing(
    legs: list[Leg], hub: Hub, model_store: ModelStore
) -> None:
    """No input names the model: the first run stores what its job downloaded, and records it."""
    first = legs[0].node()
    assert LOADED in first
    assert "0.01 GB of new models are now in" in first
    assert listing.verify(model_store, NAME, "main").problems == ()
    hub.requests.clear()
    hub.refuses = Fault(status=429, headers={"Retry-After": "3600"})
    second = legs[1].node()
    assert LOADED in second
    assert "[exit 0]" in second
    assert hub.requests == []
    hub.requests.clear()
    changed = legs[2]
    (changed.staged / "train.py").write_text("print(2)")
    third = changed.node()
    assert "The hub answers for other models." in third
    assert LOADED in third, "the hub's own client takes the files of the disk when the hub refuses"
    assert hub.requests


@pytest.mark.timeout(300)
def test_a_hub_that_is_down_harms_only_a_model_that_the_bucket_lacks(
    legs: list[Leg], hub: Hub, endpoint: str, model_store: ModelStore
) -> None:
    assert legs[0].ensure().endswith("[exit 0]")
    address = hub.endpoint
    hub.close()
    assert legs[1].environment["HF_ENDPOINT"] == address
    assert legs[1].ensure().endswith("[exit 0]")
    assert LOADED in legs[1].node(NAME)
    missing = legs[2].node("acme/other")
    MESSAGES.check("not in the bucket", golden.line(missing, "acme/other is not in"))


def test_wrong_bytes_in_the_bucket_never_reach_the_job(
    legs: list[Leg], hub: Hub, endpoint: str, model_store: ModelStore
) -> None:
    legs[0].ensure()
    key = model_store.file_key(NAME, model_store.ref(NAME, "main"), "config.json")
    s3.client(endpoint).put_object(Bucket=s3.BUCKET, Key=key, Body=b'{"model_type": "tinX"}')
    output = legs[1].node(NAME)
    assert "has other bytes than its manifest says" in output and "The job may ask the hub for it." in output
    assert LOADED in output
    assert "tinX" not in output


def test_a_failed_job_that_was_offline_lets_the_next_one_ask_the_hub(legs: list[Leg], model_store: ModelStore) -> None:
    for leg in legs[:2]:
        leg.script = f"test ! -e ~/broken && {LOAD}"
    assert LOADED in legs[0].node()
    assert [one.key for one in model_store.store.objects("hub/uses")]
    (legs[1].home / "broken").touch()
    assert "[exit 1]" in (output := legs[1].node())
    assert "The hub is not asked." in output
    assert [one.key for one in model_store.store.objects("hub/uses")] == []


def test_every_container_of_the_job_gets_the_cache(hub: Hub, endpoint: str, bucket: S3Bucket, tmp_path: Path) -> None:
    hub.add(NAME, FILES)
    arguments = "-v x:/y image python train.py"
    commands = f"docker run --rm {arguments}; docker build -t image ."
    leg = Leg(tmp_path / "leg", hub, endpoint, script=commands)
    leg.ensure()
    output = leg.node(NAME)
    cache = leg.home / ".cache/huggingface/hub"
    mount = f"--mount type=bind,src={cache},dst=/var/cache/cvl-ci-hub --env HF_HUB_CACHE=/var/cache/cvl-ci-hub"
    mount += " --env CVL_MODELS=/var/cache/cvl-ci-hub/by-name"
    assert f"docker run {mount} --env HF_HUB_OFFLINE=1 --rm {arguments}\n" in output
    assert "docker build -t image .\n" in output


def test_a_named_model_is_a_folder_for_programs_without_the_hub_s_library(legs: list[Leg], hub: Hub) -> None:
    """The folder has its bytes at a path that its name gives, also where a container mounts the cache elsewhere."""
    leg = legs[0]
    leg.script = " && ".join(
        [
            'cp -r "$(dirname "$CVL_MODELS")" elsewhere',
            f"cmp $CVL_MODELS/{NAME}/config.json elsewhere/by-name/{NAME}@main/config.json",
            f"wc -c < elsewhere/by-name/{NAME}/sub/model.safetensors",
        ]
    )
    leg.ensure()
    output = leg.node(NAME)
    assert f"\n{(8 << 20) + 77}\n" in output
    assert "[exit 0]" in output


def test_without_a_bucket_the_job_asks_the_hub(legs: list[Leg], endpoint: str) -> None:
    leg = legs[0]
    leg.environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1"
    output = leg.node(NAME)
    MESSAGES.check("no answer", golden.line(output, "gave no answer").partition(": Could")[0])
    assert LOADED in output
