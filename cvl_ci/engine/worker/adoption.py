"""Make SkyPilot on this computer know a cluster that another computer launched, from the cloud's own answer alone.

SkyPilot enters a cluster by a record in its state: a handle, and the cluster's configuration. Nothing of them comes
from the machine or from the other computer. The configuration is written as a launch writes it
(sky/backends/backend_utils.py, `write_cluster_config`), and the addresses come from `provision.get_cluster_info`. This
module is loaded in the worker process only.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import sky
from sky import clouds, exceptions, global_user_state, provision
from sky.adaptors import aws
from sky.backends import CloudVmRayResourceHandle, backend_utils
from sky.provision.common import ProvisionRuntimeMetadata
from sky.utils import common_utils

from cvl_ci.engine import node_commands
from cvl_ci.engine.worker import private_channels, provision_hooks
from cvl_ci.model.lease_name import CLUSTER_TAG

Send = Any
_TEMPLATE = "aws-ray.yml.j2"
"""sky/backends/cloud_vm_ray_backend.py, `_get_cluster_config_template`."""
_NO_WHEEL = "none"
"""SkyPilot's own package is on the machine already. The configuration copies an empty folder and names no archive."""


def adopt(_send: Send, *, cluster: str, task: dict[str, Any], region: str, nodes: int, key: dict[str, str]) -> None:
    """Record a running cluster of this name in SkyPilot's state. `key`: its key pair, `private` and `public`.

    Raises ClusterDoesNotExist unless the cloud shows all nodes, running and of one kind. Its key stays on no disk then.
    """
    private_channels.use_key(cluster, **key)
    private_channels.give_a_key_of_its_own(cluster)
    try:
        _record(cluster, task, region=region, nodes=nodes)
    except Exception:
        private_channels.forget_key(cluster)
        raise


def forget(_send: Send, *, cluster: str) -> None:
    """Remove the record and the key of a cluster that another computer uses. Its machines live on."""
    global_user_state.remove_cluster(cluster, terminate=True)
    private_channels.forget_key(cluster)


def _record(cluster: str, task: dict[str, Any], *, region: str, nodes: int) -> None:
    cloud = clouds.AWS()
    on_cloud = common_utils.make_cluster_name_on_cloud(cluster, max_length=cloud.max_cluster_name_length())
    resources = _resources(task, _machines(on_cloud, region), region=region, cluster=cluster, nodes=nodes)
    with tempfile.TemporaryDirectory(prefix="cvl-ci-") as no_wheel:
        config = backend_utils.write_cluster_config(
            resources,
            nodes,
            _TEMPLATE,
            cluster,
            Path(no_wheel),
            _NO_WHEEL,
            region=clouds.Region(region),
            zones=[clouds.Zone(resources.zone)],
            keep_launch_fields_in_existing_config=False,
        )
    handle = CloudVmRayResourceHandle(
        cluster_name=cluster,
        cluster_name_on_cloud=on_cloud,
        cluster_yaml=config["ray"],
        launched_nodes=nodes,
        launched_resources=resources,
    )
    provider = global_user_state.get_cluster_yaml_dict(handle.cluster_yaml)["provider"]
    info = provision.get_cluster_info("aws", region, on_cloud, provider_config=provider)
    if info.num_instances != nodes:
        raise exceptions.ClusterDoesNotExist(f"The cloud shows {info.num_instances} of {nodes} machines of {cluster}.")
    handle.provision_runtime_metadata = ProvisionRuntimeMetadata()
    handle.update_cluster_ips(cluster_info=info)
    handle.update_ssh_ports()
    global_user_state.add_or_update_cluster(cluster, handle, {resources}, ready=True)


def ask_head(_send: Send, *, cluster: str, command: str) -> dict[str, Any]:
    """Return the answer of the head alone."""
    handle: Any = global_user_state.get_handle_from_cluster_name(cluster)
    if handle is None:
        raise exceptions.ClusterDoesNotExist(f"{cluster} is not in SkyPilot's records.")
    return node_commands.ask(list(handle.get_command_runners())[:1], command)[0]


def _machines(on_cloud: str, region: str) -> list[dict[str, Any]]:
    """Return EC2's descriptions of the running machines of a cluster."""
    filters = [
        {"Name": f"tag:{CLUSTER_TAG}", "Values": [on_cloud]},
        {"Name": "instance-state-name", "Values": ["running"]},
    ]
    pages = aws.client("ec2", region_name=region).get_paginator("describe_instances").paginate(Filters=filters)
    return [machine for page in pages for one in page["Reservations"] for machine in one["Instances"]]


def _resources(task: dict[str, Any], machines: list[dict[str, Any]], *, region: str, cluster: str, nodes: int) -> Any:
    """Return the task's resources as the cloud shows them."""
    kinds = {
        (one["InstanceType"], one["Placement"]["AvailabilityZone"], one.get("InstanceLifecycle") == "spot")
        for one in machines
    }
    if len(machines) != nodes:
        raise exceptions.ClusterDoesNotExist(f"The cloud shows {len(machines)} of {nodes} machines of {cluster}.")
    if len(kinds) != 1:
        kinds_text = "; ".join(f"{kind} in {zone}{' on spot' if spot else ''}" for kind, zone, spot in sorted(kinds))
        raise exceptions.ClusterDoesNotExist(f"The machines of {cluster} are not all of one kind: {kinds_text}.")
    instance_type, zone, is_spot = kinds.pop()
    requested: sky.Resources = next(iter(provision_hooks.task_of(task).resources))
    return requested.copy(
        cloud=clouds.AWS(),
        region=region,
        zone=zone,
        instance_type=instance_type,
        accelerators=None,
        cpus=None,
        memory=None,
        use_spot=is_spot,
    )
