"""Workload identity federation through the real google.auth, as far as Google's door: GitHub is asked each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import google.auth
import pytest
from google.auth.transport.requests import Request

from cvl_ci.clouds import credentials as cloud_credentials
from tests.clouds.credentials import peers
from tests.clouds.credentials.machine import PROVIDER, machine


def test_google_auth_asks_github_for_a_token_each_time_it_needs_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account: dict[str, Any] = {"gcp_service_account": "ci@p.iam.gserviceaccount.com", "gcp_project": "my-project"}
    with peers.github() as (variables, request):
        values: dict[str, Any] = {"gcp_workload_identity_provider": PROVIDER, **account, **variables}
        place = machine(tmp_path, **values)
        content = cloud_credentials.prepare(place, ["gcp"])
        [(path, text)] = [(path, text) for path, text in content.files.items() if path.name == "gcp.json"]
        path.parent.mkdir()
        path.write_text(text)
        for name, value in content.variables.items():
            monkeypatch.setenv(name, value)
        credentials: Any = google.auth.default()[0]
        tokens = [credentials.retrieve_subject_token(Request()) for _ in range(2)]
    assert tokens == ["jwt-1", "jwt-2"]
    assert request == [f"https://iam.googleapis.com/{PROVIDER}"] * 2
    assert credentials.service_account_email == "ci@p.iam.gserviceaccount.com"
    assert google.auth.default()[1] == "my-project"
    assert credentials.info["audience"] == f"//iam.googleapis.com/{PROVIDER}"
