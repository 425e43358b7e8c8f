"""A service with two replicas of a real SkyPilot API server, whose controller launches them: real engine and EC2.

By the command line, and by steps of the action, as GitHub's runner calls them.

    script/bench serve

It takes many minutes, so `script/test` does not collect this file.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cvl_ci.sandbox import Sandbox
from tests.e2e.api_server import api_server
from tests.e2e.cloud import docker, eventually
from tests.e2e.conftest import Terminal
from tests.e2e.test_detached import container_of
from tests.e2e.test_storage import s3_of
from tests.github.runner import read_file
from tests.support.field import plant

PORT = 46619
TOKEN = "correct-horse-battery-staple-of-the-callers"
SERVER = """
import http.server, json, os, pathlib, socket, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"version": VERSION, "host": socket.gethostname(), "seen": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

print("loading the weights", flush=True)
if VERSION == "broken":
    time.sleep(1)
    sys.exit(7)
http.server.ThreadingHTTPServer(("127.0.0.1", 8123), Handler).serve_forever()
"""
FILES = {
    "examples/hello/example.yaml": "name: hello\nresources: {gpu: 0}\npresets:\n  serve:\n    script: serve.sh\n"
    "    docker: false\nservice:\n  readiness_probe: {path: /health, initial_delay_seconds: 900}\n",
    "examples/hello/serve.sh": 'PORT="${PORT:-8123}" exec python3 server.py\n',
    "examples/hello/server.py": f'VERSION = "one"\n{SERVER}',
}
SERVER_VARIABLES = ("SKYPILOT_API_SERVER_ENDPOINT", "SKYPILOT_SERVICE_ACCOUNT_TOKEN")
STEP = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_REPOSITORY": "cvl/ci",
    "GITHUB_RUN_ATTEMPT": "1",
    "GITHUB_JOB": "deploy",
    "GITHUB_ACTION": "__self",
    "GITHUB_EVENT_NAME": "push",
    "GITHUB_REF_NAME": "main",
    "INPUT_LEG": "null",
    "INPUT_VERB": "deploy",
    "INPUT_CLOUD": "aws/us-east-1",
}
REPLACED_SECONDS, END_SECONDS = 900.0, 300.0


@pytest.fixture(scope="module")
def server(sandbox: tuple[Sandbox, Path]) -> Iterator[tuple[str, str]]:
    made, directory = sandbox
    with api_server(made.up(), directory / "serve-server.log", port=PORT, runs_services=True) as serving:
        yield serving


@pytest.fixture
def member(terminal: Terminal, server: tuple[str, str]) -> Terminal:
    """Return a terminal with a token of the server, and with no key of a cloud."""
    terminal.checkout = plant(terminal.home / "repository", FILES)
    address, token = server
    terminal.variables = {
        "SKYPILOT_API_SERVER_ENDPOINT": address,
        "SKYPILOT_SERVICE_ACCOUNT_TOKEN": token,
        "CVL_CI_DEPLOY_TOKEN": TOKEN,
        "no_proxy": "*",
    }
    return terminal


def get(url: str, token: str = TOKEN, *, path: str = "/") -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {token}"} if token else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, {}
    except (OSError, ValueError):
        return 0, {}


def address_of(machine: str) -> str:
    look = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return docker("inspect", "--format", look, container_of(machine)).strip()


class Caller:
    """A person who asks again and again, in a thread. `answers`: the version of each answer, or its failed status."""

    def __init__(self, url: str) -> None:
        self.answers: Counter[str] = Counter()
        self._url, self._is_over = url, threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        while not self._is_over.wait(0.2):
            status, body = get(self._url)
            self.answers[str(body.get("version")) if status == 200 else f"failed {status}"] += 1

    def close(self) -> Counter[str]:
        self._is_over.set()
        self._thread.join()
        return self.answers

    @property
    def failed(self) -> int:
        return sum(count for name, count in self.answers.items() if name.startswith("failed"))


@pytest.mark.minutes(25)
def test_two_replicas_answer_outlive_the_loss_of_one_and_are_replaced_in_place_and_gone(  # noqa: PLR0915  one launch
    member: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = member.home / "summary.json"
    words = ("--cloud", "aws/us-east-1", "--ttl", "50m", "--replicas", "2", "--json-summary", str(summary))
    deployed = member.type("deploy", "hello", *words)
    assert deployed.returncode == 0, deployed.stderr + deployed.stdout
    told = " ".join(deployed.stderr.split())
    assert "SkyPilot's controller, and not cvl-ci" in told and "launches and ends the replicas" in told
    assert TOKEN not in deployed.stdout + deployed.stderr
    facts = dict(line.split(None, 1) for line in deployed.stdout.splitlines() if line.startswith("url"))
    url, name = facts["url"], str(json.loads(summary.read_text())["cluster"])
    machines = member.machines()
    assert len(machines) == 2

    hosts = {str(get(url)[1].get("host")) for _ in range(20)}
    assert len(hosts) == 2, "both replicas answer"
    assert "Authorization" not in get(url)[1]["seen"]  # type: ignore[operator]
    assert (get(url, "")[0], get(url, "another-token-of-somebody-0123456789")[0]) == (401, 401)
    task = next(member.directory.glob(f"home/.sky/serve/{name.replace('-', '_')}/*.yaml*")).read_text()
    probe = yaml.safe_load(task)["service"]["readiness_probe"]["headers"]["Authorization"].removeprefix("Bearer ")
    replica = f"http://{address_of(machines[0])}:8080"
    opens = [get(place, probe, path=path)[0] for place, path in ((replica, "/health"), (replica, "/"), (url, "/"))]
    assert opens == [200, 401, 401], "the token of the probe opens one path, for the controller alone"
    assert get(replica)[0] == 200
    assert TOKEN not in task

    status = member.type("deploy", "--status", name)
    assert status.returncode == 0, status.stderr + status.stdout
    assert "2 READY" in status.stdout and "asks for the token" in status.stdout
    log = member.type("deploy", "--logs", name)
    assert log.returncode == 0 and "loading the weights" in log.stdout, log.stderr + log.stdout
    listed = member.type("deploy", "--list")
    assert name in listed.stdout and url in listed.stdout

    caller = Caller(url)
    docker("kill", container_of(machines[0]))
    began = time.monotonic()

    def is_replaced() -> bool:
        shown = member.type("deploy", "--status", name).stdout
        return "2 READY" in shown and machines[0] not in member.machines() and len(member.machines()) == 2

    assert eventually(is_replaced, within=REPLACED_SECONDS), member.type("deploy", "--status", name).stdout
    loss = caller.close()
    with capsys.disabled():
        seconds = time.monotonic() - began
        print(f"\none replica killed: replaced after {seconds:.0f} s; {loss.total()} requests, {caller.failed} failed")
    assert loss["one"] > 0

    caller = Caller(url)
    (member.checkout / "examples/hello/server.py").write_text(f'VERSION = "two"\n{SERVER}')
    updated = member.type("deploy", "hello", *words[:-2], "--update", name)
    assert updated.returncode == 0, updated.stderr + updated.stdout
    assert "could not compare its token" not in " ".join(updated.stderr.split())
    is_new = eventually(lambda: {str(get(url)[1].get("version")) for _ in range(10)} == {"two"}, within=END_SECONDS)
    assert is_new, "all replicas are of the new version"
    change = caller.close()
    with capsys.disabled():
        print(f"rolling update: {change.total()} requests, {dict(change)}")
    assert change["one"] > 0 and change["two"] > 0

    done = member.type("deploy", "--down", name)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "sky-serve 127.0.0.1 shows 0 left" in " ".join((done.stdout + done.stderr).split())
    assert member.machines() == []
    assert get(url)[0] == 0
    buckets = [bucket["Name"] for bucket in s3_of(member).list_buckets()["Buckets"]]
    assert not [bucket for bucket in buckets if "filemounts" in bucket], buckets


@pytest.mark.minutes(10)
def test_a_service_that_never_answers_ends_with_the_code_of_its_server_and_is_gone(member: Terminal) -> None:
    (member.checkout / "examples/hello/server.py").write_text(f'VERSION = "broken"\n{SERVER}')
    words = ("deploy", "hello", "--cloud", "aws/us-east-1", "--ttl", "20m", "--replicas", "2")
    failed = member.type(*words, "--json-summary", str(member.home / "failed.json"))
    assert failed.returncode == 7, failed.stderr + failed.stdout
    assert "loading the weights" in failed.stdout + failed.stderr
    summary = json.loads((member.home / "failed.json").read_text())
    assert (summary["ending"], summary["released"]["gone"]) == ("failed", True)
    assert member.machines() == []


class Runners:
    """Fresh runners of one workflow: each run has a HOME and a number of its own, and the inputs name the server."""

    def __init__(self, member: Terminal) -> None:
        self._member = member
        self._server = {f"INPUT_{name}": member.variables[name] for name in SERVER_VARIABLES}
        self._runs = 0

    def run(self, **inputs: str) -> tuple[dict[str, str], str]:
        """Run main and post of one step. Return its outputs, and all that both printed."""
        self._runs += 1
        folder = self._member.home / f"runner-{self._runs}"
        folder.mkdir()
        files = {name: folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")}
        for path in files.values():
            path.touch()
        own = {name: str(path) for name, path in files.items()} | {"GITHUB_RUN_ID": str(self._runs)}
        kept = {name: text for name, text in self._member.environment.items() if name not in self._member.variables}
        environment = {**kept, "no_proxy": "*", "HOME": str(folder), **STEP, **self._server, **own, **inputs}
        said = ""
        for phase in ("/entrypoint", "/post-entrypoint"):
            done = subprocess.run(
                [sys.executable, "-I", "-m", "cvl_ci.action.main", phase],
                env=environment,
                cwd=self._member.checkout,
                capture_output=True,
                text=True,
                check=False,
                timeout=1200,
            )
            said += done.stdout + done.stderr
            assert done.returncode == 0, said
        return read_file(files["GITHUB_OUTPUT"].read_text()), said


@pytest.mark.minutes(15)
def test_a_step_of_the_action_deploys_two_replicas_and_another_one_ends_them(
    member: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    runners, start = Runners(member), time.monotonic()
    example = {"INPUT_EXAMPLE": "hello", "INPUT_REPLICAS": "2", "INPUT_TTL": "30m", "INPUT_DEPLOY_TOKEN": TOKEN}
    outputs, said = runners.run(**example)
    seconds = time.monotonic() - start
    assert (outputs["ending"], outputs["released"]) == ("succeeded", f"kept until {outputs['expires_at']}"), said
    assert len(member.machines()) == 2
    assert {get(outputs["url"])[0], get(outputs["url"], "")[0]} == {200, 401}
    assert len({str(get(outputs["url"])[1].get("host")) for _ in range(20)}) == 2, "both replicas answer"
    assert "It has no credentials to ask aws" in said

    start = time.monotonic()
    ended, said = runners.run(INPUT_DOWN="true")
    with capsys.disabled():
        print(f"\nstep of the action: deployed after {seconds:.0f} s, ended after {time.monotonic() - start:.0f} s")
    assert (ended["ending"], ended["released"]) == ("succeeded", "true"), said
    assert f"main was taken down: ended {outputs['cluster']}" in said
    assert "sky-serve 127.0.0.1 shows 0 left" in " ".join(said.split())
    assert member.machines() == []
    assert get(outputs["url"])[0] == 0
