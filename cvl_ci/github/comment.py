"""What one step says on its pull request, from the queue to the end: a comment, or a row of a shared one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from cvl_ci.github.comment_thread import CommentThread
from cvl_ci.github.discussion import Discussion
from cvl_ci.github.masks import Masks
from cvl_ci.github.surroundings import Surroundings
from cvl_ci.ports import Clock
from cvl_ci.result.outcome import Outcome
from cvl_ci.result.report import (
    Link,
    comment,
    comment_so_far,
    ended,
    group_comment,
    group_row,
    group_row_so_far,
    marker,
)

FLUSH_SECONDS = 30.0
"""A step that is over waits this long for GitHub's API, and no longer."""


class StepComment:
    """`say` is told, by whoever calls a method here, why nothing can be written.

    `hushed`: asked right before each word is written; who is overtaken in the meantime leaves all as it is.
    """

    def __init__(
        self,
        *,
        here: Surroundings,
        group: str,
        token: str,
        masks: Masks,
        clock: Clock,
        say: Callable[[str], None],
        hushed: Callable[[], bool] = lambda: False,
    ) -> None:
        self._here, self._group, self._masks, self._say = here, group.strip(), masks, say
        self._hushed = hushed
        self._marker = marker(here.comment_key(self._group))
        self._run = Link(words="log of the run", url=here.run_url)
        self._to_say: list[str] = []
        discussion = Discussion(
            api=here.api,
            token=token,
            repository=here.repository,
            sha=here.sha,
            event=here.event,
            marker=self._marker,
            clock=clock,
            say=self._to_say.append,
        )
        self._thread = CommentThread(discussion)
        self._begun = False
        self._row = ""

    @property
    def begun(self) -> bool:
        """Something was said that only the end may leave standing."""
        return self._begun

    def under_way(self, *, title: str, doing: str) -> None:
        self._begun = True
        title, doing = self._masks.hide(title), self._masks.hide(doing)
        if self._group:
            self._put_row(group_row_so_far(leg=self._here.leg_in_words or self._here.job, doing=doing, run=self._run))
        else:
            text = comment_so_far(title=title, doing=doing, marker=self._marker, run=self._run)
            self._put(lambda _: text)
        self._tell()

    def ended(
        self,
        outcome: Outcome,
        *,
        tail: Sequence[str],
        artifacts: Sequence[Link],
        unless_told: bool = False,
        only_instead: bool = False,
    ) -> None:
        """`unless_told`: what main said of the end stays, if it came to say it.

        `only_instead`: of a run before, say, that failed; where nothing was said, nothing is.
        """
        outcome = self._masks.cleaned(outcome)
        if self._group:
            row = group_row(outcome, leg=self._here.leg_in_words or self._here.job, run=self._run)
            self._put_row(row, lasts=True, only_instead=only_instead)
        else:
            end = ended(outcome.cluster)
            head = f"{self._marker}{end}"
            text = self._masks.hide(comment(outcome, marker=head, run=self._run, tail=tail, artifacts=artifacts))
            stands = end if unless_told else None
            self._put(lambda before: before if _left(before, stands, only_instead) else text)
        self._tell()

    def close(self) -> None:
        """The last word is said, or it is told that it was not."""
        if not self._thread.flush(within=FLUSH_SECONDS):
            self._say(f"GitHub took no comment within {FLUSH_SECONDS:.0f} s. The step's summary has it all.")
        self._tell()

    def _put_row(self, row: str, *, lasts: bool = False, only_instead: bool = False) -> None:
        row = self._masks.hide(row)
        if row == self._row:
            return
        self._row = row
        write = partial(group_comment, title=self._group, marker=self._marker, key=self._here.row_key, row=row)
        self._put(
            lambda before: before if _left(before, None, only_instead) else self._masks.hide(write(before)),
            stays=row if lasts else "",
        )

    def _put(self, write: Callable[[str], str], *, stays: str = "") -> None:
        self._thread.put(lambda before: before if self._hushed() else write(before), stays=stays)

    def _tell(self) -> None:
        while self._to_say:
            self._say(self._to_say.pop(0))


def _left(before: str, stands: str | None, only_instead: bool) -> bool:
    """As it is."""
    return (stands is not None and stands in before) or (only_instead and not before)
