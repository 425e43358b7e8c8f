"""Find the price of the runner that executes this process, as far as its environment and the event tell it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cvl_ci.github.event import Event
from cvl_ci.model.runner_prices import RunnerPrice, price_of


def price(environ: Mapping[str, str], event: Event, *, cores: int | None = None) -> RunnerPrice | None:
    """Return the price; None where it is free or unknown. `cores`: of this computer, unless a caller knows them."""
    return price_of(
        hosted=environ.get("RUNNER_ENVIRONMENT") == "github-hosted",
        private=event.is_private,
        system=environ.get("RUNNER_OS", ""),
        architecture=environ.get("RUNNER_ARCH", ""),
        cores=cores or os.cpu_count() or 0,
    )
