"""Guard every request to a provider for machines: check the fence, announce the attempt, and report its end.

The announcement waits until the parent has recorded it. On AWS the machine also gets a timer that ends it at its
deadline. SkyPilot requests machines through one function, `provisioner.bulk_provision`, once per region. On AWS it then
tries the zones itself, so botocore's own events around RunInstances identify the zones there. This module is loaded in
the worker process only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

import botocore.handlers
import sky
from sky import global_user_state, provision
from sky.adaptors import aws
from sky.provision import provisioner

from cvl_ci.engine.deadline import Deadline
from cvl_ci.engine.quoted_prices import QuotedPrices
from cvl_ci.engine.worker import open_port, user_data
from cvl_ci.engine.worker.open_port import Opening

Send = Callable[..., None]
_MADE_BY_ANOTHER = ("InvalidPermission.Duplicate", "InvalidGroup.Duplicate")
"""EC2's error for the second of two first launches in a region, about SkyPilot's one security group there.

It is not a lack of capacity, and the next request succeeds.
"""


class Fenced(BaseException):
    """The lease was revoked. It is not an error of SkyPilot, so that SkyPilot cannot catch it and go on."""


class TooDear(Exception):
    """The rest of max_cost does not pay for machines here. SkyPilot then tries another place, as after a refusal."""


class TaskUnreadable(Exception):
    """A task that SkyPilot's own loader rejects. Its name stands in sky_refusals.py."""


def task_of(config: dict[str, Any]) -> Any:
    """Return SkyPilot's Task. Every error of its loader about the task's words is a fault of the task, of any class."""
    try:
        return sky.Task.from_yaml_config(config)
    except (AssertionError, AttributeError, KeyError, NotImplementedError, TypeError) as error:
        raise TaskUnreadable(f"{type(error).__name__}: {error}") from error
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        raise TaskUnreadable(str(error)) from error


_current: list[_Watch] = []
"""The watch of the latest launch of this process. A session of an earlier launch still has its handlers."""


def guard_attempts(
    send: Send,
    *,
    cluster: str,
    fence: Path,
    deadline: Deadline,
    quoted: QuotedPrices | None = None,
    opening: Opening | None = None,
    watched: Callable[[], AbstractContextManager[None]] = nullcontext,
    set_up_seconds: float = math.inf,
) -> ExitStack:
    """Guard every attempt of the launch that follows in this process.

    `watched`: entered when machines run. The returned context leaves it, as the next attempt does.
    `set_up_seconds`: a machine of AWS that no runner has set up ends itself so long after its request.

    `send("attempting", ...)` returns when the place is on disk. It raises if that fails, and then nothing is requested.
    """
    watch = _Watch(send, cluster, fence, deadline, quoted or QuotedPrices(), opening)
    watch.set_up_seconds = set_up_seconds
    _leave_ports_to_us()
    original = getattr(provisioner.bulk_provision, "original", provisioner.bulk_provision)

    watching = ExitStack()

    def bulk_provision(cloud: Any, region: Any, zones: Any, *arguments: Any, **options: Any) -> Any:
        with suppress(Exception):
            watching.close()
        watch.region(cloud, region.name, [zone.name for zone in zones or []])
        try:
            record = _provisioned(lambda: original(cloud, region, zones, *arguments, **options))
        except Exception as error:
            watch.failed(_reason(error))
            raise
        watch.stop_at_fence()
        with suppress(Exception):  # SkyPilot would take it for the failure of a place
            watching.enter_context(watched())
        return record

    bulk_provision.original = original  # type: ignore[attr-defined]
    provisioner.bulk_provision = bulk_provision
    run_original = getattr(provision.run_instances, "original", provision.run_instances)

    def run_instances(*arguments: Any, **options: Any) -> Any:
        record = run_original(*arguments, **options)
        watch.came_up(len(record.created_instance_ids) + len(record.resumed_instance_ids))
        return record

    run_instances.original = run_original  # type: ignore[attr-defined]
    provision.run_instances = run_instances
    if not _current:
        # Every session that SkyPilot creates includes these handlers, and keeps them for a later launch.
        botocore.handlers.BUILTIN_HANDLERS += [
            ("provide-client-params.ec2.RunInstances", _arm),
            ("before-call.ec2.RunInstances", _before_run_instances),
            ("after-call.ec2.RunInstances", _after_run_instances),
        ]
    _current[:] = [watch]
    return watching


def _leave_ports_to_us() -> None:
    """Let SkyPilot open no port on AWS: it would open it in the group that all runs of the repository share.

    The group of the lease opens them, in the request for the machines (open_port.py).
    """
    original = getattr(provision.open_ports, "original", provision.open_ports)

    def open_ports(provider_name: str, *arguments: Any, **options: Any) -> None:
        if provider_name.lower() != "aws":
            original(provider_name, *arguments, **options)

    open_ports.original = original  # type: ignore[attr-defined]
    provision.open_ports = open_ports


def _arm(params: Any, **_: Any) -> Any:
    return _current[0].arm(params)


def _before_run_instances(params: Any, context: Any, **_: Any) -> None:
    _current[0].before_run_instances(params, context)


def _after_run_instances(parsed: Any, **_: Any) -> None:
    _current[0].after_run_instances(parsed)


