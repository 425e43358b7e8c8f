"""Tasks as people write them: what `plan --yaml` shows is to SkyPilot the same task as the file itself."""

from __future__ import annotations

import copy
import json
import os
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvl_ci.clouds.catalogue.names import ACCELERATORS
from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.plan.build_run import clouds_with
from cvl_ci.engine.task import script, task
from cvl_ci.inputs.reader import Inputs, from_keywords
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.resource_request import Spot
from cvl_ci.planning import build_plan, task_file, task_keys
from tests.engine.task.test_task import catalogues
from tests.support import sky_process

pytestmark = pytest.mark.sky

CORPUS = """
name: plain
resources: {cpus: 2+}
setup: |
  pip install x
  false
run: |
  # no set -e
  cd y; python train.py | tee log
---
name: My_Task.v2
resources: {cpus: 2+}
run: x
---
name: exact
resources: {cpus: 4, memory: 16}
run: x
---
name: least
resources: {cpus: 4+, memory: 16+, disk_size: 1TB}
run: x
---
name: alias
resources: {gpus: 'L4:1'}
run: x
---
name: set-of-gpus
resources: {infra: aws, accelerators: {L4:1, A10G:1}}
run: x
---
name: list-of-gpus
resources: {infra: aws, accelerators: ['A10G:1', L4]}
run: x
---
name: gpu-without-count
resources: {accelerators: {L4: null}}
run: x
---
name: spot
resources: {infra: aws/us-east-1, use_spot: true, cpus: 2+}
run: x
---
name: old-words
resources: {cloud: AWS, region: us-west-2, zone: us-west-2a, instance_type: m6i.xlarge}
run: x
---
name: labels-and-ports
resources: {labels: {team: vision}, ports: [8080, 9000-9010], cpus: 2+, disk_size: 200}
run: x
---
name: tiers
resources: {disk_tier: high, max_hourly_cost: 3, infra: aws, accelerators: L4}
run: x
---
name: image
resources: {image_id: 'docker:ubuntu:22.04', infra: aws, cpus: 2+}
run: x
---
name: ami
resources: {image_id: {us-east-1: ami-123}, infra: aws/us-east-1, cpus: 2+}
run: x
---
name: variables
num_nodes: 2
resources: {infra: aws, accelerators: A10G}
envs: {BUCKET: s3://data, STEPS: 5}
file_mounts: {/data: $BUCKET/train}
run: python train.py --steps $STEPS
---
name: own-config
resources: {infra: aws, accelerators: L4}
config: {docker: {run_options: [--shm-size=8g]}, nvidia_gpus: {disable_ecc: true}}
event_callback: echo
run: x
---
name: any-of
resources:
  cpus: 4+
  labels: {team: vision}
  any_of:
  - {infra: aws/us-east-1, accelerators: L4}
  - {infra: gcp, gpus: 'A100:1', use_spot: true, disk_size: 500}
  - {infra: aws, instance_type: m6i.xlarge, labels: {kind: plain}, ports: 8080}
run: x
---
name: any-of-places
resources: {accelerators: 'H100:8', use_spot: true, any_of: [{infra: aws}, {infra: gcp}, {infra: k8s}]}
run: x
---
name: ordered
resources: {ordered: [{infra: aws, accelerators: L4}, {infra: gcp, accelerators: 'L4:2', use_spot: true}], memory: 16+}
run: x
---
name: ordered-anywhere
resources: {ordered: [{accelerators: L4}, {accelerators: A10G, cpus: 8}]}
run: x
---
name: ordered-images
resources:
  disk_size: 1TB
  ordered:
  - {infra: aws/us-east-1, accelerators: L4, image_id: ami-1}
  - {infra: aws/us-west-2, accelerators: L4, image_id: ami-2, disk_tier: high}
run: x
---
name: part-of-a-gpu
resources: {infra: aws, accelerators: 'T4:0.5'}
run: x
---
name: part-of-a-gpu-as-a-mapping
resources: {infra: azure, accelerators: {A10: 0.5}}
run: x
---
name: six-chips
resources: {infra: aws, accelerators: 'Inferentia:6'}
run: x
---
name: names-of-an-own-cluster
resources: {infra: k8s/mine, accelerators: 'MI300:8'}
run: x
---
name: an-own-cluster-in-old-words
resources: {cloud: kubernetes, accelerators: {my-gpu: 2}}
run: x
---
name: gib-per-vcpu
resources: {infra: aws, cpus: 4+, memory: 8x}
run: x
---
name: megabytes
resources: {infra: aws, cpus: 2, memory: 500MB+}
run: x
---
name: local-disk
resources: {infra: aws, local_disk: 'nvme:1000+', cpus: 8+}
run: x
---
name: zone-of-any-region
resources: {infra: 'aws/*/us-east-1a', cpus: 2+}
run: x
---
name: several-counts
resources: {infra: aws, accelerators: {L4:1, L4:4, A10G:1}, use_spot: true}
run: x
---
name: several-counts-in-order
resources: {infra: aws, accelerators: ['L4:4', 'A10G:1', 'L4:1'], disk_size: 500}
run: x
---
name: several-counts-in-each-place
resources: {accelerators: {L4:1, L4:4}, any_of: [{infra: aws}, {infra: gcp}]}
run: x
---
name: set-of-gpus-in-each-place
resources: {accelerators: {L4: 1, A10G: 1}, any_of: [{infra: aws}, {infra: gcp, use_spot: true}]}
run: x
---
name: rest
num_nodes: 4
resources: {infra: aws, cpus: 2+, priority: 5, network_tier: best, ports: ['80-90']}
envs: {WORD: 'a b', EMPTY: '', FLAG: true, NUMBER: 1.5, OCTAL: 0o10, DAY: '2026-01-01'}
run: echo ${WORD}
---
name: type-and-size
resources: {infra: aws, instance_type: m6i.xlarge, cpus: 4+, memory: 16}
run: x
---
name: type-and-gpu
resources: {infra: aws, instance_type: g6.xlarge, accelerators: 'L4:1'}
run: x
---
name: several-mounts
resources: {infra: aws, cpus: 2+}
envs: {NAME: set, ROOT: /data}
file_mounts: {'$ROOT/one': 's3://bucket/${NAME}', '~/two': gs://bucket/x, /keys: ~/.aws/keys}
setup: |
  echo "it's" $NAME
run: |
  set -o pipefail
  cat <<EOF
  $NAME
  EOF
---
# From here on: what a run means to do in another way.
name: region-of-one-cloud
resources: {infra: '*/eu-west-1', accelerators: L4}
run: x
---
name: region-alone
resources: {region: us-central1, zone: us-central1-a, accelerators: L4}
run: x
---
name: by-memory
resources: {infra: aws, accelerators: 24GB}
run: x
---
name: by-maker-and-memory
resources: {infra: aws, accelerators: {'nvidia:20GB+:1': null}}
run: x
---
name: secret
resources: {cpus: 2+}
secrets: {TOKEN: abc}
run: x
---
name: region-of-two-clouds
resources: {infra: '*/us-east-1', cpus: 2+}
run: x
---
name: no-size
run: x
---
name: job-recovery
resources: {job_recovery: {strategy: FAILOVER}, cpus: 2+}
run: x
---
name: autostop
resources: {autostop: 10, accelerators: L4}
run: x
"""

