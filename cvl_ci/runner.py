"""SkyPilotRunner, the library: the same steps as the command line, without signals, exit or printed text.

runner = SkyPilotRunner(cloud="sandbox", on_line=print)
result = runner.run_example("digits_sgd", "train")
assert result == 0 and result.release.gone
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cvl_ci import wiring
from cvl_ci.commands.models.upload import UploadedModel
from cvl_ci.commands.plan import quote as quoting
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.commands.plan.estimate import Estimate
from cvl_ci.errors import InputProblem, RequestError
from cvl_ci.inputs.option import by_own_name
from cvl_ci.inputs.reader import from_keywords
from cvl_ci.inputs.table import RUN_OPTIONS
from cvl_ci.local.awaiting import awaited
from cvl_ci.local.console.callback_reporter import CallbackReporter
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.local.interruption import Interruption, RunsUnderWay
from cvl_ci.local.script_folder import SCRIPT_GPU, command_of, named_as_script, script_of
from cvl_ci.model.location import Location
from cvl_ci.model.offer import Quote
from cvl_ci.model.outcome import Ending
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.release import Release
from cvl_ci.result.deployment import Deployment
from cvl_ci.result.masked_errors import masked_errors
from cvl_ci.result.masks import Masks
from cvl_ci.result.queue_result import QueueResult
from cvl_ci.result.run_result import RunResult
from cvl_ci.result.secret_pool import SecretPool
from cvl_ci.wiring import collecting, deploying, models
from cvl_ci.wiring import queue as wired_queue
from cvl_ci.wiring.queue_runs import QueueCaller

if TYPE_CHECKING:
    from typing_extensions import Self

    from cvl_ci.commands.queue.estimate import QueueEstimate
    from cvl_ci.commands.status import Overview

Hear = Callable[[str], None]


class SkyPilotRunner:
    """Runs jobs on cloud machines and removes the machines.

    It accepts each keyword of the command line's table of inputs, for all its runs, and again for a single run, which
    takes precedence: `cloud`, `gpu`, `spot`, `num_nodes`, `max_runtime`, `max_cost`, `env`, `secrets`, ...

    A run returns a RunResult even for a failing job: its exit code, with the outcome. It raises CvlError when it cannot
    do what the caller requested (RequestError: all mistakes at once). KeyboardInterrupt during a run ends it as
    `cancelled`, with the machine gone. Several threads may use one runner. As a context manager it releases all that
    it holds: runs under way, and machines that `down=False` keeps. The machine of a detached run stays.
    """

    def __init__(
        self,
        *,
        checkout: str | Path = ".",
        outputs: str | Path = "cvl-outputs",
        environment: Mapping[str, str] | None = None,
        on_line: Hear = lambda _: None,
        on_notice: Hear = lambda _: None,
        **inputs: object,
    ) -> None:
        """`checkout`: the folder with examples and working folders. `outputs`: each run gets a folder in it.

        `environment`: the environment of SkyPilot and of the clouds' credentials; default: this process's own.
        """
        self._checkout = Path(checkout)
        self._outputs = Path(outputs)
        self._environment = wiring.environment() if environment is None else environment
        self._pool = SecretPool(self._environment)
        self._on_line, self._on_notice = on_line, on_notice
        self._inputs = inputs
        self._under_way = RunsUnderWay()
        self._kept: dict[str, int] = {}
        """Lease → number of the last use, or 0, of machines that stay after their job."""
        self._names: dict[str, str] = {}
        """cluster_name → the lease that last had it."""

    def run(  # noqa: PLR0917  the order of the runner that this library replaces
        self,
        command: str,
        workdir: str | Path | None = None,
        gpu: object = None,
        cloud: object = None,
        region: str | None = None,
        use_spot: object = None,
        cluster_name: str | None = None,
        idle_minutes_to_autostop: int | None = None,
        down: bool | None = None,
        env: Mapping[str, str] | None = None,
        file_mounts: Mapping[str, object] | None = None,
        setup: str | None = None,
        *,
        stream_logs: bool = False,
        **inputs: object,
    ) -> RunResult:
        """Run one shell command, together with a folder's files.

        `down=False`: the machine stays for `idle_minutes_to_autostop` after the job; its lease ends it. `stream_logs`:
        print the job's lines.
        """
        words = {
            "command": command, "workdir": workdir and str(workdir), "gpu": gpu, "cloud": cloud, "region": region,
            "use_spot": use_spot, "cluster_name": cluster_name, "down": down, "env": env, "setup": setup,
            "idle_minutes_to_autostop": idle_minutes_to_autostop, "file_mounts": file_mounts,
        }  # fmt: skip
        return self._run({**inputs, **words}, stream_logs=stream_logs)

    def run_example(
        self,
        example_dir: str | Path,
        preset: str | None = None,
        args: str | Sequence[str] | None = None,
        gpu: object = None,
        *,
        script: str | None = None,
        stream_logs: bool = False,
        **inputs: object,
    ) -> RunResult:
        """Run an example by path or name, with one of its presets. `args` go to the preset's script.

        `script`: run `python SCRIPT ARGS` in the folder instead of a preset. Without an example.yaml, it is train.py.
        """
        if script is None and preset is not None and preset.endswith(".py"):
            preset, script = None, preset
        if script is None and preset is None:
            script = script_of(self._checkout / example_dir)
        if script is not None and preset is not None:
            raise RequestError([InputProblem(field="script", value=script, problem="cannot be combined with a preset")])
        if script is None:
            words = {"example": str(example_dir), "preset": preset, "args": args or None, "gpu": gpu}
            return self._run({**inputs, **words}, stream_logs=stream_logs)
        words = {"command": command_of(script, args), "workdir": str(example_dir)}
        words["gpu"] = gpu or self._inputs.get("gpu") or SCRIPT_GPU
        with named_as_script(script):
            return self._run({**inputs, **words}, stream_logs=stream_logs)

    def run_from_yaml(self, path: str | Path, *, stream_logs: bool = False, **overrides: object) -> RunResult:
        """Run a SkyPilot task file. The overrides replace its values."""
        return self._run({**overrides, "task": str(path)}, stream_logs=stream_logs)

    async def arun(
        self,
        command: str | None = None,
        *,
        example: str | Path | None = None,
        task: str | Path | None = None,
        stream_logs: bool = False,
        **inputs: object,
    ) -> RunResult:
        """Run a command, an example or a task file in a thread. A cancelled await stops the run, with proof."""
        words = {"command": command, "example": example and str(example), "task": task and str(task)}
        request = {**inputs, **words}
        return await awaited(lambda stop: self._run(request, stream_logs=stream_logs, interruption=stop))

    def deploy(self, example: str | Path, preset: str = "serve", *, token: str = "", **inputs: object) -> Deployment:
        """Start an example's server, and return its URL and token, or how it failed. Replicas need an API server.

        `token`: the callers' password; default: a new one. The machine ends at `ttl`, or by `down(deployment.name)`.
        """
        service = deploying.read_request(inputs, token=token, folder=self._checkout)
        words = {"example": str(example), "preset": preset, "cloud": "aws", **self._inputs, **service.run_inputs}
        return Deployment(result=self._run(words, stream_logs=False, service=service), token=service.token)

    def queue(
        self,
        jobs: object,
        *,
        max_parallel: int | None = None,
        budget: float | None = None,
        outputs: str | Path | None = None,
        fails_on_infrastructure: bool = False,
    ) -> QueueResult:
        """Run jobs that need each other: mappings with the inputs of a run, and `needs` or `depends_on`.

        `outputs`: the folder of the files and of the record; the same folder runs no finished job again.
        """
        caller, interruption = self._queue_caller(outputs), Interruption()
        with masked_errors(caller.masks), self._under_way.including(interruption), interruption:
            queued = wired_queue.of(jobs, defaults=self._inputs, max_parallel=max_parallel, budget=budget)
            return QueueResult(wired_queue.run(queued, caller), fails_on_infrastructure=fails_on_infrastructure)

    def estimate_queue(self, jobs: object, *, budget: float | None = None) -> QueueEstimate:
        """Return the price and the bounds of `queue` with these jobs. No network, and nothing is started."""
        caller = self._queue_caller()
        with masked_errors(caller.masks):
            return wired_queue.estimate(wired_queue.of(jobs, defaults=self._inputs, budget=budget), caller)

    def plan_example(self, example: str, preset: str | None = None, **inputs: object) -> tuple[RunPlan, Quote]:
        """Return the plan of run_example and its possible cost. No network.

        Where no cloud is named, it is the plan for the clouds with credentials here, or for all clouds without any.
        """
        estimate = self.estimate(**{**inputs, "example": example, "preset": preset})
        return estimate.plan, estimate.quote

    def upload_models(
        self, repo_id: str, *, storage: str, files: str | Sequence[str] = (), revision: str | None = None
    ) -> UploadedModel:
        """Store a model of the Hugging Face hub, or a folder, in a bucket. A second call moves no byte.

        `storage`: `s3://bucket/prefix`. `files`: globs; default: all. The token is HF_TOKEN of the environment.
        """
        keywords = {"repo_id": repo_id, "storage": storage, "revision": revision, "model_files": files}
        masks = self._pool.masks()
        tell = self._reporter(masks).notice
        caller = models.ModelsCaller(folder=self._checkout, environ=self._environment, say=tell, tell=tell)
        with masked_errors(masks):
            return models.upload_by_keywords(keywords, caller)

    def estimate(self, command: object = None, **inputs: object) -> Estimate:
        """Return the price and the bounds of a run with these inputs. No network, and nothing is started."""
        plan = self._prepared({**inputs, "command": command}, masks=self._pool.masks(), asks_role=False)
        return Estimate(plan=plan, quote=quoting.quote(plan, wiring.prices(self._environment)))

    def status(self, cloud: str = "") -> Overview:
        """Return the open leases of this computer. `cloud`: ask these providers too; `any`: all with credentials."""
        with masked_errors(self._pool.masks()):
            return wiring.status(self._environment, cloud=cloud)

    def down(self, *names: str, cloud: str = "") -> Mapping[str, Release]:
        """End leases, by their name or by the cluster_name of a run of this runner. Return the proofs.

        `cloud`: where to look for a lease without a record on this computer. Raises NotProvedGone.
        """
        leases = [self._names.get(name, name) for name in names]
        return self._end(leases, [Location(cloud=name.strip()) for name in cloud.split(",") if name.strip()])

    def collect(self, *names: str) -> Mapping[str, RunResult]:
        """End detached runs, by lease or cluster_name; without a name, all that wait. Return the results of those over.

        `on_notice` hears of the others. Raises RequestError for a name that is not of a detached run on record here.
        """
        masks, leases = self._pool.masks(), [self._names.get(name, name) for name in names]
        owner, reporter = self._owner("collect"), self._reporter(masks)
        with masked_errors(masks):
            outcomes = collecting.for_library(leases, self._environment, owner, reporter, outputs=self._outputs)
        return {name: RunResult(masks.cleaned(outcome)) for name, outcome in outcomes.items()}

    def hidden(self, text: str) -> str:
        """Return the text with stars for the secrets of the environment and of all runs so far."""
        masks = self._pool.masks()
        return "\n".join(map(masks.hide_as_read, masks.hide(text).split("\n")))

    def close(self) -> None:
        """Stop the runs under way in other threads, wait for their proof, and end the kept machines."""
        self._under_way.stop_all()
        if self._kept:
            self._end(list(self._kept), uses=dict(self._kept))
            self._kept.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _queue_caller(self, outputs: str | Path | None = None) -> QueueCaller:
        return QueueCaller(
            folder=self._checkout.resolve(),
            outputs=self._outputs / "queue" if outputs is None else Path(outputs),
            environ=self._environment,
            owner=self._owner(secrets.token_hex(4)),
            masks=self._pool.masks(),
            line=lambda job, text: self._on_line(f"{job} | {text}"),
            tell=self._on_notice,
            on_kept=self._kept.__setitem__,
        )

    def _end(
        self, leases: Sequence[str], at: Sequence[Location] = (), uses: Mapping[str, int] | None = None
    ) -> Mapping[str, Release]:
        masks, user_id, environ = self._pool.masks(), self._owner("down").user_id, self._environment
        with masked_errors(masks):
            tell = self._reporter(masks)
            proofs = wiring.end(leases, environ=environ, locations=at, user_id=user_id, reporter=tell, uses=uses)
        for name in proofs:
            self._kept.pop(name, None)
        return proofs

    def _run(
        self,
        request: Mapping[str, object],
        *,
        stream_logs: bool,
        interruption: Interruption | None = None,
        service: deploying.DeployRequest | None = None,
    ) -> RunResult:
        masks, interruption = self._pool.masks(), interruption or Interruption()
        with self._under_way.including(interruption):
            plan = self._prepared(request, masks=masks)
            plan = service.added_to(plan, masks, self._environment, self._on_notice) if service else plan
            owner = self._owner(secrets.token_hex(4))
            on_line, on_phase = print if stream_logs else self._on_line, wiring.until_release(interruption)
            reporter = CallbackReporter(on_line=on_line, on_notice=self._on_notice, on_phase=on_phase, masks=masks)
            with masked_errors(masks):
                outcome = wiring.carry_out(
                    plan,
                    environ=self._environment,
                    owner=owner,
                    outputs=self._outputs / owner.name,
                    reporter=reporter,
                    interruption=interruption,
                    token=service.token if service else "",
                )
            result = RunResult(masks.cleaned(outcome))
            self._remember(request, result)
            return result

    def _remember(self, request: Mapping[str, object], result: RunResult) -> None:
        if cluster_name := request.get("cluster_name") or self._inputs.get("cluster_name"):
            self._names[str(cluster_name)] = result.cluster
        is_kept = result.release is not None and result.release.kept is not None
        # The machine of a detached run has a job, and ends itself.
        if is_kept and result.launch is not None and result.ending is not Ending.DETACHED:
            self._kept[result.cluster] = use.number if (use := result.outcome.machines.use) else 0

    def _prepared(self, request: Mapping[str, object], *, masks: Masks, asks_role: bool = True) -> RunPlan:
        own = {name: value for name, value in request.items() if value is not None}
        values = {**by_own_name(self._inputs, RUN_OPTIONS), **by_own_name(own, RUN_OPTIONS)}
        with masked_errors(masks):
            inputs = from_keywords(values, environment=self._environment)
            self._pool.learn(masks, inputs.variables)
            at = str(inputs.work.workdir or inputs.work.task or ".")
            checkout = open_checkout(self._checkout.resolve(), at=at)
            prices = wiring.prices(self._environment)
            through_server = wiring.goes_through_server(self._environment, by_inputs=False)
            plan = prepare(inputs, checkout=checkout, prices=prices, through_server=through_server)
            self._pool.learn(masks, plan.variables)
            plan = wiring.on_usable_clouds(plan, self._environment, prices, by_inputs=False, asks_role=asks_role)
            return wiring.within_month(plan, checkout, self._environment)

    def _reporter(self, masks: Masks) -> CallbackReporter:
        return CallbackReporter(on_line=self._on_line, on_notice=self._on_notice, masks=masks)

    def _owner(self, run: str) -> Owner:
        return Owner(repository=str(self._checkout.resolve()), run=run, step="library")
