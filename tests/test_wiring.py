"""What the doors call of wiring is loaded late: each name is there, and the very thing that the type checker sees."""

from __future__ import annotations

import ast
import importlib
import os
from pathlib import Path

import pytest

from cvl_ci import wiring
from cvl_ci.clouds.aws.credentials import AWS
from cvl_ci.clouds.credentials import local_environment
from cvl_ci.model.location import Location
from cvl_ci.sandbox import SkyAccess
from cvl_ci.wiring.clouds import OpenClouds
from cvl_ci.wiring.directories import credentials_directory

SEEN = {
    name.name: str(found.module)
    for found in ast.walk(ast.parse(Path(wiring.__file__).read_text()))
    if isinstance(found, ast.ImportFrom) and str(found.module).startswith("cvl_ci.wiring.")
    for name in found.names
}


OIDC = {"ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"}
OF_THE_RUNNER = (
    *OIDC, "ACTIONS_RUNTIME_TOKEN", "ACTIONS_RUNTIME_URL", "ACTIONS_RESULTS_URL", "ACTIONS_CACHE_URL", "INPUT_SECRETS",
    "INPUT_GITHUB_TOKEN", "INPUT_AWS_SECRET_ACCESS_KEY", "INPUT_KUBECONFIG", "INPUT_UNKNOWN", "STATE_step_state",
    "GITHUB_TOKEN", "GH_TOKEN", "GITHUB_ENV", "GITHUB_OUTPUT", "CVL_CI_DEPLOY_TOKEN",
)  # fmt: skip


def test_all_that_the_type_checker_sees_is_to_be_had() -> None:
    assert sorted(SEEN) == sorted(wiring.__all__)


@pytest.mark.parametrize("name", SEEN)
def test_a_name_is_what_its_own_file_makes(name: str) -> None:
    assert getattr(wiring, name) is getattr(importlib.import_module(SEEN[name]), name)


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'state_directory'"):
        _ = wiring.state_directory  # type: ignore[attr-defined]


def test_what_is_started_does_not_get_the_jobs_secrets_unless_a_cloud_reads_them() -> None:
    names = ("PATH", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "RUNPOD_API_KEY")
    clouds = wiring.OpenClouds(
        dict.fromkeys((*names, *OF_THE_RUNNER), "x"),
        secrets=("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "RUNPOD_API_KEY", "NOT_THERE"),
    )
    assert set(clouds._environ) == {"PATH", "AWS_SECRET_ACCESS_KEY", "RUNPOD_API_KEY"}


@pytest.mark.sky
@pytest.mark.parametrize("has_role", [False, True])
def test_skypilot_s_process_and_its_children_get_no_token_of_the_runner(tmp_path: Path, has_role: bool) -> None:
    """Only `role_to_assume` needs GitHub's OIDC token below SkyPilot: AWS's library runs our program for new keys."""
    needed = {"KUBECONFIG": "/k", "VAULT_ADDR": "v", "https_proxy": "http://proxy.example:1", "GITHUB_RUN_ID": "7"}
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], **needed, **dict.fromkeys(OF_THE_RUNNER, "s3cret")}
    arn = "arn:aws:iam::123456789012:role/ci"
    local = local_environment(
        {**environ, "INPUT_ROLE_TO_ASSUME": arn}, folder=credentials_directory(environ), writes=True
    )
    variables = AWS.write(local).variables if has_role else {}
    cloud = OpenClouds({**environ, **variables})._real([Location(cloud="aws")], "0badcafe")
    try:
        session = cloud.machines._session  # type: ignore[attr-defined]
        assert session.worker().call("warm").startswith("0.14.")
        text = Path(f"/proc/{session.worker()._process.pid}/environ").read_text()
        variables = dict(entry.split("=", 1) for entry in text.split("\0") if entry)
        assert set(OF_THE_RUNNER) & set(variables) == (OIDC if has_role else set())
        assert needed.items() <= variables.items()
    finally:
        cloud.machines.close()


@pytest.mark.parametrize("known", ["", "inside.example", "*"])
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_no_client_of_the_sandbox_asks_it_through_a_proxy(
    known: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from botocore.utils import get_environ_proxies

    for item in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(item, raising=False)
    proxies = {"http_proxy": "http://proxy.example:1", "https_proxy": "http://proxy.example:1"}
    host = "http://172.31.0.1:4711"
    access = SkyAccess(
        home=tmp_path,
        environment={},
        endpoint_url=host,
        regions=("us-east-1",),
        access_key_id="i",
        secret_access_key="s",
    )
    cloud = OpenClouds({**proxies, name: known})._on_sandbox(access, "0badcafe")
    for variable, value in cloud.machines._session.environment.items():  # type: ignore[attr-defined]
        if "proxy" in variable.lower():
            monkeypatch.setenv(variable, value)
    assert get_environ_proxies(f"{host}/") == {}
    outside = {} if known == "*" else {"http": "http://proxy.example:1"}
    assert get_environ_proxies("http://ec2.example/").items() >= outside.items()
    assert bool(get_environ_proxies("http://ec2.example/")) is bool(outside)
    assert known != "inside.example" or get_environ_proxies("http://inside.example/") == {}
