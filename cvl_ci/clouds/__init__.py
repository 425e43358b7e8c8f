"""What a provider itself says exists of ours: proof for a release, prey for a reaper. No state of SkyPilot is asked."""

from cvl_ci.clouds.aws.clients import account_regions, ec2_clients
from cvl_ci.clouds.aws.inventory import AwsInventory
from cvl_ci.clouds.composite import Inventories
from cvl_ci.clouds.registry import PROVED, every

__all__ = ["PROVED", "AwsInventory", "Inventories", "account_regions", "ec2_clients", "every"]
