"""The result of a run for a program: an exit code that carries the whole outcome.

`sys.exit` takes the code of an int, and of no other object: it prints the object and ends with 1. Callers of the
earlier runner also compare with 0. So the result is an int, and not an Outcome with a special comparison. Two outcomes
with the same exit code stay different values.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import final

from cvl_ci.model.launch import Launch
from cvl_ci.model.ledger import Cost
from cvl_ci.model.outcome import Ending, FetchedFile, Outcome
from cvl_ci.model.release import Release
from cvl_ci.result.summary import sections
from cvl_ci.result.text import headline, money, proved_gone

_GREEN, _RED = "#1a7f37", "#cf222e"


@final
class RunResult(int):
    """The exit code of a run, with its outcome. As any exit code, it is true when the run failed.

    `outcome` has every fact; the properties give the most used ones.
    """

    outcome: Outcome

    def __new__(cls, outcome: Outcome) -> RunResult:
        """Return the outcome's exit code, with the outcome."""
        result = super().__new__(cls, outcome.exit_code)
        result.outcome = outcome
        return result

    def __getnewargs__(self) -> tuple[Outcome]:  # type: ignore[override]
        """Return the arguments with which pickle and copy make the result again."""
        return (self.outcome,)

    def __repr__(self) -> str:
        """Return the exit code, the ending and the cost."""
        cost = f", {money(self.outcome.cost)}" if self.outcome.cost else ""
        return f"<RunResult {int(self)}: {headline(self.outcome)}{cost}>"

    def __str__(self) -> str:
        """Return the exit code alone, as callers print it."""
        return str(int(self))

    def _repr_html_(self) -> str:
        """Return a table for a notebook. A machine chose many of its words, so each is escaped."""
        return as_html(self.outcome)

    @property
    def exit_code(self) -> int:
        return int(self)

    @property
    def succeeded(self) -> bool:
        """Return whether the job succeeded and no machine is left without a plan."""
        return self == 0

    @property
    def ending(self) -> Ending:
        return self.outcome.ending

    @property
    def reason(self) -> str:
        return self.outcome.reason

    @property
    def cost(self) -> Cost | None:
        return self.outcome.cost

    @property
    def metrics(self) -> Mapping[str, object]:
        return self.outcome.measurements.metrics

    @property
    def files(self) -> tuple[FetchedFile, ...]:
        return self.outcome.files.fetched

    @property
    def outputs_directory(self) -> str:
        """Return the folder with the fetched files; empty without any."""
        return self.outcome.files.directory

    @property
    def release(self) -> Release | None:
        """Return the proof that the machines are gone."""
        return self.outcome.release

    @property
    def launch(self) -> Launch | None:
        return self.outcome.machines.launch

    @property
    def cluster(self) -> str:
        """Return the name of the lease, which `down` takes."""
        return self.outcome.machines.cluster

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.outcome.warnings


def as_html(outcome: Outcome) -> str:
    """Return the summary of a run as an HTML table."""
    is_fine = outcome.ending is Ending.SUCCEEDED and proved_gone(outcome)
    rows = "".join(
        f'<tr><th style="text-align:left;vertical-align:top">{escape(section.name)}</th>'
        f'<td style="text-align:left">{"<br>".join(escape(line) for line in section.lines)}</td></tr>'
        for section in sections(outcome)
    )
    colour = _GREEN if is_fine else _RED
    return f'<div><b style="color:{colour}">{escape(headline(outcome))}</b><table>{rows}</table></div>'
