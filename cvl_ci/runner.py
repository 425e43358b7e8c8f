"""SkyPilotRunner, the library: the same steps as the command line, without signals, exit or printed text.

runner = SkyPilotRunner(cloud="sandbox", on_line=print)
outcome = runner.run_example("digits_sgd", "train")
assert outcome.exit_code == 0 and outcome.release.gone
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cvl_ci import wiring
from cvl_ci.commands.models.upload import UploadedModel
from cvl_ci.commands.plan import quote as planning
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.commands.run import run as running
from cvl_ci.inputs.reader import from_keywords
from cvl_ci.lease import Owner
from cvl_ci.local.clock import SystemClock
from cvl_ci.local.console.callback_reporter import Listener
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.local.staging import LocalStaging
from cvl_ci.model.outcome import Outcome
from cvl_ci.model.plan import Quote, RunPlan
from cvl_ci.result.masked_errors import masked_errors
from cvl_ci.result.masks import Masks
from cvl_ci.result.secret_names import secret_values, secrets_of
from cvl_ci.wiring import models


class SkyPilotRunner:
    """Runs jobs on cloud machines and removes the machines.

    It accepts each keyword of the command line's table of inputs, for all its runs, and again for a single run, which
    takes precedence: `cloud`, `gpu`, `spot`, `num_nodes`, `max_runtime`, `max_cost`, `env`, `secrets`, ...

    A run returns an Outcome even for a failing job. It raises CvlError when it cannot do what the caller requested
    (RequestError: all mistakes at once). KeyboardInterrupt during a run ends it as `cancelled`, with the machine gone.
    """

    def __init__(
        self,
        *,
        checkout: str | Path = ".",
        outputs: str | Path = "cvl-outputs",
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] = lambda _: None,
        on_notice: Callable[[str], None] = lambda _: None,
        **inputs: object,
    ) -> None:
        """`checkout`: the folder with examples and working folders. `outputs`: each run gets a folder in it.

        `environment`: the environment of SkyPilot and of the clouds' credentials; default: this process's own.
        """
        self._checkout = Path(checkout)
        self._outputs = Path(outputs)
        self._environment = wiring.environment() if environment is None else environment
        self._masks = Masks()
        self._masks.add(*secret_values(self._environment))
        self._listener = Listener(on_line=on_line, on_notice=on_notice, masks=self._masks)
        self._inputs = inputs

    def run(self, command: str, *, workdir: str | Path = ".", **inputs: object) -> Outcome:
        """Run one shell command, together with a folder's files."""
        return self._carry_out(self._prepared({**inputs, "command": command, "workdir": str(workdir)}))

    def run_example(
        self, example: str, preset: str | None = None, *, args: Sequence[str] = (), **inputs: object
    ) -> Outcome:
        """Run an example by path or name, with one of its presets. `args` go to the preset's script."""
        request = {**inputs, "example": example, "preset": preset, "args": list(args) or None}
        return self._carry_out(self._prepared(request))

    def plan_example(self, example: str, preset: str | None = None, **inputs: object) -> tuple[RunPlan, Quote]:
        """Return the plan of run_example and its possible cost. No network.

        Where no cloud is named, it is the plan for the clouds with credentials here, or for all clouds without any.
        """
        plan = self._prepared({**inputs, "example": example, "preset": preset}, asks_role=False)
        return plan, planning.quote(plan, wiring.prices(self._environment))

    def upload_models(
        self, repo_id: str, *, storage: str, files: Sequence[str] = (), revision: str | None = None
    ) -> UploadedModel:
        """Store a model of the Hugging Face hub, or a folder, in a bucket. A second call moves no byte.

        `storage`: `s3://bucket/prefix`. `files`: globs; default: all. The token is HF_TOKEN of the environment.
        """
        keywords = {"repo_id": repo_id, "storage": storage, "revision": revision, "model_files": list(files)}
        tell = self._listener.notice
        caller = models.Caller(folder=self._checkout, environ=self._environment, say=tell, tell=tell)
        with masked_errors(self._masks):
            return models.upload_by_keywords(keywords, caller)

    def _prepared(self, request: Mapping[str, object], *, asks_role: bool = True) -> RunPlan:
        values = {name: value for name, value in {**self._inputs, **request}.items() if value is not None}
        with masked_errors(self._masks):
            inputs = from_keywords(values, environment=self._environment)
            self._masks.add(*secrets_of(inputs.variables))
            at = str(values.get("workdir", "."))
            checkout = open_checkout(self._checkout.resolve(), at=at)
            plan = prepare(inputs, checkout=checkout, prices=wiring.prices(self._environment))
            self._masks.add(*secrets_of(plan.variables))
            prices = wiring.prices(self._environment)
            return wiring.on_usable_clouds(plan, self._environment, prices, by_inputs=False, asks_role=asks_role)

    def _carry_out(self, plan: RunPlan) -> Outcome:
        with masked_errors(self._masks):
            return self._masks.cleaned(self._carried_out(plan))

    def _carried_out(self, plan: RunPlan) -> Outcome:
        wiring.require_credentials(self._environment, [place.cloud for place in plan.machines.locations])
        owner = Owner(repository=str(self._checkout.resolve()), run=secrets.token_hex(4), step="library")
        tools = running.RunPorts(
            clouds=wiring.OpenClouds(self._environment, secrets=plan.variables.secrets),
            records=wiring.records(self._environment, self._listener),
            staging=LocalStaging(),
            workflow=self._listener,
            prices=wiring.prices(self._environment),
            clock=SystemClock(),
        )
        return running.run(plan, owner=owner, outputs=self._outputs / owner.name, tools=tools)
