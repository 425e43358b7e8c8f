"""The one comment of a report over many legs: said once, at the end, and never over that of a run that began later."""

from __future__ import annotations

from collections.abc import Callable

from cvl_ci.github.context import GitHubContext
from cvl_ci.github.pr.sticky_comment import StickyComment
from cvl_ci.ports import Clock
from cvl_ci.result.report import marker, of_run, run_of


class ReportComment:
    """`group`: tells several reports of one workflow apart. `say` is told why nothing can be written."""

    def __init__(
        self, *, here: GitHubContext, group: str, token: str, clock: Clock, say: Callable[[str], None]
    ) -> None:
        self._marker = marker(here.comment_key(f"report {group}"))
        self._run, self._attempt = here.run or "0", here.attempt or "1"
        self._discussion = StickyComment(here=here, token=token, marker=self._marker, clock=clock, say=say)

    @property
    def head(self) -> str:
        """What its text has to begin with."""
        return f"{self._marker}{of_run(self._run, self._attempt, has_ended=True)}"

    def put(self, text: str, *, only_instead: bool) -> str:
        """Its address, empty where it was not written. `only_instead`: where nothing was said, nothing is."""

        def write(before: str) -> str:
            return before if self._newer(before) or (only_instead and not before) else text

        return self._discussion.put(write, last=True) or ""

    def _newer(self, before: str) -> bool:
        theirs = run_of(before, self._marker)
        return theirs is not None and theirs[0] > (int(self._run), int(self._attempt))
