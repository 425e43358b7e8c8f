"""Follow the attempts of a launch through an API server, which chooses the places itself. No SDK.

Its streamed lines name the places. Its record of the cluster names the machine of each, which the worker asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cvl_ci.engine.server.server_lines import ServerPlace
from cvl_ci.engine.server.server_places import ServerPlaces
from cvl_ci.model.launch import Attempt
from cvl_ci.model.offer import Offer
from cvl_ci.ports import AttemptFailed, Attempting, AttemptNamed, Watch


class ServerAttempts:
    """The attempts of one launch. `attempt`: the current one. `offers`: the quote's bound for an unnamed machine."""

    def __init__(
        self, attempt: Attempt, *, nodes: int, offers: Sequence[Offer], sandbox: str | None, watch: Watch
    ) -> None:
        self.attempt = attempt
        self._nodes = nodes
        self._offers = offers
        self._sandbox = sandbox
        self._watch = watch
        self._places = ServerPlaces(self._moved)

    def hear(self, line: str) -> None:
        self._places(line)

    def name(self, values: Mapping[str, Any]) -> None:
        """Give the current attempt the machine in the server's record of the cluster, and its price.

        A record of another place came too late. A second machine at a place is one more attempt.
        """
        if not self._is_here(values):
            return
        hourly_usd = self._hourly_usd(values)
        if hourly_usd is None:
            return
        machine = str(values["instance_type"]), bool(values["spot"])
        if not self.attempt.is_bound and machine != (self.attempt.instance_type, self.attempt.spot):
            self._fail(self._places.begin_again())
            self._begin(replace(self.attempt, is_bound=True))
        self.attempt = replace(
            self.attempt,
            cloud=self._sandbox or str(values["cloud"]),
            region=str(values["region"]),
            zone=str(values["zone"] or "") or self.attempt.zone,
            instance_type=machine[0],
            spot=machine[1],
            hourly_usd=hourly_usd,
            is_bound=False,
        )
        self._watch(AttemptNamed(attempt=self.attempt))

    def fail(self, error: str) -> None:
        """Report the last attempt of a launch that failed: the server sends no event about it."""
        self._report(error, self._nodes if self._places.had_machines else 0)

    def _moved(self, place: ServerPlace, is_refused: bool) -> None:
        """Report that the server went on to another place. Without a refusal, machines may have come up before."""
        self._fail(is_refused)
        cloud = self._sandbox or place.cloud
        self._begin(
            replace(
                self.attempt,
                cloud=cloud,
                region=place.region,
                zone=place.zone or None,
                hourly_usd=most_usd(self._offers, cloud=cloud, region=place.region),
                is_bound=True,
            )
        )

    def _begin(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self._watch(Attempting(attempt=attempt))

    def _fail(self, is_refused: bool) -> None:
        error = "the provider refused" if is_refused else "the API server went on to another place"
        self._report(error, 0 if is_refused else self._nodes)

    def _report(self, error: str, machines: int) -> None:
        self._watch(AttemptFailed(attempt=replace(self.attempt, error=error, machines=machines)))

    def _is_here(self, values: Mapping[str, Any]) -> bool:
        """Return whether a record is about the place of the last line: its region, and its zone where both have one."""
        place = self._places.place
        if place is None or (place.cloud, place.region) != (str(values["cloud"]), str(values["region"])):
            return False
        zone = str(values["zone"] or "")
        return not zone or not place.zone or zone in place.zone.replace(" ", "").split(",")

    def _hourly_usd(self, values: Mapping[str, Any]) -> float | None:
        """Return the price of a recorded machine: SkyPilot's, or the quote's where this computer has no catalogue."""
        if values["hourly_usd"]:
            return float(values["hourly_usd"])
        machine = values["region"], values["instance_type"], values["spot"]
        return next(
            (one.hourly_usd for one in self._offers if (one.region, one.instance_type, one.spot) == machine), None
        )


def most_usd(offers: Sequence[Offer], *, cloud: str, region: str) -> float:
    """Return the dearest price of the quote at a place; of all places where it has none there."""
    local_offers = [one for one in offers if one.cloud == cloud and region in {"", one.region}] or offers
    return max((max(one.hourly_usd, one.most_usd) for one in local_offers), default=0.0)
