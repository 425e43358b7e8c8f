"""What SkyPilot would show to other users of this computer, or to other machines: tried with SkyPilot itself."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from cvl_ci.engine.process import Worker
from tests.support import sky_process

pytestmark = pytest.mark.sky

TRY = """
import inspect, json, os, shlex, sys
from pathlib import Path
from types import SimpleNamespace
from cvl_ci.engine.worker import private_channels as discretion
from sky.backends import backend_utils, cloud_vm_ray_backend
from sky.provision import docker_utils
from sky.utils import auth_utils, command_runner, common_utils

key = Path.home() / "key"
key.touch()
discretion.send_scripts_as_files()
discretion.keep_sockets_in(Path(sys.argv[1]))
runner = command_runner.SSHCommandRunner(("1.2.3.4", 22), "u", str(key), ssh_control_name="a-cluster")
words = runner.ssh_base_command(ssh_mode=command_runner.SshMode.NON_INTERACTIVE, port_forward=None, connect_timeout=1)
paths = {}
backend_utils.write_cluster_config = lambda to, name: paths.setdefault(name, auth_utils.get_or_generate_keys()[0])
discretion.give_a_key_of_its_own("cvl-1-abc")
for cloud in ("AWS", "Azure", "Lambda", "GCP"):
    backend_utils.write_cluster_config(SimpleNamespace(cloud=cloud), cloud)
class Machine:
    ran, files = [], {}
    def run(self, cmd, **_):
        self.ran.append(cmd)
        return 0, "", ""
    def rsync(self, *, source, target, **_):
        self.files[target] = (Path(source).read_text(), oct(os.stat(source).st_mode & 0o777))
discretion.log_in_to_registries_by_file()
docker = docker_utils.DockerInitializer({"container_name": "c"}, Machine(), os.devnull)
docker._run(
    f"{docker.docker_cmd} login --username {shlex.quote('a b')} --password {shlex.quote('it is $ecret')} "
    "registry.example", wait_for_docker_daemon=True)
found = auth_utils.create_ssh_key_files_from_db(paths["AWS"])
discretion.forget_key("cvl-1-abc")
print(json.dumps({
    "login": Machine.ran, "files": list(Machine.files.items()),
    "logs_in_so": "f'--password {shlex.quote(docker_login_config.password)} '" in inspect.getsource(docker_utils),
    "inline": [
        runner.is_command_length_over_limit("x"),
        command_runner.KubernetesCommandRunner((("n", "c"), "p")).is_command_length_over_limit("x"),
        command_runner.LocalProcessCommandRunner().is_command_length_over_limit("x"),
        backend_utils.is_command_length_over_limit("x"),
    ],
    "asked": inspect.getsource(cloud_vm_ray_backend).count("is_command_length_over_limit("),
    "control": [word for word in words if "ControlPath" in word],
    "keys": paths, "hash": common_utils.get_user_hash(), "found_by_path": found,
    "gone": not Path(paths["AWS"]).exists(), "kept": Path(paths["GCP"]).exists(),
    "through_the_module": "backend_utils.write_cluster_config(" in inspect.getsource(cloud_vm_ray_backend),
    "asks_nothing_else": {n for n in dir(common_utils) if "common_utils." + n in inspect.getsource(auth_utils)} ==
        {"get_user_hash"},
}))
"""


def test_scripts_go_as_files_sockets_are_private_and_each_lease_has_its_key() -> None:
    env = {"HOME": str(sky_process.empty_home()), "PATH": os.environ["PATH"], "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    sockets = "/tmp/cvl-abcdefgh"
    done = sky_process.run(TRY, sockets, env=env, loaded=True)
    Path(sockets).rmdir() if not any(Path(sockets).iterdir()) else subprocess.run(["rm", "-r", sockets], check=True)
    assert done.returncode == 0, done.stderr[-2000:]
    tried = json.loads(done.stdout.splitlines()[-1])
    assert tried["inline"] == [True] * 4
    assert tried["asked"] == 3, "a way for a script that we do not know"
    [[remote, (password, mode)]] = tried["files"]
    assert (password, mode) == ("it is $ecret", "0o600")
    login = shlex.split(tried["login"][0])
    assert login[:3] == ["sudo", "docker", "login"] and login[-2:] == ["<", remote]
    assert login[3:-2] == ["--username", "a b", "--password-stdin", "registry.example"]
    assert tried["login"][1:] == [f"rm -f {remote}"] and tried["logs_in_so"]
    [control] = tried["control"]
    assert control.startswith(f"ControlPath={sockets}/") and len(control) < len("ControlPath=") + 104 - 57
    keys, user = tried["keys"], tried["hash"]
    assert {Path(key).parts[-3] for key in (keys["AWS"], keys["Azure"])} == {f"{user}-cvl-1-abc"}
    assert {Path(key).parts[-3] for key in (keys["Lambda"], keys["GCP"])} == {user}
    assert tried["found_by_path"] and tried["gone"] and tried["kept"]
    assert tried["through_the_module"] and tried["asks_nothing_else"]


def test_a_workers_sockets_lie_where_only_its_user_looks_and_go_with_it(tmp_path: Path) -> None:
    worker = Worker(environment={"HOME": str(tmp_path), "PATH": os.environ["PATH"]})
    folder = Path(worker._sockets)
    mode = folder.stat()
    assert (stat.S_IMODE(mode.st_mode), mode.st_uid, len(str(folder)) <= 45) == (0o700, os.getuid(), True)
    other = Worker(environment={"HOME": str(tmp_path), "PATH": os.environ["PATH"]})
    assert Path(other._sockets) != folder
    for each in (worker, other):
        each.close()
    assert not folder.exists()
