"""A phase of the action as a process, on a cloud whose machines are files, with a clock that never waits."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from cvl_ci import wiring
from cvl_ci.action import main as action
from cvl_ci.action import step
from cvl_ci.engine.fetch.unpack import unpack
from cvl_ci.engine.server.server_inventory import address
from cvl_ci.errors import CapacityError
from cvl_ci.local import clock
from cvl_ci.model.launch import Launch
from cvl_ci.model.location import REPLICATED, Location
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.service import token_digest
from cvl_ci.ports import Cloud, Fetched, InventoryResult, LaunchRequest, Resource, Watch
from cvl_ci.wiring import clouds, one_run, queue_runs, sweep
from tests.support.fake_services import FakeServices
from tests.support.fakes import FakeClock, FakeCloud, FakeClouds, FakeEngine


class Clock(FakeClock):
    """The machine's own, ahead by all that was slept."""

    def now(self) -> float:
        return time.time() + self.time

    def monotonic(self) -> float:
        return self.now()


CLOCK = Clock(0.0)
PRELOADED = (
    *("requests", "cvl_ci.action.publication", "cvl_ci.action.step_plan", "cvl_ci.action.workspace"),
    *("cvl_ci.clouds.composite", "cvl_ci.clouds.registry", "cvl_ci.clouds.aws.inventory", "cvl_ci.commands.publish"),
    *("cvl_ci.commands.plan.build_run", "cvl_ci.commands.run.run", "cvl_ci.github.log.reporter", "cvl_ci.wiring.month"),
    *("cvl_ci.wiring.models", "cvl_ci.wiring.overview", "cvl_ci.result.matrix.report"),
)
"""Modules that most phases load later (tests/support/fork_server.py)."""


class FileCloud(FakeCloud):
    """Machines outlive the process, as they do. A file `i-N` is a machine, and `s-N` a service of an API server.

    `provider`: of the next ones. `asks_aws`: whether this process has credentials of AWS.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(CLOCK)
        self.folder = folder
        self.provider, self.asks_aws = "aws", True
        notes = folder / "uses"
        self.uses = json.loads(notes.read_text()) if notes.exists() else {}
        for file in sorted(folder.glob("[is]-*")):
            lease, _, labels = file.read_text().partition("\n")
            name, provider = file.name, REPLICATED if file.name.startswith("s") else "aws"
            super().create(lease=lease, region="us-east-1", name=name, provider=provider)
            self.machines[name] = replace(
                self.machines[name], labels={**self.machines[name].labels, **json.loads(labels or "{}")}
            )

    def create(self, *, lease: str, region: str, eventually: int = 0, **facts: Any) -> str:
        name = super().create(lease=lease, region=region, eventually=eventually, provider=self.provider, **facts)
        self.write(name)
        return name

    def find(self, *, lease: str | None, locations: Sequence[Location]) -> InventoryResult:
        """Return what the named places have. Next to a server, AWS without credentials gives no answer."""
        answer = super().find(lease=lease, locations=locations)
        clouds = {location.cloud for location in locations}
        has_server, has_aws = REPLICATED in clouds, clouds != {REPLICATED}
        error = "no keys" if has_server and has_aws and not self.asks_aws else None
        lines = [
            replace(one, state="ready") if one.provider == REPLICATED else one
            for one in answer.read()[0]
            if (has_server if one.provider == REPLICATED else has_aws)
        ]
        leftovers = tuple(one.id for one in lines if one.is_leftover)
        requests = [replace(check, leftovers=leftovers, error=check.error or error) for check in answer.asked]
        return InventoryResult(resources=lines, asked=requests)

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        super().label([one for one in resources if one.provider != REPLICATED], labels)
        for resource in resources:
            self.write(resource.id)

    def write(self, name: str) -> None:
        labels = self.machines[name].labels
        (self.folder / name).write_text(f"{labels['cvl-ci-lease']}\n{json.dumps(dict(labels))}")

    def remove(self, resources: Sequence[Resource]) -> None:
        """Remove all but the one of STAGE_KEEPS, whose provider never ends it."""
        resources = [resource for resource in resources if resource.id != os.environ.get("STAGE_KEEPS")]
        super().remove(resources)
        for resource in resources:
            (self.folder / resource.id).unlink(missing_ok=True)


class NotingEngine(FakeEngine):
    """An engine whose machines note their use in a file, as they do. `provider`: the only one that `down` reaches."""

    provider = "aws"

    def address(self) -> str:
        return super().address() + (":30001" if self.provider == REPLICATED else "")

    def down(self, cluster: str) -> None:
        self.at("down")
        self.downs.append(cluster)
        own = [one for one in self.cloud.machines.values() if one.labels["cvl-ci-lease"] == cluster]
        self.cloud.remove([one for one in own if one.provider == self.provider])

    def change_use(self, cluster: str, *, before: str, after: str) -> bool:
        is_changed = super().change_use(cluster, before=before, after=after)
        Path(os.environ["STAGE"], "uses").write_text(json.dumps(self.cloud.uses))
        return is_changed


class PlacedClouds(FakeClouds):
    """Clouds that open the place of the locations. A server's own `down` ends no machine of AWS, and AWS no service."""

    def __init__(self, engine: FakeEngine, cloud: FileCloud, environ: Mapping[str, str], *, has_replicas: bool) -> None:
        super().__init__(engine)
        self._cloud, self._environ, self._has_replicas = cloud, environ, has_replicas

    @contextmanager
    def open(self, locations: Sequence[Location], *, user_id: str, watch: Watch) -> Iterator[Cloud]:
        is_served = self._has_replicas or any(location.cloud == REPLICATED for location in locations)
        if is_served:
            address(self._environ)
        self._cloud.provider = REPLICATED if is_served else "aws"
        self._cloud.asks_aws = Path(os.environ["HOME"], ".aws/credentials").exists() or bool(
            self._environ.get("AWS_ACCESS_KEY_ID")
        )
        self.through = REPLICATED if is_served else ""
        engine = cast("NotingEngine", self.engine)
        engine.provider = self._cloud.provider
        with super().open(locations, user_id=user_id, watch=watch) as cloud:
            yield cloud


