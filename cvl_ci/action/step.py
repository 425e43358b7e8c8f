"""One step of a workflow: its owner, its masks, its reporter and its saved state, all from the environment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci import wiring
from cvl_ci.action.live_comment import LiveComment
from cvl_ci.action.state import SavedState, StepState
from cvl_ci.local.clock import SystemClock
from cvl_ci.model.location import SANDBOX, Location

if TYPE_CHECKING:
    from cvl_ci.github.context import GitHubContext
    from cvl_ci.github.log.reporter import GitHubRunReporter
    from cvl_ci.github.pr.step_comment import StepComment
    from cvl_ci.ports import Artifacts


class Step:
    """One step of a workflow. `masks` know every secret of the environment before the first line is printed."""

    def __init__(self, environ: Mapping[str, str], *, is_post: bool = False, leg: str | None = None) -> None:
        """`leg`: the leg that main saved, where it differs from the input."""
        from cvl_ci.github import context
        from cvl_ci.inputs import action_variables
        from cvl_ci.inputs.action_reader import read
        from cvl_ci.model.owner import Owner
        from cvl_ci.result.masks import Masks

        self.inputs = read(environ)
        self.context = run_context = context.read(
            environ,
            leg=action_variables.value(environ, "leg") if leg is None else leg,
            check_run=action_variables.value(environ, "check_run"),
        )
        self.owner = Owner(
            repository=run_context.repository,
            run=run_context.run,
            attempt=run_context.attempt,
            job=run_context.job,
            step=run_context.step,
            leg=run_context.leg,
        )
        self.outputs = Path("cvl-outputs") / self.owner.name
        self.masks = Masks()
        self._environ, self._is_post = environ, is_post
        self._clock = SystemClock()
        self._began = self._clock.monotonic()
        self.state = SavedState(
            wiring.step_state_path(environ),
            StepState(lease=self.owner.name, leg=run_context.leg, verb=self.inputs.verb),
            tell_runner=lambda text: self.reporter.commands.state("step_state", text),
        )
        self.github_token = action_variables.value(environ, "github_token")
        group = self.inputs.publication.comment_group
        self.comment = self._comment(run_context, group=group) if self.github_token else None
        is_live = self.inputs.publication.comment in {"auto", "always"}
        self.live = LiveComment(self.comment if is_live else None, self.state)
        self.reporter = self._reporter()

    def policy(
        self, locations: Sequence[Location] | None, *, head: Callable[[], str], changed: Callable[[], Sequence[str]]
    ) -> tuple[str, str]:
        """Return `run`, `plan` or `sandbox`, with the reason. Raises UntrustedCode.

        `head`: the checked-out commit. `changed`: tracked files that are not as it has them.
        """
        from cvl_ci.github import trust

        policy, reason = trust.decide(
            self.context.event,
            fork=self.inputs.trust.fork,
            allowed_sha=self.inputs.trust.allow_fork_sha,
            github_sha=self.context.sha,
            head=head,
            changed=changed,
            has_credentials=lambda: wiring.has_credentials(self._environ),
            on_sandbox=any(location.cloud == SANDBOX for location in locations or ()),
        )
        return policy.value, reason

    def require_committed(self, unknown: Callable[[], Sequence[str]]) -> None:
        """Raise UntrustedCode where this event may send committed files only. `unknown`: others that would go along."""
        from cvl_ci.github import trust

        trust.require_committed(self.context.event, unknown)

    @property
    def is_overtaken(self) -> bool:
        """True for a main whose step was cancelled and that still runs: post reports the end."""
        return not self._is_post and self.state.is_claimed_by_post

    def artifact_stem(self, name: str, *, attempt: str | None = None) -> str:
        """Return the artifacts' name. `name`: the default; empty for the job's. `attempt`: another than this one."""
        from cvl_ci.github.artifacts.name import artifact_stem

        context = self.context
        return artifact_stem(
            self.inputs.publication.artifact_name or name,
            job=context.job,
            leg=context.leg_values,
            attempt=context.attempt if attempt is None else attempt,
        )

    def artifacts(self) -> Artifacts:
        from cvl_ci.github.artifacts.upload import WorkflowArtifacts

        return WorkflowArtifacts(environ=self._environ, clock=SystemClock(), mask=self.reporter.mask)

    def _reporter(self) -> GitHubRunReporter:
        """Return the reporter, after it has told the runner every secret of the environment."""
        from cvl_ci.github.log.reporter import GitHubRunReporter
        from cvl_ci.result.report import job_summary
        from cvl_ci.result.secret_names import secret_values

        reporter = GitHubRunReporter(
            out=sys.stdout,
            clock=SystemClock(),
            files=self._environ,
            masks=self.masks,
            log=self.outputs.with_name(f"{self.owner.name}.log"),
            summarise=lambda outcome, tail, room: job_summary(outcome, tail=tail, room=room, runner=self._runner()),
            on_phase=self.live.enter,
            on_launch=self.live.launch,
            on_spending=lambda spending: self.state.update(spending=spending),
        )
        reporter.mask(*secret_values(self._environ))
        return reporter

    def _runner(self) -> str:
        """Return what GitHub's runner has cost since this step began; empty where that is unknown, as in post."""
        from cvl_ci.github import runner
        from cvl_ci.result import text

        price = None if self._is_post else runner.price(self._environ, self.context.event)
        return text.runner(price, self._clock.monotonic() - self._began) if price else ""

    def comment_of(self, context: GitHubContext, *, group: str) -> StepComment | None:
        """Return the comment of an earlier run, which this step collects. None: this step has no token."""
        return self._comment(context, group=group) if self.github_token else None

    def _comment(self, context: GitHubContext, *, group: str) -> StepComment:
        from cvl_ci.github.pr.step_comment import StepComment
        from cvl_ci.inputs import action_variables

        return StepComment(
            context=context,
            group=group,
            token=action_variables.value(self._environ, "github_token"),
            masks=self.masks,
            clock=SystemClock(),
            say=self._explain_no_comment,
            is_silent=lambda: self.is_overtaken,
        )

    def _explain_no_comment(self, reason: str) -> None:
        """Print why GitHub shows no comment: a warning only where the user asked for one."""
        (self.reporter.warning if self.inputs.publication.comment == "always" else self.reporter.progress)(reason)
