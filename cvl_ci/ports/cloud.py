"""One opened cloud, and who opens it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from cvl_ci.model.plan import Place
from cvl_ci.ports.engine import Engine
from cvl_ci.ports.events import Watch
from cvl_ci.ports.inventory import Inventory


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """One opened cloud: its engine, its inventory, and whether anybody is billed."""

    engine: Engine
    inventory: Inventory
    billed: bool = True
    named: str | None = None
    """The name a person knows it by, where SkyPilot uses another (`sandbox` is driven as `aws`)."""
    through: str = ""
    """Who is asked in the clouds' place, for machines and for what is left of them: an API server."""


class Clouds(Protocol):
    def open(self, places: Sequence[Place], *, user_id: str, watch: Watch) -> AbstractContextManager[Cloud]:
        """Credentials checked, the sandbox brought up when it is asked for (and down again when this brought it up).

        `user_id`: eight letters and digits that SkyPilot appends to every name on the cloud.
        """
