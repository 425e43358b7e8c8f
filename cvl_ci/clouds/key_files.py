"""Clouds with one key in one file, which SkyPilot and the cloud's own client read.

Lambda: sky/provision/lambda_cloud/lambda_utils.py. RunPod: sky/clouds/runpod.py. Nebius: sky/adaptors/nebius.py.
These clouds give machines no identity. SkyPilot copies the file to the machine, which uses it to end itself.
"""

from __future__ import annotations

import json
import re

from cvl_ci.clouds.credential_provider import CredentialFiles, CredentialProvider, Environment, find_missing
from cvl_ci.model.access import CloudAccess

LAMBDA_FILE, RUNPOD_FILE = "~/.lambda_cloud/lambda_keys", "~/.runpod/config.toml"
NEBIUS_TOKEN, NEBIUS_KEY = "~/.nebius/NEBIUS_IAM_TOKEN.txt", "~/.nebius/credentials.json"
NEBIUS_TENANT = "~/.nebius/NEBIUS_TENANT_ID.txt"
NOTE = "SkyPilot copies its key to the machine, which needs it to end itself"


def check_lambda(environment: Environment) -> CloudAccess:
    return _one_key(environment, cloud="lambda", name="lambda_api_key", file=LAMBDA_FILE, modules={})


def write_lambda(environment: Environment) -> CredentialFiles:
    key = environment.to_write("lambda_api_key")
    return (
        CredentialFiles(files={environment.at(LAMBDA_FILE): f"api_key = {key}\n"}, secrets=(key,))
        if key
        else CredentialFiles()
    )


def check_runpod(environment: Environment) -> CloudAccess:
    needed = {"runpod": "pip install 'skypilot[runpod]==0.14.*'"}
    return _one_key(environment, cloud="runpod", name="runpod_api_key", file=RUNPOD_FILE, modules=needed)


def write_runpod(environment: Environment) -> CredentialFiles:
    key = environment.to_write("runpod_api_key")
    text = f"[default]\napi_key = {json.dumps(key)}\n"
    return CredentialFiles(files={environment.at(RUNPOD_FILE): text}, secrets=(key,)) if key else CredentialFiles()


def check_nebius(environment: Environment) -> CloudAccess:
    available = [name for name in ("nebius_iam_token", "nebius_credentials_json") if environment.to_write(name)]
    available = available or [path for path in (NEBIUS_TOKEN, NEBIUS_KEY) if environment.exists(path)]
    missing = [] if available else ["any credentials"]
    takes = (
        [] if available else ["in a workflow `nebius_credentials_json` and `nebius_tenant_id`; in a terminal `nebius`"]
    )
    if available and not environment.to_write("nebius_tenant_id") and not environment.exists(NEBIUS_TENANT):
        missing.append("`nebius_tenant_id`")
        takes.append(f"give `nebius_tenant_id`, or write it to {NEBIUS_TENANT}")
    missing_software, steps = find_missing(
        environment, programs={}, modules={"nebius": "pip install 'skypilot[nebius]==0.14.*'"}
    )
    return CloudAccess(
        cloud="nebius",
        there=tuple(f"`{way}`" for way in available),
        missing=(*missing, *missing_software),
        takes=(*takes, *steps),
        notes=(NOTE,) if available else (),
    )


def write_nebius(environment: Environment) -> CredentialFiles:
    values = {
        NEBIUS_TOKEN: environment.to_write("nebius_iam_token"),
        NEBIUS_KEY: environment.to_write("nebius_credentials_json"),
        NEBIUS_TENANT: environment.to_write("nebius_tenant_id"),
    }
    if not values[NEBIUS_TOKEN] and not values[NEBIUS_KEY]:
        return CredentialFiles()
    secrets = tuple(filter(None, (values[NEBIUS_TOKEN], values[NEBIUS_KEY])))
    return CredentialFiles(files={environment.at(path): text for path, text in values.items() if text}, secrets=secrets)


LAMBDA = CredentialProvider(cloud="lambda", check=check_lambda, write=write_lambda)
RUNPOD = CredentialProvider(cloud="runpod", check=check_runpod, write=write_runpod)
NEBIUS = CredentialProvider(cloud="nebius", check=check_nebius, write=write_nebius)


def _one_key(environment: Environment, *, cloud: str, name: str, file: str, modules: dict[str, str]) -> CloudAccess:
    available, missing, takes = [], [], []
    if key := environment.to_write(name):
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
        there=tuple(available),
        missing=(*missing, *missing_software),
        takes=(*takes, *steps),
        notes=(NOTE,) if available else (),
    )
