"""A sandbox comes up and goes down, whatever state it is found in, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox import Faults, MachineType, Sandbox, SkyAccess, emulator_process, sandbox_spec
from tests import golden
from tests.e2e.cloud import (
    EAST,
    NOTHING,
    SOLD,
    Cloud,
    containers,
    docker,
    environment,
    eventually,
    leavings,
    sandbox_in,
)
from tests.support.places import only_wait
from tests.support.processor import children_seconds, within

MESSAGES = golden.Messages(__name__)

pytestmark = pytest.mark.sandbox
ROOT = Path(__file__).parents[2]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "sandbox"
    yield directory
    sandbox_in(directory).down()
    assert leavings(sandbox_spec.identity(directory)) == NOTHING
    assert emulator_process.find(directory) is None


@pytest.fixture
def key(tmp_path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    return tmp_path / "key"


def cloud_of(sandbox: Sandbox, directory: Path, access: SkyAccess, key: Path) -> Cloud:
    return Cloud(sandbox=sandbox, directory=directory, access=access, key=key)


def test_up_again_is_the_same_and_takes_under_a_second_and_no_emulator_of_its_own(directory: Path) -> None:
    """Of the processor: what else the machine does takes nothing from it."""
    first = sandbox_in(directory).up()
    emulator = emulator_process.find(directory)
    program = (
        "import sys; from pathlib import Path; from tests.e2e.cloud import sandbox_in;"
        f"access = sandbox_in(Path({str(directory)!r})).up();"
        "print(access.endpoint_url, *({'moto', 'boto3', 'docker'} & set(sys.modules)))"
    )
    worked = []
    for _ in range(2):  # the first may compile byte code
        before = children_seconds()
        words = (sys.executable, "-c", program)
        said = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path.cwd()).stdout
        worked.append(children_seconds() - before)
        assert said.split() == [first.endpoint_url]
    assert within(min(worked), 1)
    assert emulator_process.find(directory) == emulator


def test_its_home_is_all_a_client_needs_and_none_of_the_users(directory: Path) -> None:
    access = sandbox_in(directory).up()
    assert access.home == directory / "home"
    assert f"endpoint_url = {access.endpoint_url}" in (access.home / ".aws/credentials").read_text()
    assert access.regions == ("us-east-1", "us-west-2")
    assert not [name for name in access.environment if name.startswith("AWS_")]
    assert list(Path(os.environ["HOME"]).iterdir()) == []


def test_status_lists_machines_and_says_when_it_is_down(directory: Path, key: Path) -> None:
    sandbox = sandbox_in(directory)
    assert not sandbox.status().up
    cloud = cloud_of(sandbox, directory, sandbox.up(), key)
    machine = cloud.launch(InstanceMarketOptions={"MarketType": "spot"})
    status = sandbox.status(with_size=True)
    (listed,) = status.instances
    assert (listed.id, listed.region, listed.zone, listed.state) == (machine, EAST, "us-east-1a", "running")
    assert (listed.instance_type, listed.spot) == ("m6i.large", True)
    assert status.image_bytes
    assert json.loads(json.dumps(status.to_json()))["instances"][0]["id"] == machine
    sandbox.down()
    assert not sandbox.status().up


def test_down_leaves_nothing_but_the_image_and_may_be_said_twice(directory: Path, key: Path) -> None:
    sandbox = sandbox_in(directory)
    cloud = cloud_of(sandbox, directory, sandbox.up(), key)
    cloud.launch()
    image = sandbox.status().image
    sandbox.down()
    assert leavings(sandbox_spec.identity(directory)) == NOTHING
    assert docker("image", "ls", "--quiet", str(image))
    sandbox.down()


def test_down_of_what_never_was_leaves_no_trace(tmp_path: Path) -> None:
    sandbox_in(tmp_path / "never").down()
    assert not (tmp_path / "never").exists()


def test_reset_empties_it_and_clears_faults_and_memory(directory: Path, key: Path) -> None:
    sandbox = sandbox_in(directory)
    access = sandbox.up()
    cloud = cloud_of(sandbox, directory, access, key)
    cloud.launch()
    cloud.client("s3", EAST).create_bucket(Bucket="left-over")
    sandbox.set_faults(Faults(no_capacity=(EAST,)))
    (access.home / ".sky/state.db").write_text("what SkyPilot remembers")
    sandbox.reset()
    assert sandbox.status().instances == ()
    assert not sandbox.faults()
    assert not (access.home / ".sky/state.db").exists()
    assert (access.home / ".sky/catalogs/v8/aws/vms.csv").exists()
    assert containers(sandbox_spec.identity(directory)) == []
    assert sandbox.up().endpoint_url == access.endpoint_url, "open programs go on using it"
    assert cloud.client("s3", EAST).list_buckets()["Buckets"] == []


def test_two_sandboxes_live_side_by_side_and_one_goes_without_the_other(directory: Path, key: Path) -> None:
    neighbour = directory.parent / "neighbour"
    one, other = sandbox_in(directory), sandbox_in(neighbour)
    here = cloud_of(one, directory, one.up(), key)
    there = cloud_of(other, neighbour, other.up(), key)
    assert here.access.endpoint_url != there.access.endpoint_url
    first, second = here.launch(), there.launch()
    assert here.describe(first)["PrivateIpAddress"] != there.describe(second)["PrivateIpAddress"]
    assert [each.id for each in other.status().instances] == [second]
    one.down()
    assert there.ssh(second, "echo still here") == "still here"
    other.down()
    assert leavings(sandbox_spec.identity(neighbour)) == NOTHING


def test_after_its_emulator_was_killed_up_starts_afresh_and_says_so(directory: Path, key: Path) -> None:
    heard: list[str] = []
    sandbox = Sandbox(directory, machine_types=SOLD, environment=environment(), progress=heard.append)
    cloud = cloud_of(sandbox, directory, sandbox.up(), key)
    cloud.launch()
    killed = emulator_process.find(directory)
    assert killed
    os.kill(killed.pid, signal.SIGKILL)
    assert eventually(lambda: not killed.alive)
    status = sandbox.status()
    assert not status.up
    assert len(status.leftovers) == 1
    heard.clear()
    sandbox.up()
    assert any("removing 1 container" in line for line in heard)
    assert any("starting an empty one" in line for line in heard)
    assert sandbox.status().instances == ()
    assert containers(sandbox_spec.identity(directory)) == []


def test_after_its_emulator_was_killed_down_leaves_nothing(directory: Path, key: Path) -> None:
    sandbox = sandbox_in(directory)
    cloud = cloud_of(sandbox, directory, sandbox.up(), key)
    cloud.launch()
    killed = emulator_process.find(directory)
    assert killed
    os.kill(killed.pid, signal.SIGKILL)
    sandbox.down()
    assert leavings(sandbox_spec.identity(directory)) == NOTHING


def test_a_politely_ended_emulator_takes_its_machines_along(directory: Path, key: Path) -> None:
    sandbox = sandbox_in(directory)
    cloud = cloud_of(sandbox, directory, sandbox.up(), key)
    cloud.launch()
    process = emulator_process.find(directory)
    assert process
    os.kill(process.pid, signal.SIGTERM)
    assert eventually(lambda: not process.alive)
    assert containers(sandbox_spec.identity(directory)) == []


def test_the_emulator_ends_with_its_directory_and_takes_its_machines_along(directory: Path, key: Path) -> None:
    sandbox = sandbox_in(directory)
    cloud = cloud_of(sandbox, directory, sandbox.up(), key)
    cloud.launch()
    process = emulator_process.find(directory)
    assert process
    shutil.rmtree(directory)
    assert eventually(lambda: not process.alive)
    assert containers(sandbox_spec.identity(directory)) == []


@pytest.mark.parametrize("lost", ["sandbox.json", "emulator.json"])
def test_down_works_without_its_records(directory: Path, key: Path, lost: str) -> None:
    sandbox = sandbox_in(directory)
    cloud = cloud_of(sandbox, directory, sandbox.up(), key)
    cloud.launch()
    (directory / lost).unlink()
    sandbox.down()
    assert leavings(sandbox_spec.identity(directory)) == NOTHING
    assert emulator_process.find(directory) is None


def test_up_repairs_a_home_that_was_removed(directory: Path) -> None:
    sandbox = sandbox_in(directory)
    access = sandbox.up()
    shutil.rmtree(access.home)
    assert (sandbox.up().home / ".aws/credentials").exists()


def takes(taken: socket.socket, port: int) -> bool:
    try:
        taken.bind(("127.0.0.1", port))
    except OSError:
        return False  # the killed emulator's last thread still holds it
    taken.listen()
    return True


def test_a_taken_port_is_given_way_to(directory: Path) -> None:
    sandbox = sandbox_in(directory)
    before = sandbox.up().endpoint_url
    plan = sandbox_spec.load(directory)
    assert plan
    killed = emulator_process.find(directory)
    assert killed
    os.kill(killed.pid, signal.SIGKILL)
    assert eventually(lambda: not killed.alive)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        assert eventually(lambda: takes(taken, plan.port))
        after = sandbox.up().endpoint_url
    assert after != before


def test_a_sandbox_that_is_up_does_not_change_what_it_sells(directory: Path) -> None:
    sandbox_in(directory).up()
    fewer: tuple[MachineType, ...] = SOLD[:1]
    with pytest.raises(SandboxError, match="sells other machines") as caught:
        sandbox_in(directory, sold=fewer).up()
    assert "down" in caught.value.next_step


def test_whoever_joined_a_network_is_let_go(directory: Path) -> None:
    sandbox = sandbox_in(directory)
    sandbox.up()
    plan = sandbox_spec.load(directory)
    assert plan
    guest = f"guest-of-{plan.id}"
    docker("run", "--detach", "--rm", "--name", guest, "--entrypoint", "sleep", plan.image, "60")
    try:
        docker("network", "connect", plan.networks[0].name, guest)
        sandbox.down()
        assert leavings(plan.id) == NOTHING
        assert docker("inspect", "--format", "{{.State.Running}}", guest).strip() == "true"
    finally:
        docker("rm", "--force", guest)


def test_a_container_of_this_host_is_let_in_as_a_guest_and_commands_nothing(directory: Path, key: Path) -> None:
    sandbox = sandbox_in(directory)
    cloud = cloud_of(sandbox, directory, sandbox.up(), key)
    machine = cloud.launch()
    cloud.ssh(machine, "true")
    plan = sandbox_spec.load(directory)
    assert plan
    program = f"""
