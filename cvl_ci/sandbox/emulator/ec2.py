"""moto's EC2, with a machine behind every instance: where moto changes a record, here something really happens.

All of moto that is replaced is replaced in `install`, so that one place says what of moto this stands on. An instance
of moto, and its backend, are `Any` here: moto is not typed for us.
"""
# ruff: noqa: SLF001  # to stand in for parts of moto is this file's work

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
from cvl_ci.sandbox.emulator.containers import REBOOT, Boot, Machines
from cvl_ci.sandbox.faults import Faults, touches
from cvl_ci.sandbox.sandbox_spec import Blueprint

NO_TOKEN = "ABCDE"  # noqa: S105  # what moto puts where a caller sends no ClientToken
ROOT_DISK = "/dev/sda1"
CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
GONE = ("shutting-down", "terminated")
SPOT_TAKEN = "Server.SpotInstanceTermination"
SHUT_DOWN_INSIDE = "Client.InstanceInitiatedShutdown"
HOST_FAILED = "Server.InternalError"


class NoSuchInstance(SandboxError):
    """A command about an instance that is not there, or cannot take it."""


class Cloud:
    """`faults` is asked at each call. One lock guards the records; no container is waited for while it is held."""

    def __init__(self, plan: Blueprint, machines: Machines, faults: Callable[[], Faults]) -> None:
        self._plan = plan
        self._machines = machines
        self._faults = faults
        self._lock = threading.RLock()
        self._by_token: dict[tuple[str, str], Any] = {}
        self._dead_hosts: set[str] = set()
        self.notices: dict[str, datetime] = {}
        """When a spot machine will be taken back, by instance."""

    def install(self) -> None:
        RegionsAndZonesBackend.regions = [
            region for region in RegionsAndZonesBackend.regions if region.name in self._plan.regions
        ]
        # The one address a machine has is its public one too: that is where this host reaches it.
        NetworkInterface.check_auto_public_ip = _public_is_private
        self._moto_vpc = EC2Backend.create_default_vpc
        self._moto_run = InstanceBackend.run_instances
        self._moto_terminate = InstanceBackend.terminate_instances
        self._moto_stop = InstanceBackend.stop_instances
        self._moto_start = InstanceBackend.start_instances
        self._moto_reboot = InstanceBackend.reboot_instances
        parse = InstanceResponse._parse_block_device_mapping
        InstanceResponse._parse_block_device_mapping = lambda response: _with_the_images_wish(response, parse(response))
        EC2Backend.create_default_vpc = _as_method(self._default_vpc)
        InstanceBackend.run_instances = _as_method(self.run)
        InstanceBackend.terminate_instances = _as_method(self.terminate)
        InstanceBackend.stop_instances = _as_method(self.stop)
        InstanceBackend.start_instances = _as_method(self.start)
        InstanceBackend.reboot_instances = _as_method(self.reboot)

    # ---- what callers of EC2 ask for -------------------------------------------------------------------------------

    def run(self, backend: Any, image: str, count: int, user_data: Any, groups: Any, **more: Any) -> Any:
        region, token = backend.region_name, str(more.get("client_token"))
        network = self._plan.network(region)
        if network is None:
            raise EC2ClientError(
                "OptInRequired", f"This sandbox sells machines only in {', '.join(self._plan.regions)}."
            )
        with self._lock:
            # A client that lost our answer asks again with its token: the same machines, not more of them.
            if token != NO_TOKEN and (region, token) in self._by_token:
                return self._by_token[region, token]
            zone = _choose_subnet(backend, more)
            self._want_capacity(region, zone, spot=bool(more.get("instance_market_options")))
            reservation = self._moto_run(backend, image, count, user_data, groups, **more)
            if token != NO_TOKEN:
                self._by_token[region, token] = reservation
            for instance in reservation.instances:
                _set_state(instance, "pending")
        try:
            self._machines.start_all([self._boot(instance) for instance in reservation.instances])
        except SandboxError as error:
            print("could not start", [each.id for each in reservation.instances], error, flush=True)
            self._gone(backend, reservation.instances, reason=HOST_FAILED)
            raise EC2ClientError("InternalError", f"The sandbox could not start the machine: {error.what}") from error
        with self._lock:
            for instance in reservation.instances:
                if instance.state == "pending":
                    _set_state(instance, "running")
        return reservation

    def terminate(self, backend: Any, ids: Sequence[str]) -> list[tuple[Any, Any]]:
        if touches(self._faults().terminate_fails, region=backend.region_name):
            raise EC2ClientError("InternalError", "An internal error has occurred (a fault of this sandbox).")
        instances = backend.get_multi_instances_by_id(ids)  # raises when one is unknown, before any is touched
        before = {each.id: copy.copy(each._state) for each in instances}
        if any(each.disable_api_termination for each in instances):
            return list(self._moto_terminate(backend, ids))  # which says that they are protected
        self._gone(backend, [each for each in instances if each.state != "terminated"])
        return [(each, before[each.id]) for each in instances]

    def stop(self, backend: Any, ids: Sequence[str]) -> list[tuple[Any, Any]]:
        instances = backend.get_multi_instances_by_id(ids)
        for each in instances:
            if each.lifecycle == "spot":
                raise EC2ClientError(
                    "UnsupportedOperation",
                    f"You can't stop the Spot Instance '{each.id}' because it is associated with a one-time Spot "
                    "Instance request.",
                )
        running = [each for each in instances if each.state == "running"]
        for each in running:
            _set_state(each, "stopping")
        self._machines.stop(each.id for each in running)
        return list(self._moto_stop(backend, ids))

    def start(self, backend: Any, ids: Sequence[str]) -> list[tuple[Any, Any]]:
        stopped = [each for each in backend.get_multi_instances_by_id(ids) if each.state == "stopped"]
        for each in stopped:
            self._want_capacity(backend.region_name, each.availability_zone, spot=False)
        self._machines.start_again(each.id for each in stopped)
        return list(self._moto_start(backend, ids))

    def reboot(self, backend: Any, ids: Sequence[str]) -> Any:
        running = [each.id for each in backend.get_multi_instances_by_id(ids) if each.state == "running"]
        self._machines.restart(running)
        return self._moto_reboot(backend, ids)

    # ---- what befalls machines -------------------------------------------------------------------------------------

    def alive(self) -> Iterator[str]:
        """Instances that must have a container that runs."""
        for _, instance in self.every():
            if instance.state == "running" and instance.id not in self._dead_hosts:
                yield instance.id

    def any_left(self) -> bool:
        """Machines that are there, running or not."""
        return any(instance.state not in GONE for _, instance in self.every())

    def is_alive(self, instance: str) -> bool:
        return any(each.id == instance and each.state not in GONE for _, each in self.every())

    def ended(self, instance: str, *, code: int | None) -> None:
        """A container ended by itself, with `code`, or was removed by somebody (None)."""
        for backend, each in self.every():
            if each.id != instance or each.id in self._dead_hosts or each.state in GONE:
                continue
            print(f"{instance} ended by itself ({code}), {each.state}", flush=True)
            if code == REBOOT and each.state == "running":
                self._machines.start_again([instance])
            elif code is None or each.instance_initiated_shutdown_behavior == "terminate":
                self._gone(backend, [each], reason=SHUT_DOWN_INSIDE if code is not None else HOST_FAILED)
            elif each.state == "running":
                each.stop()
                each.state_reason = StateReason(f"{SHUT_DOWN_INSIDE}: Instance initiated shutdown", SHUT_DOWN_INSIDE)

    def interrupt(self, instance: str, *, notice_seconds: float) -> None:
        backend, spot = self.find(instance)
        if spot.lifecycle != "spot" or spot.state != "running":
            raise NoSuchInstance(
                f"{instance} is no running spot machine ({spot.lifecycle or 'on demand'}, {spot.state})."
            )
        self.notices[instance] = datetime.now(timezone.utc) + timedelta(seconds=notice_seconds)
        end = threading.Timer(notice_seconds, self._gone, (backend, [spot]), {"reason": SPOT_TAKEN})
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
            self._gone(backend, [victim], reason=HOST_FAILED)

    def find(self, instance: str) -> tuple[Any, Any]:
        for backend, each in self.every():
            if each.id == instance:
                return backend, each
        raise NoSuchInstance(f"There is no instance {instance} in this sandbox.")

    def every(self) -> list[tuple[Any, Any]]:
        return [(backend, each) for backend in self.backends() for each in backend.all_instances()]

    def backends(self) -> list[Any]:
        return [ec2_backends[DEFAULT_ACCOUNT_ID][region] for region in self._plan.regions]

    # ---- how ---------------------------------------------------------------------------------------------------------

    def _gone(self, backend: Any, instances: Sequence[Any], *, reason: str = "") -> None:
        """Containers first: what EC2 calls terminated is really gone."""
        with self._lock:
            going = [each for each in instances if each.state != "terminated"]
            before = {each.id: each.state for each in going}
            for each in going:
                _set_state(each, "shutting-down")
                each.disable_api_termination = False
        try:
            self._machines.remove(each.id for each in going)
        except SandboxError:
            for each in going:
                _set_state(each, before[each.id])
            raise
        with self._lock:
            for each in [each for each in going if each.state != "terminated"]:
                for interface in each.nics.values():
                    interface.delete_on_termination = True  # as EC2 has it; this also frees the address
                self._moto_terminate(backend, [each.id])
                each._private_ips = set()  # or moto would free the address once more, when another has it
                if reason:
                    each.state_reason = StateReason(f"{reason}: {reason.partition('.')[2]}", reason)
                self.notices.pop(each.id, None)
                self._dead_hosts.discard(each.id)

    def _want_capacity(self, region: str, zone: str | None, *, spot: bool) -> None:
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
        network = self._plan.network(region)
        if network is None:
            raise NoSuchInstance(f"{instance.id} is in {region}, where this sandbox has no machines.")
        never = touches(faults.never_ssh, region=region, zone=zone)
        name = next((tag["value"] for tag in instance.get_tags() if tag["key"] == "Name"), "")
        return Boot(
            instance=instance.id,
            network=network,
            address=instance.private_ip,
            wait="never" if never else f"{faults.slow_boot_seconds:g}",
            labels={"cvl-ci-sandbox-type": instance.instance_type, NAME_LABEL: name},
        )

    def _default_vpc(self, backend: Any) -> Any:
        network = self._plan.network(backend.region_name)
        if network is None:
            return self._moto_vpc(backend)
        vpc = backend.create_vpc(cidr_block=network.cidr, is_default=True)
        ranges = ipaddress.IPv4Network(network.cidr).subnets(new_prefix=24)
        for zone, block in zip(backend.describe_availability_zones(), ranges, strict=False):
            backend.create_subnet(vpc_id=vpc.id, cidr_block=str(block), availability_zone=zone.name)
        return vpc


