"""Let SkyPilot use one security group a region for all runs of a repository.

By default the group's name has a hash of this computer's host name (sky/clouds/aws.py, DEFAULT_SECURITY_GROUP_NAME).
Computers of CI have a new name each time, so an account would get one more group from each. Nothing removes them, and
EC2 takes 2,500 a region (Amazon VPC User Guide, "Amazon VPC quotas"). After that, no launch would succeed.

The group admits all traffic between its machines (sky/provision/aws/config.py, _configure_security_group). So each
repository has its own: a job must not reach the machines of another repository.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sky import skypilot_config
from sky.utils import common_utils

from cvl_ci.clouds.aws import queries

_KEY = ("aws", "security_group_name")


@contextmanager
def one_shared_group() -> Iterator[None]:
    """Name the group in SkyPilot's configuration while the block runs. A group that the user's own one names wins.

    SkyPilot makes the group if it does not exist, and never removes one with a name of its configuration. It opens no
    port in it (provision_hooks.py). SkyPilot's user hash is the owner's `user_id`.
    """
    if skypilot_config.get_nested(_KEY, None) is not None:
        yield
        return
    name = queries.shared_group(common_utils.get_user_hash())
    with skypilot_config.override_skypilot_config({_KEY[0]: {_KEY[1]: name}}):
        yield
