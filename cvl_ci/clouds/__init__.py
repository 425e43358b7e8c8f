"""The clouds: credentials, prices, and the providers' own lists of our resources. SkyPilot's state is not a source.

A provider's list proves a release, and shows a reaper its work. Names load at their first use: an idle post needs one
module of this package, and none of its libraries.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cvl_ci.clouds.aws.buckets import AwsBuckets
    from cvl_ci.clouds.aws.clients import account_regions, ec2_clients, service_clients
    from cvl_ci.clouds.aws.inventory import AwsInventory
    from cvl_ci.clouds.composite import Inventories
    from cvl_ci.clouds.contents import EveryStore
    from cvl_ci.clouds.registry import all_inventories, all_stores, provable_clouds

__all__ = [
    "AwsBuckets",
    "AwsInventory",
    "EveryStore",
    "Inventories",
    "account_regions",
    "all_inventories",
    "all_stores",
    "ec2_clients",
    "provable_clouds",
    "service_clients",
]

_MODULES = {
    "account_regions": "aws.clients",
    "ec2_clients": "aws.clients",
    "AwsBuckets": "aws.buckets",
    "service_clients": "aws.clients",
    "AwsInventory": "aws.inventory",
    "EveryStore": "contents",
    "Inventories": "composite",
    "all_inventories": "registry",
    "all_stores": "registry",
    "provable_clouds": "registry",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return getattr(importlib.import_module(f"cvl_ci.clouds.{_MODULES[name]}"), name)
        raise AttributeError(f"module 'cvl_ci.clouds' has no attribute {name!r}")
