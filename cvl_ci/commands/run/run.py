"""Run a plan: quote → lease → launch → stream → fetch → outcome. After any event the machine is gone, with proof."""

from __future__ import annotations

from pathlib import Path

from cvl_ci.commands.plan import month
from cvl_ci.commands.run import key_wait, mount_sources, steps
from cvl_ci.commands.run.outcome import outcome
from cvl_ci.commands.run.stages import Stages
from cvl_ci.commands.run.state import RunPorts, RunState
from cvl_ci.commands.run.transitions import FIRST, Stage
from cvl_ci.errors import explain_while_running
from cvl_ci.model.outcome import Outcome, Phase
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import RunPlan
from cvl_ci.result.no_follow import refuse_links

__all__ = ["RunPorts", "run"]


def run(plan: RunPlan, *, owner: Owner, outputs: Path, ports: RunPorts) -> Outcome:
    """Carry out one plan.

    It raises CvlError only before any cost is possible. Afterwards it returns an Outcome.
    """
    steps.refuse_missing_scripts(plan)
    month.require_known(plan)
    refuse_links(outputs, *(outputs.with_name(f"{outputs.name}.{kind}") for kind in ("log", "json")))
    state = steps.begin(plan, owner=owner, outputs=outputs, ports=ports)
    if plan.machines.is_on_sandbox:
        state.enter(Phase.SANDBOX)
    with (
        steps.failures_kept(state),
        key_wait.key_held(state),
        ports.clouds.open(plan.machines.locations, user_id=owner.user_id, watch=state.watch) as cloud,
    ):
        state.cloud = cloud
        try:
            with steps.failures_kept(state):
                cloud.machines.warm()
                state.enter(Phase.STAGING)
                steps.bring_models(state)
                mount_sources.require(plan, cloud.contents, ports.reporter.progress, hub=cloud.hub)
                steps.check_place(state, cloud)
                mount_sources.require_results(plan.detach.of_run(owner.name), cloud.storage, ports.reporter.warning)
                steps.tell_files(plan, ports)
                with (
                    ports.staging.staged(plan.files.staged, commits=plan.files.commits) as staged,
                    steps.under_lease(state, cloud) as lease,
                ):
                    is_entered = state.sharing is not None and state.sharing.is_entered
                    Stages(state, cloud, lease, staged).carry_out(Stage.SUBMIT if is_entered else FIRST)
                steps.unpack(state, cloud)
        finally:
            # Needed only if a signal came between the end of the work and the beginning of the release, or after it
            # with a service that has no user now.
            if state.lease is not None and (state.facts.release is None or steps.keeps_unwanted_machine(state)):
                state.facts.release = steps.release_or_keep(state, state.lease)
    try:
        return _reported(state)
    except KeyboardInterrupt:
        state.facts.cancelled = True
        if not steps.keeps_unwanted_machine(state):
            raise
        return _reported(state)


def _reported(state: RunState) -> Outcome:
    """Return the outcome after its report. A service or a job without a user ends before it."""
    steps.end_unwanted_machine(state)
    state.enter(None)
    result, reporter = outcome(state), state.ports.reporter
    try:
        reporter.show_outcome(result)
    except Exception as error:  # noqa: BLE001  the end of the run does not depend on the report about it
        reporter.warning(f"The end of the run could not be reported completely: {explain_while_running(error)}")
    return result
