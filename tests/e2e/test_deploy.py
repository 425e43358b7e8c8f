"""A service on the sandbox: it answers to its token alone, lives under its lease, and ends with proof."""

from __future__ import annotations

import base64
import json
import os
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
from cvl_ci.sandbox import Sandbox, sandbox_spec
from cvl_ci.sandbox.docker import debian
from cvl_ci.sandbox.docker.engine import Docker
from tests.e2e.cloud import EAST, Cloud, environment
from tests.e2e.conftest import Terminal
from tests.e2e.test_keep_on_failure import ssh
from tests.github.runner import read_file
from tests.support import image_registry
from tests.support.field import plant

SERVER = r"""
use IO::Socket::INET;
$SIG{CHLD} = 'IGNORE';
my $listening = IO::Socket::INET->new(LocalPort => 8000, Listen => 128, ReuseAddr => 1) or die "no port: $!";
print "loading the weights\n";
while (my $client = $listening->accept) {
    next if fork;
    my ($path) = <$client> =~ m{^\S+ (\S+)};
    my @names;
    while (my $line = <$client>) { last unless $line =~ /^([^:\s]+):/; push @names, lc $1; }
    my $body = '{"version": 1, "path": "' . $path . '", "headers": [' . join(', ', map { qq("$_") } @names) . ']}';
    print $client "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body";
    exit;
}
"""
"""An HTTP server: Debian's own perl is in each Debian image, so that the build needs no network."""
SCRIPT = 'PORT="${PORT:-8123}"\nexec docker run --rm --publish "127.0.0.1:${PORT}:8000" "${CVL_IMAGE}"\n'
FILES = {
    "examples/hello/example.yaml": "name: hello\nimage: hello\nresources: {gpu: 0}\npresets:\n"
    "  build: {script: build.sh}\n  serve: {script: serve.sh}\n"
    "service:\n  readiness_probe: {path: /health, initial_delay_seconds: 300}\n",
    "examples/hello/build.sh": 'docker build --tag "${CVL_IMAGE}" "$(dirname "$0")"\n',
    "examples/hello/serve.sh": SCRIPT,
    "examples/hello/server.pl": SERVER,
}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with image_registry.serving(tmp_path / "registry") as host:
        yield host


@pytest.fixture
def serving(tmp_path: Path, registry: str) -> Iterator[Terminal]:
    directory = tmp_path / "sandbox"
    own = {**environment(), sandbox_spec.REGISTRY: registry}
    sandbox = Sandbox(directory, machine_types=wiring.machine_types(), environment=own, progress=print)
    sandbox.up()
    base = debian.ensure(Docker(os.environ), workshop=tmp_path, environment=os.environ, say=print)
    recipe = f'FROM {base}\nCOPY server.pl /server.pl\nEXPOSE 8000\nCMD ["perl", "/server.pl"]\n'
    checkout = plant(tmp_path / "repository", {**FILES, "examples/hello/Dockerfile": recipe})
    yield Terminal(home=tmp_path, directory=directory, sandbox=sandbox, checkout=checkout)
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
    serving: Terminal, tmp_path: Path, registry: str
) -> None:
    summary = tmp_path / "summary.json"
    words = ("deploy", "hello", "--cloud", "sandbox", "--ttl", "20m", "--registry", f"{registry}/cvl/images")
    pushed = serving.type(*words, "--steps", "image,yaml")
    assert pushed.returncode == 0, pushed.stderr
    assert "step image: pushing" in pushed.stderr
    assert f"docker pull --quiet {registry}/cvl/images@sha256:" in pushed.stdout
    began = time.time()
    deployed = serving.type(*words, "--json-summary", str(summary))
    assert deployed.returncode == 0, deployed.stderr + deployed.stdout
    assert "is in its registry already; nothing is built" in deployed.stderr
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
    assert "host" in seen["headers"] and "authorization" not in seen["headers"], "the server never sees the token"
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

    _, second = step(serving, "/entrypoint", run=101, home=tmp_path / "second", **inputs)
    assert get(f"{second['url']}/health", f"Bearer {TOKEN}")[0] == 200
    assert second["url"] != first["url"]
    [new] = serving.machines()
    assert new != old.id, "the older one is gone, after the new one answered"
    said, late = step(serving, "/entrypoint", run=99, home=tmp_path / "late", **inputs)
    assert late["ending"] == "skipped" and "A later run has main already" in said

    said, ended = step(serving, "/entrypoint", run=102, home=tmp_path / "third", down="true")
    assert ended["released"] == "true" and "was taken down: ended cvl-" in said
    assert serving.machines() == []
