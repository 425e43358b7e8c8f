"""`collect` for all entry points: the clouds, the records, and the prices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci.local.clock import SystemClock
from cvl_ci.wiring.clouds import OpenClouds, prices
from cvl_ci.wiring.directories import open_records

if TYPE_CHECKING:
    from cvl_ci.commands.collect.collect import Collected
    from cvl_ci.model.outcome import Outcome
    from cvl_ci.model.owner import Owner
    from cvl_ci.ports import LeaseRecord, RunReporter


def collect(
    names: Sequence[str],
    *,
    environ: Mapping[str, str],
    user_id: str,
    reporter: RunReporter,
    folder_of: Callable[[str], Path],
    publish: Callable[[LeaseRecord, Outcome, Path], None],
) -> Collected:
    """Collect these detached runs; without a name, all that wait."""
    from cvl_ci.commands.collect import collect as collect_verb

    return collect_verb.collect(
        names,
        everything=not names,
        user_id=user_id,
        folder_of=folder_of,
        ports=collect_verb.CollectPorts(
            clouds=OpenClouds(environ, by_record=True),
            records=open_records(environ, reporter),
            prices=prices(environ),
            reporter=reporter,
            clock=SystemClock(),
            publish=publish,
        ),
    )


def for_library(
    names: Sequence[str], environ: Mapping[str, str], owner: Owner, reporter: RunReporter, *, outputs: Path
) -> Mapping[str, Outcome]:
    """Collect these runs, or all, into a folder each. Return the outcomes; `reporter` hears of the other runs."""
    from cvl_ci.commands.collect import text

    collected = collect(
        names,
        environ=environ,
        user_id=owner.user_id,
        reporter=reporter,
        folder_of=outputs.joinpath,
        publish=lambda *_: None,
    )
    for line in text.lines(collected):
        reporter.notice(line)
    return collected.outcomes
