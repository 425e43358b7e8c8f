"""May this run spend money? A stranger's code never does by accident: the decision, from the event alone. Pure.

A pull request's own workflow file may say anything, so what guards the account there is that GitHub gives it no secret.
`pull_request_target` and `workflow_run` run our file with our secrets: a stranger's code is refused until its very
commit was named.
"""

from __future__ import annotations

import enum
import re

from cvl_ci.errors import UntrustedCode
from cvl_ci.github.event import Event

FORK = ("plan", "fail", "sandbox", "run")
_WITH_OUR_SECRETS = {"pull_request_target", "workflow_run"}


class Road(enum.Enum):
    RUN = "run"
    PLAN = "plan"
    SANDBOX = "sandbox"


def road(event: Event, *, fork: str, allowed_sha: str, has_credentials: bool, on_sandbox: bool) -> tuple[Road, str]:
    """Which way this run goes, and why where it is not the usual one. Raises UntrustedCode."""
    if event.name in _WITH_OUR_SECRETS and event.from_fork:
        return _reviewed(event, allowed_sha)
    whose = "a fork" if event.from_fork else "Dependabot" if event.from_dependabot else ""
    if not whose or on_sandbox or fork == "run" or (event.from_dependabot and has_credentials):
        return Road.RUN, ""
    reason = f"This pull request is from {whose}, and may not spend money here."
    if fork == "fail":
        raise UntrustedCode(
            reason, next_step="`fork: plan` shows the plan instead; `fork: sandbox` runs it for nothing."
        )
    return (Road.SANDBOX if fork == "sandbox" else Road.PLAN), reason


def _reviewed(event: Event, allowed_sha: str) -> tuple[Road, str]:
    head = event.head_sha
    if re.fullmatch(r"[0-9a-f]{40}", head) and allowed_sha.strip().lower() == head:
        return Road.RUN, ""
    moved = " Another commit was reviewed: the head has moved since." if allowed_sha.strip() else ""
    raise UntrustedCode(
        f"{event.name} would run a fork's code ({head or 'unknown commit'}) with this repository's secrets.{moved}",
        next_step="Use the trigger pull_request; or review this commit, give its SHA as allow_fork_sha, and check out "
        "that SHA and no branch.",
    )
