"""moto's EC2 with a machine behind each instance: where moto changes a record, this module changes a container.

`install` replaces all the parts of moto that this module replaces, so that one place shows what it depends on. An
instance of moto, and its backend, are `Any` here, because moto has no types that we could use.
"""
# ruff: noqa: SLF001  # this file's work is to replace parts of moto

from __future__ import annotations

import copy
import ipaddress
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.ec2.models.instances import InstanceBackend, StateReason
from moto.ec2.responses.instances import InstanceResponse

from cvl_ci.errors import SandboxError
from cvl_ci.sandbox.docker.engine import NAME_LABEL
from cvl_ci.sandbox.emulator.containers import REBOOT, Boot, MachineContainers
from cvl_ci.sandbox.faults import Faults, touches
from cvl_ci.sandbox.sandbox_spec import SandboxSpec

NO_TOKEN = "ABCDE"  # noqa: S105  # moto's value when a caller sends no ClientToken
ROOT_DISK = "/dev/sda1"
CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
GONE = ("shutting-down", "terminated")
SPOT_TAKEN = "Server.SpotInstanceTermination"
SHUT_DOWN_INSIDE = "Client.InstanceInitiatedShutdown"
HOST_FAILED = "Server.InternalError"


class NoSuchInstance(SandboxError):
    """A command for an instance that does not exist or cannot obey."""


