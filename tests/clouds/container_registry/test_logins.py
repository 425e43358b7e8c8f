"""The logins of registries, held to the documented answers of each cloud, and to moto where it has the service."""

from __future__ import annotations

import base64
import http.server
import json
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from moto import mock_aws

from cvl_ci.clouds.container_registry import logins
from cvl_ci.clouds.container_registry.logins import TokenSources, exchanged, find, token_sources
from cvl_ci.errors import CredentialsError
from cvl_ci.model.container_image import RegistryLogin
from cvl_ci.model.secret import Secret

ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


def refused(*_: str) -> Any:
    raise AssertionError("this source is not of this registry")


NONE = TokenSources(ecr=refused, google=refused, azure=refused, acr=refused)


def login(
    host: str, *, config: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None, **sources: Any
) -> Any:
    own = TokenSources(**{**vars(NONE), **sources})
    return find(host, environ or {}, config=config or {}, sources=own)


def told(user: str, password: str) -> RegistryLogin:
    return RegistryLogin(user=user, password=Secret(password))


@mock_aws
def test_ecr_gives_the_login_of_its_region_by_its_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    result = find(ECR, {}, config={}, sources=token_sources({}))
    assert result is not None and result.user == "AWS" and result.password.reveal()
    assert result.password.reveal() not in repr(result)


@pytest.mark.parametrize(
    "answer", [{}, {"authorizationData": []}, {"authorizationData": [{"authorizationToken": "QQ=="}]}]
)
def test_an_answer_of_ecr_without_a_password_is_an_error(answer: Mapping[str, Any]) -> None:
    with pytest.raises(CredentialsError, match="gave no login"):
        login(ECR, ecr=lambda _: answer)


@pytest.mark.parametrize("host", ["europe-docker.pkg.dev", "us-central1-docker.pkg.dev", "gcr.io", "eu.gcr.io"])
def test_google_takes_an_access_token(host: str) -> None:
    assert login(host, google=lambda: "ya29.token") == told("oauth2accesstoken", "ya29.token")


class Exchange(http.server.BaseHTTPRequestHandler):
    """ACR's `POST /oauth2/exchange`: github.com/Azure/acr, docs/AAD-OAuth.md."""

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        host = self.headers["Host"]
        is_right = form == {"grant_type": ["access_token"], "service": [host], "access_token": ["aad"]}
        body = json.dumps({"refresh_token": "refresh"}).encode()
        self.send_response(200 if is_right and self.path == "/oauth2/exchange" else 400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def test_azure_exchanges_its_token_for_one_of_the_registry() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Exchange) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"127.0.0.1:{server.server_port}"
        result = login(
            "team.azurecr.io", azure=lambda: "aad", acr=lambda _, token: exchanged(here, token, scheme="http")
        )
        assert result == told("00000000-0000-0000-0000-000000000000", "refresh")
        with pytest.raises(CredentialsError, match="400"):
            login("team.azurecr.io", azure=lambda: "x", acr=lambda _, token: exchanged(here, token, scheme="http"))
        server.shutdown()
    with pytest.raises(CredentialsError, match="no refresh_token"):
        login("team.azurecr.io", azure=lambda: "aad", acr=lambda *_: {})


def test_github_takes_the_workflow_s_token() -> None:
    environ = {"GITHUB_TOKEN": "ghs_x", "GITHUB_ACTOR": "octocat"}
    assert login("ghcr.io", environ=environ) == told("octocat", "ghs_x")
    assert login("ghcr.io") is None
    assert login("quay.io", environ=environ) is None, "another registry never gets it"


def test_a_login_that_the_user_gives_goes_first() -> None:
    environ = {logins.USER: "me", logins.PASSWORD: "secret"}
    assert login(ECR, environ=environ) == told("me", "secret")


def test_docker_s_own_file_and_helper_are_read(tmp_path: Path) -> None:
    auth = base64.b64encode(b"anna:pass:word").decode()
    config = {"auths": {"quay.io": {"auth": auth}, "https://index.docker.io/v1/": {"auth": auth}}}
    assert login("quay.io", config=config) == login("docker.io", config=config) == told("anna", "pass:word")
    helper = tmp_path / "docker-credential-test"
    helper.write_text('#!/bin/sh\nread host\necho "{\\"Username\\": \\"u\\", \\"Secret\\": \\"of $host\\"}"\n')
    helper.chmod(helper.stat().st_mode | stat.S_IXUSR)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert login("quay.io", config={"credHelpers": {"quay.io": "test"}}, environ=environ) == told("u", "of quay.io")
    assert login("quay.io", config={"credsStore": "absent"}, environ=environ) is None


@pytest.mark.parametrize(
    "config",
    [
        {"auths": 1},
        {"auths": {"quay.io": 1}},
        {"auths": {"quay.io": {"auth": "%"}}},
        {"credsStore": "../evil"},
        {"credHelpers": 1},
    ],
)
def test_a_broken_file_of_docker_is_no_login(config: Mapping[str, Any]) -> None:
    assert login("quay.io", config=config) is None
