"""What a drill is asked: where, in which phase, by which death. Whether it can be had there is told later."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cvl_ci.request import places, values
from cvl_ci.request.fields import Field
from cvl_ci.request.near import near
from cvl_ci.request.plan import Place
from cvl_ci.request.values import Wrong

PHASES = ("provisioning", "setup", "running", "fetching", "releasing")
"""Those of a run in which there is a machine, or one may be asked for."""

SIGINT, SIGTERM, SIGKILL = "SIGINT", "SIGTERM", "SIGKILL"
RUNNER_LOST, API_SERVER, NETWORK, CREDENTIALS_EXPIRED = "runner-lost", "api-server", "network", "credentials-expired"
KILLS = (SIGINT, SIGTERM, SIGKILL, RUNNER_LOST, API_SERVER, NETWORK, CREDENTIALS_EXPIRED)


def one_place(value: object) -> Place:
    found = places.read(value)
    if len(found) != 1:
        raise Wrong("is not one cloud: name where the drill shall be, as in `sandbox` or `aws/us-east-1`")
    return found[0]


def _one_of(known: Sequence[str]) -> Callable[[object], str]:
    def read(value: object) -> str:
        word = values.text(value)
        by_small = {each.lower(): each for each in known}
        if word.lower() not in by_small:
            raise Wrong("is none of these", near=near(word, known) or tuple(known))
        return by_small[word.lower()]

    return read


DRILL_FIELDS = (
    Field(
        name="cloud",
        read=one_place,
        help="Where: your own account, or the sandbox.",
        metavar="CLOUD",
        example="sandbox",
    ),
    Field(
        name="phase",
        read=_one_of(PHASES),
        help="When it dies: provisioning, setup, running, fetching or releasing.",
        metavar="PHASE",
        example="running",
    ),
    Field(
        name="kill",
        read=_one_of(KILLS),
        help="What it dies of: SIGINT, SIGTERM, SIGKILL, runner-lost, api-server, network or credentials-expired.",
        metavar="KILL",
        example="runner-lost",
    ),
    Field(
        name="all",
        read=values.flag,
        help="Every phase and every death that can be had there, and a Markdown table of them at the end.",
        metavar="",
        example="--all",
        default="one drill",
    ),
)