class EmulatedEc2:
    """The emulated EC2.

    It reads `faults` at each call. One lock guards the records; no thread waits for Docker under it.
    """

    def __init__(self, spec: SandboxSpec, machines: MachineContainers, faults: Callable[[], Faults]) -> None:
        self._spec = spec
        self._machines = machines
        self._faults = faults
        self._lock = threading.RLock()
        self._by_token: dict[tuple[str, str], Any] = {}
        self._dead_hosts: set[str] = set()
        self.notices: dict[str, datetime] = {}
        """The moment of a spot machine's preemption, by instance."""
        self.ends: dict[str, datetime] = {}
        """The moment at which EC2 stops billing a machine, by instance: it is shutting down."""

    def install(self) -> None:
        RegionsAndZonesBackend.regions = [
            region for region in RegionsAndZonesBackend.regions if region.name in self._spec.regions
        ]
        # The only address of a machine is its public one too: this host reaches it there.
        NetworkInterface.check_auto_public_ip = _public_is_private
        self._moto_vpc = EC2Backend.create_default_vpc
        self._moto_run = InstanceBackend.run_instances
        self._moto_terminate = InstanceBackend.terminate_instances
        self._moto_stop = InstanceBackend.stop_instances
        self._moto_start = InstanceBackend.start_instances
        self._moto_reboot = InstanceBackend.reboot_instances
        parse = InstanceResponse._parse_block_device_mapping
        InstanceResponse._parse_block_device_mapping = lambda response: _delete_root_disk(response, parse(response))
        EC2Backend.create_default_vpc = _as_method(self._default_vpc)
        InstanceBackend.run_instances = _as_method(self.run)
        InstanceBackend.terminate_instances = _as_method(self.terminate)
        InstanceBackend.stop_instances = _as_method(self.stop)
        InstanceBackend.start_instances = _as_method(self.start)
        InstanceBackend.reboot_instances = _as_method(self.reboot)

    # ---- what callers of EC2 ask for -------------------------------------------------------------------------------

    def run(self, backend: Any, image: str, count: int, user_data: Any, groups: Any, **kwargs: Any) -> Any:
        region, token = backend.region_name, str(kwargs.get("client_token"))
        network = self._spec.network(region)
        if network is None:
            raise EC2ClientError(
                "OptInRequired", f"This sandbox sells machines only in {', '.join(self._spec.regions)}."
            )
        with self._lock:
            # A client that lost our answer repeats its request with the token: it gets the same machines, not more.
            if token != NO_TOKEN and (region, token) in self._by_token:
                return self._by_token[region, token]
            zone = _choose_subnet(backend, kwargs)
            self._require_capacity(region, zone, spot=bool(kwargs.get("instance_market_options")))
            reservation = self._moto_run(backend, image, count, user_data, groups, **kwargs)
            if token != NO_TOKEN:
                self._by_token[region, token] = reservation
            for instance in reservation.instances:
                _set_state(instance, "pending")
        try:
            self._machines.start_all([self._boot(instance) for instance in reservation.instances])
        except SandboxError as error:
            print("could not start", [record.id for record in reservation.instances], error, flush=True)
            self._terminate_all(backend, reservation.instances, reason=HOST_FAILED)
            raise EC2ClientError("InternalError", f"The sandbox could not start the machine: {error.what}") from error
        with self._lock:
            for instance in reservation.instances:
                if instance.state == "pending":
                    _set_state(instance, "running")
        return reservation

    def terminate(self, backend: Any, ids: Sequence[str]) -> list[tuple[Any, Any]]:
        if touches(self._faults().terminate_fails, region=backend.region_name):
            raise EC2ClientError("InternalError", "An internal error has occurred (a fault of this sandbox).")
        instances = backend.get_multi_instances_by_id(ids)  # raises for an unknown one, before any change
        before = {record.id: copy.copy(record._state) for record in instances}
        if any(record.disable_api_termination for record in instances):
            return list(self._moto_terminate(backend, ids))  # its answer tells that they are protected
        self._terminate_all(backend, [record for record in instances if record.state != "terminated"])
        return [(record, before[record.id]) for record in instances]

    def stop(self, backend: Any, ids: Sequence[str]) -> list[tuple[Any, Any]]:
        instances = backend.get_multi_instances_by_id(ids)
        for record in instances:
            if record.lifecycle == "spot":
                raise EC2ClientError(
                    "UnsupportedOperation",
                    f"You can't stop the Spot Instance '{record.id}' because it is associated with a one-time Spot "
                    "Instance request.",
                )
        running = [record for record in instances if record.state == "running"]
        for record in running:
            _set_state(record, "stopping")
        self._machines.stop(record.id for record in running)
        return list(self._moto_stop(backend, ids))

    def start(self, backend: Any, ids: Sequence[str]) -> list[tuple[Any, Any]]:
        stopped = [record for record in backend.get_multi_instances_by_id(ids) if record.state == "stopped"]
        for record in stopped:
            self._require_capacity(backend.region_name, record.availability_zone, spot=False)
        self._machines.start_again(record.id for record in stopped)
        return list(self._moto_start(backend, ids))

    def reboot(self, backend: Any, ids: Sequence[str]) -> Any:
        running = [record.id for record in backend.get_multi_instances_by_id(ids) if record.state == "running"]
        self._machines.restart(running)
        return self._moto_reboot(backend, ids)

    # ---- what befalls machines -------------------------------------------------------------------------------------

    def alive(self) -> Iterator[str]:
        """Yield the instances that must have a running container."""
        for _, instance in self.records():
            if instance.state == "running" and instance.id not in self._dead_hosts:
                yield instance.id

    def has_machines(self) -> bool:
        """Return whether there are machines, running or not."""
        return any(instance.state not in GONE for _, instance in self.records())

    def is_alive(self, instance: str) -> bool:
        return any(record.id == instance and record.state not in GONE for _, record in self.records())

    def machine_ended(self, instance: str, *, code: int | None) -> None:
        """Record that a container ended by itself, with `code`, or that something removed it (None)."""
        for backend, record in self.records():
            if record.id != instance or record.id in self._dead_hosts or record.state in GONE:
                continue
            print(f"{instance} ended by itself ({code}), {record.state}", flush=True)
            if code == REBOOT and record.state == "running":
                self._machines.start_again([instance])
            elif code is None or record.instance_initiated_shutdown_behavior == "terminate":
                self._terminate_all(backend, [record], reason=SHUT_DOWN_INSIDE if code is not None else HOST_FAILED)
            elif record.state == "running":
                record.stop()
                record.state_reason = StateReason(f"{SHUT_DOWN_INSIDE}: Instance initiated shutdown", SHUT_DOWN_INSIDE)

    def interrupt(self, instance: str, *, notice_seconds: float) -> None:
        backend, spot = self.find(instance)
        if spot.lifecycle != "spot" or spot.state != "running":
            raise NoSuchInstance(
                f"{instance} is not a running spot machine ({spot.lifecycle or 'on demand'}, {spot.state})."
            )
        self.notices[instance] = datetime.now(timezone.utc) + timedelta(seconds=notice_seconds)
        end = threading.Timer(notice_seconds, self._terminate_all, (backend, [spot]), {"reason": SPOT_TAKEN})
        end.daemon = True
        end.start()

    def kill(self, instance: str, *, looks_running: bool) -> None:
        backend, victim = self.find(instance)
        if victim.state in GONE:
            raise NoSuchInstance(f"{instance} is {victim.state} already.")
        if looks_running:
            self._dead_hosts.add(instance)
            self._machines.remove([instance])
        else:
            self._terminate_all(backend, [victim], reason=HOST_FAILED)

    def find(self, instance: str) -> tuple[Any, Any]:
        for backend, record in self.records():
            if record.id == instance:
                return backend, record
        raise NoSuchInstance(f"There is no instance {instance} in this sandbox.")

    def records(self) -> list[tuple[Any, Any]]:
        return [(backend, record) for backend in self.backends() for record in backend.all_instances()]

    def backends(self) -> list[Any]:
        return [ec2_backends[DEFAULT_ACCOUNT_ID][region] for region in self._spec.regions]

    # ---- how ---------------------------------------------------------------------------------------------------------

    def _terminate_all(self, backend: Any, instances: Sequence[Any], *, reason: str = "") -> None:
        """Terminate instances, containers first: a machine that EC2 calls terminated does not exist."""
        with self._lock:
            live = [record for record in instances if record.state != "terminated"]
            before = {record.id: record.state for record in live}
            for record in live:
                _set_state(record, "shutting-down")
                record.disable_api_termination = False
                self.ends.setdefault(record.id, datetime.now(timezone.utc))
        try:
            self._machines.remove(record.id for record in live)
        except SandboxError:
            for record in live:
                _set_state(record, before[record.id])
                self.ends.pop(record.id, None)
            raise
        with self._lock:
            for record in [record for record in live if record.state != "terminated"]:
                for interface in record.nics.values():
                    interface.delete_on_termination = True  # as EC2 does; this also frees the address
                self._moto_terminate(backend, [record.id])
                # EC2 dates the request, and moto the moment at which it calls the machine terminated.
                record._reason = f"User initiated ({self.ends[record.id]:%Y-%m-%d %H:%M:%S} GMT)"
                record._private_ips = set()  # otherwise moto frees the address again, when another instance has it
                if reason:
                    record.state_reason = StateReason(f"{reason}: {reason.partition('.')[2]}", reason)
                self.notices.pop(record.id, None)
                self._dead_hosts.discard(record.id)

    def _require_capacity(self, region: str, zone: str | None, *, spot: bool) -> None:
        faults = self._faults()
        places = faults.no_capacity + (faults.no_spot_capacity if spot else ())
        if touches(places, region=region, zone=zone):
            raise EC2ClientError(
                "InsufficientInstanceCapacity",
                "We currently do not have sufficient capacity in the Availability Zone you requested "
                f"({zone}). Our system will be working on provisioning additional capacity.",
            )

    def _boot(self, instance: Any) -> Boot:
        faults, region, zone = self._faults(), instance.region_name, instance.availability_zone
        network = self._spec.network(region)
        if network is None:
            raise NoSuchInstance(f"{instance.id} is in {region}, where this sandbox has no machines.")
        never = touches(faults.never_ssh, region=region, zone=zone)
        name = next((tag["value"] for tag in instance.get_tags() if tag["key"] == "Name"), "")
        return Boot(
            instance=instance.id,
            network=network,
            address=instance.private_ip,
            wait="never" if never else f"{faults.slow_boot_seconds:g}",
            has_broken_gpus=touches(faults.broken_gpus, region=region, zone=zone),
            labels={"cvl-ci-sandbox-type": instance.instance_type, NAME_LABEL: name},
        )

    def _default_vpc(self, backend: Any) -> Any:
        network = self._spec.network(backend.region_name)
        if network is None:
            return self._moto_vpc(backend)
        vpc = backend.create_vpc(cidr_block=network.cidr, is_default=True)
        ranges = ipaddress.IPv4Network(network.cidr).subnets(new_prefix=24)
        for zone, block in zip(backend.describe_availability_zones(), ranges, strict=False):
            backend.create_subnet(vpc_id=vpc.id, cidr_block=str(block), availability_zone=zone.name)
        return vpc


