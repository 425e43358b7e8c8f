"""The queries for one EC2 region: all resources of a lease, or of all leases. Yields a kind and EC2's own answer.

Filters, wildcards and pages of 1,000 after the EC2 API Reference (DescribeTags, DescribeInstances, "up to 200 filter
values" in "List and filter using the CLI and API" of the EC2 User Guide). A query by ids fails as a whole if one id no
longer exists. A filter with the same ids does not.
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
"""No run makes addresses.

If these credentials may not list them, the answer notes that, and the proof stays complete.
"""

GROUPS = "security groups"
"""Only a deployment and a task with `ports` make one. A group is free of charge.

If these credentials may not list them, the answer notes that, and the proof of the machines stays complete.
"""

ALIVE = ["pending", "running", "shutting-down", "stopping", "stopped"]
PAGE = 200
DENIED = {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"}

Raw = tuple[str, Mapping[str, Any]]
"""A kind, and EC2's own description."""


def denied(error: Exception) -> bool:
    """Return whether the credentials lack a right. botocore makes its error classes at run time: look at the code."""
    answer = getattr(error, "response", None)
    return isinstance(answer, Mapping) and answer.get("Error", {}).get("Code") in DENIED


def of_lease(client: EC2Client, lease: str) -> Iterator[Raw]:
    label = _filter(f"tag:{LABEL_LEASE}", [lease])
    for names_or_label in (label, _filter(f"tag:{CLUSTER_TAG}", [f"{lease}-*"])):
        yield from _instances(client, [names_or_label, _filter("instance-state-name", ALIVE)])
    yield from _volumes(client, label)
    yield from _spot_requests(client, label)


def instances_ever(client: EC2Client, lease: str) -> Iterator[Mapping[str, Any]]:
    """Yield the instances of a lease, those included that ended in the last hour: EC2 forgets them after that."""
    by_id: dict[str, Mapping[str, Any]] = {}
    for condition in (_filter(f"tag:{LABEL_LEASE}", [lease]), _filter(f"tag:{CLUSTER_TAG}", [f"{lease}-*"])):
        by_id |= {raw["InstanceId"]: raw for _, raw in _instances(client, [condition])}
    yield from by_id.values()


def of_everybody(client: EC2Client) -> Iterator[Raw]:
    """Yield the resources of all leases, in time that grows with their number, not with the size of the account."""
    try:
        yield from _by_tags(client)
    except Exception as error:
        if not denied(error):
            raise
        yield from _by_filters(client)  # the longer way needs only the rights of an ordinary run
    yield from _spot_requests(client, _filter("tag-key", [LABEL_LEASE]))


def addresses(client: EC2Client, lease: str | None) -> Iterator[Raw]:
    condition = _filter(f"tag:{LABEL_LEASE}", [lease]) if lease else _filter("tag-key", [LABEL_LEASE])
    answer = client.describe_addresses(Filters=[condition])
    yield from ((EXTRA, address) for address in listed_entries(answer, "Addresses"))


def security_groups(client: EC2Client, lease: str | None) -> Iterator[Raw]:
    """Yield the groups that opened ports for a service or a task. The label is on them from their birth."""
    condition = _filter(f"tag:{LABEL_LEASE}", [lease]) if lease else _filter("tag-key", [LABEL_LEASE])
    groups = _all_pages(client, "describe_security_groups", "SecurityGroups", Filters=[condition])
    yield from ((GROUPS, group) for group in groups)


def shared_group(user_id: str) -> str:
    """Return the name of the security group that all runs of a repository share (engine/worker/shared_group.py).

    `user_id`: the owner's. EC2 takes names of at most 255 characters that do not begin with `sg-` (EC2 API Reference,
    CreateSecurityGroup).
    """
    return f"sky-sg-cvl-ci-{user_id}"


def shared_groups(client: EC2Client, user_id: str) -> Iterator[str]:
    """Yield the ids of a repository's shared groups, one in each network that SkyPilot has used."""
    named = [_filter("group-name", [shared_group(user_id)])]
    for group in _all_pages(client, "describe_security_groups", "SecurityGroups", Filters=named):
        yield str(group["GroupId"])


