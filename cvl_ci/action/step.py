"""One step of a workflow: who holds its lease, where its words go, what post will find. The environment is given."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci import wiring
from cvl_ci.action.state import Handover, taken_over
from cvl_ci.action.state import save as save_handover
from cvl_ci.action.state import written as written_handover
from cvl_ci.local.clock import SystemClock
from cvl_ci.model.plan import SANDBOX, Place, RunPlan

if TYPE_CHECKING:
    from cvl_ci.commands.publish import Files, Subject
    from cvl_ci.commands.reap.reap import Reaped
    from cvl_ci.errors import CvlError
    from cvl_ci.github.pr.step_comment import StepComment
    from cvl_ci.model.outcome import Launch, Outcome, Phase
    from cvl_ci.ports import Artifacts
    from cvl_ci.result.report import Link


class OnGitHub:
    """One step of a workflow: who holds its lease, where its words go, what post will find."""

    def __init__(self, environ: Mapping[str, str], *, post: bool = False, leg: str | None = None) -> None:
        """Masks first: nothing is said before the runner knows what to hide. `leg`: as main had it."""
        from cvl_ci.github import context
        from cvl_ci.github.log.reporter import GitHubWorkflow
        from cvl_ci.inputs.action_reader import read
        from cvl_ci.lease import Owner
        from cvl_ci.result.masks import Masks
        from cvl_ci.result.report import job_summary
        from cvl_ci.result.secret_names import secret_values

        self.asked = read(environ)

        self.here = here = context.read(environ, leg=environ.get("INPUT_LEG", "") if leg is None else leg)
        self.owner = Owner(
            repository=here.repository, run=here.run, attempt=here.attempt, job=here.job, step=here.step, leg=here.leg
        )
        self.outputs = Path("cvl-outputs") / self.owner.name
        self.masks = Masks()
        self._environ, self._post = environ, post
        self._left = Handover(lease=self.owner.name, leg=here.leg)
        self.workflow = GitHubWorkflow(
            out=sys.stdout,
            clock=SystemClock(),
            files=environ,
            masks=self.masks,
            log=self.outputs.with_name(f"{self.owner.name}.log"),
            summarise=lambda outcome, tail, room: job_summary(outcome, tail=tail, room=room),
            on_phase=self._entered,
            on_launch=self._launched,
            on_price=lambda hourly, billed: self.leave(since=SystemClock().now(), hourly_usd=hourly, billed=billed),
        )
        self.workflow.mask(*secret_values(environ))
        self._launch: Launch | None = None
        self._told_by_main = False
        self._said = self._comment() if environ.get("INPUT_GITHUB_TOKEN") else None

    def leave(self, **known: object) -> None:
        """For post: in a file under HOME, and with the runner. The first price's moment is when spending began."""
        if self._left.since:
            known.pop("since", None)
        self._left = replace(self._left, **known)  # type: ignore[arg-type]
        save_handover(wiring.handover_path(self._environ), self._left)
        with suppress(OSError):  # the same is in the file, and no full disk ends a run
            self.workflow.commands.state("handover", written_handover(self._left))

    def road(self, places: Sequence[Place] | None, *, head: Callable[[], str]) -> tuple[str, str]:
        """`run`, `plan` or `sandbox`, and why. `head`: the commit of what would run. Raises UntrustedCode."""
        from cvl_ci.github import trust

        way, why = trust.road(
            self.here.event,
            fork=self.asked.fork,
            allowed_sha=self.asked.allow_fork_sha,
            ours=self.here.sha,
            head=head,
            has_credentials=lambda: wiring.has_credentials(self._environ),
            on_sandbox=any(place.cloud == SANDBOX for place in places or ()),
        )
        return way.value, why

    def skip(self, why: str, planned: str, *, title: str = "") -> None:
        """Neutral: the job goes on, and the outputs say that nothing ran. A leg's summary tells the report so."""
        from cvl_ci.errors import UntrustedCode
        from cvl_ci.model.outcome import Ending, Outcome
        from cvl_ci.result.outputs import skipped
        from cvl_ci.result.report import plan_page

        with suppress(OSError):
            self.workflow.commands.summary(lambda room: self.masks.hide(plan_page(planned, reason=why, room=room)))
        self.workflow.notice(f"{why} Nothing was started and nothing is billed: this is only the plan.")
        self.set_outputs(skipped(why))
        if self.here.leg and self.asked.verb == "run":
            name = self.owner.name
            self._leave_cost(
                Outcome(
                    ending=Ending.NEVER_STARTED,
                    reason=why,
                    exit_code=UntrustedCode.exit_code,
                    title=title or name,
                    cluster=name,
                )
            )

    def reaped(self, reaped: Reaped) -> None:
        """In the log, on the step's page, as outputs; what was found is an error that names what to look at."""
        from cvl_ci.commands.reap import text as reap_words
        from cvl_ci.result import outputs
        from cvl_ci.result.report import reap_page

        text, error = "\n".join(reap_words.lines(reaped)), reap_words.verdict(reaped)
        title = reap_words.title(reaped)
        self.workflow.said(text)
        if error is not None:
            self.workflow.refused(str(error))
        with suppress(OSError):
            said = str(error) if error else ""
            self.workflow.commands.summary(lambda room: self.masks.hide(reap_page(title, said, text, room=room)))
        self.set_outputs(
            outputs.reaped(
                reap_words.ending(reaped),
                error.what if error else title,
                exit_code=error.exit_code if error else 0,
                proved=reaped.proved,
                usd=reap_words.cost(reaped),
            )
        )

    def refuse(self, error: CvlError) -> None:
        """Before anything was asked of a cloud; a comment that says it is queued is not left standing."""
        from cvl_ci.errors import explain
        from cvl_ci.model.outcome import Ending, Outcome
        from cvl_ci.result.masked_errors import mask
        from cvl_ci.result.outputs import outputs

        mask(error, self.masks)
        self.workflow.refused(explain(error, verb=self.asked.verb))
        self.leave(done=True)
        name = self.owner.name
        outcome = Outcome(
            ending=Ending.NEVER_STARTED,
            reason=error.what,
            exit_code=error.exit_code,
            title=self._left.title or name,
            cluster=name,
            advice=error.next_step,
        )
        self.set_outputs(outputs(outcome))
        if self._said is not None and self._said.begun:
            self.comment(outcome)
            self.flush()
        if self.here.leg and self.asked.verb == "run":
            self._leave_cost(outcome)

    def _leave_cost(self, outcome: Outcome) -> None:
        """Of a leg, for the report: a matrix is not told by the legs alone that could run."""
        from cvl_ci.commands.publish import Tools, keep_cost

        tools = Tools(artifacts=self.artifacts(), page=self, workflow=self.workflow)
        keep_cost(self.masks.cleaned(outcome), files=self._files(self._left), tools=tools)
        self.give_back()

    # ---- while it runs ----------------------------------------------------------------------------------------------

    def queued(self, plan: RunPlan) -> None:
        named = {"example": plan.example or "", "preset": plan.preset or "", "image": plan.image or ""}
        self.leave(title=plan.title, **named)
        self._under_way("queued")

    def _entered(self, phase: Phase) -> None:
        from cvl_ci.github.log.reporter import TITLES
        from cvl_ci.model.outcome import Phase
        from cvl_ci.result.phrases import where

        if self._launch is None or phase not in {Phase.SETUP, Phase.RUNNING}:
            self._under_way(TITLES[phase].lower())
        else:
            free = "" if self._left.billed else " · nothing is billed"
            self._under_way(f"running on {where(self._launch)}{free}")

    def _launched(self, launch: Launch) -> None:
        from cvl_ci.model.outcome import Phase

        self._launch = launch
        self._entered(Phase.SETUP)

    @property
    def _overtaken(self) -> bool:
        """Of main: its step was cancelled, it lives on, and post tells the end."""
        return not self._post and taken_over(wiring.handover_path(self._environ))

    def _under_way(self, doing: str) -> None:
        if self._said is not None and self.asked.comment in {"auto", "always"}:
            self._said.under_way(title=self._left.title, doing=doing)

    # ---- when it is over: the port Publication ----------------------------------------------------------------------

    def publish(self, outcome: Outcome, *, left: Handover | None = None) -> None:
        """`left`: what main left, in post. What could not be published fails no run: the log has it all."""
        try:
            if not self.workflow.told:
                self.workflow.ended(outcome)
            if self._overtaken:
                return
            self._publish(outcome, left)
            self.give_back()
        except Exception as error:  # noqa: BLE001
            self.workflow.warning(f"The end of the run could not be published: {type(error).__name__}: {error}")

    def _publish(self, outcome: Outcome, left: Handover | None) -> None:
        from cvl_ci.commands.publish import Tools, publish
        from cvl_ci.result.report import Link

        held = {kind: Link(words=words, url=url) for kind, (words, url) in (left.artifacts if left else {}).items()}
        if left is not None and not left.told:
            held.pop("cost", None)  # the cost in it does not know what is proved by now
        self._left = replace(self._left, artifacts={kind: (link.words, link.url) for kind, link in held.items()})
        self._told_by_main = left is not None and left.told
        files = self._files(left or self._left, uploaded=held)
        tools = Tools(artifacts=self.artifacts(), page=self, workflow=self.workflow, uploaded=self._uploaded)
        publish(self.masks.cleaned(outcome), files=files, tools=tools)
        self.flush()

    def _files(self, left: Handover, *, uploaded: Mapping[str, Link] | None = None) -> Files:
        from cvl_ci.commands.publish import Files

        return Files(
            folder=self.outputs,
            name=self.artifact_stem(""),
            subject=self._subject(left),
            retention_days=self.asked.retention_days,
            uploaded=uploaded or {},
        )

    def _subject(self, left: Handover) -> Subject:
        from cvl_ci.commands.publish import Subject

        here = self.here
        return Subject(
            example=left.example,
            preset=left.preset,
            image=left.image,
            commit=here.event.head_sha or here.event.sha or here.sha,
            leg=here.leg_in_words,
            run_url=here.run_url,
        )

    def artifact_stem(self, name: str, *, attempt: str | None = None) -> str:
        """`name`: of our own, where the input gives none; empty for the job's. `attempt`: another than this one."""
        from cvl_ci.github.artifacts.name import artifact_stem

        here, given = self.here, self.asked.artifact_name or name
        again = here.attempt if attempt is None else attempt
        return artifact_stem(given, job=here.job, leg=here.leg_values, attempt=again)

    def artifacts(self) -> Artifacts:
        import random

        from cvl_ci.github.artifacts.upload import WorkflowArtifacts

        return WorkflowArtifacts(
            environ=self._environ, clock=SystemClock(), random=random.random, mask=self.workflow.mask
        )

    def _uploaded(self, kind: str, link: Link) -> None:
        self.leave(artifacts={**self._left.artifacts, kind: (link.words, link.url)})

    def set_outputs(self, values: Mapping[str, str]) -> None:
        for name, value in self.masks.cleaned(values).items():
            self.workflow.commands.output(name, value)

    def comment(self, outcome: Outcome, artifacts: Sequence[Link] = ()) -> None:
        """Who asked for failures alone is told of a success where a failure was told before."""
        from cvl_ci.model.outcome import Ending

        if self._said is not None and self.asked.comment != "never":
            self._said.ended(
                outcome,
                tail=self.workflow.tail,
                artifacts=artifacts,
                unless_told=self._told_by_main,
                only_instead=self.asked.comment == "failure" and outcome.ending is Ending.SUCCEEDED,
            )

    def flush(self) -> None:
        """What there is to say on the pull request is said, or it is told that it is not."""
        if self._said is not None:
            self._said.close()

    def point_to(self, artifacts: Sequence[Link]) -> None:
        from cvl_ci.result.report import artifacts_page

        self.workflow.commands.summary(lambda room: self.masks.hide(artifacts_page(artifacts, room=room)))

    def give_back(self, folder: Path | None = None) -> None:
        """We are root in the container and the workspace is not root's: what we left there must be its owner's.

        A checkout may hold a link of that name, which would lead us to give away what is elsewhere.
        """
        from cvl_ci.errors import CvlError
        from cvl_ci.result.no_follow import refuse_links

        folder = folder or self.outputs.parent
        if os.geteuid() != 0:
            return
        try:
            refuse_links(folder)
        except CvlError:
            return
        owner = Path.cwd().stat()
        for path in (folder, *folder.rglob("*")):
            with suppress(OSError):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def _comment(self) -> StepComment:
        from cvl_ci.github.pr.step_comment import StepComment

        return StepComment(
            here=self.here,
            group=self.asked.comment_group,
            token=self._environ["INPUT_GITHUB_TOKEN"],
            masks=self.masks,
            clock=SystemClock(),
            say=self.workflow.warning if self.asked.comment == "always" else self.workflow.progress,
            hushed=lambda: self._overtaken,
        )
