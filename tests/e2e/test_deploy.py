"""A service on the sandbox: it answers to its token alone, lives under its lease, and ends with proof."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from cvl_ci import wiring
from cvl_ci.planning import certificate
from cvl_ci.sandbox import Sandbox
from cvl_ci.sandbox.docker import debian
from cvl_ci.sandbox.docker.engine import Docker
from tests.e2e.cloud import EAST, Cloud, environment
from tests.e2e.conftest import Terminal
from tests.e2e.test_keep_on_failure import ssh
from tests.github.runner import read_file
from tests.support import certificates
from tests.support.field import plant
from tests.support.image_registry import serving as serving_images
from tests.support.wheels import seed

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
RECIPE = """FROM {base}
COPY server.pl /server.pl
EXPOSE 8124
CMD ["perl", "/server.pl"]
"""
IN_PERL = """use strict; use IO::Socket::INET; $| = 1;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8124, Listen => 64, ReuseAddr => 1) or die $!;
print "listening\\n";
while (my $client = $server->accept()) {
  while (my $line = <$client>) { last if $line =~ /^\\r?\\n$/ }
  my $body = '{"version": "VERSION"}';
  print $client "HTTP/1.1 200 OK\\r\\nContent-Length: " . length($body) . "\\r\\nConnection: close\\r\\n\\r\\n$body";
  close $client;
}
"""
"""A server of a Debian without Python: the base of the sandbox's own image, which every computer with a sandbox has."""
IMAGE_FILES = {
    "examples/packed/example.yaml": "name: packed\nresources: {gpu: 0}\npresets:\n"
    "  build: {script: build.sh, docker: false}\n  serve: {script: serve.sh, docker: false}\n"
    "service:\n  readiness_probe: {path: /health, initial_delay_seconds: 300}\n",
    "examples/packed/build.sh": "docker build -t packed .\n",
    "examples/packed/serve.sh": 'exec docker run --rm --network host "${CVL_IMAGE:-packed}"\n',
}
FILES = {
    "examples/hello/example.yaml": "name: hello\nresources: {gpu: 0}\npresets:\n  serve:\n    script: serve.sh\n"
    "    docker: false\nservice:\n  readiness_probe: {path: /health, initial_delay_seconds: 300}\n",
    "examples/hello/serve.sh": 'PORT="${PORT:-8123}" exec python3 server.py\n',
    "examples/hello/server.py": SERVER,
}


@pytest.fixture
def serving(tmp_path: Path, wheels: Path) -> Iterator[Terminal]:
    directory = tmp_path / "sandbox"
    seed(directory / "home", store=wheels)
    sandbox = Sandbox(directory, machine_types=wiring.machine_types(), environment=environment(), progress=print)
    sandbox.up()
    yield Terminal(home=tmp_path, directory=directory, sandbox=sandbox, checkout=plant(tmp_path / "repository", FILES))
    sandbox.down()


def get(url: str, authorization: str = "") -> tuple[int, Mapping[str, Any]]:
    """Ask as a client that trusts the certificate of these tests alone. A machine's address is not in it."""
    request = urllib.request.Request(url, headers={"Authorization": authorization} if authorization else {})
    trust = certificate.trusting(certificates.pair().cert, checks_name=False)
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
    opener = urllib.request.build_opener(*handlers)
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
    own = certificates.pair()
    (tmp_path / "cert.pem").write_text(own.cert)
    (tmp_path / "key.pem").write_text(own.key)
    chain = ("--tls-cert", str(tmp_path / "cert.pem"))
    words = ("deploy", "hello", "--cloud", "sandbox", "--ttl", "20m", "--json-summary", str(summary))
    deployed = serving.type(*words, *chain, "--tls-key", str(tmp_path / "key.pem"))
    assert deployed.returncode == 0, deployed.stderr + deployed.stdout
    facts = dict(
        line.split(None, 1) for line in deployed.stdout.splitlines() if line.split()[:1] in (["url"], ["token"])
    )
    url, token = facts["url"], facts["token"]
    told = json.loads(summary.read_text())
    assert told["service"]["url"] == url and url.startswith("https://")
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
    assert token not in on_machine.stdout and own.key.splitlines()[1] not in deployed.stdout + deployed.stderr
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
    assert serving.type("deploy", "--status", name, "--cloud", "sandbox", *chain).returncode == 0
    logged = serving.type("deploy", "--logs", name)
    assert logged.returncode == 0 and "loading the weights" in logged.stdout.splitlines(), logged.stderr

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


