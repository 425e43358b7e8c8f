"""Clients of AWS by service and region, and the regions of an account. boto3 is imported here, only when necessary."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cvl_ci.clouds.aws.queries import listed_entries

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

Clients = Callable[[str, str], Any]
"""Gives the client of a service in a region."""


def service_clients(
    *,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    endpoint_url: str | None = None,
    is_emulator: bool = True,
) -> Clients:
    """Return a function that gives the client of a service in a region. boto3 is imported at the first question.

    With keys, it reads no credentials from the user's files. `endpoint_url`: the address of another server than AWS. No
    proxy can reach an emulator on this computer, so its client uses none.
    """
    clients: dict[tuple[str, str], Any] = {}
    sessions: list[Any] = []
    making = threading.Lock()  # a session makes one client at a time; clients themselves are thread-safe

    def client(service: str, region: str) -> Any:
        with making:
            if (service, region) not in clients:
                clients[service, region] = new_client(service, region)
            return clients[service, region]

    def new_client(service: str, region: str) -> Any:
        import boto3
        from botocore.config import Config

        from cvl_ci.clouds.aws import bounded_client

        if not sessions:  # one for all clients: each session reads the descriptions of the services again
            sessions.append(boto3.Session(aws_access_key_id=access_key_id, aws_secret_access_key=secret_access_key))
        config = Config(
            retries={"mode": "standard", "max_attempts": 5},
            connect_timeout=5,
            read_timeout=20,
            proxies={} if endpoint_url and is_emulator else None,
        )
        new = sessions[0].client(service, region_name=region, endpoint_url=endpoint_url, config=config)
        bounded_client.bind(new)
        return new

    return client


def ec2_clients(
    *, access_key_id: str | None = None, secret_access_key: str | None = None, endpoint_url: str | None = None
) -> Callable[[str], EC2Client]:
    """Return a function that gives the EC2 client of a region, as `service_clients` does."""
    clients = service_clients(
        access_key_id=access_key_id, secret_access_key=secret_access_key, endpoint_url=endpoint_url
    )

    def client(region: str) -> EC2Client:
        ec2: EC2Client = clients("ec2", region)
        return ec2

    return client


def account_regions(client: Callable[[str], EC2Client]) -> Callable[[], Sequence[str]]:
    """Return a function that lists the regions enabled in this account. It raises ValueError for an empty answer."""

    def regions() -> Sequence[str]:
        answer = client("us-east-1").describe_regions(AllRegions=False)
        names = sorted(region["RegionName"] for region in listed_entries(dict(answer), "Regions"))
        if not names:
            raise ValueError("EC2 lists no region of this account, so this proves nothing")
        return names

    return regions
