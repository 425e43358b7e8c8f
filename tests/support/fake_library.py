"""The library on fakes: its runs share one cloud in a dict, and one clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cvl_ci.model.launch import Launch
from cvl_ci.model.location import Location
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.plan import RunPlan
from cvl_ci.ports import Cloud, LaunchRequest, Watch
from tests.support.fakes import FakeClock, FakeCloud, FakeEngine, FakeResults


@dataclass
class Seen:
    """The plans that were launched, in order, and the clouds with their machines."""

    plans: list[RunPlan] = field(default_factory=list)
    clouds: list[FakeCloud] = field(default_factory=list)
    clock: FakeClock = field(default_factory=FakeClock)
    lock: threading.Lock = field(default_factory=threading.Lock)
    results: FakeResults = field(default_factory=FakeResults)
    runs_on: bool = False
    """Whether the jobs of detached runs have no end yet."""

    def running(self) -> list[str]:
        """Return the leases whose machine still runs."""
        return [cloud.machines[name].labels["cvl-ci-lease"] for cloud in self.clouds for name in cloud.running()]


@dataclass
class Recording(FakeEngine):
    """A fake engine that notes the plan of each launch, and plays an end that depends on it."""

    seen: Seen = field(default_factory=Seen)
    end: Callable[[RunPlan], int] = lambda plan: 0

    def launch(self, request: LaunchRequest, *, watch: Watch) -> Launch:
        with self.seen.lock:
            self.seen.plans.append(request.plan)
        code = None if self.seen.runs_on else self.end(request.plan)
        self.ends = tuple(NodeEnd(rank=rank, exit_code=code) for rank in range(request.plan.machines.num_nodes))
        return super().launch(request, watch=watch)


class FakeOpenClouds:
    """In place of wiring's OpenClouds."""

    def __init__(self, seen: Seen, *, at: Callable[[str], None], end: Callable[[RunPlan], int]) -> None:
        self._seen, self._at, self._end = seen, at, end

    @contextmanager
    def open(self, locations: Sequence[Location], *, user_id: str, watch: Watch) -> Iterator[Cloud]:
        cloud = self._seen.clouds[0]
        engine = Recording(cloud, at=self._at, seen=self._seen, end=self._end)
        yield Cloud(machines=engine, jobs=engine, inventory=cloud, results=self._seen.results)


def on_fakes(
    monkeypatch: pytest.MonkeyPatch,
    *,
    at: Callable[[str], None] = lambda step: None,
    end: Callable[[RunPlan], int] = lambda plan: 0,
) -> Seen:
    """Replace the clouds of the library for one test."""
    result = Seen()
    result.clouds.append(FakeCloud(result.clock))

    def opened(environ: Mapping[str, str], **_: object) -> FakeOpenClouds:
        return FakeOpenClouds(result, at=at, end=end)

    for module in ("one_run", "collecting"):
        monkeypatch.setattr(f"cvl_ci.wiring.{module}.OpenClouds", opened)
    for module in ("one_run", "queue_runs", "collecting"):
        monkeypatch.setattr(f"cvl_ci.wiring.{module}.SystemClock", lambda: result.clock)
    for module in ("one_run", "queue"):
        monkeypatch.setattr(f"cvl_ci.wiring.{module}.require_credentials", lambda environ, clouds: None)
    return result


def checkout(folder: Path) -> Path:
    """Make a folder with the files that the seed's snippets name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train.py", "preprocess.py"):
        (folder / name).write_text("print(1)\n")
    task = "workdir: .\nresources:\n  accelerators: L4:1\n  use_spot: true\nrun: python train.py\n"
    (folder / "my-task.yaml").write_text(task)
    return folder
