"""EC2 clients by region, and the regions of an account. boto3 is imported here, only when necessary."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cvl_ci.clouds.aws.queries import listed_entries

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client


def ec2_clients(
    *,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    endpoint_url: str | None = None,
) -> Callable[[str], EC2Client]:
    """Return a function that gives the client of a region. With keys, it reads no credentials from the user's files.

    `endpoint_url`: the address of an emulator on this computer. No proxy can reach it, so the client uses none.
    """
    import boto3
    from botocore.config import Config

    from cvl_ci.clouds.aws import bounded_client

    session = boto3.Session(aws_access_key_id=access_key_id, aws_secret_access_key=secret_access_key)
    config = Config(
        retries={"mode": "standard", "max_attempts": 5},
        connect_timeout=5,
        read_timeout=20,
        proxies={} if endpoint_url else None,
    )
    clients: dict[str, EC2Client] = {}
    making = threading.Lock()  # a session makes one client at a time; clients themselves are thread-safe

    def client(region: str) -> EC2Client:
        with making:
            if region not in clients:
                new = session.client("ec2", region_name=region, endpoint_url=endpoint_url, config=config)
                bounded_client.bind(new)
                clients[region] = new
            return clients[region]

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
