"""One security group a region for all runs of an account, held to SkyPilot's own configuration."""

from __future__ import annotations

from typing import Any

import pytest

from cvl_ci.clouds.aws.queries import SHARED_GROUP

pytestmark = pytest.mark.sky


def configured() -> Any:
    """Return the name that SkyPilot would use: sky/clouds/aws.py, make_deploy_resources_variables."""
    from sky import skypilot_config

    return skypilot_config.get_effective_region_config(
        cloud="aws", region="us-east-1", keys=("security_group_name",), default_value=None
    )


def test_skypilot_uses_one_name_on_every_computer() -> None:
    from cvl_ci.engine.shared_group import one_shared_group

    before = configured()
    with one_shared_group():
        assert configured() == SHARED_GROUP
    assert configured() == before


def test_a_group_of_the_user_s_own_configuration_wins() -> None:
    from sky import skypilot_config

    from cvl_ci.engine.shared_group import one_shared_group

    with (
        skypilot_config.override_skypilot_config({"aws": {"security_group_name": "our-firewall"}}),
        one_shared_group(),
    ):
        assert configured() == "our-firewall"


def test_skypilot_never_ends_a_group_of_its_configuration() -> None:
    """It would move the machines first, which a machine's own role may not do: sky/provision/aws/instance.py."""
    import inspect

    from sky.clouds import aws
    from sky.provision.aws import instance

    assert "security_group != user_security_group" in inspect.getsource(aws.AWS.make_deploy_resources_variables)
    assert "elif not managed_by_skypilot:" in inspect.getsource(instance.terminate_instances)
