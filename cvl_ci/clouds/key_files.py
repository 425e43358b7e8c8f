"""One key in one file, which SkyPilot and the cloud's own client read.

Clouds with such a key give machines no identity. SkyPilot copies the file to the machine, which uses it to end itself.
"""

from __future__ import annotations

import re

from cvl_ci.clouds.credential_provider import Environment, find_missing
from cvl_ci.model.access import CloudAccess

NOTE = "SkyPilot copies its key to the machine, which needs it to end itself"


def check_key(environment: Environment, *, cloud: str, name: str, file: str, modules: dict[str, str]) -> CloudAccess:
    """Return the state of a cloud's key. `name`: the input. `modules`: a module → the way to get it."""
    available, missing, takes = [], [], []
    if key := environment.value_for_file(name):
        if re.fullmatch(r"[!-~]+", key):
            available = [f"`{name}`"]
        else:
            missing, takes = (
                [f"a key: `{name}` contains spaces or other wrong characters"],
                [f"give `{name}` as the cloud shows it"],
            )
    elif environment.exists(file):
        available = [f"the key in {file}"]
    else:
        missing, takes = ["any credentials"], [f"in a workflow `{name}`; in a terminal the file {file}"]
    missing_software, steps = find_missing(environment, programs={}, modules=modules)
    return CloudAccess(
        cloud=cloud,
        available=tuple(available),
        missing=(*missing, *missing_software),
        takes=(*takes, *steps),
        notes=(NOTE,) if available else (),
    )
