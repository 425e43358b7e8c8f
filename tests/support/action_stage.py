"""A phase of the action as a process, on a cloud whose machines are files, with a clock that never waits."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cvl_ci import wiring
from cvl_ci.action import main as action
from cvl_ci.action import step
from cvl_ci.engine.unpack import unpack
from cvl_ci.errors import CapacityError
from cvl_ci.local import clock
from cvl_ci.model.launch import Launch
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.service import token_digest
from cvl_ci.ports import Fetched, LaunchRequest, Resource, Watch
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
    """Machines outlive the process, as they do."""

    def __init__(self, folder: Path) -> None:
        super().__init__(CLOCK)
        self.folder = folder
        notes = folder / "uses"
        self.uses = json.loads(notes.read_text()) if notes.exists() else {}
        for file in sorted(folder.glob("i-*")):
            lease, _, labels = file.read_text().partition("\n")
            name = super().create(lease=lease, region="us-east-1")
            self.machines[name] = replace(
                self.machines[name], labels={**self.machines[name].labels, **json.loads(labels or "{}")}
            )

    def create(self, *, lease: str, region: str, eventually: int = 0, **facts: Any) -> str:
        name = super().create(lease=lease, region=region, eventually=eventually, **facts)
        self.write(name)
        return name

    def write(self, name: str) -> None:
        labels = self.machines[name].labels
        (self.folder / name).write_text(f"{labels['cvl-ci-lease']}\n{json.dumps(dict(labels))}")

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        super().label(resources, labels)
        for resource in resources:
            self.write(resource.id)

    def remove(self, resources: Sequence[Resource]) -> None:
        super().remove(resources)
        for resource in resources:
            (self.folder / resource.id).unlink(missing_ok=True)


class NotingEngine(FakeEngine):
    """An engine whose machines note their use in a file, as they do."""

    def change_use(self, cluster: str, *, before: str, after: str) -> bool:
        is_changed = super().change_use(cluster, before=before, after=after)
        Path(os.environ["STAGE"], "uses").write_text(json.dumps(self.cloud.uses))
        return is_changed


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
        vars(room)["OpenClouds"] = lambda environ, **_: FakeClouds(engine)
    return action.called_as(sys.argv[1])


if __name__ == "__main__":
    sys.exit(main())