def avoid(task: Any, requests: Sequence[Mapping[str, Any]]) -> None:
    """Block refused requests. SkyPilot skips a blocked place (sky/backends/cloud_vm_ray_backend.py, _retry_zones)."""
    task.blocked_resources = {
        sky.Resources(
            infra="/".join(part for part in (one["cloud"], one["region"], one["zone"]) if part),
            instance_type=one["instance_type"],
            use_spot=one["spot"],
        )
        for one in requests
    } or None


def describe(resources: Any, quoted: QuotedPrices) -> dict[str, Any]:
    """Return SkyPilot's launchable resources as plain values.

    `hourly_usd` is the price of one node: SkyPilot's, or the quote's where SkyPilot's was not believed.
    """
    values = {
        "cloud": str(resources.cloud).lower(),
        "region": resources.region,
        "instance_type": resources.instance_type,
        "accelerators": {name: int(count) or count for name, count in (resources.accelerators or {}).items()},
        "spot": bool(resources.use_spot),
        "hourly_usd": float(resources.get_cost(3600)),
    }
    return {**values, "hourly_usd": quoted.hourly_usd(values)}


class _Watch:
    """Reporter of the attempts of one launch. It stops the launch at the fence, and where max_cost ends."""

    def __init__(  # noqa: PLR0917  six facts of one launch
        self,
        send: Send,
        cluster: str,
        fence: Path,
        deadline: Deadline,
        quoted: QuotedPrices,
        opening: Opening | None = None,
    ) -> None:
        self._opening = opening
        self._open_now: Opening | None = None
        self._deadline = deadline
        self._quoted = quoted
        self._send = send
        self._cluster = cluster
        self._fence = fence
        self._region_attempt: dict[str, Any] = {}
        self._open_attempt: dict[str, Any] | None = None
        self._machine_count = 0
        self.set_up_seconds = math.inf
        self._zones: dict[str, str] = {}

    def region(self, cloud: Any, region: str, zones: list[str]) -> None:
        """Begin a region. SkyPilot has just recorded the cluster with the resources of this attempt."""
        self.stop_at_fence()
        handle = global_user_state.get_handle_from_cluster_name(self._cluster)
        resources: Any = handle.launched_resources if handle is not None else None
        place = {**describe(resources, self._quoted), "region": region, "zone": ",".join(zones) or None}
        self._region_attempt, self._machine_count = place, 0
        self._open_now = open_port.of_request(self._opening, ports=resources.ports)
        self._deadline.set_price(place["hourly_usd"], cloud=place["cloud"])
        text = self._quoted.refusal(place["hourly_usd"])
        if not text and not self._deadline.is_affordable:
            text = f"max_cost does not pay for it: {self._deadline.spent_usd:.4f} dollars are spent already"
        if text:
            self._send("too_dear", attempt=place, text=text)
            raise TooDear(text)
        if str(cloud).lower() != "aws":
            self._begin(self._region_attempt)

    def came_up(self, count: int) -> None:
        """Note that the provider made machines. From here on they cost, even if the attempt fails."""
        self._machine_count = count

    def failed(self, reason: str) -> None:
        """End the attempt of a region. If no single zone was refused before, the attempt is the region's."""
        if self._open_attempt is None and not self._region_attempt.get("told"):
            self._begin(self._region_attempt)
        self._end(reason)

    def arm(self, params: Any) -> Any:
        """Return the request with the timer that ends its machine at the deadline of this launch."""
        return user_data.armed(params, deadline=self._deadline.at, set_up_seconds=self.set_up_seconds)

    def stop_at_fence(self) -> None:
        if self._fence.exists():
            raise Fenced(f"The lease was revoked ({self._fence}): no machine may be requested any more.")

    def before_run_instances(self, params: Any, context: Any) -> None:
        self.stop_at_fence()
        subnet = params["body"].get("NetworkInterface.1.SubnetId", "")
        self._begin({**self._region_attempt, "zone": self._zone(subnet, context["client_region"])})
        if self._open_now is not None:
            # After the record of the region, so that a killed process leaves no group without a record.
            client = aws.client("ec2", region_name=context["client_region"])
            open_port.join(params["body"], opening=self._open_now, client=client, deadline=self._deadline.at)

    def after_run_instances(self, parsed: Any) -> None:
        error = parsed.get("Error")
        if error:
            self._end(f"{error.get('Code')}: {error.get('Message')}"[:500])

    def _begin(self, attempt: dict[str, Any]) -> None:
        self._region_attempt["told"] = True
        self._open_attempt = {key: value for key, value in attempt.items() if key != "told"}
        self._send("attempting", attempt=self._open_attempt)

    def _end(self, reason: str) -> None:
        if self._open_attempt is not None:
            self._deadline.note_failure(self._machine_count)
            self._send("attempt_failed", attempt=self._open_attempt, text=reason, machines=self._machine_count)
        self._open_attempt, self._machine_count = None, 0

    def _zone(self, subnet: str, region: str) -> str | None:
        if subnet and subnet not in self._zones:
            subnets = aws.client("ec2", region_name=region).describe_subnets(SubnetIds=[subnet])["Subnets"]
            self._zones[subnet] = subnets[0]["AvailabilityZone"]
        return self._zones.get(subnet, self._region_attempt.get("zone"))


def _provisioned(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except Exception as error:
        if not any(word in message for message in _chain(error) for word in _MADE_BY_ANOTHER):
            raise
    return ask()


def _chain(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__


def _reason(error: BaseException) -> str:
    first = str(error).strip().splitlines()
    return f"{type(error).__name__}: {first[0] if first else ''}"[:500]
