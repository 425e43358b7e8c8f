"""What is written, read by SkyPilot's own checks as far as they go without a network; and what it would copy away.

Each runs SkyPilot in a process of its own, in the environment and HOME that a run would have.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.clouds import credentials as cloud_credentials
from tests.clouds.credentials import peers
from tests.clouds.credentials.machine import KEY, KUBECONFIG, PROVIDER, ROLE, WITH_OIDC
from tests.support import sky_process

pytestmark = pytest.mark.sky

PROLOGUE = """
import json, os
import sky, sky.check
from sky import clouds, skypilot_config
def answer(value): print("ANSWER", json.dumps(value))
def copied(): return {to: open(at).read() for to, at in sky.check.get_cloud_credential_file_mounts(_excluded()).items()}
def _excluded():
    # As backends/backend_utils.py does for a machine of another cloud.
    from sky.utils import registry
    return [cloud for name, cloud in registry.CLOUD_REGISTRY.items()
            if skypilot_config.get_effective_workspace_region_config(cloud=name, region=None, keys=("remote_identity",),
                                                                    default_value=None) == "NO_UPLOAD"]
"""


def asked(home: Path, clouds: str, question: str, *, also: Mapping[str, str] | None = None, **given: str) -> Any:
    """What SkyPilot answers once our files for these clouds are written."""
    inputs = {name if name.isupper() else f"INPUT_{name.upper()}": value for name, value in given.items()}
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environ = {"HOME": str(home), "PATH": beside, "SKYPILOT_DISABLE_USAGE_COLLECTION": "1", **inputs, **(also or {})}
    place = cloud_credentials.local_environment(environ, folder=home / ".local/state/cvl-ci/credentials", writes=True)
    known = cloud_credentials.carry_out(place, cloud_credentials.prepare(place, clouds.split()))
    result = sky_process.run(PROLOGUE + question, env=known)
    lines = [line for line in result.stdout.splitlines() if line.startswith("ANSWER ")]
    assert lines, result.stdout + result.stderr
    return json.loads(lines[-1].removeprefix("ANSWER "))


AWS = """
answer([*clouds.AWS._check_credentials_exist(), str(clouds.AWS._current_identity_type()), copied(),
        skypilot_config.get_nested(("allowed_clouds",), None)])
"""


def test_aws_keys_pass_its_check_and_are_not_copied_to_machines(tmp_path: Path) -> None:
    with peers.aws() as endpoint:
        keys: dict[str, Any] = {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": "wJalrXUtnFEMI"}
        exist, identity, _, kind, copied, allowed = asked(tmp_path, "aws", AWS, also=endpoint, **keys)
    assert exist is True
    assert "account=123456789012" in identity
    assert kind == "AWSIdentityType.ENV"
    assert copied == {}
    assert allowed == ["aws"]


def test_an_aws_role_passes_its_check_and_is_not_copied_to_machines(tmp_path: Path) -> None:
    with peers.github() as (variables, _), peers.aws() as endpoint:
        also = {**endpoint, **variables, "AWS_ACCESS_KEY_ID": "another", "AWS_SECRET_ACCESS_KEY": "another"}
        exist, _, _, kind, copied, _ = asked(tmp_path, "aws", AWS, also=also, role_to_assume=ROLE)
    assert exist is True
    assert kind == "AWSIdentityType.CUSTOM_PROCESS"
    assert copied == {}


def test_no_aws_credentials_fail_its_check_so_the_two_above_say_something(tmp_path: Path) -> None:
    question = "answer(clouds.AWS._check_credentials_exist()[0])"
    assert asked(tmp_path, "aws", question, also={"AWS_EC2_METADATA_DISABLED": "true"}) is False


OF_KEYS = """
from sky.adaptors import nebius
from sky.provision.kubernetes import utils
from sky.provision.lambda_cloud.lambda_utils import LambdaCloudClient
def content(path): return open(os.path.expanduser(path)).read()
answer({"lambda": LambdaCloudClient().api_key, "runpod": clouds.RunPod._check_runpod_credentials(),
        "nebius": [nebius.is_token_or_cred_file_exist(), nebius.get_iam_token(), nebius.get_tenant_id()],
        "nebius key": content(nebius.credentials_path()),
        "kubernetes": [content(path) for path in utils.get_kubeconfig_paths()], "copied": copied()})
