"""The person who watches a run, in a terminal or on GitHub."""

from __future__ import annotations

from typing import Protocol

from cvl_ci.model.launch import Launch, Spending
from cvl_ci.model.outcome import Outcome, Phase
from cvl_ci.model.plan import RunPlan


class RunReporter(Protocol):
    """The watcher of a run: phases, the job's lines between them, one summary. Terminal or GitHub."""

    def show_phase(self, phase: Phase) -> None: ...

    def show_price(self, spending: Spending) -> None:
        """Report the price from now on, in USD an hour for all nodes together."""

    def show_launch(self, launch: Launch) -> None:
        """Report that the machines run and have the job."""

    def progress(self, text: str) -> None: ...

    def show_job_line(self, text: str) -> None: ...

    def show(self, text: str) -> None:
        """Write a line that stays. GitHub shows ten notices of a step, so a line of each run is not a notice."""

    def notice(self, text: str) -> None: ...

    def warning(self, text: str) -> None: ...

    def show_quote(self, plan: RunPlan, text: str) -> None: ...

    def show_outcome(self, outcome: Outcome) -> None: ...
