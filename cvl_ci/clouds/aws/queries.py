"""One EC2 region's questions: all of a lease, or all of everybody's leases. Answers as EC2 gives them, a kind each.

Filters, wildcards and pages of 1,000 after the EC2 API Reference (DescribeTags, DescribeInstances, "up to 200 filter
values" in "List and filter using the CLI and API" of the EC2 User Guide). A question by ids would fail as a whole for
one id that is gone; the same ids as a filter do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from cvl_ci.clouds import http
from cvl_ci.model.lease_name import (
    ANY_CLUSTER,
    ANY_LABEL,
    CLUSTER_TAG,
    LABEL_DEADLINE,
    LABEL_LEASE,
    parse_name,
)

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

KINDS = ("instances", "volumes", "spot requests")
EXTRA = "addresses"
"""No run makes one: where these credentials may not look at them, that is said and proves nothing less."""

ALIVE = ["pending", "running", "shutting-down", "stopping", "stopped"]
PAGE = 200
DENIED = {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"}

Raw = tuple[str, Mapping[str, Any]]
"""Kind and EC2's own words."""


def denied(error: Exception) -> bool:
    """botocore makes its classes at run time: its errors are told by what they carry."""
    answer = getattr(error, "response", None)
    return isinstance(answer, Mapping) and answer.get("Error", {}).get("Code") in DENIED


def of_lease(client: EC2Client, lease: str) -> Iterator[Raw]:
    label = _filter(f"tag:{LABEL_LEASE}", [lease])
    for each in (label, _filter(f"tag:{CLUSTER_TAG}", [f"{lease}-*"])):
        yield from _instances(client, [each, _filter("instance-state-name", ALIVE)])
    yield from _volumes(client, label)
    yield from _spot_requests(client, label)


def of_everybody(client: EC2Client) -> Iterator[Raw]:
    """In time that grows with what is ours, not with all that the account has."""
    try:
        yield from _by_tags(client)
    except Exception as error:
        if not denied(error):
            raise
        yield from _by_filters(client)  # the rights of an ordinary run are enough for the longer way
    yield from _spot_requests(client, _filter("tag-key", [LABEL_LEASE]))


def addresses(client: EC2Client, lease: str | None) -> Iterator[Raw]:
    wanted = _filter(f"tag:{LABEL_LEASE}", [lease]) if lease else _filter("tag-key", [LABEL_LEASE])
    answer = client.describe_addresses(Filters=[wanted])
    yield from ((EXTRA, address) for address in listed(answer, "Addresses"))


def _by_tags(client: EC2Client) -> Iterator[Raw]:
    """EC2's list of tags first, which names machines for an hour after their end. Of more than a page of machines all
    are asked for their state, and only the longest overdue for the rest, so that what a reaper ends has a price."""
    tags: dict[str, dict[str, str]] = {}
    kinds: dict[str, str] = {}
    wanted = [_filter("resource-type", ["instance", "volume"]), _filter("key", [ANY_LABEL, CLUSTER_TAG])]
    for tag in _every(client, "describe_tags", "Tags", Filters=wanted):
        tags.setdefault(tag["ResourceId"], {})[tag["Key"]] = tag["Value"]
        kinds[tag["ResourceId"]] = tag["ResourceType"]
    ours = [name for name, each in tags.items() if LABEL_LEASE in each or parse_name(each.get(CLUSTER_TAG, ""))]
    machines = sorted((name for name in ours if kinds[name] == "instance"), key=lambda name: _deadline(tags[name]))
    if len(machines) > PAGE:
        states = _states(client)
        machines = [name for name in machines if name in states]
        yield from (_in_short(name, states[name], tags[name]) for name in machines[PAGE:])
    if machines:
        yield from _instances(client, [_filter("instance-id", machines[:PAGE]), _filter("instance-state-name", ALIVE)])
    volumes = [name for name in ours if kinds[name] == "volume"]
    for start in range(0, len(volumes), PAGE):
        yield from _volumes(client, _filter("volume-id", volumes[start : start + PAGE]))


def _by_filters(client: EC2Client) -> Iterator[Raw]:
    label = _filter("tag-key", [LABEL_LEASE])
    for each in (label, _filter(f"tag:{CLUSTER_TAG}", [ANY_CLUSTER])):
        yield from _instances(client, [each, _filter("instance-state-name", ALIVE)])
    yield from _volumes(client, label)


def _states(client: EC2Client) -> Mapping[str, Any]:
    """Of every machine of the account that is not over."""
    alive = [_filter("instance-state-name", ALIVE)]
    every = _every(client, "describe_instance_status", "InstanceStatuses", IncludeAllInstances=True, Filters=alive)
    states = {each["InstanceId"]: each["InstanceState"] for each in every}
    return {name: state for name, state in states.items() if state["Name"] in ALIVE}


def _in_short(name: str, state: Any, tags: Mapping[str, str]) -> Raw:
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    return "instances", {"InstanceId": name, "State": state, "Tags": listed}


def _instances(client: EC2Client, filters: Sequence[Any]) -> Iterator[Raw]:
    for reservation in _every(client, "describe_instances", "Reservations", Filters=filters):
        yield from (("instances", instance) for instance in listed(reservation, "Instances"))


def _volumes(client: EC2Client, wanted: Any) -> Iterator[Raw]:
    yield from (("volumes", volume) for volume in _every(client, "describe_volumes", "Volumes", Filters=[wanted]))


def _spot_requests(client: EC2Client, label: Any) -> Iterator[Raw]:
    waiting = _filter("state", ["open", "active"])
    question = {"Filters": [label, waiting]}
    every = _every(client, "describe_spot_instance_requests", "SpotInstanceRequests", **question)
    yield from (("spot requests", request) for request in every)


def listed(answer: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    """Return what EC2 lists. botocore gives the key for an empty set (`<reservationSet/>`), and for no set it gives
    none (botocore/parsers.py, BaseXMLResponseParser): then the answer is of something else, and proves nothing."""
    if key not in answer:
        raise KeyError(f"EC2's answer has no {key}, so it proves nothing")
    found: Sequence[Mapping[str, Any]] = answer[key]
    return found


def _every(client: Any, operation: str, key: str, **question: Any) -> Iterator[Mapping[str, Any]]:
    """Of all pages, which botocore asks for; it raises where a page's token comes again."""
    from cvl_ci import bounded

    until = monotonic() + bounded.LISTING_SECONDS
    for number, page in enumerate(client.get_paginator(operation).paginate(**question)):
        if number >= http.PAGES or monotonic() > until:
            raise ValueError(f"{key} have no last page, so this proves nothing")
        yield from listed(page, key)


def _filter(name: str, values: Sequence[str]) -> Any:
    return {"Name": name, "Values": list(values)}


def _deadline(tags: Mapping[str, str]) -> int:
    text = tags.get(LABEL_DEADLINE, "")
    return int(text) if text.isdecimal() else 0
