"""Whether there is a service for artifacts here, and who we are to it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.errors import ArtifactError
from cvl_ci.github.artifacts import http as artifact_http
from cvl_ci.github.artifacts.http import BACKOFF, Http
from cvl_ci.github.artifacts.service import ArtifactServiceAccess, access, signatures
from cvl_ci.github.artifacts.upload import WorkflowArtifacts
from cvl_ci.ports import NotUploaded
from tests.peers.results import JOB, RUN, token
from tests.support.fakes import FakeClock
from tests.test_bounded import Answer, dripping_head, only_the_promise_of_an_answer, serving

ENVIRON = {
    "ACTIONS_RESULTS_URL": "https://results.example/some/path?x=1",
    "ACTIONS_RUNTIME_TOKEN": token(),
    "GITHUB_SERVER_URL": "https://github.com",
}


def test_run_and_job_come_from_the_token_and_only_the_origin_of_the_address_counts() -> None:
    result = access(ENVIRON)
    assert isinstance(result, ArtifactServiceAccess)
    assert (result.origin, result.run, result.job) == ("https://results.example", RUN, JOB)


def test_the_token_is_in_no_repr() -> None:
    assert token() not in repr(access(ENVIRON))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"GITHUB_SERVER_URL": "https://github.example.org"}, "GitHub Enterprise Server"),
        ({"GITHUB_SERVER_URL": "https://github.com.example.org"}, "GitHub Enterprise Server"),
        ({"ACTIONS_RESULTS_URL": ""}, "ACTIONS_RESULTS_URL"),
        ({"ACTIONS_RUNTIME_TOKEN": ""}, "ACTIONS_RUNTIME_TOKEN"),
        ({"ACTIONS_RUNTIME_TOKEN": "no.token"}, "not one for artifacts"),
        ({"ACTIONS_RUNTIME_TOKEN": "a.bm90IGpzb24.c"}, "not one for artifacts"),
        ({"ACTIONS_RUNTIME_TOKEN": token("Actions.Results:only-a-run")}, "not one for artifacts"),
        ({"ACTIONS_RUNTIME_TOKEN": token("Actions.ResultsX:a:b")}, "not one for artifacts"),
    ],
)
def test_without_a_service_files_are_kept_in_the_workspace_and_the_reason_is_given(
    changed: dict[str, str], why: str, tmp_path: Path
) -> None:
    artifacts = WorkflowArtifacts(environ={**ENVIRON, **changed}, clock=FakeClock(), mask=lambda secret: None)
    kept = artifacts.upload("outputs", root=tmp_path, paths=["."])
    assert isinstance(kept, NotUploaded) and why in kept.reason and kept.name == "outputs"


@pytest.mark.parametrize("server", ["https://github.com", "https://acme.ghe.com", "http://github.localhost", ""])
def test_githubs_own_servers_have_the_service(server: str) -> None:
    assert isinstance(access({**ENVIRON, "GITHUB_SERVER_URL": server}), ArtifactServiceAccess)


def test_a_signature_is_masked_in_each_form_it_may_be_written_in() -> None:
    forms = signatures("https://x/y?sv=1&sig=a%2bb%3D&se=2")
    assert {"a+b=", "a%2Bb%3D", "a%2bb%3D"} <= set(forms)
    assert signatures("https://x/y?sv=1") == []


def test_proxies_are_the_runners_and_local_hosts_go_round_them() -> None:
    http = Http(
        environ={"HTTPS_PROXY": "http://proxy:1", "no_proxy": "inside.example"},
        connections=1,
    )
    assert http._proxies("https://results.example/x") == {"https": "http://proxy:1"}
    assert http._proxies("https://inside.example/x") == {}
    http.close()


def created_without_an_end(handler: Any) -> None:
    handler.wfile.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n")
    while True:
        handler.wfile.write(b"X")
        time.sleep(0.02)


@pytest.mark.parametrize("hostile", [dripping_head, only_the_promise_of_an_answer, created_without_an_end])
def test_an_answer_whose_head_has_no_end_is_no_answer(hostile: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that is cut when we hang up would pass for a whole `201 Created`."""
    monkeypatch.setattr(artifact_http, "MOST_SECONDS", 0.3)
    with serving(hostile) as (address, requests):
        http = Http(environ={}, backoff=replace(BACKOFF, tries=2, sleep=lambda _: None), connections=1)
        with pytest.raises(ArtifactError, match="Block 1 failed 2 times"):
            http.ask("POST", address, what="Block 1", headers={}, body=b"x")
        http.close()
    assert len(requests) == 2