def _with_the_images_wish(response: Any, disks: list[Any]) -> list[Any]:
    """An image wants its root disk deleted with the machine, unless the caller says otherwise; moto's default is no."""
    for disk, asked in zip(disks, response._get_param("BlockDeviceMappings", []), strict=True):
        if disk["DeviceName"] == ROOT_DISK and "DeleteOnTermination" not in asked.get("Ebs", {}):
            disk["Ebs"]["DeleteOnTermination"] = True
    return disks


def _as_method(work: Callable[..., Any]) -> Callable[..., Any]:
    """A bound method, put on a class, would never be told the backend it is called on; a function is."""

    def method(backend: Any, *words: Any, **more: Any) -> Any:
        return work(backend, *words, **more)

    return method


def _choose_subnet(backend: Any, more: dict[str, Any]) -> str | None:
    """The zone; and a subnet written into the call where it has none: only through one does moto count addresses."""
    subnet = more.get("subnet_id") or next(
        (nic["SubnetId"] for nic in more.get("nics") or () if "SubnetId" in nic), None
    )
    if subnet is None:
        defaults = backend.get_default_subnets()
        zone = more.get("placement") or min(defaults)
        if zone not in defaults:
            raise EC2ClientError("InvalidParameterValue", f"Invalid availability zone: [{zone}]")
        subnet = defaults[zone].id
        if not more.get("nics"):
            more["subnet_id"] = subnet
    return str(backend.get_subnet(subnet).availability_zone)


def _set_state(instance: Any, name: str) -> None:
    instance._state.name, instance._state.code = name, CODES[name]


def _public_is_private(interface: Any) -> None:
    if str(interface.public_ip_auto_assign).lower() == "true":
        interface.public_ip = interface.private_ip_address
