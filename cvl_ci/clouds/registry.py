"""All clouds with an inventory. Each one is made at its first use, so that a query imports no other cloud's library."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci.clouds.aws.clients import account_regions, ec2_clients
from cvl_ci.clouds.aws.inventory import AwsInventory
from cvl_ci.clouds.azure import inventory as azure
from cvl_ci.clouds.composite import Inventories
from cvl_ci.clouds.gcp import inventory as gcp
from cvl_ci.clouds.kubernetes.inventory import Kubernetes
from cvl_ci.clouds.lambda_cloud import inventory as lambda_cloud
from cvl_ci.clouds.programs import programs
from cvl_ci.clouds.provider import Provider, ProviderInventory
from cvl_ci.clouds.runpod import inventory as runpod
from cvl_ci.ports import Inventory

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

PROVED = ("aws", "gcp", "azure", "lambda", "runpod", "kubernetes", "api-server")
"""The clouds that can prove an end: these providers, and an API server for its own (engine/server_inventory.py)."""


def all_inventories(environ: Mapping[str, str], *, anywhere: Collection[str] = ()) -> Inventories:
    """Return the inventory of all clouds. `anywhere`: the clouds of a query that names no place."""
    home, run = Path(environ.get("HOME", "/root")), programs(environ)
    project = environ.get("GOOGLE_CLOUD_PROJECT", "")
    providers: list[Provider] = [
        gcp.Gcp(lambda: gcp.sign_in(project)),
        azure.Azure(lambda: azure.token_from(run)),
        lambda_cloud.LambdaCloud(lambda: lambda_cloud.key_from(home)),
        runpod.RunPod(lambda: runpod.key_from(home)),
        Kubernetes(run),
    ]
    inventories: dict[str, Inventory] = {provider.name: ProviderInventory(provider) for provider in providers}
    client = _clients()
    inventories["aws"] = AwsInventory(client=client, regions=account_regions(client))
    return Inventories(inventories, anywhere=anywhere)


def _clients() -> Callable[[str], EC2Client]:
    """Return one client factory for all regions, made at its first use: boto3 is not imported earlier."""
    clients = cache(ec2_clients)

    def client(region: str) -> EC2Client:
        return clients()(region)

    return client
