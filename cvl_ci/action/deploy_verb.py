"""The verb `deploy` as a step of a workflow: a service of an environment, its deployment on GitHub, and its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cvl_ci import wiring
from cvl_ci.action import deploy_request, step_plan
from cvl_ci.action.shown_deployment import ShownDeployment
from cvl_ci.errors import CvlError, NotProvedGone, explain

if TYPE_CHECKING:
    from cvl_ci.action.deploy_request import DeployStep, ServicePlaces
    from cvl_ci.action.publication import StepPublication
    from cvl_ci.action.state import StepState
    from cvl_ci.action.step import Step
    from cvl_ci.commands.deploy.rollout import Rollout
    from cvl_ci.commands.reap.down import DownPorts
    from cvl_ci.inputs.reader import Inputs
    from cvl_ci.model.outcome import Outcome
    from cvl_ci.model.owner import Owner
    from cvl_ci.model.plan import RunPlan
    from cvl_ci.model.release import Release
    from cvl_ci.ports.pull_requests import PullRequests


def carry_out(
    step: Step, publication: StepPublication, environ: Mapping[str, str], inputs: Inputs, *, policy: tuple[str, str]
) -> int:
    """Start the service of the environment, or end it, and return the exit code. Raises CvlError before any cost."""
    is_end = step.context.event.is_closed if inputs.keep.down is None else inputs.keep.down
    starts = policy[0] == "run"
    request = deploy_request.read(step, environ, inputs, is_end=is_end, starts=starts)
    owner = replace(step.owner, environment=environment_of(step, environ))
    step.reporter.mask(*([request.token] if request.token else []))
    if is_end and starts:
        return _take_down(owner, step, publication, environ, deploy_request.places_of(inputs, environ))
    if is_end:
        publication.skip(policy[1], "Nothing of it was taken down.", title=owner.environment)
        return 0
    plan = deploy_request.plan_of(request, inputs, environ, starts=starts)
    if not starts:
        publication.skip(policy[1], step_plan.as_text(plan, environ), title=owner.environment)
        return 0
    from cvl_ci.result.secret_names import secrets_of

    step.reporter.mask(*secrets_of(plan.variables), *(plan.service.secrets if plan.service is not None else ()))
    step.require_committed(lambda: step_plan.untracked_files(inputs, plan))
    plan = wiring.within_month(plan, step_plan.checkout_of(inputs), environ)
    plan = deploy_request.with_image(plan, request, step, environ, inputs)
    places = deploy_request.places_of(inputs, environ)
    return _roll_out(plan, owner, step, publication, environ, request=request, places=places)


def environment_of(step: Step, environ: Mapping[str, str]) -> str:
    """Return the environment. A pull request's is a function of its number, so that its close needs no state."""
    from cvl_ci.inputs import action_variables
    from cvl_ci.model.lease_name import environment_label, preview_environment

    name, number = action_variables.value(environ, "environment"), step.context.event.pull_request
    if number is not None:
        return preview_environment(number, name)
    return environment_label(name or step.context.branch)


def undo(saved: StepState, publication: StepPublication, step: Step, environ: Mapping[str, str]) -> int:
    """End the service of a step that was cut off, or the older ones that it was about to end. Return the exit code."""
    from cvl_ci.action.release import releases_of, undo_run

    step.state.now = replace(step.state.now, deployment=saved.deployment)
    if not saved.leases:
        code = undo_run(saved, publication, step, environ)
        if saved.deployment:
            ShownDeployment(step, environment_of(step, environ)).fail(saved.deployment, "the step was cut off")
        return code
    releases = releases_of(saved.leases, saved, step, environ)
    unproved = [name for name in saved.leases if name not in releases or not releases[name].gone]
    if unproved:
        from cvl_ci.inputs.reader import from_environment

        _warned(unproved, step, deploy_request.places_of(from_environment(environ), environ))
    else:
        step.reporter.notice(f"These services are gone: {', '.join(saved.leases)}.")
        _show_end(ShownDeployment(step, environment_of(step, environ)), saved)
    return NotProvedGone.exit_code if unproved else 0


def _show_end(deployment: ShownDeployment, saved: StepState) -> None:
    """Set to inactive what post ended: all services, this step's own one, or older ones alone, which main has set."""
    if not saved.kept_until:
        deployment.end()
    elif saved.lease in saved.leases and saved.deployment:
        deployment.drop(saved.deployment)


