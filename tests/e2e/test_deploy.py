"""A service on the sandbox: it answers to its token alone, lives under its lease, and ends with proof."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cvl_ci import wiring
from cvl_ci.sandbox import Sandbox
from tests.e2e.cloud import EAST, Cloud, environment
from tests.e2e.conftest import Terminal
from tests.e2e.test_keep_on_failure import ssh
from tests.github.runner import read_file
from tests.support.field import plant

SERVER = """
import http.server, json, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

print("loading the weights", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8123"))), Handler).serve_forever()
"""
FILES = {
    "examples/hello/example.yaml": "name: hello\nresources: {gpu: 0}\npresets:\n  serve:\n    script: serve.sh\n"
    "    docker: false\nservice:\n  readiness_probe: {path: /health, initial_delay_seconds: 300}\n",
    "examples/hello/serve.sh": 'PORT="${PORT:-8123}" exec python3 server.py\n',
    "examples/hello/server.py": SERVER,
}


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Terminal]:
    directory = tmp_path / "sandbox"
    sandbox = Sandbox(directory, machine_types=wiring.machine_types(), environment=environment(), progress=print)
    sandbox.up()
    yield Terminal(home=tmp_path, directory=directory, sandbox=sandbox, checkout=plant(tmp_path / "repository", FILES))
    sandbox.down()


def get(url: str, authorization: str = "") -> tuple[int, Mapping[str, Any]]:
    request = urllib.request.Request(url, headers={"Authorization": authorization} if authorization else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, {}


@pytest.mark.minutes(5)
def test_a_service_answers_to_its_token_alone_and_ends_with_proof(  # noqa: PLR0915  one launch shows all of it
    serving: Terminal, tmp_path: Path
) -> None:
    began, summary = time.time(), tmp_path / "summary.json"
    words = ("deploy", "hello", "--cloud", "sandbox", "--ttl", "20m", "--json-summary", str(summary))
    deployed = serving.type(*words)
    assert deployed.returncode == 0, deployed.stderr + deployed.stdout
    facts = dict(
        line.split(None, 1) for line in deployed.stdout.splitlines() if line.split()[:1] in (["url"], ["token"])
    )
    url, token = facts["url"], facts["token"]
    told = json.loads(summary.read_text())
    assert told["service"]["url"] == url
    assert told["service"]["smoke"]["status"] == 200 and told["service"]["smoke"]["is_json"]
    assert token not in summary.read_text() + deployed.stderr

    assert get(f"{url}/health")[0] == get(f"{url}/health", f"Bearer {token}x")[0] == 401
    status, seen = get(f"{url}/health", f"Bearer {token}")
    assert (status, seen["path"]) == (200, "/health")
    assert "authorization" not in {name.lower() for name in seen["headers"]}, "the server never sees the token"
    assert get(f"{url}/", "Basic " + base64.b64encode(f"anna:{token}".encode()).decode())[0] == 200

    (machine,) = serving.sandbox.status().instances
    until = int(machine.tags["cvl-ci-deadline"])
    assert machine.tags["cvl-ci-kept"] == str(until)
    assert began + 20 * 60 < until <= time.time() + 20 * 60
    (way_in,) = told["released"]["ssh_commands"]
    on_machine = ssh(way_in, "cat /var/lib/cvl-ci/deadline; sudo ps axe -ww; sudo grep -rs token ~/.cvl-ci | head -100")
    assert on_machine.stdout.split()[0] == str(until), on_machine.stderr
    assert token not in on_machine.stdout
    access = serving.sandbox.access()
    assert access is not None
    ec2 = Cloud(sandbox=serving.sandbox, directory=tmp_path, access=access, key=tmp_path / "key").ec2(EAST)
    ours: Any = [{"Name": "tag:cvl-ci-lease", "Values": [told["cluster"]]}]
    (group,) = ec2.describe_security_groups(Filters=ours)["SecurityGroups"]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in group["IpPermissions"]] == [(8080, 8080)]
    instance = ec2.describe_instances(InstanceIds=[machine.id])["Reservations"][0]["Instances"][0]
    (interface,) = instance["NetworkInterfaces"]
    assert group["GroupId"] in {one["GroupId"] for one in interface["Groups"]}, "next to SkyPilot's own"
    assert len(interface["Groups"]) == 2
    assert {tag["Key"]: tag["Value"] for tag in group["Tags"]}["cvl-ci-deadline"] == str(until)

    name = told["cluster"]
    reaped = serving.type("reap", "--cloud", "sandbox", "--all-owners", "--grace", "0")
    assert reaped.returncode == 0, reaped.stdout + reaped.stderr
    assert get(f"{url}/health", f"Bearer {token}")[0] == 200, "no reaper takes it within its ttl"
    listed = serving.type("deploy", "--list", "--cloud", "sandbox")
    assert f"{name}: since" in listed.stdout and f"serves at {url}" in listed.stdout, listed.stderr
    assert serving.type("deploy", "--status", name, "--cloud", "sandbox").returncode == 0

    down = serving.type("deploy", "--down", name, "--cloud", "sandbox")
    assert down.returncode == 0, down.stdout + down.stderr
    assert f"{name}: gone" in down.stdout and "security groups" in down.stdout
    assert serving.machines() == []
    assert ec2.describe_security_groups(Filters=ours)["SecurityGroups"] == []


TOKEN = "a-token-of-the-callers-0123456789"


def step(serving: Terminal, name: str, *, run: int, home: Path, **inputs: str) -> tuple[str, Mapping[str, str]]:
    """Run a phase of the action as a later workflow run on a new runner: nothing but labels connects the runs."""
    home.mkdir(exist_ok=True)
    outputs = home / "outputs"
    outputs.touch()
    process = subprocess.run(
        [sys.executable, "-I", "-m", "cvl_ci.action.main", name],
        env={
            **serving.environment,
            "HOME": str(home),
            "GITHUB_OUTPUT": str(outputs),
            "GITHUB_REPOSITORY": "cvl/ci",
            "GITHUB_RUN_ID": str(run),
            "GITHUB_JOB": "deploy",
            "GITHUB_ACTION": "__self",
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_REF_NAME": "main",
            "INPUT_VERB": "deploy",
            "INPUT_CLOUD": "sandbox",
            "INPUT_LEG": "null",
            **{f"INPUT_{key.upper()}": value for key, value in inputs.items()},
        },
        cwd=serving.checkout,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout, read_file(outputs.read_text())


@pytest.mark.minutes(8)
def test_a_workflow_s_service_is_replaced_and_ended_by_its_labels_alone(serving: Terminal, tmp_path: Path) -> None:
    inputs = {"example": "hello", "ttl": "20m", "deploy_token": TOKEN}
    said, first = step(serving, "/entrypoint", run=100, home=tmp_path / "first", **inputs)
    [old] = serving.sandbox.status().instances
    assert (old.tags["cvl-ci-environment"], old.tags["cvl-ci-run"]) == ("main", "100-1")
    assert get(f"{first['url']}/health", f"Bearer {TOKEN}")[0] == 200
    assert TOKEN not in said.replace(f"::add-mask::{TOKEN}", "")
    step(serving, "/post-entrypoint", run=100, home=tmp_path / "first", **inputs)
    assert get(f"{first['url']}/health", f"Bearer {TOKEN}")[0] == 200, "post leaves a service that answers"

    _, second = step(serving, "/entrypoint", run=101, home=tmp_path / "second", drain="2s", **inputs)
    assert get(f"{second['url']}/health", f"Bearer {TOKEN}")[0] == 200
    assert second["url"] != first["url"]
    [new] = serving.machines()
    assert new != old.id, "the older one is gone, after the new one answered"
    said, late = step(serving, "/entrypoint", run=99, home=tmp_path / "late", **inputs)
    assert late["ending"] == "skipped" and "A later run has main already" in said

    said, ended = step(serving, "/entrypoint", run=102, home=tmp_path / "third", down="true")
    assert ended["released"] == "true" and "was taken down: ended cvl-" in said
    assert serving.machines() == []
