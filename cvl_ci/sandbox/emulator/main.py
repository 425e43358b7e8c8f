"""The emulated AWS as a process of its own: `python -m cvl_ci.sandbox.emulator.main [--in-front] DIRECTORY`.

It is a separate program, not a part of cvl-ci. In this package it alone reads its environment, handles signals and
exits. It goes into the background unless that would end its container, and holds everything in memory. It ends with
its directory: no sandbox outlives the folder that describes it. When it ends by itself, it removes its machines.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from cvl_ci.backoff import Pace
from cvl_ci.errors import SandboxError
from cvl_ci.sandbox import emulator_process, keys, sandbox_spec, usage_lock
from cvl_ci.sandbox.docker import networks
from cvl_ci.sandbox.docker.engine import Docker
from cvl_ci.sandbox.sandbox_spec import LOG, SandboxSpec

if TYPE_CHECKING:
    from cvl_ci.sandbox.emulator.containers import MachineContainers
    from cvl_ci.sandbox.emulator.ec2 import EmulatedEc2


def main() -> None:
    *options, place = sys.argv[1:]
    directory = Path(place)
    spec = sandbox_spec.load(directory)
    if spec is None:
        sys.exit(f"{directory} holds no specification of a sandbox")
    if emulator_process.IN_FRONT in options:
        # The first process of a container ignores this signal until it sets a handler.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        redirect_output_to_log(directory)
        check_libraries()
    else:
        check_libraries()
        go_into_background()
        redirect_output_to_log(directory)
    serve(directory, spec, record(directory))


def check_libraries() -> None:
    """Exit before a caller waits: without these packages there is no emulator."""
    from importlib.util import find_spec

    missing = [name for name in ("moto", "flask", "flask_cors", "werkzeug", "boto3") if find_spec(name) is None]
    if missing:
        sys.exit(f"these Python packages are missing: {', '.join(missing)}")


def go_into_background() -> None:
    """Fork. The parent prints the number of the process that continues, and exits."""
    pid = os.fork()
    if pid:
        print(pid)
        sys.stdout.flush()
        os._exit(0)
    os.setsid()


def redirect_output_to_log(directory: Path) -> None:
    log = os.open(directory / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    faulthandler.enable()


def record(directory: Path) -> dict[str, object]:
    """Write this process's identity to the directory, before anything else. Containers reuse process numbers."""
    identity: dict[str, object] = {"pid": os.getpid(), "started": emulator_process.start_time(os.getpid())}
    sandbox_spec.write_json(directory / emulator_process.FILE, identity)
    return identity


def serve(directory: Path, spec: SandboxSpec, identity: dict[str, object]) -> None:
    prepare_environment(directory)
    # Loads moto, which reads its settings at import.
    from cvl_ci.sandbox.emulator.account import seed
    from cvl_ci.sandbox.emulator.containers import MachineContainers
    from cvl_ci.sandbox.emulator.ec2 import EmulatedEc2
    from cvl_ci.sandbox.emulator.fault_gate import Gate
    from cvl_ci.sandbox.emulator.front import Front
    from cvl_ci.sandbox.emulator.image_mirror import ImageMirror
    from cvl_ci.sandbox.emulator.imds import listen as listen_metadata
    from cvl_ci.sandbox.emulator.servers import listen
    from cvl_ci.sandbox.emulator.signatures import Keyring

    own_keys = keys.load(directory)
    if own_keys is None:
        sys.exit(f"{directory} holds no keys of a sandbox")
    end = threading.Event()
    docker = Docker(os.environ)
    machines, images = MachineContainers(spec, docker), ImageMirror(directory, docker)
    gate = Gate(directory, spec, dice=random.Random(spec.id))  # noqa: S311  # repeatable bad luck
    cloud = EmulatedEc2(spec, machines, gate.faults)
    cloud.install()
    gate.install()
    seed(cloud)
    keyring = Keyring(own_keys, alive=cloud.is_alive)
    listen_metadata(spec, cloud, keyring)
    listen(spec, Front(spec, cloud, gate, end, keyring=keyring, control=own_keys.control, images=images))
    threading.Thread(target=machines.watch, args=(cloud,), daemon=True).start()
    threading.Thread(target=exit_with_last_run, args=(directory, spec, cloud, machines), daemon=True).start()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        print(f"ending after {signal.Signals(number).name}", flush=True)
        end.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    print("up", spec.endpoint_url, flush=True)
    if wait(directory, end, identity):
        machines.remove_all()
    print("down", flush=True)
    os._exit(0)


def exit_with_last_run(directory: Path, spec: SandboxSpec, cloud: EmulatedEc2, machines: MachineContainers) -> None:
    """End when there are neither runs nor machines.

    A run that keeps a machine, or that is killed, stops nothing itself.
    """
    pace = Pace(every_seconds=1.0)
    while True:
        pace.pause()
        if cloud.has_machines() or not usage_lock.is_started_by_run(directory):
            continue
        with usage_lock.orphaned(directory) as is_orphaned:
            if is_orphaned and not cloud.has_machines() and remove_all(spec, machines):
                usage_lock.unmark_started_by_run(directory)
                print("there is no run and no machine: down", flush=True)
                os._exit(0)


def remove_all(spec: SandboxSpec, machines: MachineContainers) -> bool:
    """Remove everything that the emulator made in Docker, except its own container, which ends with it.

    Returns False when that is not possible yet, such as for the volume of a machine that is just ending.
    """
    try:
        machines.remove_all()
        networks.remove(Docker(os.environ), spec.id)
    except SandboxError as error:
        print("not down yet:", error, flush=True)
        return False
    return True


def wait(directory: Path, end: threading.Event, identity: dict[str, object]) -> bool:
    """Wait until a command ends the emulator or its directory vanishes. False: another emulator owns the directory."""
    while not end.wait(0.5):
        try:
            stored = json.loads((directory / emulator_process.FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            print("the directory or its record no longer exists", flush=True)
            return True
        if stored != identity:
            return False
    return True


def prepare_environment(directory: Path) -> None:
    """Set moto's settings. No AWS library here may find keys, files or a metadata service of the user."""
    from cvl_ci.sandbox.sky_home import CPU_IMAGE, GPU_IMAGE

    images = directory / "images.json"
    images.write_text(
        json.dumps([_machine_image(CPU_IMAGE, "cpu"), _machine_image(GPU_IMAGE, "gpu")]), encoding="utf-8"
    )
    for name in [name for name in os.environ if name.startswith(("AWS_", "MOTO_"))]:
        del os.environ[name]
    os.environ.update(
        MOTO_AMIS_PATH=str(images),
        MOTO_IAM_LOAD_MANAGED_POLICIES="true",
        MOTO_ENABLE_AMI_VALIDATION="true",
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
    )


def _machine_image(image: str, kind: str) -> dict[str, object]:
    return {
        "ami_id": image, "state": "available", "public": True, "owner_id": "123456789012",
        "image_location": f"sandbox/{kind}", "name": f"sandbox {kind}", "description": f"a sandbox's machine ({kind})",
        "sriov": "simple", "root_device_type": "ebs", "root_device_name": "/dev/sda1", "image_type": "machine",
        "platform": None, "architecture": "x86_64", "virtualization_type": "hvm", "hypervisor": "xen",
    }  # fmt: skip


if __name__ == "__main__":
    main()
