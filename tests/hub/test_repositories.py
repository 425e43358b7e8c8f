"""The hub's repositories as sources of mounts, by the hub's real client. A wrong name costs nothing."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.clouds.contents import EveryStore
from cvl_ci.commands.run import mount_sources
from cvl_ci.errors import HubError, RequestError
from cvl_ci.hub.repositories import HubRepositories, open_repositories
from cvl_ci.inputs import bucket_address, mounts
from cvl_ci.model.location import Location
from cvl_ci.model.outcome import Ending
from cvl_ci.model.plan import FilePlan, RunPlan, VariablePlan, WorkPlan
from cvl_ci.model.secret import Secret
from cvl_ci.model.storage import StoredBytes
from cvl_ci.wiring.clouds import OpenClouds
from tests import golden
from tests.commands.test_run import PLAN, House
from tests.support.hub import TOKEN, Fault, Hub, HubFile, small

MESSAGES = golden.Messages(__name__)

FILES = {"config.json": small("{}"), "sub/model.bin": HubFile(size=2 << 20, seed=1), "sub2/x": small("xyz")}


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    for name in ("acme/tiny", "datasets/acme/pairs", "spaces/acme/app"):
        server.add(name, FILES)
    server.add("acme/gated", FILES, is_gated=True)
    server.add("acme/private", FILES, is_private=True)
    yield server
    server.close()


def told(hub: Hub, text: str, *, token: str = "", **entries: Any) -> list[str]:
    lines: list[str] = []
    plan = RunPlan(
        title="t",
        files=FilePlan(mounts=mounts.read(text)),
        work=WorkPlan(task_extra={"file_mounts": {f"/{name}": value for name, value in entries.items()}}),
        variables=VariablePlan(secrets={"HF_TOKEN": Secret(token)} if token else {}),
    )
    environ = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN}
    mount_sources.require(plan, EveryStore({}), lines.append, hub=lambda token: open_repositories(environ, token))
    return lines


def refused(hub: Hub, text: str, *, token: str = "", **entries: Any) -> list[str]:
    with pytest.raises(RequestError) as wrong:
        told(hub, text, token=token, **entries)
    return [f"{mistake.value} {mistake.problem}" for mistake in wrong.value.mistakes]


def test_the_sizes_of_repositories_are_told_in_one_request_each(hub: Hub) -> None:
    commit = hub.repos["acme/tiny"].commit
    lines = told(
        hub,
        f"/m=hf://acme/tiny\n/s=hf://acme/tiny@{commit}/sub:cached\n/d=hf://datasets/acme/pairs/config.json",
        app={"source": "hf://spaces/acme/app@main", "mode": "MOUNT"},
    )
    MESSAGES.check("sizes", [line.replace(commit, "COMMIT") for line in lines])
    assert len(hub.requests) == 4
    assert set(hub.tokens) == {""}, "the runner's own token is not the machines' one"


def test_a_wrong_repository_revision_or_path_is_a_mistake_of_its_own(hub: Hub) -> None:
    text = "/r=hf://acme/tyni\n/v=hf://acme/tiny@v9\n/p=hf://acme/tiny/sbu\n/c=hf://acme/tiny/sbu:stream\n/ok=hf://acme/tiny"
    mistakes = refused(hub, text, task="hf://datasets/acme/tiny")
    MESSAGES.check("mistakes", mistakes)
    assert "`secrets`" in mistakes[0] and "`models`" in mistakes[0]


@pytest.mark.parametrize("name", ["acme/gated", "acme/private"])
def test_the_machines_token_decides_whether_a_repository_can_be_read(hub: Hub, name: str) -> None:
    [mistake] = refused(hub, f"/m=hf://{name}")
    assert "Add the secret HF_TOKEN" in mistake
    assert ("gated" in mistake) is (name == "acme/gated")
    [mistake] = refused(hub, f"/m=hf://{name}", token="hf_of_another_person")
    assert "Add the secret" not in mistake and "ask for access" in mistake
    assert told(hub, f"/m=hf://{name}/sub", token=TOKEN) == [f"/m has 1 file, 2.1 MB, in hf://{name}/sub."]
    assert TOKEN not in mistake


def test_a_run_with_a_wrong_repository_launches_nothing(hub: Hub, tmp_path: Path) -> None:
    house = House(tmp_path)
    house.clouds.contents = EveryStore({})
    house.clouds.hub = lambda token: open_repositories({"HF_ENDPOINT": hub.endpoint}, token)
    plan = replace(PLAN, files=FilePlan(mounts=mounts.read("/m=hf://acme/tyni")))
    outcome = house.run(plan)
    assert (outcome.ending, outcome.exit_code) == (Ending.NEVER_STARTED, 64)
    MESSAGES.check("no such repository", outcome.reason)
    assert (house.cloud.machines, list(house.records.all())) == ({}, [])
    right = replace(PLAN, files=FilePlan(mounts=mounts.read("/m=hf://acme/tiny")))
    assert house.run(right).exit_code == 0
    MESSAGES.check("its size", golden.line(house.reporter.said, "/m has"))


def test_a_hub_that_cannot_be_reached_is_a_line_and_no_proof(hub: Hub) -> None:
    hub.refuses = Fault(status=429, headers={"Retry-After": "3600"})
    [line] = told(hub, "/m=hf://acme/tiny")
    MESSAGES.check("no valid answer", line)
    hub.close()
    [line] = told(hub, "/m=hf://acme/none")
    MESSAGES.check("no answer", line.partition(": [Errno")[0])


ANSWERS = {
    "a web page": (200, b"<html>Sign in</html>"),
    "a web page that refuses": (404, b"<html>Not here</html>"),
    "a web page that asks for a login": (401, b"<html>Sign in</html>"),
    "another status": (418, b'{"error": "x"}'),
    "a list": (200, b"[]"),
    "no files": (200, b"{}"),
    "a file without a size": (200, b'{"siblings": [{"rfilename": "a"}]}'),
    "a file without a name": (200, b'{"siblings": [{"size": 1}]}'),
    "a size below nothing": (200, b'{"siblings": [{"rfilename": "a", "size": -1}]}'),
    "a size beyond all": (200, b'{"siblings": [{"rfilename": "a", "size": 1e400}]}'),
    "depth": (200, b"[" * 100_000),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_that_the_hub_does_not_give_proves_nothing(case: str) -> None:
    status, body = ANSWERS[case]

    class Portal(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    address = bucket_address.read_any("hf://acme/tiny")
    assert address is not None
    with http.server.HTTPServer(("127.0.0.1", 0), Portal) as portal:
        thread = threading.Thread(target=portal.serve_forever, args=(0.02,))
        thread.start()
        try:
            hub = HubRepositories(endpoint=f"http://127.0.0.1:{portal.server_port}")
            with pytest.raises(HubError):
                hub.content(address, seconds=60)
        finally:
            portal.shutdown()
            thread.join()


def test_a_file_named_by_its_path_and_no_sibling_of_it(hub: Hub) -> None:
    address = bucket_address.read_any("hf://acme/tiny/sub")
    assert address is not None
    answer = open_repositories({"HF_ENDPOINT": hub.endpoint}, "").content(address, seconds=60)
    assert answer == StoredBytes(files=1, bytes=2 << 20)


def test_a_real_cloud_asks_the_runner_s_hub_without_the_runner_s_token(hub: Hub, tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN}
    cloud = OpenClouds(environ)._real([Location(cloud="aws")], "0badcafe")
    address = bucket_address.read_any("hf://acme/private")
    assert cloud.hub is not None and address is not None
    with pytest.raises(RequestError, match="does not show"):
        cloud.hub("").content(address, seconds=60)
    assert cloud.hub(TOKEN).content(address, seconds=60) == StoredBytes(files=3, bytes=(2 << 20) + 5)