class UnpackingEngine(NotingEngine):
    """One whose machine packed the archives of the folder `STAGE_ARCHIVES`."""

    def unpack(self, *, into: Path, within: float = math.inf) -> Fetched:
        self.at("unpack")
        return unpack(Path(os.environ["STAGE_ARCHIVES"]), into=into, directory=".")


def main() -> int:
    folder = Path(os.environ["STAGE"])
    cloud = FileCloud(folder)
    cloud.silent = "STAGE_SILENT" in os.environ

    def at(step: str) -> None:
        (folder / "steps").open("a").write(f"{step}\n")
        if step == os.environ.get("STAGE_HANG"):
            time.sleep(60)

    lines = (
        "epoch 1",
        "::set-output name=ending::mine",
        "##[error]mine",
        *os.environ.get("STAGE_LINES", "").split("|"),
    )
    engine = (UnpackingEngine if "STAGE_ARCHIVES" in os.environ else NotingEngine)(cloud, at=at, lines=lines)
    refused = os.environ.get("STAGE_REFUSES", "")

    def without_capacity(request: LaunchRequest, *, watch: Watch) -> Launch:
        """Refuse the machine of jobs whose command has this word. A job alone has no machine then."""
        if refused and any(refused in command for command in request.plan.work.run_commands):
            raise CapacityError("no machine is free")
        return launch(request, watch=watch)

    launch, engine.launch = engine.launch, without_capacity  # type: ignore[method-assign]
    code = os.environ.get("STAGE_EXIT", "0")
    engine.ends = (NodeEnd(rank=0, exit_code=int(code) if code else None),)
    digest = token_digest(os.environ.get("INPUT_DEPLOY_TOKEN", ""))
    ready_at = None if "STAGE_NEVER_READY" in os.environ else CLOCK.now() + 100
    vars(one_run)["HttpServices"] = lambda _: FakeServices(CLOCK, digest=digest, ready_at=ready_at)
    for module in (clock, step, clouds, sweep, one_run, queue_runs):
        vars(module)["SystemClock"] = lambda: CLOCK
    if "STAGE_CORES" in os.environ:
        vars(os)["cpu_count"] = lambda: int(os.environ["STAGE_CORES"])
    for room in (wiring, sweep, one_run):
        vars(room)["OpenClouds"] = lambda environ, *, has_replicas=False, **_: PlacedClouds(
            engine, cloud, environ, has_replicas=has_replicas
        )
    return action.called_as(sys.argv[1])


if __name__ == "__main__":
    sys.exit(main())
