"""SkyPilot learns of an existing volume and never makes one: its own functions, with RunPod's documented answer."""

from __future__ import annotations

import json
import os

import pytest

from tests.support import sky_process

pytestmark = pytest.mark.sky

PROGRAM = """
import json
import sky
from sky import global_user_state
from sky.provision.runpod import volume
from cvl_ci.engine.worker import known_volumes

requests = []

def rest_request(method, path, json=None):
    # GET /networkvolumes: https://rest.runpod.io/v1/docs
    requests.append(method)
    return [{"id": "v1", "name": "cache", "dataCenterId": "EU-RO-1", "size": 50}]

volume.runpod.rest_request = rest_request
place = {"volume_type": "runpod-network-volume", "cloud": "runpod", "region": "RO", "zone": "EU-RO-1"}
known_volumes.register([{"name": "cache", **place}])
task = sky.Task.from_yaml_config(
    {"run": "true", "volumes": {"/data": "cache"}, "resources": {"infra": "runpod/RO/EU-RO-1"}}
)
task.resolve_and_validate_volumes()
try:
    known_volumes.register([{"name": "missing", **place}])
    refusal = ""
except Exception as error:
    refusal = f"{type(error).__name__}: {error}"
[mount] = task.volume_mounts
print(json.dumps({"id": mount.volume_config.id_on_cloud, "refusal": refusal, "requests": requests}))
"""
COLUMNS = (
    "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,SpotPrice,Region,AvailabilityZone,GpuInfo"
)
CATALOGUE = f"{COLUMNS}\n1x_L4_SECURE,L4,1,12,50,0.44,,RO,EU-RO-1,\n"


def test_an_existing_volume_is_registered_and_a_missing_one_is_refused() -> None:
    home = sky_process.empty_home()
    catalogue = home / ".sky/catalogs/v8/runpod/vms.csv"
    catalogue.parent.mkdir(parents=True)
    catalogue.write_text(CATALOGUE)
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = sky_process.run(PROGRAM, env=env, loaded=True)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout.splitlines()[-1])
    assert shown["id"] == "v1"
    assert shown["refusal"].startswith("VolumeNotFoundError: The volume missing")
    assert "of runpod/RO/EU-RO-1 could not" in shown["refusal"]
    assert set(shown["requests"]) == {"GET"}
