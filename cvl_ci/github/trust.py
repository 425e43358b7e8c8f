"""Decide whether this run may spend money, by the event and the checked-out commit. A stranger's code never may.

A pull request's own workflow file may say anything. GitHub gives it no secret, which guards the account there. Every
other event runs this repository's file with its secrets. Only the events of the table below run a known commit of its
own. After any other event, the checked-out commit must be the commit that GitHub started the workflow for, or a
reviewed one. Every sent file must be as that commit has it. A stranger's comment or review starts nothing.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping, Sequence

from cvl_ci.errors import UntrustedCode
from cvl_ci.github.event import Event

FORK = ("plan", "fail", "sandbox", "run")
_NAMED_FILES = 5
"""In a message; the others are counted."""


class Code(enum.Enum):
    """Whose code an event runs, where a workflow checks out what GitHub gives by itself."""

    OURS = "ours"
    """Who started it may write here, and GITHUB_SHA is what they wrote: it runs."""
    PROPOSED = "proposed"
    """GITHUB_SHA is a proposal: ours runs, and a fork's has no secret and goes the way of the input `fork`."""
    NAMED = "named"
    """With our secrets, about a commit that the payload names. A fork's runs only when it was reviewed."""
    DEFAULT = "default"
    """With our secrets, and anybody may cause it: GITHUB_SHA is the default branch's, and what else is checked out
    has to be reviewed."""
    ANY = "any"
    """With our secrets, and GITHUB_SHA may be anybody's commit: only a reviewed one runs."""


_OF_THE_DEFAULT_BRANCH = (
    *("branch_protection_rule", "check_run", "check_suite", "delete", "discussion", "discussion_comment", "fork"),
    *("gollum", "image_version", "issue_comment", "issues", "label", "milestone", "page_build", "project"),
    *("project_card", "project_column", "public", "repository_dispatch", "watch"),
)
EVENTS: Mapping[str, Code] = {
    # Who may push, start by hand or queue for a merge may write here; a schedule runs the default branch.
    "push": Code.OURS,
    "schedule": Code.OURS,
    "workflow_dispatch": Code.OURS,
    "merge_group": Code.OURS,
    # The reviews' GITHUB_SHA is the proposal's merge commit too.
    "pull_request": Code.PROPOSED,
    "pull_request_review": Code.PROPOSED,
    "pull_request_review_comment": Code.PROPOSED,
    # The base's file, about a head that the payload names.
    "pull_request_target": Code.NAMED,
    "workflow_run": Code.NAMED,
    # Apps, bots and readers cause these: "GITHUB_SHA: last commit on default branch".
    **dict.fromkeys(_OF_THE_DEFAULT_BRANCH, Code.DEFAULT),
    # About a commit that an app, a package or a tag names: it may be of a fork, whose commits are here by their SHA.
    "create": Code.ANY,
    "deployment": Code.ANY,
    "deployment_status": Code.ANY,
    "registry_package": Code.ANY,
    "release": Code.ANY,
    "status": Code.ANY,
    # A called workflow has its caller's event, so that nothing honest is ever called this.
    "workflow_call": Code.ANY,
}
"""After "Events that trigger workflows" (docs.github.com/actions/reference), each with its GITHUB_SHA there.

An event that is missing here does not start workflows today, and counts as Code.ANY. A new event of GitHub spends
nothing unreviewed.
"""


def code_of(event: str) -> Code:
    return EVENTS.get(event, Code.ANY)


class Policy(enum.Enum):
    """The way that a run goes: a paid run, the plan alone, or a run in the sandbox."""

    RUN = "run"
    PLAN = "plan"
    SANDBOX = "sandbox"


