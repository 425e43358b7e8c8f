"""The emulated AWS as a process of its own: `python -m cvl_ci.sandbox.emulator.main [--in-front] DIRECTORY`.

A program beside cvl-ci, not a part of it: it alone of this room reads its environment, handles signals and exits. It
goes into the background unless that would end its container, holds everything in memory, and ends with its directory:
no sandbox outlives the place that describes it. However it ends by its own will, it takes its machines along.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox import emulator_process, keys, usage_lock
from cvl_ci.sandbox import sandbox_spec as blueprints
from cvl_ci.sandbox.docker import networks
from cvl_ci.sandbox.docker.engine import Docker
from cvl_ci.sandbox.sandbox_spec import LOG, Blueprint

if TYPE_CHECKING:
    from cvl_ci.sandbox.emulator.containers import Machines
    from cvl_ci.sandbox.emulator.ec2 import Cloud


def main() -> None:
    *how, place = sys.argv[1:]
    directory = Path(place)
    plan = blueprints.load(directory)
    if plan is None:
        sys.exit(f"{directory} holds no plan of a sandbox")
    if emulator_process.IN_FRONT in how:
        # As the first process of a container it would be deaf to this until it says otherwise.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        speak_into_log(directory)
        check_libraries()
    else:
        check_libraries()
        go_into_background()
        speak_into_log(directory)
    serve(directory, plan, record(directory))


def check_libraries() -> None:
    """Before anybody waits for it: without these there is no emulator."""
    from importlib.util import find_spec

    missing = [name for name in ("moto", "flask", "flask_cors", "werkzeug", "boto3") if find_spec(name) is None]
    if missing:
        sys.exit(f"these Python packages are missing: {', '.join(missing)}")


def go_into_background() -> None:
    """The parent says which process goes on, and leaves."""
    pid = os.fork()
    if pid:
        print(pid)
        sys.stdout.flush()
        os._exit(0)
    os.setsid()


def speak_into_log(directory: Path) -> None:
    log = os.open(directory / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    faulthandler.enable()


def record(directory: Path) -> dict[str, object]:
    """Who we are, for all to read before we do anything. In containers many a process has the same number."""
    ours: dict[str, object] = {"pid": os.getpid(), "started": emulator_process.started(os.getpid())}
    blueprints.write_json(directory / emulator_process.FILE, ours)
    return ours


def serve(directory: Path, plan: Blueprint, ours: dict[str, object]) -> None:
    settle_environment(directory)
    # Loads moto, which reads its settings as it is loaded.
    from cvl_ci.sandbox.emulator.account import seed
    from cvl_ci.sandbox.emulator.containers import Machines
    from cvl_ci.sandbox.emulator.ec2 import Cloud
    from cvl_ci.sandbox.emulator.fault_gate import Gate
    from cvl_ci.sandbox.emulator.front import Front
    from cvl_ci.sandbox.emulator.imds import listen as listen_metadata
    from cvl_ci.sandbox.emulator.servers import listen
    from cvl_ci.sandbox.emulator.signatures import Keyring

    known = keys.load(directory)
    if known is None:
        sys.exit(f"{directory} holds no keys of a sandbox")
    end = threading.Event()
    machines = Machines(plan, Docker(os.environ))
    gate = Gate(directory, plan, dice=random.Random(plan.id))  # noqa: S311  # repeatable bad luck
    cloud = Cloud(plan, machines, gate.faults)
    cloud.install()
    gate.install()
    seed(cloud)
    keyring = Keyring(known, alive=cloud.is_alive)
    listen_metadata(plan, cloud, keyring)
    listen(plan, Front(plan, cloud, gate, end, keyring=keyring, control=known.control))
    threading.Thread(target=machines.watch, args=(cloud,), daemon=True).start()
    threading.Thread(target=leave_with_the_last, args=(directory, plan, cloud, machines), daemon=True).start()

    def told_to_end(number: int, _frame: FrameType | None) -> None:
        print(f"told to end by {signal.Signals(number).name}", flush=True)
        end.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told_to_end)
    print("up", plan.endpoint_url, flush=True)
    if wait(directory, end, ours):
        machines.remove_all()
    print("down", flush=True)
    os._exit(0)


def leave_with_the_last(directory: Path, plan: Blueprint, cloud: Cloud, machines: Machines) -> None:
    """A run that kept a machine, or was killed, takes nothing down: without runs and machines, all of it ends here."""
    while True:
        time.sleep(1)
        if cloud.any_left() or not usage_lock.brought_up_by_a_run(directory):
            continue
        with usage_lock.forsaken(directory) as forsaken:
            if forsaken and not cloud.any_left() and remove_all(plan, machines):
                usage_lock.forget_who_brought_it_up(directory)
                print("no run is here any more, and no machine: down", flush=True)
                os._exit(0)


def remove_all(plan: Blueprint, machines: Machines) -> bool:
    """What it made in Docker, the container apart that we may be in ourselves: that goes with us. False: not yet, such
    as the volume of a machine that is just ending."""
    try:
        machines.remove_all()
        networks.remove(Docker(os.environ), plan.id)
    except SandboxError as error:
        print("not down yet:", error, flush=True)
        return False
    return True


def wait(directory: Path, end: threading.Event, ours: dict[str, object]) -> bool:
    """Until it is told to end, or its directory vanishes. False: another emulator has taken the directory over."""
    while not end.wait(0.5):
        try:
            found = json.loads((directory / emulator_process.FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            print("the directory or its record is gone", flush=True)
            return True
        if found != ours:
            return False
    return True


def settle_environment(directory: Path) -> None:
    """Settings of moto; and no library of AWS may find keys, files or a metadata service of the user's here."""
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
