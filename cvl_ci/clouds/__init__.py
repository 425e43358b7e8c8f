"""The clouds: credentials, prices, and the providers' own lists of our resources. SkyPilot's state is not a source.

A provider's list proves a release, and shows a reaper its work.
"""

from cvl_ci.clouds.aws.clients import account_regions, ec2_clients
from cvl_ci.clouds.aws.inventory import AwsInventory
from cvl_ci.clouds.composite import Inventories
from cvl_ci.clouds.registry import all_inventories, proved

__all__ = ["AwsInventory", "Inventories", "account_regions", "all_inventories", "ec2_clients", "proved"]
