"""RunPod: one API key in one file (sky/clouds/runpod.py)."""

from __future__ import annotations

import json

from cvl_ci.clouds.credential_provider import CredentialFiles, CredentialProvider, Environment
from cvl_ci.clouds.key_files import check_key
from cvl_ci.model.access import CloudAccess

FILE = "~/.runpod/config.toml"


def check(environment: Environment) -> CloudAccess:
    """Return whether the key and SkyPilot's module for RunPod are here."""
    needed = {"runpod": "pip install 'skypilot[runpod]==0.14.*'"}
    return check_key(environment, cloud="runpod", name="runpod_api_key", file=FILE, modules=needed)


def write(environment: Environment) -> CredentialFiles:
    """Return the file with the key. Return nothing without a key, or where cvl-ci writes no files."""
    key = environment.value_for_file("runpod_api_key")
    text = f"[default]\napi_key = {json.dumps(key)}\n"
    return CredentialFiles(files={environment.expand(FILE): text}, secrets=(key,)) if key else CredentialFiles()


RUNPOD = CredentialProvider(cloud="runpod", check=check, write=write)
