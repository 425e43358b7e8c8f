"""What a SkyPilot API server says exists, after it has asked the cloud anew: all that a run through it can ask.

The server is the one with the credentials. Its word is named as its own in the proof, never as a provider's; and it is
proof only of a lease that was taken through it: of any other it has never heard, which proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from cvl_ci.engine.skypilot import SkyPilotEngine
from cvl_ci.errors import CredentialsError, CvlError, EngineError
from cvl_ci.model.lease_name import LABEL_LEASE
from cvl_ci.model.outcome import Asked
from cvl_ci.model.plan import Place
from cvl_ci.ports import Found, Resource

PROVIDER = "SkyPilot API server"
CLOUD = "api-server"
"""Where the record of a lease that goes through it says that its machines are asked for."""
KINDS = ("clusters", "launches under way")
ADDRESS = "SKYPILOT_API_SERVER_ENDPOINT"


def goes_through(places: Sequence[Place], environ: Mapping[str, str], *, by_record: bool) -> bool:
    """A lease that was taken goes where its record says; a new run through the server whose address is given."""
    return any(place.cloud == CLOUD for place in places) or bool(environ.get(ADDRESS) and not by_record)


def address(environ: Mapping[str, str]) -> str:
    if not environ.get(ADDRESS):
        raise CredentialsError(
            "This run went through a SkyPilot API server, and neither its address nor a token is here.",
            money="Its machine may still be running: only that server can end it, or the cloud's own console.",
            next_step=f"Set {ADDRESS} and SKYPILOT_SERVICE_ACCOUNT_TOKEN, and do this again.",
        )
    return environ[ADDRESS]


class ServedInventory:
    """`endpoint`: only its host is ever shown, as an address may hold a password."""

    def __init__(self, engine: SkyPilotEngine, *, endpoint: str) -> None:
        self._engine = engine
        self._host = urlsplit(endpoint).hostname or "?"

    def find(self, *, lease: str | None, places: Sequence[Place]) -> Found:
        elsewhere = tuple(dict.fromkeys(place.cloud for place in places if place.cloud != CLOUD))
        if lease is None or not any(place.cloud == CLOUD for place in places):
            return Found(unproved=elsewhere or (PROVIDER,))
        try:
            known = self._engine.on_server(lease)
        except Exception as error:  # noqa: BLE001  whatever it is: not answered is not clean
            text = error.what if isinstance(error, CvlError) else f"{type(error).__name__}: {error}"[:300]
            asked = Asked(provider=PROVIDER, region=self._host, kinds=KINDS, error=text)
            return Found(asked=(asked,), unproved=elsewhere)
        resources = tuple(
            Resource(provider=PROVIDER, region=self._host, kind=kind, id=name, state=state, labels={LABEL_LEASE: lease})
            for kind, name, state in known
        )
        left = tuple(f"{each.kind} {each.id} ({each.state})" for each in resources)
        asked = Asked(provider=PROVIDER, region=self._host, kinds=KINDS, left=left)
        return Found(resources=resources, asked=(asked,), unproved=elsewhere)

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        """A reaper that looks at the cloud itself would go by labels that nobody here can change."""
        raise EngineError("Through a SkyPilot API server no label of a machine can be changed.")

    def remove(self, resources: Sequence[Resource]) -> None:
        """Launches under way too: taking a cluster down begins with ending those."""
        for cluster in dict.fromkeys(each.labels[LABEL_LEASE] for each in resources):
            self._engine.down(cluster)