import os, socket
from pathlib import Path
from cvl_ci.errors import SandboxError
from tests.e2e.cloud import sandbox_in
sandbox = sandbox_in(Path({str(directory)!r}))
access = sandbox.up()
(machine,) = sandbox.status().instances
print(access.endpoint_url, socket.create_connection((machine.address, 22), timeout=5).recv(3))
try:
    sandbox.down()
except SandboxError as error:
    print(error.what)
"""
    said = docker(
        "run", "--rm", "--volume", f"{ROOT}:{ROOT}:ro", "--volume", f"{directory}:{directory}",
        "--volume", "/var/run/docker.sock:/var/run/docker.sock", "--env", f"PYTHONPATH={ROOT}",
        "--env", "PATH=/usr/bin:/bin", "--entrypoint", "python3", plan.image, "-c", program,
    )  # fmt: skip
    let_in, refused = said.splitlines()
    assert let_in == f"{cloud.access.endpoint_url} b'SSH'"
    MESSAGES.check("another container", refused)
    assert cloud.state(machine) == "running"


def test_a_container_brings_none_up_in_a_directory_that_ends_with_it(directory: Path) -> None:
    sandbox = sandbox_in(directory)
    sandbox.up()
    image = sandbox.status().image
    elsewhere = directory.parent / "elsewhere"
    program = f"""
