"""The name of a lease and the labels of its resources: this file alone knows how they are written and read.

`format_name` writes a lease's name. SkyPilot appends its user hash, which makes the name of the cluster on the cloud
(sky/utils/common_utils.py, `make_cluster_name_on_cloud`). `parse_name` reads both out of a resource's name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

LABEL_OWNER = "cvl-ci-owner"
LABEL_LEASE = "cvl-ci-lease"
LABEL_RUN = "cvl-ci-run"
LABEL_DEADLINE = "cvl-ci-deadline"
LABEL_KEPT = "cvl-ci-kept"
"""The moment (epoch seconds) until which a machine stays for a person, although its run has ended."""
LABEL_REUSE = "cvl-ci-reuse"
"""The key of a machine that waits for further runs of its repository."""
LABEL_REUSER = "cvl-ci-reuse-owner"
"""The user hash of that repository. Two repositories can share LABEL_OWNER, and never this."""
LABEL_FINGERPRINT = "cvl-ci-fingerprint"
"""The digest of all that must be equal for another run to use the machine."""
LABEL_USE = "cvl-ci-use"
"""The use of such a machine now: `busy-N` in its use number N, or `idle-N` after it."""
LABEL_SHARED = "cvl-ci-reuse-shared"
SHARED = "true"
"""The mark of such a machine that other computers enter too. Only its own labels tell who uses it now."""
LABEL_SERVICE = "cvl-ci-service"
"""The address of a service that a machine runs, as `10-0-0-1-8080`: a label that each cloud accepts.

