"""The end of a step for later steps, the pull request, the step's page and the artifacts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci.action.state import StepState
from cvl_ci.action.step import Step
from cvl_ci.action.workspace import give_to_owner
from cvl_ci.model.outcome import MachineResult
from cvl_ci.model.work_identity import WorkIdentity

if TYPE_CHECKING:
    from cvl_ci.commands.publish import Files, PublishPorts, WorkflowFacts
    from cvl_ci.commands.reap.reap import Reaped
    from cvl_ci.errors import CvlError
    from cvl_ci.github.pr.step_comment import StepComment
    from cvl_ci.model.outcome import Outcome
    from cvl_ci.result.report import Link


class StepPublication:
    """The port Publication for one step, and the endings of a step that ran nothing."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._comment = step.comment
        self._is_final = False

    # ---- the port ---------------------------------------------------------------------------------------------------

    def set_outputs(self, values: Mapping[str, str]) -> None:
        for name, value in self._step.masks.cleaned(values).items():
            self._step.reporter.commands.output(name, value)

    def comment(self, outcome: Outcome, artifacts: Sequence[Link] = ()) -> None:
        """Write the end on the pull request. With `comment: failure`, a success only replaces an older failure."""
        from cvl_ci.model.outcome import Ending

        step = self._step
        if self._comment is not None and step.inputs.publication.comment != "never":
            self._comment.write_end(
                outcome,
                tail=step.reporter.tail,
                artifacts=artifacts,
                unless_told=self._is_final,
                only_instead=step.inputs.publication.comment == "failure" and outcome.ending is Ending.SUCCEEDED,
            )

    def point_to(self, artifacts: Sequence[Link]) -> None:
        from cvl_ci.result.report import artifacts_page

        hide = self._step.masks.hide
        self._step.reporter.commands.summary(lambda room: hide(artifacts_page(artifacts, room=room)))

    # ---- a step that ran --------------------------------------------------------------------------------------------

    def publish(self, outcome: Outcome, *, saved: StepState | None = None) -> None:
        """Publish the end everywhere. A failure here fails no run: the log has it all.

        `saved`: main's state, in post.
        """
        step = self._step
        try:
            if not step.reporter.is_end_shown:
                step.reporter.show_outcome(outcome)
            if step.is_overtaken:
                return
            self._publish(outcome, saved)
            give_to_owner(step.outputs.parent)
        except Exception as error:  # noqa: BLE001
            step.reporter.warning(f"The end of the run could not be published: {type(error).__name__}: {error}")

    def publish_collected(
        self, outcome: Outcome, *, folder: Path, name: str, facts: WorkflowFacts, comment: StepComment | None
    ) -> None:
        """Publish the end of an earlier run: its artifacts, by this name, and this step's outputs. Never raises.

        `facts`: of that run's own workflow. `comment`: that of its pull request.
        """
        from cvl_ci.commands.publish import publish

        files = self.files()
        own_facts = replace(facts, first_error=files.facts.first_error, last_lines=files.facts.last_lines)
        files = replace(files, folder=folder, name=name, facts=own_facts)
        page = StepPublication(self._step)
        page._comment = comment
        publish(self._step.masks.cleaned(outcome), files=files, ports=page.ports())
        page.flush()

    def flush(self) -> None:
        """Wait until GitHub has the comment, or print that it has not."""
        if self._comment is not None:
            self._comment.close()

    def _publish(self, outcome: Outcome, saved: StepState | None) -> None:
        from cvl_ci.commands.publish import publish
        from cvl_ci.result.report import Link

        step = self._step
        links = {kind: Link(text=words, url=url) for kind, (words, url) in (saved.artifacts if saved else {}).items()}
        if saved is not None and not saved.is_final:
            links.pop("cost", None)  # main's cost file lacks post's proof
        step.state.now = replace(
            step.state.now, artifacts={kind: (link.text, link.url) for kind, link in links.items()}
        )
        self._is_final = saved is not None and saved.is_final
        publish(step.masks.cleaned(outcome), files=self.files(uploaded=links), ports=self.ports())
        self.flush()

    # ---- a step that ran nothing ------------------------------------------------------------------------------------

    def skip(self, reason: str, planned: str, *, title: str = "") -> None:
        """Publish a plan in place of a run. The workflow's job goes on; a leg's cost file tells the report why."""
        from cvl_ci.errors import UntrustedCode
        from cvl_ci.result.outputs import skipped
        from cvl_ci.result.report import plan_page

        self._summarize(lambda room: plan_page(planned, reason=reason, room=room))
        self._step.reporter.notice(f"{reason} Nothing was started and nothing is billed: this is only the plan.")
        self.set_outputs(skipped(reason))
        self._upload_cost(
            self._never_started(reason, exit_code=UntrustedCode.exit_code, work=WorkIdentity(title=title))
        )

    def refuse(self, error: CvlError) -> None:
        """Publish an error that stopped the step before it asked any cloud. It also ends a comment of a queued run."""
        from cvl_ci.errors import explain
        from cvl_ci.result.masked_errors import mask
        from cvl_ci.result.outputs import outputs

        step = self._step
        mask(error, step.masks)
        step.reporter.refused(explain(error, verb=step.inputs.verb))
        step.state.update(done=True)
        outcome = self._never_started(
            error.what, exit_code=error.exit_code, work=step.state.now.work, advice=error.next_step
        )
        self.set_outputs(outputs(outcome))
        if self._comment is not None and self._comment.begun:
            self.comment(outcome)
            self.flush()
        self._upload_cost(outcome)

    def publish_sweep(self, reaped: Reaped) -> None:
        """Publish a sweep: in the log, on the step's page, as outputs. A leftover is an error that names it."""
        from cvl_ci.commands.reap import text as reap_text
        from cvl_ci.result import outputs
        from cvl_ci.result.report import reap_page

        text, error = "\n".join(reap_text.lines(reaped)), reap_text.verdict(reaped)
        title = reap_text.title(reaped)
        self._step.reporter.show(text)
        if error is not None:
            self._step.reporter.refused(str(error))
        self._summarize(lambda room: reap_page(title, str(error) if error else "", text, room=room))
        self.set_outputs(
            outputs.reaped(
                reap_text.ending(reaped),
                error.what if error else title,
                exit_code=error.exit_code if error else 0,
                proved=reaped.proved,
                usd=reap_text.cost(reaped),
            )
        )

    # ---- parts ------------------------------------------------------------------------------------------------------

    def _summarize(self, page: Callable[[int], str]) -> None:
        """Write the step's page, if the disk allows it. `page` fills the room of so many bytes."""
        with suppress(OSError):
            self._step.reporter.commands.summary(lambda room: self._step.masks.hide(page(room)))

    def _never_started(self, reason: str, *, exit_code: int, work: WorkIdentity, advice: str = "") -> Outcome:
        from cvl_ci.model.outcome import Ending, Outcome

        name = self._step.owner.name
        return Outcome(
            ending=Ending.NEVER_STARTED,
            reason=reason,
            exit_code=exit_code,
            work=replace(work, title=work.title or name),
            machines=MachineResult(cluster=name),
            advice=advice,
        )

    def _upload_cost(self, outcome: Outcome) -> None:
        """Upload the cost file of a leg that started nothing: a matrix report names such legs too."""
        from cvl_ci.commands.publish import keep_cost

        step = self._step
        if step.context.leg and step.inputs.verb == "run":
            keep_cost(step.masks.cleaned(outcome), files=self.files(), ports=self.ports())
            give_to_owner(step.outputs.parent)

    def ports(self) -> PublishPorts:
        """Return the ports with which this step publishes."""
        from cvl_ci.commands.publish import PublishPorts

        step = self._step
        return PublishPorts(
            artifacts=step.artifacts(),
            page=self,
            reporter=step.reporter,
            uploaded=lambda kind, link: step.state.add_artifact(kind, name=link.text, url=link.url),
        )

    def files(self, *, uploaded: Mapping[str, Link] | None = None) -> Files:
        from cvl_ci.commands.publish import Files, WorkflowFacts
        from cvl_ci.result.benchmark.leg_file import LAST_LINES

        step, context = self._step, self._step.context
        return Files(
            folder=step.outputs,
            name=step.artifact_stem(""),
            facts=WorkflowFacts(
                commit=context.event.head_sha or context.event.sha or context.sha,
                leg=context.leg_text,
                run_url=context.run_url,
                job=context.job_name,
                workflow=context.workflow,
                check_run=context.check_run,
                first_error=step.reporter.errors.first_error(),
                last_lines=step.reporter.tail[-LAST_LINES:],
            ),
            publication=step.inputs.publication,
            checkpoints=step.inputs.checkpoints,
            uploaded=uploaded or {},
        )
