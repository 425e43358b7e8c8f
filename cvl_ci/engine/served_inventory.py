"""What a SkyPilot API server says exists, after it has asked the cloud anew: all that a run through it can ask.

The server is the one with the credentials. Its word is named as its own in the proof, never as a provider's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from cvl_ci.engine.skypilot import SkyPilotEngine
from cvl_ci.errors import CvlError, EngineError
from cvl_ci.ports import Found, Resource
from cvl_ci.request.plan import Place
from cvl_ci.result.outcome import Asked

PROVIDER = "SkyPilot API server"
KINDS = ("clusters", "launches under way")


class ServedInventory:
    """`endpoint`: only its host is ever shown, as an address may hold a password."""

    def __init__(self, engine: SkyPilotEngine, *, endpoint: str) -> None:
        self._engine = engine
        self._host = urlsplit(endpoint).hostname or "?"

    def find(self, *, lease: str | None, places: Sequence[Place]) -> Found:
        if lease is None:
            return Found(unproved=(PROVIDER,))
        try:
            known = self._engine.on_server(lease)
        except CvlError as error:
            return Found(asked=(Asked(provider=PROVIDER, region=self._host, kinds=KINDS, error=error.what),))
        resources = tuple(
            Resource(provider=PROVIDER, region=self._host, kind=kind, id=name, state=state, labels={})
            for kind, name, state in known
        )
        left = tuple(f"{each.kind} {each.id} ({each.state})" for each in resources)
        return Found(resources=resources, asked=(Asked(provider=PROVIDER, region=self._host, kinds=KINDS, left=left),))

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        """A reaper that looks at the cloud itself would go by labels that nobody here can change."""
        raise EngineError("Through a SkyPilot API server no label of a machine can be changed.")

    def remove(self, resources: Sequence[Resource]) -> None:
        for cluster in dict.fromkeys(each.id for each in resources if each.kind == "cluster"):
            self._engine.down(cluster)
