"""The list of clouds, one line for each. Checks, credential files, inventories and proofs follow from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from cvl_ci.clouds.api_server.credentials import API_SERVER
from cvl_ci.clouds.aws import inventory as aws
from cvl_ci.clouds.aws.credentials import AWS
from cvl_ci.clouds.azure import containers as azure_containers
from cvl_ci.clouds.azure import inventory as azure
from cvl_ci.clouds.azure.credentials import AZURE
from cvl_ci.clouds.cloudflare import buckets as r2
from cvl_ci.clouds.composite import Inventories
from cvl_ci.clouds.contents import EveryStore
from cvl_ci.clouds.credential_provider import CredentialProvider
from cvl_ci.clouds.gcp import buckets as gcs
from cvl_ci.clouds.gcp import inventory as gcp
from cvl_ci.clouds.gcp.credentials import GCP
from cvl_ci.clouds.kubernetes import inventory as kubernetes
from cvl_ci.clouds.kubernetes.credentials import KUBERNETES
from cvl_ci.clouds.lambda_cloud import inventory as lambda_cloud
from cvl_ci.clouds.lambda_cloud.credentials import LAMBDA
from cvl_ci.clouds.nebius.credentials import NEBIUS
from cvl_ci.clouds.runpod import inventory as runpod
from cvl_ci.clouds.runpod.credentials import RUNPOD
from cvl_ci.ports import BucketContents, Inventory


@dataclass(frozen=True, kw_only=True)
class RegisteredCloud:
    """One cloud. `inventory` opens its inventory, from an environment; without one, no run may go there.

    `engine_asks`: the engine has the inventory (engine/server/server_inventory.py).
    """

    credentials: CredentialProvider
    inventory: Callable[[Mapping[str, str]], Inventory] | None = None
    engine_asks: bool = False

    @property
    def name(self) -> str:
        return self.credentials.cloud


CLOUDS: tuple[RegisteredCloud, ...] = (
    RegisteredCloud(credentials=AWS, inventory=aws.open_inventory),
    RegisteredCloud(credentials=GCP, inventory=gcp.open_inventory),
    RegisteredCloud(credentials=AZURE, inventory=azure.open_inventory),
    RegisteredCloud(credentials=LAMBDA, inventory=lambda_cloud.open_inventory),
    RegisteredCloud(credentials=RUNPOD, inventory=runpod.open_inventory),
    RegisteredCloud(credentials=NEBIUS),
    RegisteredCloud(credentials=KUBERNETES, inventory=kubernetes.open_inventory),
    RegisteredCloud(credentials=API_SERVER, engine_asks=True),
)


def credential_providers() -> dict[str, CredentialProvider]:
    """Return the providers of credentials by cloud."""
    return {cloud.name: cloud.credentials for cloud in CLOUDS}


def provable_clouds() -> tuple[str, ...]:
    """Return the clouds that can prove the end of a machine. A run anywhere else could not be ended."""
    return tuple(cloud.name for cloud in CLOUDS if cloud.inventory or cloud.engine_asks)


def all_stores(s3: BucketContents, environ: Mapping[str, str]) -> EveryStore:
    """Return the contents of the buckets of all stores. Each store's credentials are those of this environment."""
    return EveryStore(
        {
            "s3": lambda: s3,
            "gs": lambda: gcs.open_buckets(environ),
            "az": lambda: azure_containers.open_containers(environ),
            "r2": lambda: r2.open_buckets(environ),
        }
    )


def all_inventories(
    environ: Mapping[str, str], *, anywhere: Collection[str] = (), added: Mapping[str, Inventory] | None = None
) -> Inventories:
    """Return the inventory of all clouds. `anywhere`: the clouds to ask when a question names no place.

    `added`: inventories that are not of a cloud, by their names.
    """
    opened = {cloud.name: cloud.inventory(environ) for cloud in CLOUDS if cloud.inventory}
    return Inventories({**opened, **(added or {})}, anywhere=anywhere)
