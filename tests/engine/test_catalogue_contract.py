"""Which machines a request may reach, by our reading of SkyPilot's files and by SkyPilot itself on the same files."""

from __future__ import annotations

import json
import os

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.model.location import Location
from cvl_ci.model.resource_request import ResourceRequest, Spot
from tests.clouds.catalogue import files
from tests.support import sky_process

pytestmark = pytest.mark.sky

REQUESTS: list[tuple[str, str, float, str | None, str | None]] = [
    ("aws", "", 0, "2+", None),
    ("aws", "", 0, "4+", None),
    ("aws", "", 0, "2", "8"),
    ("gcp", "", 0, "2+", None),
    ("gcp", "", 0, "4+", "16+"),
    ("aws", "L4", 1, None, None),
    ("aws", "L4", 1, "8+", None),
    ("gcp", "A100", 1, None, None),
    ("gcp", "L4", 1, None, None),
    ("gcp", "L4", 1, "8+", None),
    ("gcp", "T4", 1, None, None),
    ("gcp", "T4", 1, "8+", None),
    ("gcp", "H100", 8, None, None),
]
"""Cloud, GPU, count, cpus and memory as a task has them."""

ASK = """
import json, sys
import sky
from sky import catalog
answers = []
for cloud, gpu, count, cpus, memory in json.loads(sys.argv[1]):
    if gpu:
        types, _ = catalog.get_instance_type_for_accelerator(gpu, count, cpus=cpus, memory=memory, clouds=cloud)
        types = list(types or [])
    else:
        types = [catalog.get_default_instance_type(cpus=cpus, memory=memory, clouds=cloud)]
    resources = [
        sky.Resources(cloud=sky.CLOUD_REGISTRY.from_str(cloud), instance_type=one,
                      accelerators={gpu: count} if gpu and cloud == "gcp" else None, region=region)
        for one in types if one for region in [{"aws": "us-east-1", "gcp": "us-central1"}[cloud]]
    ]
    answers.append({one.instance_type: round(one.get_cost(3600), 5) for one in resources})
print(json.dumps(answers))
"""


def request(gpu: str, count: float, cpus: str | None, memory: str | None) -> ResourceRequest:
    exact = {name for name, text in (("cpus", cpus), ("memory_gib", memory)) if text and not text.endswith("+")}
    return ResourceRequest(
        accelerators={gpu: count} if gpu else {},
        cpus=float(cpus.rstrip("+")) if cpus else None,
        memory_gib=float(memory.rstrip("+")) if memory else None,
        exact=frozenset(exact),
    )


def test_skypilot_would_take_the_same_machines_at_the_same_prices() -> None:
    home = sky_process.empty_home()
    folder = home / ".sky/catalogs/v8"
    files.write(folder, "aws", files.WITHOUT_LOCAL_ZONES, digest=False)
    files.write(folder, "gcp", files.GCP, digest=False)
    (folder / "common").mkdir()
    (folder / "common/accelerators.csv").write_text("AcceleratorName,Clouds\nL4,\"['AWS', 'GCP']\"\nA100,\"['GCP']\"\n")
    (folder / "common/metadata.csv").write_text("GPU,MemoryGB,Manufacturer\nL4,24,NVIDIA\nA100,40,NVIDIA\n")
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = sky_process.run(ASK, json.dumps(REQUESTS), env=env, loaded=True)
    assert done.returncode == 0, done.stderr[-2000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    prices = CataloguePrices(folder)
    for (cloud, gpu, count, cpus, memory), theirs in zip(REQUESTS, answers, strict=True):
        region = {"aws": "us-east-1", "gcp": "us-central1"}[cloud]
        offers = prices.offers(
            request(gpu, count, cpus, memory), locations=[Location(cloud=cloud, region=region)], spot=Spot.NEVER
        )
        ours = {offer.instance_type: round(offer.doubted_usd or offer.hourly_usd, 5) for offer in offers}
        assert ours == theirs, (cloud, gpu, count, cpus, memory)