from pathlib import Path
from cvl_ci.errors import SandboxError
from tests.e2e.cloud import sandbox_in
try:
    sandbox_in(Path({str(elsewhere)!r})).up()
except SandboxError as error:
    print(error.what)
sandbox_in(Path({str(elsewhere)!r})).down()
"""
    said = docker(
        "run", "--rm", "--volume", f"{ROOT}:{ROOT}:ro", "--volume", "/var/run/docker.sock:/var/run/docker.sock",
        "--env", f"PYTHONPATH={ROOT}", "--env", "PATH=/usr/bin:/bin", "--entrypoint", "python3", str(image),
        "-c", program,
    )  # fmt: skip
    assert f"cannot start here: {elsewhere} would end with this container" in said
    assert leavings(sandbox_spec.identity(elsewhere)) == NOTHING


def test_several_ups_at_once_make_one_sandbox(directory: Path) -> None:
    program = (
        "from pathlib import Path; from tests.e2e.cloud import sandbox_in;"
        f"print('endpoint', sandbox_in(Path({str(directory)!r})).up().endpoint_url)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
        for _ in range(3)
    ]
    said = {process.communicate(timeout=90)[0].split()[-1] for process in started}
    assert len(said) == 1


def test_a_machine_is_up_in_a_few_times_what_a_container_takes(directory: Path, key: Path) -> None:
    """In turns, so that what else the machine does is beside both."""
    sandbox = sandbox_in(directory)
    cloud = cloud_of(sandbox, directory, sandbox.up(), key)
    image = str(sandbox.status().image)
    launched, plain = [], []
    for _ in range(3):
        began = time.monotonic()
        cloud.launch()
        launched.append(time.monotonic() - began)
        began = time.monotonic()
        docker("run", "--rm", "--entrypoint", "true", image)
        plain.append(time.monotonic() - began)
    assert min(launched) < 6 * min(plain), "a second, where nothing else runs"


def test_the_last_of_two_runs_takes_down_what_the_first_brought_up(directory: Path) -> None:
    sandbox = sandbox_in(directory)
    with ExitStack() as second:
        with sandbox.in_use():
            second.enter_context(sandbox_in(directory).in_use())
        assert sandbox.status().up, "the other run is still in it"
    assert not sandbox.status().up


def test_a_run_leaves_up_what_a_person_brought_up(directory: Path) -> None:
    sandbox = sandbox_in(directory)
    sandbox.up()
    with sandbox.in_use():
        pass
    assert sandbox.status().up


def test_a_run_that_shall_keep_it_leaves_it_up(directory: Path) -> None:
    sandbox = sandbox_in(directory)
    with sandbox.in_use(keep=True):
        pass
    assert sandbox.status().up


def test_what_a_run_leaves_a_machine_in_ends_with_that_machine(directory: Path, key: Path) -> None:
    sandbox = sandbox_in(directory)
    with sandbox.in_use(needed=lambda status: bool(status.instances)) as access:
        cloud = cloud_of(sandbox, directory, access, key)
        machine = cloud.launch()
    time.sleep(3)
    assert sandbox.status().up, "its machine is there"
    cloud.ec2().terminate_instances(InstanceIds=[machine])
    only_wait()
    assert eventually(lambda: emulator_process.find(directory) is None, within=120)
    assert leavings(sandbox_spec.identity(directory)) == NOTHING


def test_what_a_killed_run_brought_up_ends_by_itself(directory: Path) -> None:
    program = (
        "import time; from pathlib import Path; from tests.e2e.cloud import sandbox_in\n"
        f"with sandbox_in(Path({str(directory)!r})).in_use(): print('in it', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT) as run:
        assert run.stdout is not None
        while run.stdout.readline() not in {"in it\n", ""}:
            pass
        time.sleep(3)
        assert sandbox_in(directory).status().up, "the run is in it"
        run.kill()
    only_wait()
    assert eventually(lambda: emulator_process.find(directory) is None, within=120)
    assert leavings(sandbox_spec.identity(directory)) == NOTHING