def decide(
    event: Event,
    *,
    fork: str,
    allowed_sha: str,
    github_sha: str,
    head: Callable[[], str],
    changed: Callable[[], Sequence[str]],
    has_credentials: Callable[[], bool],
    on_sandbox: bool,
) -> tuple[Policy, str]:
    """Return the way that this run goes, with a reason where it is not a paid run. Raises UntrustedCode.

    `github_sha`: the commit that GitHub started the workflow for. `head`: the checked-out commit, empty if git knows
    none. `changed`: tracked files that are not as that commit has them: a patch over our commit is not our commit.
    """
    allowed = allowed_sha.strip().lower()
    if event.spoken_by_stranger and not event.from_fork:
        raise UntrustedCode(
            f"{event.name} started this with this repository's secrets, and its author is not a member of it.",
            next_step="A member can say the same in their place.",
        )
    code = code_of(event.name)
    if code is Code.NAMED and event.from_fork:
        return _reviewed(event, allowed, head, changed)
    accepted = {
        Code.ANY: {allowed},
        Code.DEFAULT: {github_sha, allowed},
        Code.NAMED: {github_sha, allowed, event.head_sha},
    }
    if code in accepted:
        _require_known(event, accepted=accepted[code] - {""}, head=head())
        _require_unchanged(event, changed())
    origin = "a fork" if event.from_fork else "Dependabot" if event.from_dependabot else ""
    if not origin or on_sandbox or fork == "run" or (event.from_dependabot and has_credentials()):
        return Policy.RUN, ""
    reason = f"This pull request is from {origin}, and may not spend money here."
    if fork == "fail":
        raise UntrustedCode(
            reason, next_step="`fork: plan` shows the plan instead; `fork: sandbox` runs it for nothing."
        )
    if fork == "sandbox":
        return Policy.SANDBOX, f"{reason} So it runs on the sandbox, this runner's own Docker, where nothing is billed."
    return Policy.PLAN, reason


def require_committed(event: Event, unknown: Callable[[], Sequence[str]]) -> None:
    """Raise UntrustedCode where an event may run one known commit, and a run would send files that git does not track.

    `unknown`: those files.
    """
    if code_of(event.name) in {Code.OURS, Code.PROPOSED} or not (files := unknown()):
        return
    raise UntrustedCode(
        f"{event.name} may run a known commit only, and no commit holds these files, which would go to the machine: "
        f"{_few(files)}.",
        next_step="Leave them out with `exclude`, make them in the job itself, or have a member commit them.",
    )


def _reviewed(
    event: Event, allowed: str, head: Callable[[], str], changed: Callable[[], Sequence[str]]
) -> tuple[Policy, str]:
    proposed = event.head_sha
    if allowed != proposed or not _is_a_commit(allowed):
        moved = " Another commit was reviewed: the head has moved since." if allowed else ""
        raise UntrustedCode(
            f"{event.name} would run a fork's code ({proposed or 'unknown commit'}) with this repository's secrets."
            + moved,
            next_step="Use the trigger pull_request. Or review this commit, and give its SHA as allow_fork_sha. "
            "Then check out that SHA, and not a branch.",
        )
    if head() != allowed:
        raise UntrustedCode(
            f"{event.name} may run the reviewed commit {allowed} only, and {_named(head())} is checked out.",
            next_step="Give actions/checkout that SHA as `ref`: a branch may move, a merge commit was not reviewed.",
        )
    _require_unchanged(event, changed())
    return Policy.RUN, ""


def _require_known(event: Event, *, accepted: set[str], head: str) -> None:
    if not _is_a_commit(head) or head not in accepted:
        expected = (
            "neither the commit that GitHub started the workflow for, nor" if accepted else "and no commit is given as"
        )
        raise UntrustedCode(
            f"{event.name} started this with this repository's secrets, and {_named(head)} is checked out: {expected} "
            "a reviewed one.",
            next_step="Use the trigger pull_request. Or let a member read that commit, and type its SHA into "
            "allow_fork_sha. A SHA that the workflow itself looks up proves no review.",
        )


def _require_unchanged(event: Event, files: Sequence[str]) -> None:
    if files:
        raise UntrustedCode(
            f"{event.name} may run a known commit only, and these files of the checkout are not as it has them: "
            f"{_few(files)}.",
            next_step="Remove the step that changes them. Or commit the change, let a member read that commit, and "
            "give its SHA as allow_fork_sha.",
        )


def _few(files: Sequence[str]) -> str:
    names = ", ".join(ascii(name)[1:-1] for name in files[:_NAMED_FILES])
    return f"{names} and {len(files) - _NAMED_FILES} more" if len(files) > _NAMED_FILES else names


def _is_a_commit(sha: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{40}", sha) is not None


def _named(head: str) -> str:
    return head or "no commit that git knows"