def _delete_root_disk(response: Any, disks: list[Any]) -> list[Any]:
    """Delete the root disk with the machine by default, as an image does. moto's default is to keep it."""
    for disk, mapping in zip(disks, response._get_param("BlockDeviceMappings", []), strict=True):
        if disk["DeviceName"] == ROOT_DISK and "DeleteOnTermination" not in mapping.get("Ebs", {}):
            disk["Ebs"]["DeleteOnTermination"] = True
    return disks


def _as_method(work: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function for a class. A bound method on a class would not receive the backend of the call."""

    def method(backend: Any, *args: Any, **kwargs: Any) -> Any:
        return work(backend, *args, **kwargs)

    return method


def _choose_subnet(backend: Any, kwargs: dict[str, Any]) -> str | None:
    """Return the zone. Without a subnet, write one into the call: moto counts addresses only through a subnet."""
    subnet = kwargs.get("subnet_id") or next(
        (nic["SubnetId"] for nic in kwargs.get("nics") or () if "SubnetId" in nic), None
    )
    if subnet is None:
        defaults = backend.get_default_subnets()
        zone = kwargs.get("placement") or min(defaults)
        if zone not in defaults:
            raise EC2ClientError("InvalidParameterValue", f"Invalid availability zone: [{zone}]")
        subnet = defaults[zone].id
        if not kwargs.get("nics"):
            kwargs["subnet_id"] = subnet
    return str(backend.get_subnet(subnet).availability_zone)


def _set_state(instance: Any, name: str) -> None:
    instance._state.name, instance._state.code = name, CODES[name]


def _public_is_private(interface: Any) -> None:
    if str(interface.public_ip_auto_assign).lower() == "true":
        interface.public_ip = interface.private_ip_address