`10-0-0-1-8080-tls` is an address of HTTPS.
"""
LABEL_DOMAIN = "cvl-ci-domain"
"""The name in the URL of a service with a certificate, with `_` for each dot."""
LABEL_DETACHED = "cvl-ci-detached"
"""The bucket of the results, on a machine whose run has left it alone with its job."""
LABEL_ENVIRONMENT = "cvl-ci-environment"
"""The environment that a service belongs to. A preview's is a pure function of its pull request's number."""
LABEL_PERSISTENT = "cvl-ci-persistent"
"""The mark of a bucket that stays after its run on purpose."""
LABEL_BUCKETS = "cvl-ci-buckets"
NO_BUCKETS = "none"
"""The mark of machines whose run can make no bucket. Without the mark, a run may have made one."""
ANY_LABEL = "cvl-ci-*"
"""A wildcard over the labels, as EC2 filters write it."""

CLUSTER_TAG = "skypilot-cluster-name"
"""The label in which SkyPilot writes the name of the cluster on the cloud (sky/templates/*.yml.j2)."""

PREFIX = "cvl-"
ANY_CLUSTER = f"{PREFIX}*-????????-????????"
"""A wildcard over the clusters' names, as EC2 filters write it. It matches more than `parse_name` reads."""
ANY_NAME_EXPRESSION = f"{PREFIX}.*"
"""A regular expression over the resources' names, as filters of Google Cloud write it."""

LEASE_PATTERN = rf"{PREFIX}[a-z0-9]+-[0-9a-f]{{8}}"
_CLUSTER = re.compile(rf"(?P<lease>{LEASE_PATTERN})-(?P<user_id>[a-z0-9]{{8}})(?=-|$)")
_RUN_CHARACTERS = 11
_LABEL_CHARACTERS = 63
_DIGEST_CHARACTERS = 8
_NO_PREVIEW = "env-"
_ADDRESS = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}", re.ASCII)
_PREVIEW = re.compile(r"pr-(\d{1,10})(?:-|$)", re.ASCII)
_SERVICE = re.compile(r"((?:\d{1,3}-){3}\d{1,3})-(\d{1,5})(-tls)?", re.ASCII)
_HOST = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.*[a-z])(?:{_HOST}\.)+{_HOST}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class ClusterName:
    """The name of a cluster on the cloud, in its two parts. `user_id`: SkyPilot's user hash."""

    lease: str
    user_id: str

    def __str__(self) -> str:
        return f"{self.lease}-{self.user_id}"


def format_name(*, run: str, digest: str) -> str:
    """Return the name of a lease: at most 26 characters of [a-z0-9-], so that it stays whole on every cloud but SCP.

    `run`: a run's id; its last 11 letters and digits count. `digest`: at least 8 hexadecimal digits.
    """
    return f"{PREFIX}{_run_part(run)}-{digest[:8]}"


def is_of_run(lease: str, run: str) -> bool:
    """Return whether `format_name` can have given a run with this id this name. GitHub never uses an id twice."""
    return is_lease(lease) and lease.removeprefix(PREFIX).rpartition("-")[0] == _run_part(run)


def parse_name(name: str) -> ClusterName | None:
    """Return the cluster at the head of a resource's name; None for a name that cvl-ci did not write."""
    match = _CLUSTER.match(name)
    return ClusterName(lease=match["lease"], user_id=match["user_id"]) if match else None


def is_of_replica(cluster: str, lease: str) -> bool:
    """Return whether a cluster on the cloud is of one replica of the lease's service, by the number in its name."""
    return re.fullmatch(rf"{re.escape(lease)}-\d+-[a-z0-9-]+", cluster, re.ASCII) is not None


def is_lease(name: str) -> bool:
    """Return whether cvl-ci can have written this name of a lease. A label may hold any text."""
    return re.fullmatch(LEASE_PATTERN, name) is not None


def _run_part(run: str) -> str:
    return re.sub(r"[^a-z0-9]", "", run.lower())[-_RUN_CHARACTERS:] or "0"


def is_domain(name: str) -> bool:
    """Return whether a text is a name of DNS with a dot, in small letters and short enough for a label."""
    return len(name) <= _LABEL_CHARACTERS and _DOMAIN.fullmatch(name) is not None


def service_labels(host: str, port: int, *, is_encrypted: bool = False, domain: str = "") -> dict[str, str]:
    """Return the labels of a service at an IPv4 address. Raise ValueError for another kind of address."""
    if not _ADDRESS.fullmatch(host):
        raise ValueError(f"{host!r} is not an IPv4 address")
    label = f"{host.replace('.', '-')}-{port}{'-tls' if is_encrypted else ''}"
    return {LABEL_SERVICE: label, **({LABEL_DOMAIN: domain.replace(".", "_")} if domain else {})}


def service_url(labels: Mapping[str, str]) -> str:
    """Return the URL in the labels of a machine; empty for texts that `service_labels` does not write."""
    match = _SERVICE.fullmatch(labels.get(LABEL_SERVICE, ""))
    if match is None:
        return ""
    domain = labels.get(LABEL_DOMAIN, "").replace("_", ".")
    is_named = bool(match[3]) and is_domain(domain)
    host = domain if is_named else match[1].replace("-", ".")
    return f"{'https' if match[3] else 'http'}://{host}:{match[2]}"


def service_address(labels: Mapping[str, str]) -> str:
    """Return the address in the labels of a machine, also where its URL has a name; empty without such a label."""
    match = _SERVICE.fullmatch(labels.get(LABEL_SERVICE, ""))
    return match[1].replace("-", ".") if match else ""


def preview_environment(number: int, name: str = "") -> str:
    """Return the environment of a pull request's preview. `name`: tells several previews of one request apart."""
    return _label(f"pr-{number}-{name}" if name else f"pr-{number}")


def environment_label(name: str) -> str:
    """Return the name of an environment of no pull request, as a label that each cloud accepts.

    A branch may be called `pr-12-fix`. Its label gets another beginning, or the close of request 12 would end it.
    """
    label = _label(name)
    return _label(name, beginning=_NO_PREVIEW) if pull_request_of(label) is not None else label


def _label(name: str, *, beginning: str = "") -> str:
    """Return a name as a label. A digest tells it from other names, unless only capital letters became small."""
    small = name.lower()
    letters = re.sub(r"[^a-z0-9_-]+", "-", beginning + small).strip("-_")
    if letters == small and len(letters) <= _LABEL_CHARACTERS:
        return letters
    digest = hashlib.sha256(small.encode()).hexdigest()[:_DIGEST_CHARACTERS]
    head = letters[: _LABEL_CHARACTERS - _DIGEST_CHARACTERS - 1].strip("-_") or "none"
    return f"{head}-{digest}"


def pull_request_of(environment: str) -> int | None:
    """Return the number of the pull request that an environment previews; None for another environment."""
    match = _PREVIEW.match(environment)
    return int(match[1]) if match else None
