"""The inputs of a drill: where, in which phase, and how it kills the run. The drill itself checks whether it can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cvl_ci.inputs import locations, parsers
from cvl_ci.inputs.option import CLI, option
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.inputs.suggest import similar
from cvl_ci.model.location import Location

PHASES = ("provisioning", "setup", "running", "fetching", "releasing")
"""The phases of a run in which a machine exists, or may exist."""

SIGINT, SIGTERM, SIGKILL = "SIGINT", "SIGTERM", "SIGKILL"
RUNNER_LOST, API_SERVER, NETWORK, CREDENTIALS_EXPIRED = "runner-lost", "api-server", "network", "credentials-expired"
KILLS = (SIGINT, SIGTERM, SIGKILL, RUNNER_LOST, API_SERVER, NETWORK, CREDENTIALS_EXPIRED)


def one_place(value: object) -> Location:
    places = locations.read(value)
    if len(places) != 1:
        raise Wrong("is not one cloud: name where the drill shall be, as in `sandbox` or `aws/us-east-1`")
    return places[0]


def _one_of(words: Sequence[str]) -> Callable[[object], str]:
    def read(value: object) -> str:
        word = parsers.text(value)
        by_small = {choice.lower(): choice for choice in words}
        if word.lower() not in by_small:
            raise Wrong(f"is none of {', '.join(words)}", near=similar(word, words))
        return by_small[word.lower()]

    return read


@dataclass(frozen=True, kw_only=True)
class DrillInputs:
    """The death that a drill plays: its phase and its kind, or every one."""

    phase: str | None = option(
        _one_of(PHASES),
        help="The phase in which the run dies: provisioning, setup, running, fetching or releasing.",
        metavar="PHASE",
        example="running",
        entry_points=CLI,
        verbs=("drill",),
    )
    kill: str | None = option(
        _one_of(KILLS),
        help="The way in which the run dies: SIGINT, SIGTERM, SIGKILL, runner-lost, api-server, network or "
        "credentials-expired.",
        metavar="KILL",
        example="runner-lost",
        entry_points=CLI,
        verbs=("drill",),
    )
    all: bool = option(
        parsers.flag,
        value=False,
        help="Every phase and every kill that this cloud allows, with a Markdown table at the end.",
        example="--all",
        default="one drill",
        entry_points=CLI,
        verbs=("drill",),
    )


DRILL_GROUPS = (DrillInputs,)
