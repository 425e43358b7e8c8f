"""Keep one issue for regressions, found by its hidden marker *and* its author: opened once, updated, closed.

It is closed only when each of its legs was measured again and is fine. A leg that found no machine tonight has not
recovered. result/matrix/markdown.py writes its content.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cvl_ci.errors import CvlError
from cvl_ci.github.api import Repository

WRITE = "issues: write"
MOST_ISSUES = 1_000
BOT = "github-actions[bot]"
_LEGS = re.compile(r"<!-- legs:([0-9a-f ]*) -->")


@dataclass(frozen=True, kw_only=True)
class IssueChange:
    """Result for a person: `opened`, `updated`, `closed` or nothing; and the issue's address."""

    did: str = ""
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class IssueFindings:
    """Keys of legs, in hexadecimal digits. `body` stands below the marker; `recovered`: the last word."""

    bad: Sequence[str]
    fine: Sequence[str]
    title: str
    body: str
    recovered: str


class RegressionIssue:
    """`marker`: an HTML comment, the same in every run of the workflow."""

    def __init__(self, repository: Repository, *, marker: str) -> None:
        self._repository, self._marker = repository, marker

    def tell(self, findings: IssueFindings) -> IssueChange:
        """Open, update or close the issue. Raises CvlError if GitHub refuses."""
        open_one = self._find_issue()
        if open_one is None:
            return self._opened(findings) if findings.bad else IssueChange()
        issue_legs = _legs(str(open_one.get("body") or ""))
        waiting = issue_legs - set(findings.fine)
        bad = sorted({*findings.bad, *waiting})
        if bad or not issue_legs:  # a body that does not name its legs any more tells of no recovery
            return self._updated(open_one, findings, bad)
        return self._closed(open_one, findings)

    def _find_issue(self) -> Mapping[str, Any] | None:
        """Return the oldest open one. A pull request is an issue to this API, and is skipped."""
        author = self._author()
        entries = self._repository.list_entries("/issues", needs=WRITE, most=MOST_ISSUES, state="open", creator=author)
        own_issues = [
            entry
            for entry in entries
            if "pull_request" not in entry
            and _login(entry) == author
            and str(entry.get("body") or "").startswith(self._marker)
        ]
        return min(own_issues, key=_number, default=None)

    def _author(self) -> str:
        """Return the token's user. The workflow's own token may not ask, and belongs to the bot."""
        return self._repository.login() or BOT

    def _opened(self, findings: IssueFindings) -> IssueChange:
        issue = self._send("POST", "/issues", {"title": findings.title, "body": self._body(findings, findings.bad)})
        return IssueChange(did="opened", url=_address(issue))

    def _updated(self, issue: Mapping[str, Any], findings: IssueFindings, bad: Sequence[str]) -> IssueChange:
        """In place: a word of its own each night would be a mail each night."""
        if not findings.bad:  # nothing new is known of what it waits for
            return IssueChange(did="kept open", url=_address(issue))
        body = {"title": findings.title, "body": self._body(findings, bad)}
        return IssueChange(did="updated", url=_address(self._send("PATCH", f"/issues/{_number(issue)}", body)))

    def _closed(self, issue: Mapping[str, Any], findings: IssueFindings) -> IssueChange:
        path = f"/issues/{_number(issue)}"
        self._send("POST", f"{path}/comments", {"body": findings.recovered})
        closed_issue = self._send("PATCH", path, {"state": "closed", "state_reason": "completed"})
        return IssueChange(did="closed", url=_address(closed_issue))

    def _body(self, findings: IssueFindings, bad: Sequence[str]) -> str:
        return f"{self._marker}<!-- legs:{' '.join(bad)} -->\n\n{findings.body}"

    def _send(self, method: str, path: str, body: Mapping[str, object]) -> Mapping[str, Any]:
        answer = self._repository.send(method, path, body, needs=WRITE)
        if not isinstance(answer, dict) or not isinstance(answer.get("html_url"), str):
            raise CvlError(
                f"GitHub answered {method} {path} with something else than an issue.", next_step="Run this job again."
            )
        return answer


def _login(entry: Mapping[str, Any]) -> str:
    """Empty: the account was deleted since."""
    user = entry.get("user")
    return str(user.get("login") or "") if isinstance(user, dict) else ""


def _legs(body: str) -> set[str]:
    """Return the legs of the first line only: a machine's text stands further down."""
    match = _LEGS.search(body.split("\n", 1)[0])
    return set(match[1].split()) if match else set()


def _number(issue: Mapping[str, Any]) -> int:
    number = issue.get("number")
    if not isinstance(number, int) or isinstance(number, bool):
        raise CvlError("GitHub lists an issue without a number.", next_step="Run this job again.")
    return number


def _address(issue: Mapping[str, Any]) -> str:
    return str(issue.get("html_url") or "")
