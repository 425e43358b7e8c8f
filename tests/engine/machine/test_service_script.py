"""The proxy of a service as its machine starts it: with HTTPS, and with a key that no command of the user sees."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path

import pytest

from cvl_ci.engine.task import script
from cvl_ci.model.plan import RunPlan, WorkPlan
from cvl_ci.model.secret import Secret
from cvl_ci.model.service import ServicePlan, TlsPlan, token_digest
from tests.engine.task.test_script import LEASE, Node
from tests.support import certificates

TOKEN = "a-token-of-the-callers-0123456789"
ASK = """
import hashlib, http.server, json, os, ssl, subprocess, sys, threading, urllib.request
from pathlib import Path

port, public, domain = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"from the server")
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
state = Path.home() / ".cvl-ci" / os.environ["CVL_CI_LEASE"]
context = ssl.create_default_context(cafile=state / "tls-chain.pem")
context.check_hostname = False
request = urllib.request.Request(f"https://127.0.0.1:{public}/", headers={"Authorization": "Bearer TOKEN"})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))

print(json.dumps({
    "answer": opener.open(request, timeout=60).read().decode(),
    "mode": oct((state / "tls-key.pem").stat().st_mode & 0o777),
    "key": hashlib.sha256((state / "tls-key.pem").read_bytes()).hexdigest(),
    "env": sorted(name for name in os.environ if name.startswith("CVL_CI_TLS")),
    "argv": subprocess.run(["ps", "-o", "args", "-A", "-ww"], capture_output=True, text=True).stdout,
}))
""".replace("TOKEN", TOKEN)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "home")


def planned(own: certificates.Pair, monkeypatch: pytest.MonkeyPatch, *, setup: str = "") -> RunPlan:
    """Return a plan whose service has this certificate, on free ports of this computer."""
    public, port = free_port(), free_port()
    monkeypatch.setattr(ServicePlan, "public_port", public)
    tls = TlsPlan(chain=own.cert, key=Secret(own.key.strip()), domain=certificates.NAME)
    service = ServicePlan(port=port, token_digest=token_digest(TOKEN), tls=tls)
    command = f"python3 ask.py {port} {public} {certificates.NAME}"
    work = WorkPlan(setup_commands=(setup,) if setup else (), run_commands=(command,))
    return RunPlan(title="serve", work=work, service=service)


def test_the_proxy_has_its_key_in_a_private_file_and_no_command_sees_it(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = certificates.pair(kind="rsa:2048")
    plan = planned(own, monkeypatch, setup='env > "$CVL_WORK_DIR/of-setup"')
    (node.workdir / "ask.py").write_text(ASK)
    done = node.job(plan, CVL_CI_TLS_KEY=script.secrets_of_service(plan.service)["CVL_CI_TLS_KEY"])
    assert done.returncode == 0, done.stdout + done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("{")]
    seen = json.loads(line)
    assert seen["answer"] == "from the server"
    assert (seen["mode"], seen["env"]) == ("0o600", [])
    assert seen["key"] == hashlib.sha256(own.key.encode()).hexdigest()
    secret = own.key.splitlines()[1]
    assert "from proxy import main" in seen["argv"] and secret not in seen["argv"]
    of_setup = (node.state / "work" / "of-setup").read_text()
    assert "CVL_CI_LEASE=" in of_setup and "CVL_CI_TLS" not in of_setup and secret not in of_setup
    others = [path for path in node.home.rglob("*") if path.is_file() and path.name != "tls-key.pem"]
    assert not any(secret.encode() in path.read_bytes() for path in others)


def test_a_key_of_another_certificate_ends_the_job_with_the_reason(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    own = certificates.Pair(cert=certificates.pair().cert, key=certificates.pair(kind="rsa:2048").key)
    plan = planned(own, monkeypatch)
    done = node.job(plan, CVL_CI_TLS_KEY=script.secrets_of_service(plan.service)["CVL_CI_TLS_KEY"])
    assert done.returncode == 98 and "cannot use the certificate of this" in done.stdout
    assert node.end()["exit_code"] == "98"


def test_a_service_without_a_certificate_has_none_of_it(node: Node) -> None:
    plan = RunPlan(title="serve", work=WorkPlan(run_commands=("true",)), service=ServicePlan(port=1))
    assert script.secrets_of_service(plan.service) == {}
    text = script.run(plan, lease=LEASE)
    assert "CVL_CI_TLS_KEY" not in text and "tls-chain" not in text
