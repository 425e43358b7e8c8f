"""What the emulated provider itself shows, asked with plain boto3 in every region: nothing of ours is believed here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cvl_ci.sandbox import SkyAccess, keys

OVER = {"shutting-down", "terminated"}
"""EC2 bills neither."""
OFTEN, SELDOM, A_WHILE = 1.0, 3.0, 90.0
"""Seconds between two questions, at first and after a while."""
_making = threading.Lock()
"""boto3 makes no two clients at once."""


class Provider:
    """The whole account, every region of it. Each sandbox holds one run, so all that is there is that run's."""

    def __init__(self, access: SkyAccess) -> None:
        with _making:
            self._clients = {region: _client(access, region) for region in access.regions}
        self.living = ""
        """A lease whose machines are not looked at for now: its run goes on."""

    def leftovers(self) -> list[str]:
        """Machines that are not over; where there are none, also disks, addresses and waiting spot requests.

        Raises when it does not answer.
        """
        machines = [found for region, ec2 in self._clients.items() for found in _machines(region, ec2, self.living)]
        if self.living:
            return machines
        return machines or [found for region, ec2 in self._clients.items() for found in _besides(region, ec2)]


class Watch(threading.Thread):
    """Looks on once it is told to, and until told to stop."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(daemon=True)
        self.provider = provider
        self._over, self._begun = threading.Event(), threading.Event()
        self.left: list[str] | None = None
        """None: it has not answered, or not since."""
        self.gone_at: float | None = None
        """The first answer of nothing since something was last seen; also when nothing ever was."""

    def begin(self) -> None:
        """Before, nothing is asked but by `check`: the emulator shares its processor with the runs."""
        self.check()
        self._begun.set()

    def run(self) -> None:
        self._begun.wait()
        began = time.monotonic()
        while not self._over.wait(OFTEN if time.monotonic() - began < A_WHILE else SELDOM):
            self.check()

    def check(self) -> None:
        try:
            left = self.provider.leftovers()
        except (ClientError, BotoCoreError):
            self.left = None
            return
        now = time.monotonic()
        if left:
            self.gone_at = None
        elif self.gone_at is None:
            self.gone_at = now
        self.left = left

    def stop(self) -> None:
        self._over.set()
        self._begun.set()
        self.join()


def _client(access: SkyAccess, region: str) -> Any:
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30)
    return _session(access.home.parent).client(
        "ec2", region_name=region, endpoint_url=access.endpoint_url, config=config
    )


@cache
def _session(directory: Path) -> Any:
    """With keys of its own: those of the run may expire. One for all: it remembers EC2's model, which is large."""
    import boto3

    known = keys.load(directory)
    assert known is not None
    session: Any = boto3.session.Session(aws_access_key_id=known.witness.id, aws_secret_access_key=known.witness.secret)
    return session


def _machines(region: str, ec2: Any, living: str) -> Iterator[str]:
    for page in ec2.get_paginator("describe_instances").paginate():
        for reservation in page["Reservations"]:
            for each in reservation["Instances"]:
                lease = [tag["Value"] for tag in each.get("Tags", ()) if tag["Key"] == "cvl-ci-lease"]
                if each["State"]["Name"] not in OVER and (not living or lease != [living]):
                    yield f"{region} {each['InstanceId']} ({each['State']['Name']})"


def _besides(region: str, ec2: Any) -> Iterator[str]:
    for volume in ec2.describe_volumes()["Volumes"]:
        yield f"{region} {volume['VolumeId']} ({volume['State']})"
    for address in ec2.describe_addresses()["Addresses"]:
        yield f"{region} {address.get('AllocationId', address['PublicIp'])}"
    for request in ec2.describe_spot_instance_requests()["SpotInstanceRequests"]:
        if request["State"] == "open":
            yield f"{region} {request['SpotInstanceRequestId']} (open)"
