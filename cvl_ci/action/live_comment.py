"""The comment of a run that still goes on: queued, getting machines, running on which machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cvl_ci.action.state import SavedState
from cvl_ci.model.plan import RunPlan

if TYPE_CHECKING:
    from cvl_ci.github.pr.step_comment import StepComment
    from cvl_ci.model.launch import Launch
    from cvl_ci.model.outcome import Phase


class LiveComment:
    """A comment that follows the run's phases. `comment`: None writes nothing."""

    def __init__(self, comment: StepComment | None, state: SavedState) -> None:
        self._comment, self._state = comment, state
        self._launch: Launch | None = None

    def queue(self, plan: RunPlan) -> None:
        """Save the plan's title for post and write that the run waits."""
        self._state.update(work=plan.identity)
        self._write("queued")

    def enter(self, phase: Phase) -> None:
        """Write the phase, or the machine of a job that runs."""
        from cvl_ci.github.log.reporter import TITLES
        from cvl_ci.model.outcome import Phase
        from cvl_ci.result.text import machine_line

        if self._launch is None or phase not in {Phase.SETUP, Phase.RUNNING}:
            self._write(TITLES[phase].lower())
        else:
            free = "" if self._state.now.spending.billed else " · nothing is billed"
            self._write(f"running on {machine_line(self._launch)}{free}")

    def launch(self, launch: Launch) -> None:
        """Write the machine of a launch."""
        from cvl_ci.model.outcome import Phase

        self._launch = launch
        self.enter(Phase.SETUP)

    def _write(self, doing: str) -> None:
        if self._comment is not None:
            self._comment.under_way(title=self._state.now.work.title, doing=doing)
