"""The action: main() and post() side by side, so that one reads what the other must undo. The name is the phase.

main hands over on a signal instead of releasing: GitHub gives it ten seconds, and post minutes. It shuts the fence,
says so and is gone; the engine's process dies with it. post believes no input and no saved flag when it asks what it
is: the name it was called by says it, for a post that took itself for main would buy a second machine.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from cvl_ci import wiring
from cvl_ci.action.state import SavedEnding
from cvl_ci.errors import CvlError, NotProvedGone, RequestError, explain_while_running

if TYPE_CHECKING:
    from cvl_ci.action.publication import StepPublication
    from cvl_ci.action.state import StepState
    from cvl_ci.action.step import Step
    from cvl_ci.inputs.reader import Inputs
    from cvl_ci.model.outcome import Outcome
    from cvl_ci.model.plan import RunPlan

PHASES = {"entrypoint": "main", "post-entrypoint": "post"}


def called_as(name: str) -> int:
    """By the name of the executable, which no input, variable or saved state can change."""
    phase = PHASES.get(Path(name).name)
    if phase is None:
        print(f"cvl-ci: {name!r} is not a phase of the action: call it as {' or '.join(PHASES)}")
        return RequestError.exit_code
    environ = wiring.environment()
    return main(environ) if phase == "main" else post(environ)


def main(environ: Mapping[str, str]) -> int:
    from cvl_ci.action.publication import StepPublication
    from cvl_ci.action.step import Step

    step = Step(environ)
    publication = StepPublication(step)
    _on_signals(step, environ)
    try:
        step.state.update()
        return _carry_out(step, publication, environ)
    except CvlError as error:
        publication.refuse(error)
        return error.exit_code
    except Exception:  # noqa: BLE001  a mistake of ours: its text may hold a machine's, so it goes out as our words do
        advice = wiring.keep_details(environ, step.masks.hide(traceback.format_exc()))
        step.reporter.refused(
            f"A mistake in cvl-ci itself stopped this. {advice}\n"
            "The post step takes down every machine in the saved state of this step. Read its log."
        )
        return CvlError.exit_code
    finally:
        step.reporter.close()


def post(environ: Mapping[str, str]) -> int:
    """Nothing to do is the usual case: told from one file, before anything is loaded."""
    from cvl_ci.action import state

    saved = state.load(wiring.post_state_path(environ), else_from=environ.get("STATE_step_state", ""))
    if saved is not None and saved.done:
        if saved.kept_until:
            print(
                f"cvl-ci: the machine of lease {saved.lease} is kept until {saved.kept_until}, then it ends by itself."
            )
        wiring.forget_credentials(environ, say=print)
        return 0
    leg = saved.leg if saved else None
    state.claim_for_post(wiring.step_state_path(environ, leg=leg))
    from cvl_ci.action.publication import StepPublication
    from cvl_ci.action.step import Step
    from cvl_ci.result.secret_names import secrets_of

    step = Step(environ, is_post=True, leg=leg)
    try:
        step.reporter.mask(*secrets_of(_inputs(environ).variables))
        return _undo(saved, StepPublication(step), step, environ)
    except Exception as error:  # noqa: BLE001  whatever it is, nothing is proved
        details = step.masks.hide(traceback.format_exc())
        is_known = isinstance(error, CvlError)
        what = explain_while_running(error) if is_known else wiring.keep_details(environ, details)
        down = f"`cvl-ci down {step.owner.name}` looks for the machine and takes it down."
        if step.inputs.verb == "queue":  # its jobs have leases of their own, and none has the step's name
            down = "`cvl-ci status` shows the machines of this repository, and `cvl-ci down NAME` ends one."
        step.reporter.refused(f"{what}\n{down}")
        return NotProvedGone.exit_code
    finally:
        wiring.forget_credentials(environ, say=step.reporter.warning)
        step.reporter.close()


# ---- main ---------------------------------------------------------------------------------------------------


def _carry_out(step: Step, publication: StepPublication, environ: Mapping[str, str]) -> int:
    from cvl_ci.result.secret_names import secrets_of

    inputs = _inputs(environ)
    step.reporter.mask(
        *secrets_of(inputs.variables), *([inputs.keep.reuse_key.reveal()] if inputs.keep.reuse_key else [])
    )
    request = step.inputs
    inputs = replace(inputs, mistakes=(*inputs.mistakes, *request.mistakes))
    if request.verb in {"reap", "collect"}:
        return _carry_out_scheduled(inputs, step, publication, environ)
    if request.verb in {"matrix", "report", "history"}:
        from cvl_ci.action import matrix_verbs

        return matrix_verbs.carry_out(step, publication, environ, inputs.mistakes)
    if request.verb == "models":
        from cvl_ci.action import model_verb

        return model_verb.carry_out(step, environ, inputs.mistakes)
    if request.verb == "queue":
        from cvl_ci.action import queue_verb

        return queue_verb.carry_out(step, publication, environ, policy=_policy(step, inputs))
    if request.verb == "deploy":
        from cvl_ci.action import deploy_verb

        return deploy_verb.carry_out(step, publication, environ, inputs, policy=_policy(step, inputs))
    from cvl_ci.action import step_plan

    run_anyway = request.verb == "plan"
    policy, reason = ("run", "") if run_anyway else _policy(step, inputs)
    if policy == "sandbox":
        step.reporter.notice(reason)
        inputs = wiring.on_sandbox(inputs)
    plan = step_plan.plan_of(step_plan.without_shared_machine(inputs, step), environ)
    step.reporter.mask(*secrets_of(plan.variables))
    if policy == "run" and not run_anyway:
        step.require_committed(lambda: step_plan.untracked_files(inputs, plan))
    only_plan = "plan" in {request.verb, policy}
    plan = wiring.on_usable_clouds(plan, environ, wiring.prices(environ), by_inputs=True, asks_role=not only_plan)
    plan = wiring.within_month(plan, step_plan.checkout_of(inputs), environ)
    if policy == "plan":
        publication.skip(reason, step_plan.as_text(plan, environ), title=plan.title)
    if only_plan:
        return _show(plan, step, environ)
    return _run(plan, step, publication, environ)


def _policy(step: Step, inputs: Inputs) -> tuple[str, str]:
    from cvl_ci.action.step_plan import checkout_of
    from cvl_ci.local.git.committed import changed_files

    def changed() -> Sequence[str]:
        return changed_files(checkout_of(inputs).root)

    return step.policy(inputs.location.cloud, head=lambda: checkout_of(inputs).head, changed=changed)


def _inputs(environ: Mapping[str, str]) -> Inputs:
    from cvl_ci.inputs.reader import from_environment

    return from_environment(environ)


def _carry_out_scheduled(inputs: Inputs, step: Step, publication: StepPublication, environ: Mapping[str, str]) -> int:
    """Carry out a verb for a schedule, which takes no lease."""
    if step.inputs.verb == "reap":
        return _reap(inputs, step, publication, environ)
    from cvl_ci.action import detached

    return detached.carry_out(step, publication, environ, inputs.mistakes)


def _reap(inputs: Inputs, step: Step, publication: StepPublication, environ: Mapping[str, str]) -> int:
    """End leftovers without a lease, so that post has only credentials to remove. The next sweep repeats a cut one."""
    from cvl_ci.action.step_costs import StepCosts
    from cvl_ci.commands.reap import text
    from cvl_ci.inputs import action_variables

    request = step.inputs
    if inputs.mistakes:
        raise RequestError(inputs.mistakes)
    step.state.update(done=True)
    cloud = action_variables.value(environ, "cloud")
    environ = wiring.credentials(environ, wiring.clouds_named(cloud), mask=step.reporter.mask)
    reaped = wiring.reap(
        environ, reporter=step.reporter, cloud=cloud, grace=request.reap.grace, dry_run=request.reap.dry_run
    )
    publication.publish_sweep(reaped)
    if reaped.due and not reaped.dry_run:
        costs = StepCosts(step, publication)
        costs.add_reaped(reaped)
        costs.upload()
    error = text.verdict(reaped)
    return error.exit_code if error else 0


def _show(plan: RunPlan, step: Step, environ: Mapping[str, str]) -> int:
    from cvl_ci.action.step_plan import as_text

    step.reporter.show(as_text(plan, environ))
    step.state.update(done=True)
    return 0


def _run(plan: RunPlan, step: Step, publication: StepPublication, environ: Mapping[str, str]) -> int:
    from cvl_ci.commands.run import run as running
    from cvl_ci.local.clock import SystemClock
    from cvl_ci.local.staging import LocalStaging
    from cvl_ci.model.outcome import Ending
    from cvl_ci.result.text import accounted_for, kept_machines
    from cvl_ci.result.units import moment
    from cvl_ci.wiring.models import models_of_run

    step.live.queue(plan)
    environ = wiring.credentials(environ, [place.cloud for place in plan.machines.locations], mask=step.reporter.mask)
    ports = running.RunPorts(
        clouds=wiring.OpenClouds(environ, **wiring.of_plan(plan)),
        records=wiring.open_records(environ, step.reporter),
        staging=LocalStaging(),
        reporter=step.reporter,
        prices=wiring.prices(environ),
        clock=SystemClock(),
        models=models_of_run(environ),
        locks=wiring.key_locks(environ),
        note_lease=lambda name: step.state.update(lease=name),
    )
    outcome = running.run(plan, owner=step.owner, outputs=step.outputs, ports=ports)
    is_detached = outcome.ending is Ending.DETACHED
    if is_detached and not _is_handed_over(step, outcome, environ):
        return CvlError.exit_code  # post takes its machine down
    machines = kept_machines(outcome)
    end = SavedEnding(ending=outcome.ending.value, reason=step.masks.hide(outcome.reason), exit_code=outcome.exit_code)
    kept_until = moment(machines.until) if machines else ""
    # A run that is handed over is done: a main that is killed now must not cost its job.
    step.state.update(end=end, done=is_detached, kept_until=kept_until)
    publication.publish(outcome)
    # Without a proof, post asks again.
    step.state.update(done=accounted_for(outcome))
    return outcome.exit_code


def _is_handed_over(step: Step, outcome: Outcome, environ: Mapping[str, str]) -> bool:
    """Leave the record of a detached run for a later workflow. Return False where that failed, with the reason."""
    from cvl_ci.action import detached
    from cvl_ci.model.outcome import Ending

    try:
        detached.hand_over(step, outcome, environ)
    except (CvlError, OSError) as error:
        what = explain_while_running(error) if isinstance(error, CvlError) else str(error)
        reason = step.masks.hide(what)
        never = SavedEnding(ending=Ending.NEVER_STARTED.value, reason=reason, exit_code=CvlError.exit_code)
        step.state.update(end=never)
        step.reporter.refused(f"{what}\nThe post step takes the machine of this run down.")
        return False
    return True


def _on_signals(step: Step, environ: Mapping[str, str]) -> None:
    """Gone in well under a second: the engine's process dies with this one, and the fence outlives both."""
    records = wiring.open_records(environ, step.reporter)

    def hand_over(_: int, __: FrameType | None) -> None:
        try:
            for name in {step.owner.name, step.state.now.lease, *step.state.now.leases}:
                records.revoke(name)
            step.reporter.write_from_signal(_final_notice(step.state.now))
        finally:
            os._exit(128 + signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, hand_over)