def _by_tags(client: EC2Client) -> Iterator[Raw]:
    """Yield our resources, found through EC2's list of tags. That list contains machines for an hour after their end.

    With more than a page of machines, ask for the state of all. Ask for details of the longest overdue only, so that a
    reaper knows the price of the machines that it ends.
    """
    tags: dict[str, dict[str, str]] = {}
    kinds: dict[str, str] = {}
    condition = [_filter("resource-type", ["instance", "volume"]), _filter("key", [ANY_LABEL, CLUSTER_TAG])]
    for tag in _all_pages(client, "describe_tags", "Tags", Filters=condition):
        tags.setdefault(tag["ResourceId"], {})[tag["Key"]] = tag["Value"]
        kinds[tag["ResourceId"]] = tag["ResourceType"]
    own_names = [
        name for name, own_tags in tags.items() if LABEL_LEASE in own_tags or parse_name(own_tags.get(CLUSTER_TAG, ""))
    ]
    machines = sorted((name for name in own_names if kinds[name] == "instance"), key=lambda name: _deadline(tags[name]))
    if len(machines) > PAGE:
        states = _states(client)
        machines = [name for name in machines if name in states]
        yield from (_in_short(name, states[name], tags[name]) for name in machines[PAGE:])
    if machines:
        yield from _instances(client, [_filter("instance-id", machines[:PAGE]), _filter("instance-state-name", ALIVE)])
    volumes = [name for name in own_names if kinds[name] == "volume"]
    for start in range(0, len(volumes), PAGE):
        yield from _volumes(client, _filter("volume-id", volumes[start : start + PAGE]))


def _by_filters(client: EC2Client) -> Iterator[Raw]:
    label = _filter("tag-key", [LABEL_LEASE])
    for names_or_label in (label, _filter(f"tag:{CLUSTER_TAG}", [ANY_CLUSTER])):
        yield from _instances(client, [names_or_label, _filter("instance-state-name", ALIVE)])
    yield from _volumes(client, label)


def _states(client: EC2Client) -> Mapping[str, Any]:
    """Return the state of each machine of the account that has not ended."""
    alive = [_filter("instance-state-name", ALIVE)]
    statuses = _all_pages(
        client, "describe_instance_status", "InstanceStatuses", IncludeAllInstances=True, Filters=alive
    )
    states = {status["InstanceId"]: status["InstanceState"] for status in statuses}
    return {name: state for name, state in states.items() if state["Name"] in ALIVE}


def _in_short(name: str, state: Any, tags: Mapping[str, str]) -> Raw:
    tag_list = [{"Key": key, "Value": value} for key, value in tags.items()]
    return "instances", {"InstanceId": name, "State": state, "Tags": tag_list}


def _instances(client: EC2Client, filters: Sequence[Any]) -> Iterator[Raw]:
    for reservation in _all_pages(client, "describe_instances", "Reservations", Filters=filters):
        yield from (("instances", instance) for instance in listed_entries(reservation, "Instances"))


def _volumes(client: EC2Client, condition: Any) -> Iterator[Raw]:
    yield from (
        ("volumes", volume) for volume in _all_pages(client, "describe_volumes", "Volumes", Filters=[condition])
    )


def _spot_requests(client: EC2Client, label: Any) -> Iterator[Raw]:
    waiting = _filter("state", ["open", "active"])
    question = {"Filters": [label, waiting]}
    requests = _all_pages(client, "describe_spot_instance_requests", "SpotInstanceRequests", **question)
    yield from (("spot requests", request) for request in requests)


def listed_entries(answer: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    """Return the entries that EC2 lists.

    For an empty set botocore sends the key (`<reservationSet/>`). For no set it sends no key (botocore/parsers.py,
    BaseXMLResponseParser): then the answer is about something else and proves nothing. Raises KeyError.
    """
    if key not in answer:
        raise KeyError(f"EC2's answer has no {key}, so it proves nothing")
    entries: Sequence[Mapping[str, Any]] = answer[key]
    return entries


def _all_pages(client: Any, operation: str, key: str, **question: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of all pages, which botocore requests. botocore raises when a page's token repeats."""
    from cvl_ci import bounded

    until = monotonic() + bounded.LISTING_SECONDS
    for number, page in enumerate(client.get_paginator(operation).paginate(**question)):
        if number >= http.PAGES or monotonic() > until:
            raise ValueError(f"{key} have no last page, so this proves nothing")
        yield from listed_entries(page, key)


def _filter(name: str, values: Sequence[str]) -> Any:
    return {"Name": name, "Values": list(values)}


def _deadline(tags: Mapping[str, str]) -> int:
    text = tags.get(LABEL_DEADLINE, "")
    return int(text) if text.isdecimal() else 0
