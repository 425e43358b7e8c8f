"""The inputs of the verb `deploy` in a workflow, its plan, and the image of that plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cvl_ci import wiring
from cvl_ci.action import step_plan
from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.inputs.deploy_inputs import NOT_OF_A_SERVICE, DeployInputs, DeployStepInputs
from cvl_ci.inputs.option import options_of
from cvl_ci.inputs.rollout_inputs import RolloutInputs, StepRolloutInputs
from cvl_ci.model.location import REPLICATED, Location

if TYPE_CHECKING:
    from cvl_ci.action.step import Step
    from cvl_ci.inputs.reader import Inputs
    from cvl_ci.model.plan import RunPlan


@dataclass(frozen=True, kw_only=True)
class DeployStep:
    """The inputs of this verb. `token`: empty for an end. `login`: the user and the password of the registry."""

    service: DeployInputs
    rollout: RolloutInputs
    token: str
    login: tuple[str, str]
    drain: float | None = None
    """Minutes."""


@dataclass(frozen=True, kw_only=True)
class ServicePlaces:
    """Where the services of an environment may be. `unasked`: clouds without credentials in this step, with reasons."""

    locations: tuple[Location, ...]
    unasked: tuple[str, ...] = ()

    @property
    def clouds(self) -> list[str]:
        return [location.cloud for location in self.locations]

    @property
    def has_server(self) -> bool:
        return REPLICATED in self.clouds

    def down_of(self, *names: str) -> str:
        """Return the command that ends these leases. A later computer has no record of their places."""
        return f"cvl-ci down {' '.join(names)} --cloud {','.join(self.clouds)}"

    @property
    def gap(self) -> str:
        """Return which places are not asked, and what that means; empty if all are."""
        if not self.unasked:
            return ""
        return (
            "This step asks the API server for the services of this environment. It has no credentials to ask "
            f"{', '.join(self.unasked)}. An older service with one machine there is billed until its own end. End it "
            "with `verb: deploy` and `down: true`, with the credentials of that cloud."
        )


def read(step: Step, environ: Mapping[str, str], inputs: Inputs, *, is_end: bool, starts: bool = True) -> DeployStep:
    """Return the verb's own inputs. Raises RequestError with all mistakes of the step.

    `starts`: the plan will be carried out. A fork has no secrets, so a plan that is only shown needs no token.
    """
    from cvl_ci.commands.plan.service import checked_token
    from cvl_ci.inputs import action_variables, matrix_reader
    from cvl_ci.inputs.table import RUN_BY_NAME

    values, problems = matrix_reader.read(environ, "deploy")
    mistakes = [*inputs.mistakes, *problems]
    for name in sorted((NOT_OF_A_SERVICE & action_variables.names()) - {"down"}):
        text = action_variables.value(environ, name)
        if text not in {"", RUN_BY_NAME[name].action_default}:
            mistakes.append(InputProblem(field=name, value=text, problem="cannot be combined with `verb: deploy`"))
    own = DeployStepInputs(**{one.name: values[one.name] for one in options_of(DeployStepInputs) if one.name in values})
    login = StepRolloutInputs(
        **{one.name: values[one.name] for one in options_of(StepRolloutInputs) if one.name in values}
    )
    token = own.deploy_token.reveal() if own.deploy_token is not None else ""
    password = login.registry_password.reveal() if login.registry_password is not None else ""
    service = DeployInputs(**{one.name: values[one.name] for one in options_of(DeployInputs) if one.name in values})
    key = service.tls_key.reveal() if service.tls_key is not None else ""
    step.reporter.mask(*(text for text in (token, password, key) if text))
    if not token and starts and not is_end:
        problem = "is missing: give a secret of the repository, which the callers of the service send"
        mistakes.append(InputProblem(field="deploy_token", value="", problem=problem))
    elif token and not is_end:
        try:
            checked_token(token, variable="deploy_token")
        except RequestError as error:
            mistakes += error.mistakes
    if mistakes:
        raise RequestError(mistakes)
    rollout = RolloutInputs(**{one.name: values[one.name] for one in options_of(RolloutInputs) if one.name in values})
    return DeployStep(
        service=service, rollout=rollout, token=token, login=(login.registry_user, password), drain=login.drain
    )


def places_of(inputs: Inputs, environ: Mapping[str, str]) -> ServicePlaces:
    """Return whole clouds: an older service may be in another region, and before a change of `replicas` elsewhere."""
    named = [location.cloud for location in inputs.location.cloud or ()]
    locations, unasked = wiring.service_places(environ, list(dict.fromkeys(named or ["aws"])))
    return ServicePlaces(locations=locations, unasked=unasked)


def plan_of(request: DeployStep, inputs: Inputs, environ: Mapping[str, str], *, starts: bool = True) -> RunPlan:
    """Return the plan with its service. Raises RequestError with all mistakes. `starts`: it will be carried out."""
    from cvl_ci.commands.plan import service as services
    from cvl_ci.inputs.reader import Spelling
    from cvl_ci.planning.service import SERVE

    work, location = inputs.work, inputs.location
    inputs = replace(
        inputs,
        work=replace(work, preset=work.preset or (SERVE if work.example and not work.command else None)),
        location=replace(location, cloud=location.cloud or (Location(cloud="aws"),)),
        limits=replace(inputs.limits, max_runtime=services.runtime_minutes(request.service)),
        keep=replace(inputs.keep, down=None),
    )
    plan = step_plan.plan_of(inputs, environ)
    checkout = step_plan.checkout_of(inputs)
    return services.with_service(
        plan,
        request.service,
        checkout,
        token=request.token,
        spelling=Spelling.INPUT,
        starts=starts,
        through_server=wiring.goes_through_server(environ, by_inputs=True),
    )


def with_image(plan: RunPlan, request: DeployStep, step: Step, environ: Mapping[str, str], inputs: Inputs) -> RunPlan:
    """Return the plan with the image of its registry. Raises CvlError."""
    registry = request.rollout.registry
    if registry is None:
        return plan
    from cvl_ci.inputs.reader import Spelling
    from cvl_ci.wiring import images

    environ = wiring.credentials(environ, places_of(inputs, environ).clouds, mask=step.reporter.mask)
    user, password = request.login
    return images.with_image(
        plan,
        registry,
        step_plan.checkout_of(inputs),
        images.with_login(environ, user=user, password=password, github_token=step.github_token),
        tell=step.reporter.progress,
        builds=True,
        spelling=Spelling.INPUT,
    )