INTENDED = {
    "no-size": "a machine without a GPU has 2 vCPUs or more, where SkyPilot would take 8",
    "region-of-one-cloud": "the cloud that has the region by its name, where SkyPilot looks at the enabled clouds",
    "region-alone": "the same",
    "region-of-two-clouds": "each of the clouds that have it",
    "by-memory": "the GPUs that have it by their makers' figures, where SkyPilot's table differs",
    "by-maker-and-memory": "the same",
    "secret": "a secret's name without its value: set it when you launch it by hand",
    "job-recovery": "only managed jobs use it",
    "autostop": "a run ends its machine by itself, by the clock and not when it is idle",
}

READ = """
import json, sys
import sky
pairs = json.load(sys.stdin)
print(json.dumps([[sky.Task.from_yaml_config(each).to_yaml_config() for each in pair] for pair in pairs]))
"""


def planned(config: dict[str, Any]) -> RunPlan:
    content = yaml.safe_dump(config).encode()
    read = task_file.read(content, known_gpus=ACCELERATORS, clouds_with=partial(clouds_with, CataloguePrices()))
    assert read.wrong == (), config
    return build_plan.plan(Inputs(), read.draft(Inputs()), gpu=None)


def rendered(config: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = yaml.safe_load(task.render(planned(config)))
    return shown


def _comparable(config: dict[str, Any]) -> dict[str, Any]:
    # A set has no order, and one machine is the default.
    resources = config["resources"]
    if "any_of" in resources:
        resources["any_of"].sort(key=str)
    return {"num_nodes": 1, **{key: value for key, value in config.items() if key != "_user_specified_yaml"}}


def test_what_is_shown_is_to_skypilot_the_task_that_was_written(tmp_path: Path) -> None:
    home = sky_process.empty_home()
    catalogues(home)
    written = list(yaml.safe_load_all(CORPUS))
    pairs = [[copy.deepcopy(config), rendered(config)] for config in written]
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = sky_process.run(READ, env=env, text=json.dumps(pairs), folder=tmp_path, loaded=True)
    assert done.returncode == 0, done.stderr[-3000:]
    read = json.loads(done.stdout.splitlines()[-1])
    apart = {theirs["name"]: (theirs, ours) for theirs, ours in read if _comparable(theirs) != _comparable(ours)}
    unintended = {name: pair for name, pair in apart.items() if name not in INTENDED}
    assert not unintended, json.dumps(unintended, indent=1)
    assert apart.keys() == INTENDED.keys()
    theirs, ours = apart["by-memory"]
    assert _gpus_of(theirs) == {"L4", "A10G"} < _gpus_of(ours)


def _gpus_of(config: dict[str, Any]) -> set[str]:
    return {name for one in config["resources"]["any_of"] for name in one["accelerators"]}


SEVERAL_CLOUDS = {"aws": "aws", "aws, then gcp on spot": "aws,gcp/us-central1", "sandbox": "sandbox"}


@pytest.mark.parametrize("clouds", SEVERAL_CLOUDS.values(), ids=SEVERAL_CLOUDS)
def test_what_is_shown_is_what_runs(clouds: str) -> None:
    inputs = from_keywords({"task": "t", "cloud": clouds, "spot": "fallback", "env": "A=B"}, environment={})
    for written in yaml.safe_load_all(CORPUS):
        plan = replace(
            planned(written),
            machines=replace(planned(written).machines, locations=inputs.location.cloud or (), spot=Spot.FALLBACK),
            variables=replace(planned(written).variables, env={"A": "B"}),
        )
        runs = task.task_config(
            plan,
            name="cvl-x",
            workdir="/staged",
            labels={"cvl-lease": "x"},
            autodown_minutes=80,
            env={**plan.variables.env, "CVL_CI_LEASE": "x"},
            setup=script.setup(plan),
            run=script.run(plan, lease="cvl-x"),
        )
        shown = yaml.safe_load(task.render(plan))
        assert _without_the_lease(runs["resources"]) == shown["resources"], written["name"]
        for key in task_keys.PASSED_ON:
            assert runs.get(key) == shown.get(key), written["name"]
        assert shown["envs"] == {"A": "B"}
        assert all(shlex.quote(shown[key]) in str(runs[key]) for key in ("setup", "run") if key in shown)


def _without_the_lease(resources: Any) -> dict[str, Any]:
    labels = {name: text for name, text in resources["labels"].items() if name != "cvl-lease"}
    rest = {key: value for key, value in resources.items() if key not in {"labels", "autostop"}}
    alternatives = [
        _without_the_lease({**one, "autostop": 0}) if "labels" in one else one for one in rest.get("any_of", ())
    ]
    return {**rest, **({"labels": labels} if labels else {}), **({"any_of": alternatives} if alternatives else {})}
