"""May this run spend money? A stranger's code never does by accident: decided from the event and what is checked out.

A pull request's own workflow file may say anything, so what guards the account there is that GitHub gives it no secret.
`pull_request_target`, `workflow_run` and comments run our file with our secrets: there a stranger's code is refused
until its very commit was named, and is what is checked out. A stranger's comment or review starts nothing.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable

from cvl_ci.errors import UntrustedCode
from cvl_ci.github.event import Event

FORK = ("plan", "fail", "sandbox", "run")
_WITH_OUR_SECRETS = {"pull_request_target", "workflow_run"}
_OF_ANY_CODE = {"issue_comment", "discussion_comment"}
"""With our secrets too, and the event does not tell whose code was checked out."""


class Road(enum.Enum):
    RUN = "run"
    PLAN = "plan"
    SANDBOX = "sandbox"


def road(
    event: Event,
    *,
    fork: str,
    allowed_sha: str,
    ours: str,
    head: Callable[[], str],
    has_credentials: Callable[[], bool],
    on_sandbox: bool,
) -> tuple[Road, str]:
    """Which way this run goes, and why where it is not the usual one. Raises UntrustedCode.

    `ours`: the commit that GitHub started the workflow for. `head`: the commit that is checked out, empty if none.
    """
    allowed = allowed_sha.strip().lower()
    if event.spoken_by_stranger and not event.from_fork:
        raise UntrustedCode(
            f"{event.name} started this with this repository's secrets, and its author is no member of the repository.",
            next_step="A member can say the same in their place.",
        )
    if event.name in _OF_ANY_CODE:
        return _commented(event, known={ours, allowed} - {""}, head=head())
    if event.name in _WITH_OUR_SECRETS and event.from_fork:
        return _reviewed(event, allowed, head)
    whose = "a fork" if event.from_fork else "Dependabot" if event.from_dependabot else ""
    if not whose or on_sandbox or fork == "run" or (event.from_dependabot and has_credentials()):
        return Road.RUN, ""
    reason = f"This pull request is from {whose}, and may not spend money here."
    if fork == "fail":
        raise UntrustedCode(
            reason, next_step="`fork: plan` shows the plan instead; `fork: sandbox` runs it for nothing."
        )
    if fork == "sandbox":
        return Road.SANDBOX, f"{reason} So it runs on the sandbox, this runner's own Docker, where nothing is billed."
    return Road.PLAN, reason


def _reviewed(event: Event, allowed: str, head: Callable[[], str]) -> tuple[Road, str]:
    proposed = event.head_sha
    if allowed != proposed or not _is_a_commit(allowed):
        moved = " Another commit was reviewed: the head has moved since." if allowed else ""
        raise UntrustedCode(
            f"{event.name} would run a fork's code ({proposed or 'unknown commit'}) with this repository's secrets."
            + moved,
            next_step="Use the trigger pull_request; or review this commit, give its SHA as allow_fork_sha, and check "
            "out that SHA and no branch.",
        )
    if head() != allowed:
        raise UntrustedCode(
            f"{event.name} may run the reviewed commit {allowed} only, and {_named(head())} is checked out.",
            next_step="Give actions/checkout that SHA as `ref`: a branch may move, a merge commit was not reviewed.",
        )
    return Road.RUN, ""


def _commented(event: Event, *, known: set[str], head: str) -> tuple[Road, str]:
    if not _is_a_commit(head) or head not in known:
        raise UntrustedCode(
            f"{event.name} started this with this repository's secrets, and {_named(head)} is checked out: neither the "
            "commit that GitHub started the workflow for, nor a reviewed one.",
            next_step="Use the trigger pull_request; or have a member read that commit and give its SHA as "
            "allow_fork_sha, typed by hand: one that the workflow looks up was read by nobody.",
        )
    return Road.RUN, ""


def _is_a_commit(sha: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{40}", sha) is not None


def _named(head: str) -> str:
    return head or "no commit that git knows"
