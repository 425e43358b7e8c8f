"""The sandbox as the action has it: from containers that come and go, on a runner's network, with Docker's socket.

Whole runs that bring one up and take it down, and one that is killed in its job: tests/action/test_act.py.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvl_ci.sandbox.docker import image
from cvl_ci.sandbox.docker.engine import Docker
from tests.e2e.cloud import NOTHING, docker, environment, eventually, leavings, sandbox_in
from tests.e2e.job import ROOT, Ended, Job

pytestmark = pytest.mark.sandbox


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    ours = environment()
    machine = image.ensure(Docker(ours), workshop=tmp_path / "image", environment=ours, say=print)
    (tmp_path / "job").mkdir()
    job = Job(folder=tmp_path / "job", network=f"github_network_{uuid.uuid4().hex}", image=machine)
    docker("network", "create", job.network)
    try:
        yield job
    finally:
        job.clear()
        sandbox_in(job.sandbox).down()
        docker("network", "rm", job.network)
        assert leavings(job.id) == NOTHING


PROGRAM = f"""
import socket, subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from tests.e2e.cloud import Cloud, sandbox_in
sandbox = sandbox_in(Path(sys.argv[2]))
def way_out():
    return [line.split()[0] for line in open("/proc/net/route") if line.split()[1] == "0" * 8]
if sys.argv[1] == "main":
    before = way_out()
    cloud = Cloud(sandbox=sandbox, directory=Path(sys.argv[2]), access=sandbox.up(), key=Path("/github/home/key"))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(cloud.key)], check=True)
    print("opened:", cloud.ssh(cloud.launch(), "whoami; ls /dev/fuse || true").split())
    print("way out unchanged:", way_out() == before)
else:
    sandbox.up()
    (machine,) = sandbox.status().instances
    print("still there:", machine.state, socket.create_connection((machine.address, 22), timeout=5).recv(3))
    sandbox.down()
    print("up:", sandbox.status().up)
"""


def brought_up(job: Job) -> Ended:
    main = job.container(sys.executable, "-I", "-c", PROGRAM, "main", job.sandbox_inside)
    assert main.code == 0, main.said
    return main


def test_what_one_container_brought_up_another_finds_and_ends(job: Job) -> None:
    main = brought_up(job)
    has = ["ubuntu", *(["/dev/fuse"] if Path("/dev/fuse").exists() else [])]
    assert f"opened: {has}\n" in main.said
    assert "way out unchanged: True\n" in main.said
    assert len(leavings(job.id)["containers"]) == 2, "the machine and the emulator; known by the host's path of HOME"
    post = job.container(sys.executable, "-I", "-c", PROGRAM, "post", job.sandbox_inside)
    assert post.code == 0, post.said
    assert "still there: running b'SSH'\n" in post.said
    assert "up: False\n" in post.said
    assert leavings(job.id) == NOTHING


def test_post_ends_a_sandbox_that_a_main_killed_at_once_was_bringing_up(job: Job) -> None:
    def seen(line: str) -> bool:
        if "Starting the sandbox" not in line:
            return False
        mine = ("--filter", f"label=cvl-ci-sandbox={job.id}", "--filter", "label=cvl-ci-sandbox-emulator")
        return bool(eventually(lambda: docker("ps", "--quiet", *mine), within=60))

    main = job.phase("entrypoint", command="sleep 60", kill_when=seen)
    assert main.code == 137, main.said
    assert leavings(job.id)["containers"]
    post = job.phase("post-entrypoint", command="sleep 60")
    assert post.code == 0, post.said
    assert leavings(job.id) == NOTHING


def test_post_proves_it_though_all_state_is_lost(job: Job) -> None:
    brought_up(job)
    job.container("rm", "-rf", "/github/home/.local")
    post = job.phase("post-entrypoint", command="sleep 60")
    assert post.code == 0, post.said
    assert "gone, proved at" in post.said
    assert leavings(job.id) == NOTHING
