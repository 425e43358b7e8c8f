"""The log of a live machine comes over a connection that no process keeps: tried with SkyPilot and a false `ssh`."""

from __future__ import annotations

import json
import os

import pytest

from tests.support import sky_process

pytestmark = pytest.mark.sky

SSH = """#!/bin/sh
printf '%s\\n' "$@" END >> "$HOME/words"
echo "(serve, pid=691) a line"
"""

TAIL = """
import json, os
from pathlib import Path
from types import SimpleNamespace
from sky import backends
from sky.utils import command_runner
from cvl_ci.engine.worker import log_tail, private_channels

private_channels.keep_sockets_in(Path.home() / "sockets")
key = Path.home() / "key"
key.touch()
class Handle:
    is_grpc_enabled_with_flag = False
    docker_user = None
    def get_command_runners(self, *_, **__):
        way = dict(ssh_control_name="a-cluster", docker_user=self.docker_user)
        return [command_runner.SSHCommandRunner(("192.0.2.1", 22), "u", str(key), **way)]
handle = Handle()
log_tail.global_user_state = SimpleNamespace(get_handle_from_cluster_name=lambda _: handle)
log_tail.backend_utils = SimpleNamespace(get_backend_from_handle=lambda _: backends.CloudVmRayBackend())
states = []
for docker_user, is_following in ((None, False), (None, True), ("root", True)):
    handle = Handle()
    handle.docker_user = docker_user
    states.append(log_tail.tail_log(None, cluster="c", count=2, is_following=is_following))
[plain] = Handle().get_command_runners()
usual = plain.ssh_base_command(
    ssh_mode=command_runner.SshMode.INTERACTIVE, port_forward=None, connect_timeout=1)
print(json.dumps({"states": states, "usual": usual}))
"""


def test_a_log_leaves_no_connection_that_waits_for_more() -> None:
    """ssh with ControlPersist leaves a process of its own session, which nobody ends for 300 s."""
    home = sky_process.empty_home()
    programs = home / "bin"
    programs.mkdir()
    for name in ("ssh", "rsync"):
        (programs / name).write_text(SSH)
        (programs / name).chmod(0o755)
    env = {
        "HOME": str(home),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
    }
    done = sky_process.run(TAIL, env=env, loaded=True)
    assert done.returncode == 0, done.stderr[-2000:]
    tried = json.loads(done.stdout.splitlines()[-1])
    assert tried["states"] == ["read"] * 3 and done.stdout.count("a line") == 3
    calls = (home / "words").read_text().split("END\n")[:-1]
    assert len(calls) >= 3 and all("192.0.2.1" in call for call in calls)
    assert not [call for call in calls if "ControlPersist" in call or "ControlMaster" in call]
    assert any("ControlPersist" in word for word in tried["usual"]), "else SkyPilot's runner leaves none by itself"
