"""What one step says on its pull request, from the queue to the end: a comment, or a row of a shared one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from cvl_ci.github.context import GitHubContext
from cvl_ci.github.pr.comment_thread import CommentThread
from cvl_ci.github.pr.sticky_comment import StickyComment
from cvl_ci.model.outcome import Outcome
from cvl_ci.ports import Clock
from cvl_ci.result.masks import Masks
from cvl_ci.result.report import (
    Link,
    comment,
    comment_so_far,
    group_comment,
    group_row,
    group_row_so_far,
    marker,
    of_run,
    row_head,
    run_of,
)

FLUSH_SECONDS = 30.0
"""A step that is over waits this long for GitHub's API, and no longer."""


class StepComment:
    """Comment of one step.

    `say` gets the reason of a failure, on the caller's thread. `is_silent`: called right before each text is written.
    If it returns True, a later run owns the comment, which then stays unchanged.
    """

    def __init__(
        self,
        *,
        context: GitHubContext,
        group: str,
        token: str,
        masks: Masks,
        clock: Clock,
        say: Callable[[str], None],
        is_silent: Callable[[], bool] = lambda: False,
    ) -> None:
        self._context, self._group, self._masks, self._say = context, group.strip(), masks, say
        self._is_silent = is_silent
        self._marker = marker(context.comment_key(self._group))
        self._run = Link(text="log of the run", url=context.run_url)
        self._to_say: list[str] = []
        discussion = StickyComment(
            context=context, token=token, marker=self._marker, clock=clock, say=self._to_say.append
        )
        self._thread = CommentThread(discussion)
        self._begun = False
        self._row = ""

    @property
    def begun(self) -> bool:
        """Return whether a text was written that only the end may replace."""
        return self._begun

    def under_way(self, *, title: str, doing: str) -> None:
        self._begun = True
        title, doing = self._masks.hide(title), self._masks.hide(doing)
        if self._group:
            self._put_row(group_row_so_far(leg=self._leg, doing=doing, run=self._run))
        else:
            head = f"{self._marker}{self._of_run()}"
            text = comment_so_far(title=title, doing=doing, marker=head, run=self._run)
            self._put(lambda before: before if self._newer(before, self._marker) else text)
        self._tell()

    def write_end(
        self,
        outcome: Outcome,
        *,
        tail: Sequence[str],
        artifacts: Sequence[Link],
        unless_told: bool = False,
        only_instead: bool = False,
    ) -> None:
        """Write the end. `unless_told`: main's text about the end stays, if main wrote one.

        `only_instead`: only replace an existing text, such as that of an earlier run that failed.
        """
        outcome = self._masks.cleaned(outcome)
        if self._group:
            self._put_row(group_row(outcome, leg=self._leg, run=self._run), has_ended=True, only_instead=only_instead)
        else:
            head = f"{self._marker}{self._of_run(has_ended=True)}"
            text = self._masks.hide(comment(outcome, marker=head, run=self._run, tail=tail, artifacts=artifacts))

            def write(before: str) -> str:
                stands = (unless_told and before.startswith(head)) or (only_instead and not before)
                return before if stands or self._newer(before, self._marker) else text

            self._put(write)
        self._tell()

    def close(self) -> None:
        """Write the last text, or report that it was not written."""
        if not self._thread.flush(within=FLUSH_SECONDS):
            self._say(f"GitHub took no comment within {FLUSH_SECONDS:.0f} s. The step's summary has it all.")
        self._tell()

    def _put_row(self, row: str, *, has_ended: bool = False, only_instead: bool = False) -> None:
        row = self._of_run(has_ended=has_ended) + self._masks.hide(row)
        if row == self._row:
            return
        self._row = row
        key, head = self._context.row_key, row_head(self._context.row_key)
        add_row = partial(group_comment, title=self._group, marker=self._marker, key=key, row=row)

        def write(before: str) -> str:
            stands = only_instead and head not in before
            return before if stands or self._newer(before, head) else self._masks.hide(add_row(before))

        self._put(write, stays=row if has_ended else "")

    def _newer(self, before: str, head: str) -> bool:
        """Return whether a later run owns the comment: this run's commit may be outdated."""
        comment_run, own_run = run_of(before, head), run_of(self._of_run(), "")
        return comment_run is not None and own_run is not None and comment_run[0] > own_run[0]

    def _of_run(self, *, has_ended: bool = False) -> str:
        return of_run(self._context.run or "0", self._context.attempt or "1", has_ended=has_ended)

    @property
    def _leg(self) -> str:
        return self._context.leg_text or self._context.job

    def _put(self, write: Callable[[str], str], *, stays: str = "") -> None:
        self._thread.put(lambda before: before if self._is_silent() else write(before), stays=stays)

    def _tell(self) -> None:
        while self._to_say:
            self._say(self._to_say.pop(0))
