"""The interface of a cloud's inventory, and an inventory built from it. A silent scope does not delay another.

An incomplete answer is not a proof. Its resources are removed all the same, and the answer lists the silent parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from cvl_ci.clouds import http
from cvl_ci.errors import EngineError
from cvl_ci.model.lease_name import CLUSTER_TAG, LABEL_LEASE, parse_name
from cvl_ci.model.ledger import Memory
from cvl_ci.model.location import Location
from cvl_ci.model.release import ProviderCheck
from cvl_ci.ports import InventoryResult, Resource

AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class ScopeAnswer:
    """The answer of a scope.

    `silent`: parts without an answer, in words. `skipped`: kinds that cannot exist, with reasons.
    """

    resources: Sequence[Resource] = ()
    silent: Sequence[str] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


class Provider(Protocol):
    """One cloud. A scope is the range of one account's query: a project, a subscription, a context."""

    @property
    def name(self) -> str: ...

    @property
    def kinds(self) -> tuple[str, ...]: ...

    @property
    def patience_seconds(self) -> float:
        """The longest time from the order to end a machine until the provider shows nothing of it, in seconds."""

    def scopes(self, locations: Sequence[Location]) -> Sequence[str]:
        """Return the scopes to ask for these locations. Raises when it does not know them."""

    def list_resources(self, scope: str, *, lease: str | None) -> ScopeAnswer:
        """Return all resources of this lease, or of all leases. Raises when it does not know."""

    def end(self, resource: Resource) -> None:
        """End a resource. An absent or ending one is a success. Raises when the provider refuses."""


class ProviderInventory:
    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def find(self, *, lease: str | None, locations: Sequence[Location]) -> InventoryResult:
        try:
            scopes = self._provider.scopes(locations)
        except Exception as error:  # noqa: BLE001  an unknown place to look is not clean
            return InventoryResult(asked=(self._unanswered("", error),))
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            answers = list(pool.map(lambda scope: self._ask(scope, lease), scopes))
        return InventoryResult(
            resources=tuple(resource for resources, _ in answers for resource in resources),
            asked=tuple(check for _, check in answers),
            patience_seconds=self._provider.patience_seconds,
        )

    def remove(self, resources: Sequence[Resource]) -> None:
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            problems = [problem for problem in pool.map(self._refusal, resources) if problem]
        if problems:
            raise EngineError(
                f"{self._provider.name} refused to remove our resources: {'; '.join(problems)}",
                money="They are still billed.",
                next_step="cvl-ci tries again until the deadline. After that, remove them by hand.",
            )

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        """Refuse: cvl-ci keeps a machine after its run only where it can change labels, or a reaper would end it."""
        raise EngineError(f"cvl-ci cannot change labels on {self._provider.name}.")

    def lives(self, *, lease: str, locations: Sequence[Location]) -> Memory:
        """Return nothing: the provider's list holds no ended machines."""
        return Memory()

    def _ask(self, scope: str, lease: str | None) -> tuple[Sequence[Resource], ProviderCheck]:
        try:
            answer = self._provider.list_resources(scope, lease=lease)
        except Exception as error:  # noqa: BLE001  any error: no answer is not clean
            return (), self._unanswered(scope, error)
        check = ProviderCheck(
            provider=self._provider.name,
            region=scope,
            kinds=tuple(kind for kind in self._provider.kinds if kind not in answer.skipped),
            leftovers=tuple(
                f"{resource.id} ({resource.state})" for resource in answer.resources if resource.is_leftover
            ),
            error="; ".join(answer.silent)[:300] or None,
            skipped=tuple(f"{kind} ({why})" for kind, why in answer.skipped.items()),
        )
        return answer.resources, check

    def _unanswered(self, scope: str, error: Exception) -> ProviderCheck:
        provider = self._provider
        text = f"{error}"[:300] or type(error).__name__
        return ProviderCheck(
            provider=provider.name, region=scope, kinds=provider.kinds, error=text, is_final=http.is_denial(error)
        )

    def _refusal(self, resource: Resource) -> str | None:
        try:
            self._provider.end(resource)
        except Exception as error:  # noqa: BLE001  an error here does not stop the others
            return f"{resource.kind.value} {resource.id}: {error}"[:300]
        return None


# ---- how a cloud recognizes our resources -----------------------------------------------------------------------


def cluster_of(name: str) -> str:
    """Return the name of the cluster at the head of a resource's name; empty where cvl-ci did not write it."""
    return str(parse_name(name) or "")


def is_ours(labels: Mapping[str, str], cluster: str, *, lease: str | None) -> bool:
    """Return whether the label or the cluster's name belongs to this lease. `lease` None: to any lease."""
    name = parse_name(cluster)
    if lease is None:
        return LABEL_LEASE in labels or name is not None
    return labels.get(LABEL_LEASE) == lease or (name is not None and name.lease == lease)


def shared(resources: Sequence[Resource]) -> list[Resource]:
    """Give resources without labels (a boot disk, a group) the labels of a machine of the same cluster."""
    labels_of = {
        resource.labels[CLUSTER_TAG]: resource.labels for resource in resources if LABEL_LEASE in resource.labels
    }
    labels_of.pop("", None)
    return [
        replace(resource, labels={**labels_of.get(resource.labels[CLUSTER_TAG], {}), **resource.labels})
        for resource in resources
    ]


def with_cluster_label(resource: Resource, cluster: str) -> Resource:
    """Add the name of the cluster to the labels, as AWS does. A cloud without labels shows its lease by it."""
    return replace(resource, labels={CLUSTER_TAG: cluster, **resource.labels})


def gigabytes(value: object) -> float:
    """Return the size of a disk, which these APIs write as a number or as digits; 0.0 for anything else."""
    text = str(value)
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0.0


def moment(text: str | None) -> float | None:
    """Return seconds since the epoch, from RFC 3339 as these APIs write it; None for another text."""
    if not text:
        return None
    head, dot, rest = text.replace("Z", "+00:00").partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    try:
        return datetime.fromisoformat(
            f"{head}{dot}{rest[:digits][:6].ljust(6, '0')}{rest[digits:]}" if dot else head
        ).timestamp()
    except ValueError:
        return None
