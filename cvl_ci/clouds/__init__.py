"""What a provider itself says exists of ours: proof for a release, prey for a reaper. No state of SkyPilot is asked."""

from cvl_ci.engine.inventory.aws import AwsInventory
from cvl_ci.engine.inventory.aws_clients import account_regions, ec2_clients
from cvl_ci.engine.inventory.every import PROVED, every
from cvl_ci.engine.inventory.several import Inventories

__all__ = ["PROVED", "AwsInventory", "Inventories", "account_regions", "ec2_clients", "every"]