class Caller(threading.Thread):
    """A client that sends one request after the other, to the address that the step's outputs name last."""

    def __init__(self, url: str, outputs: Path, *, pause: float = 0.02) -> None:
        super().__init__(daemon=True)
        self._pause = pause
        self._url, self._outputs = url, outputs
        self.answers, self._is_over = Counter[str](), threading.Event()
        self.start()

    def run(self) -> None:
        while not self._is_over.wait(self._pause):
            self._read_address()
            try:
                status, body = get(f"{self._url}/health", f"Bearer {TOKEN}")
                self.answers[str(body.get("version", status))] += 1
            except OSError as error:
                self.answers[type(error).__name__] += 1

    def close(self) -> None:
        self._is_over.set()
        self.join()

    def _read_address(self) -> None:
        """Take the address that the outputs name. The step may be in the middle of writing one of them."""
        with suppress(AssertionError, FileNotFoundError):
            self._url = read_file(self._outputs.read_text()).get("url") or self._url


@contextmanager
def with_registry(folder: Path, *, wheels: Path) -> Iterator[Terminal]:
    """Yield a sandbox whose machines may pull from a registry of this computer, and an example with a Dockerfile."""
    with serving_images(folder / "registry") as host:
        directory, around = folder / "sandbox", {**environment(), "CVL_CI_SANDBOX_REGISTRY": host}
        seed(directory / "home", store=wheels)
        sandbox = Sandbox(directory, machine_types=wiring.machine_types(), environment=around, progress=print)
        base = f"{host}/base:12"
        docker = Docker(environment())
        files = {**IMAGE_FILES, "examples/packed/Dockerfile": RECIPE.format(base=base)}
        files["examples/packed/server.pl"] = IN_PERL.replace("VERSION", "1")
        checkout = plant(folder / "repository", files)
        variables = {"CVL_CI_SANDBOX_REGISTRY": host}
        try:
            sandbox.up()
            bare = next(name for name in (debian.BUILT, debian.PULLED) if docker.lines("image", "ls", "--quiet", name))
            docker.run("tag", bare, base)
            docker.run("push", "--quiet", base)
            yield Terminal(home=folder, directory=directory, sandbox=sandbox, checkout=checkout, variables=variables)
        finally:
            sandbox.down()
        for name in (base, *docker.lines("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{host}/images")):
            docker.run("image", "rm", name)


@pytest.fixture
def packed(tmp_path: Path, wheels: Path) -> Iterator[Terminal]:
    with with_registry(tmp_path, wheels=wheels) as terminal:
        yield terminal


@pytest.mark.minutes(8)
def test_a_workflow_s_image_is_built_served_replaced_and_ended_by_its_labels_alone(
    packed: Terminal, tmp_path: Path
) -> None:
    registry = f"{packed.variables['CVL_CI_SANDBOX_REGISTRY']}/images"
    inputs = {"example": "packed", "ttl": "20m", "deploy_token": TOKEN, "registry": registry}
    said, first = step(packed, "/entrypoint", run=100, home=tmp_path / "first", **inputs)
    [old] = packed.sandbox.status().instances
    assert (old.tags["cvl-ci-environment"], old.tags["cvl-ci-run"]) == ("main", "100-1")
    assert get(f"{first['url']}/health", f"Bearer {TOKEN}")[0] == 200
    assert TOKEN not in said.replace(f"::add-mask::{TOKEN}", "")
    step(packed, "/post-entrypoint", run=100, home=tmp_path / "first", **inputs)
    assert get(f"{first['url']}/health", f"Bearer {TOKEN}")[0] == 200, "post leaves a service that answers"
    assert "would" not in said and f"pushing {registry}:packed-" in said

    caller = Caller(first["url"], tmp_path / "second" / "outputs")
    (packed.checkout / "examples/packed/server.pl").write_text(IN_PERL.replace("VERSION", "2"))
    _, second = step(packed, "/entrypoint", run=101, home=tmp_path / "second", drain="2s", **inputs)
    caller.close()
    assert set(caller.answers) == {"1", "2"}, f"a request failed during the update: {caller.answers}"
    assert get(f"{second['url']}/health", f"Bearer {TOKEN}")[0] == 200
    assert second["url"] != first["url"]
    [new] = packed.machines()
    assert new != old.id, "the older one is gone, after the new one answered"
    said, late = step(packed, "/entrypoint", run=99, home=tmp_path / "late", **inputs)
    assert late["ending"] == "skipped" and "A later run has main already" in said

    said, ended = step(packed, "/entrypoint", run=102, home=tmp_path / "third", down="true")
    assert ended["released"] == "true" and "was taken down: ended cvl-" in said
    assert packed.machines() == []
