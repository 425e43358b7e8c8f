"""One step of a workflow: who holds its lease, where its words go, what post will find. The environment is given."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci import wiring
from cvl_ci.local.clock import SystemClock
from cvl_ci.local.handover import Handover
from cvl_ci.local.handover import save as save_handover
from cvl_ci.local.handover import written as written_handover
from cvl_ci.request.plan import SANDBOX, Place

if TYPE_CHECKING:
    from cvl_ci.github.discussion import Discussion
    from cvl_ci.result.outcome import Outcome, Phase


class OnGitHub:
    """One step of a workflow: who holds its lease, where its words go, what post will find."""

    def __init__(self, environ: Mapping[str, str], *, leg: str | None = None) -> None:
        """Masks first: nothing is said before the runner knows what to hide. `leg`: as main had it."""
        from cvl_ci.github import surroundings
        from cvl_ci.github.masks import Masks, secret_values
        from cvl_ci.github.workflow import GitHubWorkflow
        from cvl_ci.lease import Owner
        from cvl_ci.result.report import job_summary

        self._here = here = surroundings.read(environ, leg=environ.get("INPUT_LEG", "") if leg is None else leg)
        self.owner = Owner(
            repository=here.repository, run=here.run, attempt=here.attempt, job=here.job, step=here.step, leg=here.leg
        )
        self.outputs = Path("cvl-outputs") / self.owner.name
        self.masks = Masks()
        self._environ = environ
        self._left = Handover(lease=self.owner.name, leg=here.leg)
        self.workflow = GitHubWorkflow(
            out=sys.stdout,
            clock=SystemClock(),
            files=environ,
            masks=self.masks,
            log=self.outputs.with_name(f"{self.owner.name}.log"),
            summarise=lambda outcome, tail, room: job_summary(outcome, tail=tail, room=room),
            on_phase=self._under_way,
            on_price=lambda hourly, billed: self.leave(since=SystemClock().now(), hourly_usd=hourly, billed=billed),
        )
        self.workflow.mask(*secret_values(environ))
        self._discussion = self._opened() if environ.get("INPUT_GITHUB_TOKEN") else None

    def leave(self, **known: object) -> None:
        """For post: in a file under HOME, and with the runner. The first price's moment is when spending began."""
        if self._left.since:
            known.pop("since", None)
        self._left = replace(self._left, **known)  # type: ignore[arg-type]
        save_handover(wiring.handover_path(self._environ), self._left)
        self.workflow.commands.state("handover", written_handover(self._left))

    def road(self, *, fork: str, places: Sequence[Place] | None) -> tuple[str, str]:
        """`run`, `plan` or `sandbox`, and why. Raises UntrustedCode."""
        from cvl_ci.github import trust

        way, why = trust.road(
            self._here.event,
            fork=fork,
            allowed_sha=self._environ.get("INPUT_ALLOW_FORK_SHA", ""),
            has_credentials=wiring.has_credentials(self._environ),
            on_sandbox=any(place.cloud == SANDBOX for place in places or ()),
        )
        return way.value, why

    def skip(self, why: str, planned: str) -> None:
        """Neutral: the job goes on, and the outputs say that nothing ran."""
        from cvl_ci.result.report import plan_page

        with suppress(OSError):
            self.workflow.commands.summary(lambda room: self.masks.hide(plan_page(planned, reason=why, room=room)))
        self.workflow.notice(f"{why} Nothing was started and nothing is billed: this is only the plan.")
        for name, value in {"ending": "skipped", "reason": why, "exit_code": "0", "released": "true"}.items():
            self.workflow.commands.output(name, value)

    def comment(self, outcome: Outcome) -> None:
        from cvl_ci.result.report import Link, comment, group_comment, group_row, marker

        if self._discussion is None:
            return
        here, group = self._here, self._environ.get("INPUT_COMMENT_GROUP", "").strip()
        outcome = self.masks.cleaned(outcome)
        run, mark = Link(words="log of the run", url=here.run_url), marker(here.comment_key(group))
        if group:
            row = group_row(outcome, leg=here.leg_in_words or here.job, run=run)
            write = partial(group_comment, title=group, marker=mark, key=here.row_key, row=row)
            self._discussion.put(lambda before: self.masks.hide(write(before)), last=True)
        else:
            text = self.masks.hide(comment(outcome, marker=mark, run=run, tail=self.workflow.tail))
            self._discussion.put(lambda _: text, last=True)

    def give_back(self) -> None:
        """We are root in the container and the workspace is not root's: what we left there must be its owner's."""
        if os.geteuid() != 0:
            return
        owner = Path.cwd().stat()
        for path in (self.outputs.parent, *self.outputs.parent.rglob("*")):
            with suppress(OSError):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def _under_way(self, phase: Phase) -> None:
        """The comment while it runs; a group's row only tells the end."""
        from cvl_ci.result.report import Link, comment_so_far, marker

        quiet = self._environ.get("INPUT_COMMENT", "") not in {"", "auto", "always"}
        if self._discussion is None or quiet or self._environ.get("INPUT_COMMENT_GROUP", "").strip():
            return
        run = Link(words="log of the run", url=self._here.run_url)
        price = f" at ${self._left.hourly_usd:.4g} an hour" if self._left.hourly_usd else ""
        text = comment_so_far(
            title=self.masks.hide(self._left.title),
            doing=f"{phase.value}{price}",
            marker=marker(self._here.comment_key()),
            run=run,
        )
        self._discussion.put(lambda _: text)

    def _opened(self) -> Discussion:
        from cvl_ci.github.discussion import Discussion
        from cvl_ci.result.report import marker

        here, group = self._here, self._environ.get("INPUT_COMMENT_GROUP", "").strip()
        return Discussion(
            api=here.api,
            token=self._environ["INPUT_GITHUB_TOKEN"],
            repository=here.repository,
            sha=here.sha,
            event=here.event,
            marker=marker(here.comment_key(group)),
            clock=SystemClock(),
            say=self._no_comment,
        )

    def _no_comment(self, reason: str) -> None:
        always = self._environ.get("INPUT_COMMENT") == "always"
        (self.workflow.warning if always else self.workflow.progress)(reason)