# ---- a service --------------------------------------------------------------------------------------------------


def _roll_out(
    plan: RunPlan,
    owner: Owner,
    step: Step,
    publication: StepPublication,
    environ: Mapping[str, str],
    *,
    request: DeployStep,
    places: ServicePlaces,
) -> int:
    from cvl_ci.commands.deploy import rollout
    from cvl_ci.local.interruption import Interruption

    drain = rollout.DRAIN_SECONDS if request.drain is None else request.drain * 60
    environ = wiring.credentials(environ, places.clouds, mask=step.reporter.mask)
    if places.gap:
        step.reporter.notice(places.gap)
    deployment = ShownDeployment(step, owner.environment)

    def run(owner: Owner) -> Outcome:
        step.live.queue(plan)
        deployment.begin(plan.title)
        outcome = wiring.carry_out(
            plan,
            environ=environ,
            owner=owner,
            outputs=step.outputs,
            reporter=step.reporter,
            interruption=Interruption(),
            token=request.token,
        )
        _save_end(step, outcome)
        return outcome

    def keeps(replaced: Sequence[str], is_closed: bool) -> None:
        kept_until = "" if is_closed else step.state.now.kept_until
        step.state.update(leases=tuple(replaced), done=not replaced, kept_until=kept_until)

    def announce(outcome: Outcome, replaced: Sequence[str]) -> None:
        _announce(outcome, replaced, step, publication, drain)
        deployment.end_of(outcome)

    down, pulls = _down_ports(step, environ), _pulls(step)
    ports = rollout.RolloutPorts(down=down, pulls=pulls, run=run, keeps=keeps, announce=announce, drain_seconds=drain)
    rolled = rollout.roll_out(owner, commit=step.context.event.head_sha, locations=places.locations, ports=ports)
    if rolled.outcome is None:
        return _skipped(rolled, owner, step, publication, deployment, places=places)
    advice = _how_to_end(owner.environment) if rolled.outcome.exit_code == 0 else rolled.outcome.advice
    outcome = replace(rolled.outcome, advice=advice)
    if outcome.exit_code == 0:
        step.reporter.show(_how_to_end(owner.environment))
    publication.publish(outcome)
    deployment.end_of(outcome)
    if not rolled.unproved:
        _finish(step, outcome)
    return _warned(rolled.unproved, step, places) or outcome.exit_code


def _announce(
    outcome: Outcome, replaced: Sequence[str], step: Step, publication: StepPublication, drain: float
) -> None:
    """Tell the new address, before the older services end."""
    from cvl_ci.result import outputs
    from cvl_ci.result.service_text import dns_line
    from cvl_ci.result.units import duration

    service = outcome.machines.service
    dns = "".join(f" Now {line}." for line in dns_line(service.url, service.address)) if service else ""
    step.reporter.notice(
        f"The service is now at {service.url if service else 'its new address'}.{dns} The older one answers for "
        f"{duration(drain)} more: {', '.join(replaced)}."
    )
    publication.set_outputs(outputs.outputs(outcome))
    publication.comment(outcome)
    publication.flush()


def _skipped(
    rolled: Rollout,
    owner: Owner,
    step: Step,
    publication: StepPublication,
    deployment: ShownDeployment,
    *,
    places: ServicePlaces,
) -> int:
    """Report a rollout that starts no service, or whose service ended again: a later run or the close was first."""
    from cvl_ci.result.outputs import skipped

    if step.state.now.deployment:
        if rolled.is_closed:
            deployment.end()
        else:
            deployment.drop(step.state.now.deployment)
        publication.comment(_cut_off(rolled.skipped, owner, step))
        publication.flush()
    if code := _warned(rolled.unproved, step, places):
        return code
    step.reporter.notice(rolled.skipped)
    publication.set_outputs(skipped(rolled.skipped))
    step.state.update(done=True, leases=())
    return 0


def _cut_off(reason: str, owner: Owner, step: Step) -> Outcome:
    from cvl_ci.model.outcome import EXIT_CODES, Ending, MachineResult, Outcome

    return Outcome(
        ending=Ending.CANCELLED,
        reason=reason,
        exit_code=EXIT_CODES[Ending.CANCELLED],
        work=step.state.now.work,
        machines=MachineResult(cluster=owner.name),
    )


