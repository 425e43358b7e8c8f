"""SkyPilot's daemon with its own client, and an `ssh` that forwards a socket on this computer: no machine is needed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.support import sky_process

SSH = """#!/usr/bin/env python3
# ssh COMMAND; with -L SOCKET:localhost:PORT it forwards each connection to the socket, as long as the command runs.
import os, socket, subprocess, sys, threading
from pathlib import Path
if "-L" not in sys.argv:
    os.execvp("bash", ["bash", "-c", sys.argv[-1]])
Path(os.environ["CALLS"]).open("a").write("ssh\\n")
where, _, port = sys.argv[sys.argv.index("-L") + 1].partition(":localhost:")
server = socket.socket(socket.AF_UNIX)
server.bind(where)
os.chmod(where, 0o600)
server.listen()
def copy(source, target):
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
def accept():
    while True:
        near, _ = server.accept()
        try:
            far = socket.create_connection(("127.0.0.1", int(port)))
        except OSError:
            near.close()
            continue
        for ends in ((near, far), (far, near)):
            threading.Thread(target=copy, args=ends, daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
sys.exit(subprocess.call(["bash", "-c", sys.argv[-1]]))
"""
PROGRAM = """
import json, os, socket, sys
from pathlib import Path
from types import SimpleNamespace
from sky import backends, clouds
from sky.skylet import constants, skylet
from sky.utils import command_runner
from cvl_ci.engine.worker import private_channels, skylet_channel

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    constants.SKYLET_GRPC_PORT = probe.getsockname()[1]
server = skylet.start_grpc_server(constants.SKYLET_GRPC_PORT)
private_channels.keep_sockets_in(Path(os.environ["SOCKETS"]))
skylet_channel.READY_SECONDS = 2.0
skylet_channel.TAKEN = skylet_channel.Pace(every_seconds=1.0, within_seconds=0.0)
skylet_channel.provide()
skylet_channel.provide()

class OnHead(Exception):
    pass

def run_on_head(self, handle, code, **options):
    raise OnHead(code[:20])

backends.CloudVmRayBackend.run_on_head = run_on_head
handle = backends.CloudVmRayResourceHandle.__new__(backends.CloudVmRayResourceHandle)
runner = command_runner.SSHCommandRunner(("192.0.2.1", 22), "ubuntu", "/dev/null", ssh_control_name="x")
handle.get_command_runners = lambda: [runner]
handle.launched_resources, handle.cluster_name = SimpleNamespace(cloud=clouds.AWS()), "c"
backend = backends.CloudVmRayBackend()
backend.run_timestamp = "sky-2026"
answers = {}

def tried(name, call):
    try:
        answers[name] = call()
    except Exception as error:
        answers[name] = type(error).__name__ + (f": {error}" if type(error) is RuntimeError else "")

add = lambda: backend._add_job(handle, "train", "1x", "{}")[0]
status = lambda: str(backend.get_job_status(handle, [1])[1].value)
queue = lambda: backend._exec_code_on_head(handle, "print(1)", 1, remote_log_dir=str(Path.home() / "logs"))
tried("outside", lambda: handle.is_grpc_enabled_with_flag)
%s
print("ANSWER" + json.dumps(answers))
"""


def home_with_ssh() -> Path:
    """Return the home of client and daemon, empty but for the `ssh` in its `bin`."""
    home = sky_process.empty_home()
    (home / "bin").mkdir()
    (home / "bin" / "ssh").write_text(SSH)
    (home / "bin" / "ssh").chmod(0o755)
    return home


def answers_of(place: Path, steps: str, *, sockets: Path) -> dict[str, Any]:
    """Return what `tried` noted. `place`: of home_with_ssh; `steps`: the rest of PROGRAM."""
    environment = {
        "HOME": str(place),
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "SOCKETS": str(sockets),
        "CALLS": str(place / "calls"),
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
    }
    result = sky_process.run(PROGRAM % steps, env=environment, loaded=True)
    [line] = [line for line in result.stdout.splitlines() if line.startswith("ANSWER")] or [result.stderr[-3000:]]
    answers: dict[str, Any] = json.loads(line.removeprefix("ANSWER"))
    return answers
