"""Keep one sticky comment on the pull request, found by its hidden marker *and* its author; remove twins.

Anybody may write this marker in a comment, and the token could change that comment: so the author decides too. A text
that cannot be written is not a failure. The caller gets the reason once, and the step's page has everything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from cvl_ci.backoff import Backoff
from cvl_ci.github import client
from cvl_ci.github.client import LONGEST_WAIT, ONCE, Client, Trouble
from cvl_ci.github.context import GitHubContext
from cvl_ci.ports import Clock

BACKOFF = Backoff(tries=4, first_seconds=2.0, longest_seconds=LONGEST_WAIT)
SECONDS_BETWEEN = 15.0
"""Between two changes of a comment while a run goes on: 80 a minute are allowed to everybody together."""
HEALS = 3
SECONDS_TO_HEAL = 4.0
"""Two who change one comment at once have both written by then, and one of them what the other had not read."""
BOT = "github-actions[bot]"

PERMISSION = "the token may not write comments; give the job `permissions: {contents: read, pull-requests: write}`"
FORK = "the pull request comes from a fork, whose runs get a token that may only read"
DEPENDABOT = "Dependabot's runs get a token that may only read, unless the job is given `pull-requests: write`"
NO_REQUEST = "the run belongs to no open pull request"

Answer = TypeVar("Answer")


class CommentRefused(Exception):
    """GitHub said no, and will again."""


@dataclass(frozen=True, kw_only=True)
class _Comment:
    """One as GitHub gives it. `author` empty: the account was deleted since."""

    number: int
    body: str
    author: str
    address: str


class StickyComment:
    """Sticky comment. `say` gets the reason once if nothing can be written."""

    def __init__(
        self, *, context: GitHubContext, token: str, marker: str, clock: Clock, say: Callable[[str], None]
    ) -> None:
        self._context = context
        self._client = Client(api=context.server.api, token=token, seconds=10.0, backoff=ONCE)
        self._marker = marker
        self._clock = clock
        self._backoff = replace(BACKOFF, sleep=clock.sleep)
        self._say = say
        self._silenced = False
        self._number: int | None = None
        self._author = ""
        self._not_before = float("-inf")

    @property
    def silenced(self) -> bool:
        """Return whether GitHub refused for good. `say` then got the reason."""
        return self._silenced

    @property
    def seconds_to_wait(self) -> float:
        """Return the seconds until a text may be written, unless it is the last one."""
        return max(0.0, self._not_before - self._clock.monotonic())

    def put(self, write: Callable[[str], str], *, last: bool = False, stays: str = "") -> str | None:
        """Write the comment and return its address; empty without one, None if it was not written.

        `write` gets the current comment (empty: none yet) and returns the new one (empty: none then either). Unless it
        is the `last` text, it is skipped if the one before is too fresh. Never raises. `stays`: the part that must
        still be there some seconds later, although others who share the comment write too.
        """
        if self._silenced or (not last and self.seconds_to_wait > 0):
            return None
        self._not_before = self._clock.monotonic() + SECONDS_BETWEEN
        try:
            address = self._retry(lambda: self._write(write))
            if stays and address:
                self._heal(write, stays)
        except CommentRefused as refused:
            self._silenced = True
            self._say(f"No comment on the pull request: {refused}. The step's summary has it all.")
        except Exception as error:  # noqa: BLE001  a comment is never worth a run, whatever went wrong with it
            if last:
                words = str(error) if isinstance(error, Trouble) else f"{type(error).__name__}: {error}"
                self._say(f"The comment could not be written ({words[:300]}). The step's summary has it all.")
        else:
            return address
        return None

    # ---- one comment ----------------------------------------------------------------------------------------------

    def _write(self, write: Callable[[str], str]) -> str:
        number = self._request()
        comment = self._find_comment(number)
        before = comment.body if comment else ""
        body = write(before)
        if comment is None and not body:
            return ""
        if comment is None:
            comment = _comment(self._ask("POST", f"/issues/{number}/comments", body={"body": body}))
            self._author = comment.author
            # Another job of the same name may have made one in the same second.
            comment = self._find_comment(number) or comment
            if comment.body != body:
                self._edit(comment, write(comment.body))
        elif body != before:
            self._edit(comment, body)
        return comment.address

    def _edit(self, comment: _Comment, body: str) -> None:
        self._ask("PATCH", f"/issues/comments/{comment.number}", body={"body": body})

    def _heal(self, write: Callable[[str], str], stays: str) -> None:
        """Legs that began to wait together do not end together, or they would overwrite each other again."""
        share = hashlib.sha256(stays.encode("utf-8", "replace")).digest()[0] / 256
        for _ in range(HEALS):
            self._clock.sleep(SECONDS_TO_HEAL * (1 + share))
            comment = self._retry(lambda: self._find_comment(self._request()))
            body = comment.body if comment is not None else ""
            if stays in body or write(body) == body:
                return
            self._retry(lambda: self._write(write))

    def _request(self) -> int:
        number = self._pull_request()
        if number is None:
            raise CommentRefused(NO_REQUEST)
        return number

    def _find_comment(self, number: int) -> _Comment | None:
        """Return the oldest one, over all pages; remove younger twins."""
        author = self._author or self._token_user()
        comments = (_comment(entry) for entry in self._list_entries(f"/issues/{number}/comments"))
        own_comments = [one for one in comments if one.author == author and one.body.startswith(self._marker)]
        own_comments.sort(key=lambda comment: comment.number)
        for twin in own_comments[1:]:
            self._delete(twin)
        return own_comments[0] if own_comments else None

    def _delete(self, twin: _Comment) -> None:
        """Who shares it may have been faster."""
        try:
            self._ask("DELETE", f"/issues/comments/{twin.number}")
        except Trouble as trouble:
            if trouble.status != 404:
                raise

    def _token_user(self) -> str:
        """Return the token's user. The workflow's own token may not ask, and is the bot's."""
        self._author = self._client.login() or BOT
        return self._author

    def _pull_request(self) -> int | None:
        if self._number is None:
            self._number = self._context.event.pull_request
        if self._number is None and self._context.event.asks_by_commit:
            sha = self._context.event.sha or self._context.sha
            for request in self._list_entries(f"/commits/{sha}/pulls"):
                head = client.member(request, "head", dict, of="a pull request")
                head_repository = head.get("repo")  # None: the fork was deleted since
                inside = (
                    isinstance(head_repository, dict) and head_repository.get("full_name") == self._context.repository
                )
                if inside and request.get("state") == "open" and head.get("sha") == sha:
                    self._number = int(client.member(request, "number", int, of="a pull request"))
        return self._number

    # ---- asking ---------------------------------------------------------------------------------------------------

    def _retry(self, ask: Callable[[], Answer]) -> Answer:
        """Return the answer, tried again after a hiccup. Each try looks first: a lost answer may hide a success."""
        try:
            return self._backoff.run(ask, pause=client.pause_with(self._backoff, now=self._clock.now))
        except Trouble as trouble:
            wait = client.wait(trouble, now=self._clock.now(), own=self._backoff.seconds(self._backoff.tries - 1))
            if wait is not None:
                self._not_before = self._clock.monotonic() + wait
            elif trouble.status != 0:
                raise CommentRefused(self._why(trouble)) from None
            raise

    def _why(self, error: Trouble) -> str:
        if error.status not in {401, 403, 404}:
            return f"GitHub refused it ({str(error)[:200]})"
        if self._context.event.from_fork:
            return FORK
        return DEPENDABOT if self._context.event.from_dependabot else PERMISSION

    def _list_entries(self, path: str) -> Iterator[Mapping[str, Any]]:
        """Yield the entries of all pages, because any page may hold the comment.

        Raise Trouble if there is no last one.
        """
        return self._client.list_entries(f"/repos/{self._context.repository}{path}")

    def _ask(self, method: str, path: str, *, body: Mapping[str, object] | None = None) -> Any:
        return self._client.ask(method, f"/repos/{self._context.repository}{path}", body=body)


def _comment(entry: object) -> _Comment:
    """Read one comment, or raise Trouble. GitHub may leave out the body of one, and its author."""
    number = client.member(entry, "id", int, of="a comment")
    address = client.member(entry, "html_url", str, of="a comment")
    fields: Any = entry
    author = fields.get("user")
    return _Comment(
        number=number,
        body=str(fields.get("body") or ""),
        author=str(author.get("login") or "") if isinstance(author, dict) else "",
        address=address,
    )
