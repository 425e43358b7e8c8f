"""List every key of a task, and what a run does with it: read, passed on, refused or unused. Data."""

# Every key of SkyPilot 0.14.1 stands in one of these tables (tests/engine/test_grammar.py). Read for plan and quote:
READ = {"name", "workdir", "num_nodes", "resources", "envs", "secrets", "setup", "run"}
PASSED_ON = {"file_mounts", "config", "volumes", "event_callback", "inputs", "outputs", "managed_secrets"}
PASSED_ON |= {"api_server_access"}
REFUSED = {
    "service": "is a service, which runs until a person ends it: a run ends by itself",
    "pool": "is a pool of workers, which runs until a person ends it: a run ends by itself",
}
INTERNAL = {"file_mounts_mapping", "volume_mounts", "_metadata"}
INTERNAL |= {"_no_missing_accel_warnings", "_docker_login_config", "_is_image_managed", "_requires_fuse"}
INTERNAL |= {"_cluster_config_overrides"}
"""Keys that SkyPilot writes for itself, and a person never does."""

RESOURCES_READ = {"infra", "cloud", "region", "zone", "accelerators", "use_spot", "image_id", "cpus", "memory"}
RESOURCES_READ |= {"disk_size", "instance_type", "any_of", "ordered", "job_recovery"}
RESOURCES_PASSED_ON = {"labels", "ports", "accelerator_args", "max_hourly_cost", "priority", "priority_class"}
"""They do not change which machine is taken, and do not raise its cost."""

RESOURCES_UNPRICED = {
    "disk_tier": "the disk's tier",
    "network_tier": "the network's tier",
    "local_disk": "a machine with a local disk",
    "volumes": "volumes",
}
"""Passed on without a price in the catalogue. A warning therefore says that the quote does not include them."""

RESOURCES_OURS = {
    "autostop": "a run ends its machine by itself",
}
RESOURCES_REFUSED = {
    "ephemeral_storage": "SkyPilot no longer reads it: give disk_size",
}

ALTERNATIVES = ("any_of", "ordered")
ALTERNATIVES_PASSED_ON = RESOURCES_PASSED_ON | RESOURCES_UNPRICED.keys() | {"image_id"}

SKYPILOT_DISK_GB = 256
"""The default of a task without a disk size: sky/resources.py, DEFAULT_DISK_SIZE_GB."""
