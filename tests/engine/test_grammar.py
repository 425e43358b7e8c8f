"""Our copy of SkyPilot's grammar against SkyPilot's own: the same keys, and the same problems in the same files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from cvl_ci.planning import task_grammar, task_keys
from tests.engine import skypilot_schema
from tests.support import sky_process

pytestmark = pytest.mark.sky

KEYWORDS = {
    *("type", "properties", "patternProperties", "additionalProperties", "required", "maxProperties", "minProperties"),
    *("items", "minItems", "maxItems", "uniqueItems", "anyOf", "oneOf", "not", "enum", "case_insensitive_enum"),
    *("case_sensitive_enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum"),
    *("$schema", "description"),
}

TASKS = """
run: x
---
run: x
resources: {gpus: 'H100:8'}
---
run: x
resources: {acelerators: 'H100:8'}
---
run: 5
---
num_nodes: '2'
---
num_nodes: 2.0
---
envs: {A: 1, B: null}
secrets: {C: 5}
---
envs: {'A B': x}
---
resources: {accelerators: {L4:1, A10G:1}}
---
resources: {accelerators: [L4, 'A10G:2']}
---
resources: {accelerators: [5]}
---
resources: {cpus: 4+, memory: 16, disk_size: 1TB, use_spot: null}
---
resources: {disk_size: 1 TB}
---
resources: {disk_size: 10.5}
---
resources: {infra: '*/us-east-1'}
---
resources: {infra: k8s/a/b/c}
---
resources: {infra: aws/a/b/c}
---
resources: {infra: awz}
---
resources: {cloud: AWS, region: us-east-1}
---
resources: {cloud: awz}
---
resources: {any_of: [{infra: aws, gpus: L4}, {infra: gcp}]}
---
resources: {any_of: [{use_spot: null}]}
---
resources: {ordered: [{infra: aws, accelerator: L4}]}
---
resources: {any_of: [{accelerators: [L4]}]}
---
resources: {any_of: [{accelerators: {L4: 1, A10G: 1}}]}
---
resources: {ports: [80, '90-99']}
---
resources: {ports: null}
---
resources: {ports: {a: 1}}
---
resources: {labels: {a: 1}}
---
resources: {labels: {a: b}, priority: 1000, max_hourly_cost: 0.5}
---
resources: {priority: 1001}
---
resources: {max_hourly_cost: 0}
---
resources: {autostop: true}
---
resources: {autostop: 10m}
---
resources: {autostop: {idle_minutes: 10, down: true, wait_for: NONE}}
---
resources: {autostop: {idle_minuts: 10}}
---
resources: {autostop: {wait_for: never}}
---
resources: {job_recovery: {strategy: null, recover_on_exit_codes: [1, 2]}}
---
resources: {job_recovery: {recover_on_exit_codes: [1, 1]}}
---
resources: {job_recovery: {recover_on_exit_codes: 256}}
---
resources: {job_recovery: {x: 1}}
---
resources: {spot_recovery: FAILOVER}
---
resources: {image_id: {us-east-1: ami-1}}
---
resources: {image_id: 5}
---
resources: {accelerator_args: {tpu_vm: yes, x: 1}}
---
file_mounts: {/d: ./d, /s: {source: s3://b, mode: mount}}
---
file_mounts: {/s: {sorce: s3://b}}
---
file_mounts: {/s: {source: [], name: b}}
---
file_mounts: {/s: {name: b, store: s4}}
---
file_mounts: {/s: {name: b, config: {mount_cached: {transfers: 0}}}}
---
file_mounts: {/s: {name: b, config: {mount_cached: {buffer_size: 5M}}}}
---
config: {kubernetes: {pod_config: {spec: {anything: 1}}, provision_timeout: 5}}
---
config: {kubernets: {}}
---
config: {docker: {run_options: [a, b]}, hooks: [{run: x, events: [down]}]}
---
config: {hooks: [{run: x, events: []}]}
---
config: {gcp: {vpc_name: 'A B'}}
---
config: {kubernetes: {set_pod_resource_limits: 0.5}}
---
config: {kubernetes: {custom_metadata: {namespace: x}}}
---
config: {azure: {remote_identity: [{}]}}
---
inputs: {a: 1, b: 2}
---
managed_secrets: [A, {B: {mount_path: /x}}]
---
managed_secrets: [{B: {mount: /x}}]
---
secrets: [secrets:A]
---
secrets: 5
---
workdir: {url: https://x, ref: y}
---
workdir: {ref: y}
---
volumes: {/d: name}
---
volumes: 5
---
event_callback: echo
api_server_access: true
---
serviec: {}
"""

# What SkyPilot's schemas say, level by level as Task.from_yaml_config and Storage.from_yaml_config ask them, without
# what those look at beside: buckets, clouds, catalogues.
JUDGE = """
import json, sys
from sky import resources as resources_lib
from sky.utils import common_utils, schemas
schemas._allow_additional_properties = lambda: False

def judged(task):
    for key in ("envs", "secrets"):
        if isinstance(task.get(key), dict):
            task[key] = {str(k): None if v is None else str(v) for k, v in task[key].items()}
    try:
        common_utils.validate_schema(task, schemas.get_task_schema())
        config = dict(task.get("resources") or {})
        for each in [config, *(config.get("any_of") or []), *(config.get("ordered") or [])]:
            resources_lib.Resources._apply_resource_config_aliases(each)
        common_utils.validate_schema(config, schemas.get_resources_schema())
        for source in (task.get("file_mounts") or {}).values():
            if isinstance(source, dict):
                common_utils.validate_schema(source, schemas.get_storage_schema())
    except Exception as error:
        return str(error)
    return ""

print(json.dumps([judged(task) for task in json.load(sys.stdin)]))
"""


def _keywords(schema: object) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, each in schema.items():
            yield key
            below = each.values() if key in {"properties", "patternProperties"} else [each]
            for one in below:
                yield from _keywords(one)
    elif isinstance(schema, list):
        for each in schema:
            yield from _keywords(each)


def test_the_copy_is_skypilots_own_schema() -> None:
    assert skypilot_schema.FILE.read_text(encoding="utf-8") == skypilot_schema.current(), (
        "SkyPilot's grammar has changed: write the copy with `python -m tests.engine.skypilot_schema`, "
        "and decide in cvl_ci/planning/task_keys.py for every new key"
    )


def test_every_rule_in_the_schema_is_one_that_is_applied() -> None:
    found = task_grammar.schemas()
    used = {word for name in ("task", "resources", "storage", "volume") for word in _keywords(found[name])}
    assert used <= KEYWORDS


def test_for_every_key_of_a_task_and_of_its_resources_there_is_a_decision() -> None:
    found = task_grammar.schemas()
    decided = [task_keys.READ, task_keys.PASSED_ON, task_keys.REFUSED.keys(), task_keys.INTERNAL]
    assert found["task"]["properties"].keys() == set().union(*decided) & found["task"]["properties"].keys()
    for_resources: list[Any] = [task_keys.RESOURCES_READ, task_keys.RESOURCES_PASSED_ON, task_keys.INTERNAL]
    for_resources += [task_keys.RESOURCES_UNPRICED, task_keys.RESOURCES_OURS, task_keys.RESOURCES_REFUSED]
    names = set().union(*(set(table) for table in for_resources))
    assert found["resources"]["properties"].keys() <= names
    assert names <= found["resources"]["properties"].keys() | found["task"]["properties"].keys()


def test_skypilot_and_we_judge_the_same_tasks_alike() -> None:
    tasks = [task for task in yaml.safe_load_all(TASKS) if task is not None]
    env = {"HOME": str(sky_process.empty_home()), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = sky_process.run(JUDGE, env=env, text=json.dumps(tasks), loaded=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    apart = [
        (task, said, ours)
        for task, said in zip(tasks, theirs, strict=True)
        if bool(said) != bool(ours := task_grammar.mistakes(task))
    ]
    assert apart == []
    assert 20 < sum(map(bool, theirs)) < len(tasks) - 20
