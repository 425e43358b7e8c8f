"""One sticky comment on the pull request: found by its hidden marker *and* its author, changed or made, twins healed.

Anybody may write our marker in a comment of theirs, and our token could change it: so the author decides too. What
cannot be said there is no failure: the caller gets the reason, once, and the step's page has it all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from cvl_ci.github.surroundings import Surroundings
from cvl_ci.ports import Clock

if TYPE_CHECKING:
    from github import Github
    from github.Issue import Issue
    from github.IssueComment import IssueComment
    from github.NamedUser import NamedUser
    from github.Organization import Organization
    from github.Repository import Repository

TRIES = 4
SECONDS_BETWEEN = 15.0
"""Between two changes of a comment while a run goes on: 80 a minute are allowed to everybody together."""
LONGEST_WAIT = 60.0
HEALS = 3
SECONDS_TO_HEAL = 4.0
"""Two who change one comment at once have both written by then, and one of them what the other had not read."""
BOT = "github-actions[bot]"

PERMISSION = "the token may not write comments; give the job `permissions: {contents: read, pull-requests: write}`"
FORK = "the pull request comes from a fork, whose runs get a token that may only read"
DEPENDABOT = "Dependabot's runs get a token that may only read, unless the job is given `pull-requests: write`"
NO_REQUEST = "the run belongs to no open pull request"

Answer = TypeVar("Answer")


class Refused(Exception):
    """GitHub said no, and will again."""


class Discussion:
    """`say` is told once why nothing can be written."""

    def __init__(
        self, *, here: Surroundings, token: str, marker: str, clock: Clock, say: Callable[[str], None]
    ) -> None:
        self._here = here
        self._token = token
        self._marker = marker
        self._clock = clock
        self._say = say
        self._silenced = False
        self._number: int | None = None
        self._author = ""
        self._not_before = float("-inf")

    @property
    def silenced(self) -> bool:
        """GitHub said no for good, and `say` was told why."""
        return self._silenced

    @property
    def seconds_to_wait(self) -> float:
        """Until a word that is not the last may be said."""
        return max(0.0, self._not_before - self._clock.monotonic())

    def put(self, write: Callable[[str], str], *, last: bool = False, stays: str = "") -> str | None:
        """`write` gets the comment as it is (empty: none yet) and gives what it shall be (empty: none then either).

        Its address, empty where there is none; None: not said. Unless it is the `last` word, it is left out when the
        one before is too fresh. Never raises.
        `stays`: what must still be there some seconds later, whatever others who share the comment write.
        """
        if self._silenced or (not last and self.seconds_to_wait > 0):
            return None
        self._not_before = self._clock.monotonic() + SECONDS_BETWEEN
        try:
            address = self._asking(lambda: self._written(write))
            if stays and address:
                self._heal(write, stays)
        except Refused as refused:
            self._silenced = True
            self._say(f"No comment on the pull request: {refused}. The step's summary has it all.")
        except _failures() as error:
            if last:
                self._say(f"The comment could not be written ({type(error).__name__}: {str(error)[:200]}).")
        else:
            return address
        return None

    # ---- one comment ----------------------------------------------------------------------------------------------

    def _written(self, write: Callable[[str], str]) -> str:
        number = self._request()
        comment = self._ours(number)
        before = comment.body if comment else ""
        body = write(before)
        if comment is None and not body:
            return ""
        if comment is None:
            comment = self._issue(number).create_comment(body)
            self._author = comment.user.login
            # Another job of the same name may have made one in the same second.
            comment = self._ours(number) or comment
            if comment.body != body:
                comment.edit(write(comment.body))
        elif body != before:
            comment.edit(body)
        return str(comment.html_url)

    def _heal(self, write: Callable[[str], str], stays: str) -> None:
        """Legs that began to wait together do not end together, or they would overwrite each other again."""
        share = hashlib.sha256(stays.encode("utf-8", "replace")).digest()[0] / 256
        for _ in range(HEALS):
            self._clock.sleep(SECONDS_TO_HEAL * (1 + share))
            comment = self._asking(lambda: self._ours(self._request()))
            body = (comment.body or "") if comment is not None else ""
            if stays in body or write(body) == body:
                return
            self._asking(lambda: self._written(write))

    def _request(self) -> int:
        number = self._pull_request()
        if number is None:
            raise Refused(NO_REQUEST)
        return number

    def _ours(self, number: int) -> IssueComment | None:
        """The oldest, over all pages; younger twins are removed."""
        author = self._author or self._who()
        mine = [comment for comment in self._issue(number).get_comments() if self._is_ours(comment, author)]
        mine.sort(key=lambda comment: comment.id)
        for twin in mine[1:]:
            with _gone_is_fine():  # who shares it may have been faster
                twin.delete()
        return mine[0] if mine else None

    def _is_ours(self, comment: IssueComment, author: str) -> bool:
        wrote: NamedUser | Organization | None = comment.user  # None: the account was deleted since
        return wrote is not None and wrote.login == author and (comment.body or "").startswith(self._marker)

    def _who(self) -> str:
        """A person's token says; the workflow's own may not ask."""
        from github import GithubException

        try:
            self._author = self._github().get_user().login
        except GithubException as error:
            if error.status not in {401, 403, 404}:
                raise
            self._author = BOT
        return self._author

    def _pull_request(self) -> int | None:
        if self._number is None:
            self._number = self._here.event.pull_request
        if self._number is None and self._here.event.asks_by_commit:
            sha = self._here.event.sha or self._here.sha
            for request in self._github().get_repo(self._here.repository).get_commit(sha).get_pulls():
                head: Repository | None = request.head.repo  # None: the fork was deleted since
                inside = head is not None and head.full_name == self._here.repository
                if inside and request.state == "open" and request.head.sha == sha:
                    self._number = request.number
        return self._number

    # ---- asking ---------------------------------------------------------------------------------------------------

    def _asking(self, ask: Callable[[], Answer]) -> Answer:
        """Again after a hiccup, by looking first: a POST whose answer was lost may have been heard."""
        from github import GithubException

        for attempt in range(1, TRIES + 1):
            try:
                return ask()
            except GithubException as error:
                wait = _wait(error, now=self._clock.now(), attempt=attempt)
                if wait is None:
                    raise Refused(self._why(error)) from None
                if attempt == TRIES or wait > LONGEST_WAIT:
                    self._not_before = self._clock.monotonic() + wait
                    raise
            except OSError:
                wait = 2.0**attempt
                if attempt == TRIES:
                    raise
            self._clock.sleep(wait)
        raise AssertionError("unreachable")

    def _why(self, error: Exception) -> str:
        if getattr(error, "status", 0) not in {401, 403, 404}:
            return f"GitHub refused it ({str(error)[:200]})"
        if self._here.event.from_fork:
            return FORK
        return DEPENDABOT if self._here.event.from_dependabot else PERMISSION

    def _issue(self, number: int) -> Issue:
        return self._github().get_repo(self._here.repository).get_issue(number)

    def _github(self) -> Github:
        from github import Auth, Github

        return Github(
            auth=Auth.Token(self._token),
            base_url=self._here.api,
            per_page=100,
            timeout=10,
            retry=None,
            seconds_between_requests=None,
            seconds_between_writes=None,
            lazy=True,
        )


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    from github import UnknownObjectException

    with suppress(UnknownObjectException):
        yield


def _wait(error: Exception, *, now: float, attempt: int) -> float | None:
    """Seconds; None: it will not get better. GitHub's rule: retry-after, else the reset, else a minute."""
    status = int(getattr(error, "status", 0) or 0)
    headers = {str(name).lower(): str(value) for name, value in (getattr(error, "headers", None) or {}).items()}
    if status in {403, 429}:
        if headers.get("retry-after", "").isdigit():
            return float(headers["retry-after"])
        if headers.get("x-ratelimit-remaining") == "0" and headers.get("x-ratelimit-reset", "").isdigit():
            return max(1.0, float(headers["x-ratelimit-reset"]) - now)
        return 60.0 if status == 429 or "secondary rate limit" in str(error).lower() else None
    return 2.0**attempt if status >= 500 else None


def _failures() -> tuple[type[Exception], ...]:
    from github import GithubException

    return (GithubException, OSError, AssertionError)
