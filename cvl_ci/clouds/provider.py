"""What one cloud's file has to answer, and the inventory made of it: nobody's silence or refusal stops another.

A look that is not whole is no proof: what it did find is ended all the same, and the answer carries what was silent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from cvl_ci.errors import EngineError
from cvl_ci.model.lease_name import CLUSTER_TAG, LABEL_LEASE, parse_name
from cvl_ci.model.outcome import Asked
from cvl_ci.model.plan import Place
from cvl_ci.ports import Found, Resource

AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Look:
    """`silent`: parts that did not answer, in words. `skipped`: kinds that cannot be there, and why."""

    resources: Sequence[Resource] = ()
    silent: Sequence[str] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


class Provider(Protocol):
    """One cloud. A scope is what one account's question covers: a project, a subscription, a context."""

    @property
    def name(self) -> str: ...

    @property
    def kinds(self) -> tuple[str, ...]: ...

    @property
    def patience_seconds(self) -> float:
        """From the order to end a machine until nothing of it is shown any more, at the worst."""

    def scopes(self, places: Sequence[Place]) -> Sequence[str]: ...

    def look(self, scope: str, *, lease: str | None) -> Look:
        """All that is of this lease, or of any; raises when it cannot say."""

    def end(self, resource: Resource) -> None:
        """Absent, or ending already, is success; raises when the provider refuses."""


class ProviderInventory:
    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def find(self, *, lease: str | None, places: Sequence[Place]) -> Found:
        try:
            scopes = self._provider.scopes(places)
        except Exception as error:  # noqa: BLE001  not knowing where to look is not clean
            return Found(asked=(self._unanswered("", error),))
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            answers = list(pool.map(lambda scope: self._ask(scope, lease), scopes))
        return Found(
            resources=tuple(resource for resources, _ in answers for resource in resources),
            asked=tuple(asked for _, asked in answers),
            patience_seconds=self._provider.patience_seconds,
        )

    def remove(self, resources: Sequence[Resource]) -> None:
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            problems = [problem for problem in pool.map(self._refusal, resources) if problem]
        if problems:
            raise EngineError(
                f"{self._provider.name} refused to end what is ours: {'; '.join(problems)}",
                money="It is still billed.",
                next_step="It is tried again until the deadline; then end it by hand.",
            )

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        """Only a machine whose labels can be changed can be kept beyond its run: elsewhere a reaper would end it."""
        raise EngineError(f"Labels of machines on {self._provider.name} cannot be changed from here.")

    def _ask(self, scope: str, lease: str | None) -> tuple[Sequence[Resource], Asked]:
        try:
            look = self._provider.look(scope, lease=lease)
        except Exception as error:  # noqa: BLE001  whatever it is: not answered is not clean
            return (), self._unanswered(scope, error)
        asked = Asked(
            provider=self._provider.name,
            region=scope,
            kinds=tuple(kind for kind in self._provider.kinds if kind not in look.skipped),
            left=tuple(f"{each.id} ({each.state})" for each in look.resources if not each.ending),
            error="; ".join(look.silent)[:300] or None,
            skipped=tuple(f"{kind} ({why})" for kind, why in look.skipped.items()),
        )
        return look.resources, asked

    def _unanswered(self, scope: str, error: Exception) -> Asked:
        provider = self._provider
        text = f"{error}"[:300] or type(error).__name__
        return Asked(provider=provider.name, region=scope, kinds=provider.kinds, error=text)

    def _refusal(self, resource: Resource) -> str | None:
        try:
            self._provider.end(resource)
        except Exception as error:  # noqa: BLE001  the others are ended whatever became of this one
            return f"{resource.kind} {resource.id}: {error}"[:300]
        return None


# ---- what every cloud's file needs to tell what is ours -----------------------------------------------------------


def cluster_of(name: str) -> str:
    """Return the name of the cluster at the head of a resource's name; empty where cvl-ci did not write it."""
    return str(parse_name(name) or "")


def is_ours(labels: Mapping[str, str], cluster: str, *, lease: str | None) -> bool:
    """Return whether its label or its cluster's name says that it is of this lease. `lease` None: of any."""
    name = parse_name(cluster)
    if lease is None:
        return LABEL_LEASE in labels or name is not None
    return labels.get(LABEL_LEASE) == lease or (name is not None and name.lease == lease)


def shared(found: Sequence[Resource]) -> list[Resource]:
    """What has a name of ours and no labels (a boot disk, a group) has those of a machine of the same cluster."""
    known = {each.labels[CLUSTER_TAG]: each.labels for each in found if LABEL_LEASE in each.labels}
    known.pop("", None)
    return [replace(each, labels={**known.get(each.labels[CLUSTER_TAG], {}), **each.labels}) for each in found]


def named(resource: Resource, cluster: str) -> Resource:
    """With its cluster's name beside its labels, as AWS has it."""
    return replace(resource, labels={CLUSTER_TAG: cluster, **resource.labels})


def moment(text: str | None) -> float | None:
    """RFC 3339, as these APIs write it, in seconds since the epoch."""
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
