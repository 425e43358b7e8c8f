"""The person watching a run, in a terminal or on GitHub."""

from __future__ import annotations

from typing import Protocol

from cvl_ci.model.outcome import Launch, Outcome, Phase
from cvl_ci.model.plan import RunPlan


class Workflow(Protocol):
    """The person watching: phases, remote lines between them, one summary. Terminal or GitHub."""

    def began(self, phase: Phase) -> None: ...

    def priced(self, *, hourly_usd: float, billed: bool) -> None:
        """From now on this much is spent per hour, all nodes together."""

    def launched(self, launch: Launch) -> None:
        """The machines are there, and the job is theirs."""

    def progress(self, text: str) -> None: ...

    def remote(self, text: str) -> None: ...

    def notice(self, text: str) -> None: ...

    def warning(self, text: str) -> None: ...

    def quoted(self, plan: RunPlan, text: str) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...
