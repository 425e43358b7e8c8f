"""The RunReporter of a program: a function receives each line of the job, and nothing is printed."""

from __future__ import annotations

from collections.abc import Callable

from cvl_ci.model.launch import Launch, Spending
from cvl_ci.model.outcome import Outcome, Phase
from cvl_ci.model.plan import RunPlan
from cvl_ci.result.masked_lines import MaskedLines
from cvl_ci.result.masks import Masks
from cvl_ci.result.text import machine_line


class CallbackReporter:
    """A reporter with two functions: `on_line` gets the job's lines, `on_notice` those of cvl-ci and SkyPilot.

    `on_phase` gets each phase as it begins, `on_priced` the requests so far. The lines are masked. The functions must
    not raise.
    """

    def __init__(
        self,
        *,
        on_line: Callable[[str], None],
        on_notice: Callable[[str], None],
        on_phase: Callable[[Phase], None] = lambda _: None,
        on_priced: Callable[[Spending], None] = lambda _: None,
        masks: Masks | None = None,
    ) -> None:
        self._masks = masks or Masks()
        self._lines = MaskedLines(self._masks)
        self._on_line = on_line
        self._notify = on_notice
        self._on_phase = on_phase
        self._on_priced = on_priced

    def show_phase(self, phase: Phase) -> None:
        self._on_phase(phase)
        self._on_notice(phase.value)

    def show_price(self, spending: Spending) -> None:
        self._on_priced(spending)

    def show_launch(self, launch: Launch) -> None:
        self._on_notice(f"runs on {machine_line(launch)}")

    def progress(self, text: str) -> None:
        self._notify(self._lines.hide(text))

    def show_job_line(self, text: str) -> None:
        self._on_line(self._lines.hide(text))

    def show(self, text: str) -> None:
        self._on_notice(text)

    def notice(self, text: str) -> None:
        self._on_notice(text)

    def warning(self, text: str) -> None:
        self._on_notice(f"warning: {text}")

    def show_quote(self, plan: RunPlan, text: str) -> None:
        self._on_notice(text)

    def show_outcome(self, outcome: Outcome) -> None:
        """Do nothing: a program gets the outcome from its call."""

    def _on_notice(self, text: str) -> None:
        self._notify("\n".join(map(self._masks.hide_as_read, text.split("\n"))))