"""


def test_each_of_several_clouds_finds_its_own_and_no_machine_gets_the_kubeconfig(tmp_path: Path) -> None:
    """The key of Lambda, RunPod's file, Nebius' token, tenant and key file, and the kubeconfig that SkyPilot opens."""
    values: dict[str, Any] = {"lambda_api_key": "secret_0123=abc", "runpod_api_key": 'rpa_"0123'}
    values |= {"nebius_iam_token": "ne1_0123", "nebius_tenant_id": "tenant-1", "nebius_credentials_json": '{"a": 1}'}
    result = asked(tmp_path, "lambda runpod nebius kubernetes", OF_KEYS, kubeconfig=KUBECONFIG, **values)
    assert result["lambda"] == "secret_0123=abc"
    assert result["runpod"] == [True, None]
    assert result["nebius"] == [True, "ne1_0123", "tenant-1"]
    assert result["nebius key"] == '{"a": 1}'
    assert [text.strip() for text in result["kubernetes"]] == [KUBECONFIG.strip()]
    of_others = ("~/.lambda_cloud/", "~/.nebius/", "~/.runpod/")
    assert [path for path in result["copied"] if not path.startswith(of_others)] == []


GCLOUD = """#!/bin/sh
# Remembers the login, and names as the active account the one in its file.
case "$1 $2" in
"auth login") cp "${4#--cred-file=}" "$CLOUDSDK_CONFIG.cred"; mkdir -p "$CLOUDSDK_CONFIG" ;;
"auth list") grep -o '[a-z-]*@[a-z.-]*gserviceaccount.com' "$CLOUDSDK_CONFIG.cred" | head -1 ;;
esac
"""
GCP = """
answer([str(clouds.GCP._get_identity_type()) if clouds.GCP.get_active_user_identity() else None,
        clouds.GCP._find_application_key_path(), open(clouds.GCP._find_application_key_path()).read(), copied()])
"""


@pytest.fixture
def gcloud(tmp_path: Path) -> dict[str, str]:
    program = tmp_path / "bin" / "gcloud"
    program.parent.mkdir()
    program.write_text(GCLOUD)
    program.chmod(0o755)
    return {"PATH": os.pathsep.join([str(program.parent), str(Path(sys.executable).parent), os.environ["PATH"]])}


@pytest.mark.parametrize("federated", [False, True])
def test_gcp_finds_the_service_account_as_file_and_in_gcloud(
    gcloud: dict[str, str], federated: bool, tmp_path: Path
) -> None:
    values: dict[str, Any] = {"gcp_credentials_json": KEY}
    if federated:
        account = {"gcp_service_account": "ci@my-project.iam.gserviceaccount.com", "gcp_project": "my-project"}
        values = {"gcp_workload_identity_provider": PROVIDER, **account, **WITH_OIDC}
    kind, path, text, copied = asked(tmp_path, "gcp", GCP, also=gcloud, **values)
    assert kind == "GCPIdentityType.SERVICE_ACCOUNT"
    assert Path(path).name == "gcp.json"
    assert (text == KEY) is not federated
    assert copied == {}


def test_azure_s_check_goes_past_the_file_that_the_login_leaves(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "az"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nmkdir -p "$HOME/.azure"; : > "$HOME/.azure/msal_token_cache.json"\n')
    program.chmod(0o755)
    path = {"PATH": os.pathsep.join([str(program.parent), os.environ["PATH"]])}
    names: dict[str, Any] = {f"azure_{name}_id": name for name in ("client", "tenant", "subscription")}
    # Without the azure extra it ends at the import that comes next.
    question = "try: answer(clouds.Azure._check_credentials()[1])\nexcept ModuleNotFoundError as e: answer(str(e))"
    assert "msal_token_cache.json does not exist" in asked(tmp_path, "azure", question, also=path)
    text = asked(tmp_path, "azure", question, also=path, azure_client_secret="s3cr3t-s3cr3t", **names)
    assert "msal_token_cache.json" not in (text or "")
