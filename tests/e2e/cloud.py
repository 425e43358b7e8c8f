"""An emulated cloud in a test's hands: boto3 towards it, ssh into its machines, and a look behind its back."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cvl_ci.sandbox import MachineType, Sandbox, SkyAccess

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

EAST, WEST = "us-east-1", "us-west-2"
SOLD = tuple(
    MachineType(
        name=name,
        vcpus=cpus,
        memory_gib=4 * cpus,
        accelerator=accelerator,
        accelerator_count=1 if accelerator else 0,
        accelerator_memory_gib=16 if accelerator else 0,
        hourly_usd=0.05 * cpus,
        spot_hourly_usd=0.02 * cpus,
        region=region,
    )
    for region in (EAST, WEST)
    for name, cpus, accelerator in (("m6i.large", 2, None), ("g4dn.xlarge", 4, "T4"))
)
IMAGE = "ami-05a4dbc0c0ffee001"
PATIENCE = 60.0
"""Seconds: what takes one on a machine at rest is given them on a busy one. A test ends as soon as it is there."""
NOTHING: dict[str, list[str]] = {"containers": [], "volumes": [], "networks": []}
T = TypeVar("T")


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def sandbox_in(directory: Path, *, sold: tuple[MachineType, ...] = SOLD) -> Sandbox:
    return Sandbox(directory, machine_types=sold, environment=environment(), progress=print)


def eventually(look: Callable[[], T], *, within: float = PATIENCE) -> T:
    """Return what `look` says once it says something true; its last word when the time is over."""
    deadline = time.monotonic() + within
    while not (seen := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return seen


def containers(identity: str) -> list[str]:
    return docker("ps", "--all", "--quiet", "--filter", f"label=cvl-ci-sandbox={identity}").split()


def leavings(identity: str) -> dict[str, list[str]]:
    """Everything in Docker that carries a sandbox's label."""
    mine = ("--quiet", "--filter", f"label=cvl-ci-sandbox={identity}")
    return {
        "containers": docker("ps", "--all", *mine).split(),
        "volumes": docker("volume", "ls", *mine).split(),
        "networks": docker("network", "ls", *mine).split(),
    }


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout


@dataclass
class Cloud:
    """`key` opens every machine launched through `launch`."""

    sandbox: Sandbox
    directory: Path
    access: SkyAccess
    key: Path
    clients: dict[tuple[str, str, int], Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.sandbox.status().id

    def ec2(self, region: str = EAST, *, attempts: int = 1) -> EC2Client:
        client: EC2Client = self.client("ec2", region, attempts=attempts)
        return client

    def client(self, service: str, region: str, *, attempts: int = 1) -> Any:
        """One call is one request, unless more attempts are asked for."""
        import boto3
        from botocore.config import Config

        known = (service, region, attempts)
        if known not in self.clients:
            session: Any = boto3.session.Session(
                aws_access_key_id=self.access.access_key_id,
                aws_secret_access_key=self.access.secret_access_key,
                region_name=region,
            )
            config = Config(retries={"total_max_attempts": attempts}, read_timeout=30)
            self.clients[known] = session.client(service, endpoint_url=self.access.endpoint_url, config=config)
        return self.clients[known]

    def launch(self, region: str = EAST, *, user_data: str | None = None, **more: Any) -> str:
        """One machine, its id."""
        public = self.key.with_suffix(".pub").read_text().strip()
        opened = (
            "#cloud-config\nusers:\n  - name: ubuntu\n    sudo: ALL=(ALL) NOPASSWD:ALL\n"
            f"    ssh_authorized_keys:\n      - |-\n        {public}\n"
        )
        arguments: dict[str, Any] = {"ImageId": IMAGE, "InstanceType": "m6i.large", "MinCount": 1, "MaxCount": 1}
        answer = self.ec2(region).run_instances(**{**arguments, "UserData": user_data or opened, **more})
        return answer["Instances"][0]["InstanceId"]

    def describe(self, instance: str, region: str = EAST) -> Mapping[str, Any]:
        return self.ec2(region).describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]

    def state(self, instance: str, region: str = EAST) -> str:
        return str(self.describe(instance, region)["State"]["Name"])

    def comes_to(self, state: str, instance: str, *, within: float = PATIENCE) -> bool:
        return eventually(lambda: self.state(instance) == state, within=within)

    def ssh(self, instance: str, command: str, *, region: str = EAST, patience: float = PATIENCE) -> str:
        """What the command prints; it must succeed, once the machine answers at all."""
        words = [
            "ssh", "-F", "/dev/null", "-i", str(self.key), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            f"ubuntu@{self.describe(instance, region)['PublicIpAddress']}", command,
        ]  # fmt: skip
        deadline = time.monotonic() + patience
        while True:
            done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
            if done.returncode != 255 or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def clear(self) -> None:
        for region in (EAST, WEST):
            pages = self.ec2(region).describe_instances()["Reservations"]
            alive = [each["InstanceId"] for page in pages for each in page["Instances"] if each["State"]["Code"] != 48]
            if alive:
                self.ec2(region).terminate_instances(InstanceIds=alive)
