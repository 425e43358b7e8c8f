"""Write the one comment of a report over many legs: once, at the end, and never over that of a later run."""

from __future__ import annotations

from collections.abc import Callable

from cvl_ci.github.context import GitHubContext
from cvl_ci.github.pr.sticky_comment import StickyComment
from cvl_ci.ports import Clock
from cvl_ci.result.report import marker, of_run, run_of


class ReportComment:
    """Comment of a report. `group`: separates several reports of one workflow. `say` gets the reason of a failure."""

    def __init__(
        self, *, context: GitHubContext, group: str, token: str, clock: Clock, say: Callable[[str], None]
    ) -> None:
        self._marker = marker(context.comment_key(f"report {group}"))
        self._run, self._attempt = context.run or "0", context.attempt or "1"
        self._discussion = StickyComment(context=context, token=token, marker=self._marker, clock=clock, say=say)

    @property
    def head(self) -> str:
        """What its text has to begin with."""
        return f"{self._marker}{of_run(self._run, self._attempt, has_ended=True)}"

    def put(self, text: str, *, only_instead: bool) -> str:
        """Write it and return its address, empty if it was not written.

        `only_instead`: only replace an existing one.
        """

        def write(before: str) -> str:
            return before if self._newer(before) or (only_instead and not before) else text

        return self._discussion.put(write, last=True) or ""

    def _newer(self, before: str) -> bool:
        comment_run = run_of(before, self._marker)
        return comment_run is not None and comment_run[0] > (int(self._run), int(self._attempt))
