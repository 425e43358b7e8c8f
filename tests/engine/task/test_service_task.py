"""The task of a service: SkyPilot's own loader, and its check before `sky serve up`, accept each of them."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from cvl_ci.engine.task import task
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.model.location import Location
from cvl_ci.model.plan import MachinePlan, RunPlan, VariablePlan, WorkPlan
from cvl_ci.model.resource_request import ResourceRequest, Spot
from cvl_ci.model.secret import Secret
from cvl_ci.model.service import Probe, ServicePlan
from cvl_ci.planning import replicas
from tests.support import sky_process

PLAN = RunPlan(
    title="hello serve",
    work=WorkPlan(directory="examples/hello", run_commands=("bash serve.sh",)),
    variables=VariablePlan(env={"PORT": "8000"}, secrets={"HF_TOKEN": Secret("hf_value")}),
    machines=MachinePlan(needs=ResourceRequest(accelerators={"L4": 1}), locations=(Location(cloud="aws"),)),
)
SECTIONS = 400
AS_SKYPILOT_READS_THEM = """
import json
import sky
from sky.serve import serve_utils
from sky.utils import schemas
schemas._allow_additional_properties = lambda: False
for config in json.load(open(PATH)):
    task = sky.Task.from_yaml_config(config)
    serve_utils.validate_service_task(task, pool=False)
    spec = task.service
    print(json.dumps({
        "least": spec.min_replicas + (spec.num_overprovision or 0),
        "most": (spec.max_replicas or spec.min_replicas) + (spec.num_overprovision or 0),
        "path": spec.readiness_path, "delay": spec.initial_delay_seconds, "port": spec.ports,
        "open": [ports for r in task.resources for ports in r.ports or ()],
    }))
"""
"""How the text of a task is read; `read_by_skypilot` puts the place of the tasks in front."""
GOOD: dict[str, list[Any]] = {
    "replicas": [1, 2, 7, 100],
    "min_replicas": [0, 1, 2, 5],
    "max_replicas": [1, 5, 8, 100],
    "num_overprovision": [0, 1, 3],
    "target_qps_per_replica": [0.5, 2, 1000],
    "upscale_delay_seconds": [0, 30, 1.5],
    "downscale_delay_seconds": [0, 600],
    "load_balancing_policy": ["round_robin", "least_load"],
}
BAD: list[Any] = [0, 101, -1, "3", True, 2.0, {"L4": 2}, "fast", "instance_aware_least_load", [], 1e9]


def drawn(seed: int) -> dict[str, Any]:
    """Return a `service:` section: one in two is of values that SkyPilot takes, each alone."""
    rng = random.Random(seed)
    keys = [key for key in GOOD if rng.random() < 0.6]
    values = {key: rng.choice(BAD if seed % 2 and rng.random() < 0.2 else GOOD[key]) for key in keys}
    outer: dict[str, Any] = {key: values.pop(key) for key in ("replicas", "load_balancing_policy") if key in values}
    if "replicas" in outer and seed % 5:
        return outer
    return {**outer, **({"replica_policy": values} if values else {})}


def read_by_skypilot(configs: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    path = folder / "tasks.json"
    path.write_text(json.dumps(configs))
    env = {"HOME": str(sky_process.empty_home()), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = sky_process.run(AS_SKYPILOT_READS_THEM.replace("PATH", repr(str(path))), env=env, loaded=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_every_section_that_is_not_refused_is_one_that_skypilot_serves(tmp_path: Path) -> None:
    services: list[ServicePlan] = []
    refused = 0
    for seed in range(SECTIONS):
        try:
            several = replicas.read(drawn(seed))
        except Wrong:
            refused += 1
            continue
        probe = Probe(path=f"/health?n={seed}", initial_delay_seconds=60 + seed / 2)
        services.append(ServicePlan(port=1 + seed, probe=probe, replicas=several))
    assert refused > SECTIONS / 10
    assert len([one for one in services if one.replicas]) > SECTIONS / 4
    spots = [Spot.ALWAYS, Spot.NEVER]
    plans = [
        replace(PLAN, service=one, machines=replace(PLAN.machines, spot=spots[at % 2]))
        for at, one in enumerate(services)
    ]
    plans.append(replace(plans[0], machines=MachinePlan(locations=())))
    configs = [yaml.safe_load(task.render(plan)) for plan in plans]
    assert "hf_value" not in json.dumps(configs)
    seen = read_by_skypilot(configs, tmp_path)
    assert len(seen) == len(plans)
    for plan, read in zip(plans, seen, strict=True):
        service = plan.service
        assert service is not None
        least, most = (service.replicas.least, service.replicas.most) if service.replicas else (1, 1)
        assert (read["least"], read["most"]) == (least, most)
        assert (read["path"], read["delay"]) == (service.probe.path, service.probe.initial_delay_seconds)
        assert (read["port"], read["open"]) == (str(service.port), [str(service.port)])
