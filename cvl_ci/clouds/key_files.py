"""Clouds that know us by one key in one file, where SkyPilot and the cloud's own client read it.

Lambda: sky/provision/lambda_cloud/lambda_utils.py. RunPod: sky/clouds/runpod.py. Nebius: sky/adaptors/nebius.py.
These clouds give machines no identity of their own: SkyPilot copies the file there, and the machine ends itself by it.
"""

from __future__ import annotations

import json
import re

from cvl_ci.clouds.credential_provider import Here, Kind, Written, lacking
from cvl_ci.model.access import CloudAccess

LAMBDA_FILE, RUNPOD_FILE = "~/.lambda_cloud/lambda_keys", "~/.runpod/config.toml"
NEBIUS_TOKEN, NEBIUS_KEY = "~/.nebius/NEBIUS_IAM_TOKEN.txt", "~/.nebius/credentials.json"
NEBIUS_TENANT = "~/.nebius/NEBIUS_TENANT_ID.txt"
NOTE = "its key is copied to the machine, which needs it to end itself"


def lambda_look(here: Here) -> CloudAccess:
    return _one_key(here, cloud="lambda", name="lambda_api_key", file=LAMBDA_FILE, modules={})


def lambda_write(here: Here) -> Written:
    key = here.to_write("lambda_api_key")
    return Written(files={here.at(LAMBDA_FILE): f"api_key = {key}\n"}, secrets=(key,)) if key else Written()


def runpod_look(here: Here) -> CloudAccess:
    needed = {"runpod": "pip install 'skypilot[runpod]==0.14.*'"}
    return _one_key(here, cloud="runpod", name="runpod_api_key", file=RUNPOD_FILE, modules=needed)


def runpod_write(here: Here) -> Written:
    key = here.to_write("runpod_api_key")
    text = f"[default]\napi_key = {json.dumps(key)}\n"
    return Written(files={here.at(RUNPOD_FILE): text}, secrets=(key,)) if key else Written()


def nebius_look(here: Here) -> CloudAccess:
    there = [name for name in ("nebius_iam_token", "nebius_credentials_json") if here.to_write(name)]
    there = there or [path for path in (NEBIUS_TOKEN, NEBIUS_KEY) if here.exists(path)]
    missing = [] if there else ["any credentials"]
    takes = [] if there else ["in a workflow `nebius_credentials_json` and `nebius_tenant_id`; in a terminal `nebius`"]
    if there and not here.to_write("nebius_tenant_id") and not here.exists(NEBIUS_TENANT):
        missing.append("`nebius_tenant_id`")
        takes.append(f"give `nebius_tenant_id`, or write it to {NEBIUS_TENANT}")
    gone, how = lacking(here, programs={}, modules={"nebius": "pip install 'skypilot[nebius]==0.14.*'"})
    return CloudAccess(
        cloud="nebius",
        there=tuple(f"`{way}`" for way in there),
        missing=(*missing, *gone),
        takes=(*takes, *how),
        notes=(NOTE,) if there else (),
    )


def nebius_write(here: Here) -> Written:
    given = {
        NEBIUS_TOKEN: here.to_write("nebius_iam_token"),
        NEBIUS_KEY: here.to_write("nebius_credentials_json"),
        NEBIUS_TENANT: here.to_write("nebius_tenant_id"),
    }
    if not given[NEBIUS_TOKEN] and not given[NEBIUS_KEY]:
        return Written()
    secrets = tuple(filter(None, (given[NEBIUS_TOKEN], given[NEBIUS_KEY])))
    return Written(files={here.at(path): text for path, text in given.items() if text}, secrets=secrets)


LAMBDA = Kind(cloud="lambda", look=lambda_look, write=lambda_write)
RUNPOD = Kind(cloud="runpod", look=runpod_look, write=runpod_write)
NEBIUS = Kind(cloud="nebius", look=nebius_look, write=nebius_write)


def _one_key(here: Here, *, cloud: str, name: str, file: str, modules: dict[str, str]) -> CloudAccess:
    there, missing, takes = [], [], []
    if key := here.to_write(name):
        if re.fullmatch(r"[!-~]+", key):
            there = [f"`{name}`"]
        else:
            missing, takes = [f"a key: `{name}` holds spaces or other signs"], [f"give `{name}` as the cloud shows it"]
    elif here.exists(file):
        there = [f"the key in {file}"]
    else:
        missing, takes = ["any credentials"], [f"in a workflow `{name}`; in a terminal the file {file}"]
    gone, how = lacking(here, programs={}, modules=modules)
    return CloudAccess(
        cloud=cloud,
        there=tuple(there),
        missing=(*missing, *gone),
        takes=(*takes, *how),
        notes=(NOTE,) if there else (),
    )
