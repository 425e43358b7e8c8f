"""What the doors call of wiring is loaded late: each name is there, and the very thing that the type checker sees."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from cvl_ci import wiring
from cvl_ci.sandbox import Access
from cvl_ci.wiring.clouds import OpenClouds

SEEN = {
    name.name: str(found.module)
    for found in ast.walk(ast.parse(Path(wiring.__file__).read_text()))
    if isinstance(found, ast.ImportFrom) and str(found.module).startswith("cvl_ci.wiring.")
    for name in found.names
}


def test_all_that_the_type_checker_sees_is_to_be_had() -> None:
    assert sorted(SEEN) == sorted(wiring.__all__)


@pytest.mark.parametrize("name", SEEN)
def test_a_name_is_what_its_own_file_makes(name: str) -> None:
    assert getattr(wiring, name) is getattr(importlib.import_module(SEEN[name]), name)


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'state_directory'"):
        _ = wiring.state_directory  # type: ignore[attr-defined]


def test_what_is_started_does_not_get_the_jobs_secrets_unless_a_cloud_reads_them() -> None:
    names = ("PATH", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "RUNPOD_API_KEY", "INPUT_SECRETS", "INPUT_GITHUB_TOKEN")
    names_of_ours = ("ACTIONS_RUNTIME_TOKEN", "CVL_CI_DEPLOY_TOKEN")
    clouds = wiring.OpenClouds(
        dict.fromkeys((*names, *names_of_ours), "x"),
        secrets=("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "RUNPOD_API_KEY", "NOT_THERE"),
    )
    assert set(clouds._environ) == {"PATH", "AWS_SECRET_ACCESS_KEY", "RUNPOD_API_KEY"}


@pytest.mark.parametrize("known", ["", "inside.example", "*"])
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_no_client_of_the_sandbox_asks_it_through_a_proxy(
    known: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from botocore.utils import get_environ_proxies

    for each in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(each, raising=False)
    proxies = {"http_proxy": "http://proxy.example:1", "https_proxy": "http://proxy.example:1"}
    host = "http://172.31.0.1:4711"
    access = Access(
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