def _warned(unproved: Sequence[str], step: Step, places: ServicePlaces) -> int:
    """Name the leases that are not proved gone. Return 0 if there is none."""
    for name in unproved:
        step.reporter.refused(f"A MACHINE MAY STILL BE RUNNING: {places.down_of(name)}")
    return NotProvedGone.exit_code if unproved else 0


def _pulls(step: Step) -> PullRequests | None:
    from cvl_ci.github.pull_requests import PullRequestStates

    token, context = step.github_token, step.context
    if not token or not context.repository:
        return None
    api, say = context.server.api, step.reporter.warning
    return PullRequestStates(api=api, token=token, repository=context.repository, say=say)


def _save_end(step: Step, outcome: Outcome) -> None:
    """Save the end for post, before anything else can cut this step off."""
    from cvl_ci.action.state import SavedEnding
    from cvl_ci.result.text import kept_machines
    from cvl_ci.result.units import moment

    reason, machines = step.masks.hide(outcome.reason), kept_machines(outcome)
    end = SavedEnding(ending=outcome.ending.value, reason=reason, exit_code=outcome.exit_code)
    step.state.update(end=end, kept_until=moment(machines.until) if machines else "")


def _finish(step: Step, outcome: Outcome) -> None:
    from cvl_ci.result.text import accounted_for

    step.state.update(done=accounted_for(outcome), leases=())


def _how_to_end(environment: str) -> str:
    from cvl_ci.model.lease_name import pull_request_of

    close = "Close the pull request to end it, or run" if pull_request_of(environment) is not None else "Run"
    return f"{close} this action with `verb: deploy`, the same `environment` and `down: true`."


def _down_ports(step: Step, environ: Mapping[str, str]) -> DownPorts:
    from cvl_ci.commands.reap.down import DownPorts
    from cvl_ci.local.clock import SystemClock

    return DownPorts(
        clouds=wiring.OpenClouds(environ, to_end=True),
        records=wiring.open_records(environ, step.reporter),
        reporter=step.reporter,
        clock=SystemClock(),
    )


# ---- its end ----------------------------------------------------------------------------------------------------


def _take_down(
    owner: Owner,
    step: Step,
    publication: StepPublication,
    environ: Mapping[str, str],
    places: ServicePlaces,
) -> int:
    """End all services of the environment with proof. Its errors speak of machines that may still run."""
    from cvl_ci.commands.deploy import rollout
    from cvl_ci.result import outputs

    try:
        environ = wiring.credentials(environ, places.clouds, mask=step.reporter.mask)
        release = rollout.take_down(
            owner,
            locations=places.locations,
            ports=_down_ports(step, environ),
            note=lambda names: step.state.update(leases=tuple(names)),
        )
    except CvlError as error:
        step.reporter.refused(explain(error, verb="down"))
        values = outputs.reaped("failed", error.what, exit_code=error.exit_code, proved=False, usd=None)
        publication.set_outputs(values)
        step.state.update(done=not step.state.now.leases)
        return error.exit_code
    outcome = _end_as_outcome(owner, step.state.now.leases, release, places)
    step.reporter.show_outcome(outcome)
    publication.set_outputs(outputs.outputs(outcome))
    publication.comment(outcome)
    publication.flush()
    if release.gone:
        ShownDeployment(step, owner.environment).end()
        step.state.update(done=True, leases=())
    return outcome.exit_code


def _end_as_outcome(owner: Owner, leases: Sequence[str], release: Release, places: ServicePlaces) -> Outcome:
    from cvl_ci.model.outcome import Ending, MachineResult, Outcome
    from cvl_ci.model.work_identity import WorkIdentity

    what = f"ended {', '.join(leases)}" if leases else "the provider shows no service of it"
    return Outcome(
        ending=Ending.SUCCEEDED if release.gone else Ending.FAILED,
        reason=f"The environment {owner.environment} was taken down: {what}.",
        exit_code=0 if release.gone else NotProvedGone.exit_code,
        warnings=(places.gap,) if places.gap else (),
        work=WorkIdentity(title=owner.environment),
        machines=MachineResult(cluster=leases[0] if leases else owner.name),
        release=release,
        advice="" if release.gone else f"Take it down and prove its end:\n{places.down_of(*leases)}",
    )
