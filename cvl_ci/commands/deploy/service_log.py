"""Show the log and the replicas of a live service. It starts, changes and ends nothing."""

from __future__ import annotations

from collections.abc import Callable

from cvl_ci.commands.status import OpenLease
from cvl_ci.errors import EngineError
from cvl_ci.model.location import REPLICATED, Location
from cvl_ci.ports import Clouds, Event

LINES = 200


def show(
    lease: OpenLease, *, user_id: str, clouds: Clouds, line: Callable[[str], None], is_following: bool = False
) -> None:
    """Pass the last LINES lines of a service to `line`, and with `is_following` each further one. Raise CvlError.

    The lines are a machine's own text: `line` hides its controls, and its secrets, which may go on
    in the next line.
    """
    locations = [Location.parse(place) for place in lease.places]
    with clouds.open(locations, user_id=user_id, watch=_unwatched) as cloud:
        if cloud.log is None:
            raise EngineError(
                f"This computer cannot reach the machine of {lease.name}: its cloud does not run, or an API server "
                "launched it.",
                money="If its machine still runs, it is billed until its end.",
                next_step=f"End it with proof: cvl-ci deploy --down {lease.name}",
            )
        cloud.log.show(lease.name, count=LINES, is_following=is_following, line=line)


def state(lease: OpenLease, *, user_id: str, clouds: Clouds) -> str:
    """Return the replicas of a service in words; empty for one machine. Raise CvlError."""
    locations = [Location.parse(place) for place in lease.places]
    if not any(location.cloud == REPLICATED for location in locations):
        return ""
    with clouds.open(locations, user_id=user_id, watch=_unwatched) as cloud:
        return "" if cloud.log is None else cloud.log.state(lease.name)


def _unwatched(event: Event) -> None:
    """Ignore the event: this starts nothing."""
