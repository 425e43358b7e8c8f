"""A deployment by the library: its inputs as keywords, its token, and the service in its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cvl_ci.commands.plan import service as services
from cvl_ci.commands.plan import tls
from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.inputs.deploy_inputs import NOT_OF_A_SERVICE, DeployInputs
from cvl_ci.inputs.reader import Spelling, read_group
from cvl_ci.inputs.rollout_inputs import RolloutInputs
from cvl_ci.inputs.table import DEPLOY_OPTIONS
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.model.plan import RunPlan
from cvl_ci.result.masks import Masks
from cvl_ci.wiring import images
from cvl_ci.wiring.access import goes_through_server


@dataclass(frozen=True, kw_only=True)
class DeployRequest:
    """A deployment that a program asks for. `run_inputs`: the keywords of its run."""

    inputs: DeployInputs
    rollout: RolloutInputs
    run_inputs: Mapping[str, object]
    folder: Path
    token: str = field(repr=False)

    def added_to(self, plan: RunPlan, masks: Masks, environ: Mapping[str, str], tell: Callable[[str], None]) -> RunPlan:
        """Return the plan with the service, after its image is in its registry. Raise CvlError.

        The token and the key of its certificate are masked from here on.
        """
        masks.add(self.token, *tls.secret_of(self.inputs))
        checkout, keyword = open_checkout(self.folder.resolve(), at="."), Spelling.KEYWORD
        through_server = goes_through_server(environ, by_inputs=False)
        plan = services.with_service(
            plan, self.inputs, checkout, token=self.token, spelling=keyword, through_server=through_server
        )
        masks.add(*(plan.service.secrets if plan.service is not None else ()))
        if self.rollout.registry is None:
            return plan
        return images.with_image(
            plan, self.rollout.registry, checkout, environ, tell=tell, builds=True, spelling=keyword
        )


def read_request(keywords: Mapping[str, object], *, token: str, folder: Path) -> DeployRequest:
    """Return the request of `SkyPilotRunner.deploy`. Raise RequestError with all mistakes."""
    mistakes: list[InputProblem] = []
    names = {option.name for option in DEPLOY_OPTIONS}
    inputs = read_group(DeployInputs, keywords, spelling=Spelling.KEYWORD, mistakes=mistakes)
    rollout = read_group(RolloutInputs, keywords, spelling=Spelling.KEYWORD, mistakes=mistakes)
    surplus = sorted(name for name in keywords.keys() & NOT_OF_A_SERVICE if keywords[name] is not None)
    problem = "cannot be combined with deploy"
    mistakes += [InputProblem(field=name, value=str(keywords[name]), problem=problem) for name in surplus]
    if mistakes:
        raise RequestError(mistakes)
    run_inputs = {name: value for name, value in keywords.items() if name not in names}
    return DeployRequest(
        inputs=inputs,
        rollout=rollout,
        run_inputs={**run_inputs, "max_runtime": f"{services.runtime_minutes(inputs):g}"},
        folder=folder,
        token=services.checked_token(token, variable="token") if token else services.new_token(),
    )