def _final_notice(now: StepState) -> str:
    if now.done and now.kept_until:
        return f"Cancelled. The job runs on, until {now.kept_until} at most."
    if now.kept_until and now.leases and now.lease not in now.leases:
        return "Cancelled. The new service stays. The post step ends the older one and proves it."
    return "Cancelled. The post step takes the machine down and proves it."


# ---- post ---------------------------------------------------------------------------------------------------


def _undo(saved: StepState | None, publication: StepPublication, step: Step, environ: Mapping[str, str]) -> int:
    """Release first, and let no message delay it."""
    from cvl_ci.action.release import releases_of, undo_run

    if saved is not None and saved.verb == "deploy":
        from cvl_ci.action import deploy_verb

        return deploy_verb.undo(saved, publication, step, environ)
    is_lost_queue = saved is None and step.inputs.verb == "queue"
    if is_lost_queue or (saved is not None and saved.leases):
        from cvl_ci.action import queue_verb

        leases = saved.leases if saved is not None else queue_verb.leases_on_record(step, environ)
        releases = releases_of(leases, saved, step, environ)
        return queue_verb.undo(step, publication, releases, environ, leases=leases, saved=saved)
    return undo_run(saved, publication, step, environ)


if __name__ == "__main__":
    sys.exit(called_as(sys.argv[1] if len(sys.argv) > 1 else ""))
