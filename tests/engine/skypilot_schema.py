"""Write cvl_ci/planning/skypilot_schema.json: `python -m tests.engine.skypilot_schema` after a new SkyPilot version."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.support import sky_process

FILE = Path(__file__).resolve().parents[2] / "cvl_ci" / "planning" / "skypilot_schema.json"

# As SkyPilot's server reads a task: its client lets keys pass that it does not know.
ASK = """
import json
import sky
from sky import resources
from sky.utils import schemas
schemas._allow_additional_properties = lambda: False
print(json.dumps({
    "skypilot": sky.__version__,
    "aliases": resources.RESOURCE_CONFIG_ALIASES,
    "task": schemas.get_task_schema(),
    "resources": schemas.get_resources_schema(),
    "storage": schemas.get_storage_schema(),
    "volume": schemas.get_volume_schema(),
    "service": schemas.get_service_schema(),
}, sort_keys=True))
"""


def current() -> str:
    """Return the file's content by the SkyPilot that is installed."""
    home = str(sky_process.empty_home())
    env = {"HOME": home, "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = sky_process.run(ASK, env=env, loaded=True)
    return json.dumps(json.loads(done.stdout.splitlines()[-1]), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(current(), encoding="utf-8")
