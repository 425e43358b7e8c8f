"""A cloud in a dict, with a clock and a meter: every machine asked for, and whether it is gone. A fake of the ports;
tests/e2e holds the real engine and the emulated AWS to the same behaviour."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from cvl_ci.errors import CvlError, EngineError
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.checkpoint_plan import StoredCheckpoint
from cvl_ci.model.detached import Detached
from cvl_ci.model.launch import Attempt, Launch, Spending
from cvl_ci.model.ledger import Life, Memory
from cvl_ci.model.location import REPLICATED, Location
from cvl_ci.model.loss import Lost
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.offer import Offer
from cvl_ci.model.outcome import FetchedFile, Outcome, Phase
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.release import ProviderCheck
from cvl_ci.model.resource_request import ResourceRequest, Spot
from cvl_ci.model.staged_files import CommitCopy, StagedFile
from cvl_ci.ports import (
    AttemptFailed,
    Attempting,
    Began,
    BucketContents,
    Cloud,
    DetachedEnd,
    Fetched,
    InventoryResult,
    JobEnd,
    JobRequest,
    LaunchRequest,
    LeaseRecord,
    Line,
    NotUploaded,
    OpenHub,
    Resource,
    ResourceKind,
    Results,
    Uploaded,
    Watch,
)
from cvl_ci.result.report import Link
from tests.support.provider_meter import Meter


class Killed(BaseException):
    """Stands for SIGKILL at one step: nothing after it runs, not even a finally."""


@dataclass
class FakeClock:
    time: float = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class FakeCloud:
    """What the provider knows: machines by id, and the meter that bills them.

    `eventually`: how many looks a new machine stays unseen. `remembers`: it still lists machines that have ended, as
    AWS does for an hour. `dated`: it dates its machines. `cut_off`: the process that asks was killed. `records`: an API
    server answers for it, with its record of the last place; `came_up`: that record has the event of machines there.
    `asks_provider`: the process also has keys of the cloud, so that the provider itself dates machines.
    """

    clock: FakeClock
    machines: dict[str, Resource] = field(default_factory=dict)
    asked: int = 0
    refuse_removals: int = 0
    refuse_labels: bool = False
    silent: bool = False
    hidden: dict[str, int] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)
    remembers: bool = True
    dated: bool = True
    cut_off: bool = False
    records: bool = False
    asks_provider: bool = False
    came_up: bool = False
    undated: set[str] = field(default_factory=set)
    uses: dict[str, str] = field(default_factory=dict)
    """What each machine of several runners notes on itself: lease → its use."""

    def create(
        self,
        *,
        lease: str,
        region: str,
        eventually: int = 0,
        hourly_usd: float = 0.1,
        disk_gb: float = 100,
        spot: bool = False,
        instance_type: str = "m6i.large",
        labels: Mapping[str, str] = MappingProxyType({}),
        name: str = "",
        provider: str = "aws",
    ) -> str:
        """`name`: of an earlier machine, which another process created. `provider`: a server for a service of its."""
        kind = ResourceKind.SERVICE_CONTROLLER if provider == REPLICATED else ResourceKind.MACHINE
        first = "s" if provider == REPLICATED else "i"
        numbers = itertools.count(len(self.machines))
        name = name or next(new for number in numbers if (new := f"{first}-{number}") not in self.machines)
        self.machines[name] = Resource(
            provider=provider,
            region=region,
            kind=kind,
            id=name,
            state="running",
            labels={**labels, "cvl-ci-lease": lease},
            instance_type=instance_type,
            created_at=self.clock.now() if self.dated else None,
        )
        self.hidden[name] = eventually
        self.meter.start(name, hourly_usd=hourly_usd, disk_gb=disk_gb, spot=spot, now=self.clock.now())
        return name

    def end(self, name: str, *, taken: bool = False) -> None:
        """End a machine without anybody's request: it ended itself, its host failed, or the provider took it."""
        self.machines[name] = replace(self.machines[name], state="terminated")
        self.meter.stop(name, now=self.clock.now(), taken=taken)

    def lives(self, *, lease: str, locations: Sequence[Location]) -> Memory:
        if self.silent:
            raise EngineError("no answer")
        if self.records and not self.asks_provider:
            return self._recorded(lease)
        if self.records:
            return self._recorded(lease).dated_by(self._dated(lease))
        if not self.remembers:
            return Memory()
        return Memory(lives=tuple(self._dated(lease)), clouds=frozenset({"aws"}))

    def _dated(self, lease: str) -> list[Life]:
        lives = []
        for name, machine in self.machines.items():
            metered = self.meter.machines[name]
            if machine.labels.get("cvl-ci-lease") == lease:
                lives.append(
                    Life(
                        id=name,
                        cloud="aws",
                        region=machine.region,
                        instance_type=machine.instance_type,
                        spot=metered.spot,
                        start=metered.born,
                        end=None if name in self.undated else metered.died,
                        is_gone=metered.died is not None,
                        was_taken=metered.taken,
                    )
                )
        return lives

    def _recorded(self, lease: str) -> Memory:
        """Return a server's record of the last place, which ends when the server notices the end."""
        ours = {name: one for name, one in self.machines.items() if one.labels.get("cvl-ci-lease") == lease}
        last = [name for name, one in ours.items() if one.region == list(ours.values())[-1].region]
        ends = [self.meter.machines[name].died for name in last]
        noticed = None if any(self.machines[name].state == "running" for name in last) else max(filter(None, ends))
        lives = tuple(
            Life(
                id=name,
                cloud="aws",
                region=ours[name].region,
                instance_type=ours[name].instance_type,
                spot=self.meter.machines[name].spot,
                start=self.meter.machines[name].born,
                end=noticed,
                is_gone=noticed is not None,
                is_recorded=True,
                hourly_usd=self.meter.machines[name].hourly_usd,
            )
            for name in last
        )
        return Memory(lives=lives if self.came_up else (), requested=lives[:1])

    def running(self) -> list[str]:
        return [name for name, machine in self.machines.items() if machine.state == "running"]

    def find(self, *, lease: str | None, locations: Sequence[Location]) -> InventoryResult:
        if self.cut_off:
            raise Killed
        self.asked += 1
        self.clock.sleep(0.1)
        regions = sorted({place.region or "us-east-1" for place in locations}) or ["us-east-1"]
        if self.silent:
            return InventoryResult(
                asked=tuple(
                    ProviderCheck(provider="aws", region=item, kinds=("instances",), error="no answer")
                    for item in regions
                )
            )
        results = []
        for name in self.running():
            if self.hidden[name] > 0:
                self.hidden[name] -= 1
            elif self.machines[name].region in regions and lease in (
                None,
                self.machines[name].labels.get("cvl-ci-lease"),
            ):
                results.append(self.machines[name])
        requests = tuple(
            ProviderCheck(
                provider="aws",
                region=region,
                kinds=("instances",),
                leftovers=tuple(item.id for item in results if item.region == region and item.is_leftover),
            )
            for region in regions
        )
        return InventoryResult(resources=tuple(results), asked=requests)

    def label(self, resources: Sequence[Resource], labels: Mapping[str, str]) -> None:
        if self.refuse_labels:
            raise EngineError("UnauthorizedOperation")
        for item in resources:
            self.machines[item.id] = replace(self.machines[item.id], labels={**item.labels, **labels})

    def remove(self, resources: Sequence[Resource]) -> None:
        if self.cut_off:
            raise Killed
        if resources and self.refuse_removals:
            self.refuse_removals -= 1
            raise EngineError("RequestLimitExceeded")
        for resource in resources:
            self.end(resource.id)


@dataclass
class FakeEngine:
    """Both ports of an engine. It plays one run on the fake cloud; `at(step)` comes before each step and may raise."""

    cloud: FakeCloud
    at: Callable[[str], None] = lambda step: None
    ends: tuple[NodeEnd, ...] = (NodeEnd(rank=0, exit_code=0),)
    lines: tuple[str, ...] = ("hello",)
    refusals: tuple[Attempt, ...] = ()
    failure: CvlError | None = None
    lost: Lost | None = None
    unfit: str = ""
    failed_mount: str = ""
    never_began: str = ""
    eventually: int = 0
    down_fails: bool = False
    hourly_usd: float = 0.1
    warnings: tuple[str, ...] = ()
    followed_until: float | None = None
    fetched_within: float | None = None
    unpacked_within: float | None = None
    brought: bool = False
    stopped: int = 0
    cut_off: bool = False
    copied: StoredCheckpoint | None = None
    """The newest checkpoint on this computer."""
    kept: tuple[float, str | None] | None = None
    heartbeats: list[float] = field(default_factory=list)
    """The heartbeat of each `keep`."""
    downs: list[str] = field(default_factory=list)
    submitted: list[JobRequest] = field(default_factory=list)
    entered: list[LaunchRequest] = field(default_factory=list)
    adopted: list[str] = field(default_factory=list)
    unreachable: bool = False

    def warm(self) -> None:
        self.at("warm")

    def launch(self, request: LaunchRequest, *, watch: Watch) -> Launch:
        self.at("launch")
        for refusal in self.refusals:
            watch(Attempting(attempt=replace(refusal, error=None)))
            watch(AttemptFailed(attempt=refusal))
        attempt = Attempt(
            cloud="aws", region="us-east-1", zone="us-east-1a", instance_type="m6i.large", spot=False, hourly_usd=0.1
        )
        watch(Attempting(attempt=attempt))
        self.at("asked")
        if request.fence.exists():
            raise EngineError("fenced")
        for _ in self.ends or (None,):
            self.cloud.create(
                lease=request.cluster,
                region="us-east-1",
                eventually=self.eventually,
                hourly_usd=self.hourly_usd,
                disk_gb=request.plan.machines.needs.disk_gb,
                labels=request.labels,
            )
        self.at("created")
        self.cloud.clock.sleep(60)
        if self.failure is not None:
            raise self.failure
        return Launch(
            cluster=request.cluster,
            cloud="aws",
            region="us-east-1",
            zone="us-east-1a",
            instance_type="m6i.large",
            accelerators={},
            spot=False,
            num_nodes=len(self.ends),
            hourly_usd=self.hourly_usd,
            created_at=self.cloud.clock.now() - 60,
        )

    def follow(self, *, watch: Watch, until: float) -> JobEnd:
        self.at("follow")
        self.followed_until = until
        if not self.unfit:
            watch(Began(phase=Phase.RUNNING))
        for line in self.lines:
            watch(Line(text=line))
        self.cloud.clock.sleep(30)
        self.at("ran")
        return self.job_end()

    def follow_until(self, *, watch: Watch, until: float, enough: Callable[[], bool]) -> JobEnd | None:
        self.at("follow")
        self.followed_until = until
        watch(Began(phase=Phase.RUNNING))
        for line in self.lines:
            watch(Line(text=line))
        while self.ends and self.ends[0].exit_code is None and self.cloud.clock.now() < until and self.lost is None:
            if enough():
                self.at("ready")
                return None
            self.cloud.clock.sleep(1)
        self.at("ran")
        if self.lost is None and self.ends and self.ends[0].exit_code is None:
            return JobEnd(nodes=(replace(self.ends[0], timed_out=True),))
        return self.job_end()

    def job_end(self) -> JobEnd:
        return JobEnd(
            nodes=self.ends,
            lost=self.lost,
            unfit=self.unfit,
            failed_mount=self.failed_mount,
            never_began=self.never_began,
            warnings=self.warnings,
        )

    def address(self) -> str:
        self.at("address")
        return "10.0.0.1"

    def submit(self, request: JobRequest, *, watch: Watch) -> None:
        self.at("submit")
        self.submitted.append(request)

    def cancel(self) -> None:
        self.at("cancel")

    def fetch(self, *, globs: Sequence[str], within: float = math.inf) -> None:
        self.fetched_within = within
        self.at("fetch")
        self.brought = True

    def unpack(self, *, into: Path, within: float = math.inf) -> Fetched:
        self.unpacked_within = within
        self.at("unpack")
        if not self.brought:
            return Fetched()
        into.mkdir(parents=True, exist_ok=True)
        (into / "metrics.json").write_text('{"accuracy": 0.9}')
        return Fetched(files=(FetchedFile(path="metrics.json", bytes=17),))

    def newest_checkpoint(self) -> StoredCheckpoint | None:
        return self.copied

    def enter(self, request: LaunchRequest) -> Launch:
        self.at("enter")
        self.entered.append(request)
        living = [one for one in self.cloud.machines.values() if one.labels["cvl-ci-lease"] == request.cluster]
        if not any(one.is_leftover for one in living):
            raise EngineError("SkyPilot does not know it.")
        return Launch(
            cluster=request.cluster,
            cloud="aws",
            region="us-east-1",
            zone="us-east-1a",
            instance_type="m6i.large",
            accelerators={},
            spot=False,
            num_nodes=len(self.ends),
            hourly_usd=self.hourly_usd,
            created_at=self.cloud.clock.now(),
        )

    def clean(self, cluster: str) -> None:
        self.at("clean")

    def adopt(self, request: LaunchRequest, *, region: str) -> None:
        self.at("adopt")
        living = [one for one in self.cloud.machines.values() if one.labels["cvl-ci-lease"] == request.cluster]
        if not any(one.is_leftover and one.region == region for one in living):
            raise EngineError("The provider does not show it.")
        self.adopted.append(request.cluster)

    def forget(self, cluster: str) -> None:
        self.at("forget")
        self.adopted.remove(cluster)

    def change_use(self, cluster: str, *, before: str, after: str) -> bool:
        self.at("change_use")
        if self.unreachable:
            raise EngineError("The machine does not answer.")
        if before and self.cloud.uses.get(cluster) not in {before, after}:
            return False
        self.cloud.uses[cluster] = after
        return True

    def keep(self, cluster: str, *, until: float, public_key: str | None, heartbeat: float = 0.0) -> Sequence[str]:
        self.heartbeats.append(heartbeat)
        self.at("keep")
        self.kept = (until, public_key)
        return [f"ssh ubuntu@10.0.0.{rank}" for rank in range(len(self.ends))]

    def stop(self) -> bool:
        self.stopped += 1
        return self.cut_off

    def down(self, cluster: str) -> None:
        self.at("down")
        self.downs.append(cluster)
        if self.down_fails:
            raise EngineError("SkyPilot's database is corrupted.")
        self.cloud.remove([item for item in self.cloud.machines.values() if item.labels["cvl-ci-lease"] == cluster])

    def close(self) -> None:
        self.at("close")


@dataclass
class FakeClouds:
    engine: FakeEngine
    through: str = ""
    results: Results | None = None
    contents: BucketContents | None = None
    hub: OpenHub | None = None
    opened: list[Sequence[Location]] = field(default_factory=list)

    @contextmanager
    def open(self, locations: Sequence[Location], *, user_id: str, watch: Watch) -> Iterator[Cloud]:
        self.opened.append(locations)
        try:
            yield Cloud(
                machines=self.engine,
                jobs=self.engine,
                inventory=self.engine.cloud,
                shared=self.engine,
                through=self.through,
                results=self.results,
                contents=self.contents,
                hub=self.hub,
            )
        finally:
            self.engine.close()


@dataclass
class FakeResults:
    """A bucket with the end of one job, once there is one. engine/fetch/test_detached_results.py has the real one."""

    stored: DetachedEnd | None = None
    silent: bool = False
    before_second: Callable[[], None] = lambda: None
    places: list[str] = field(default_factory=list)
    fetched: int = 0

    def end(self, place: BucketAddress) -> DetachedEnd | None:
        if self.silent:
            raise EngineError("S3 did not answer.")
        self.places.append(str(place))
        if len(self.places) == 2:
            self.before_second()
        return self.stored

    def fetch(self, detached: Detached, end: DetachedEnd | None, *, into: Path, line: Callable[[str], None]) -> Fetched:
        self.fetched += 1
        line("a line of the job")
        if end is None:
            return Fetched()
        into.mkdir(parents=True, exist_ok=True)
        (into / "metrics.json").write_text('{"loss": 0.5}')
        return Fetched(files=(FetchedFile(path="metrics.json", bytes=13),))


@dataclass
class FakeRecords:
    directory: Path
    kept: dict[str, LeaseRecord] = field(default_factory=dict)
    prices: dict[str, Spending] = field(default_factory=dict)

    def write(self, record: LeaseRecord) -> None:
        self.kept[record.name] = record

    def read(self, name: str) -> LeaseRecord | None:
        return self.kept.get(name)

    def all(self) -> Iterator[LeaseRecord]:
        return iter(list(self.kept.values()))

    def fence(self, name: str) -> Path:
        return self.directory / f"{name}.fence"

    def revoke(self, name: str) -> None:
        self.fence(name).touch()

    def note_spending(self, name: str, spending: Spending) -> None:
        self.prices[name] = spending

    def spending(self, name: str) -> Spending | None:
        return self.prices.get(name)


@dataclass
class FakeStaging:
    directory: Path

    @contextmanager
    def staged(self, files: Sequence[StagedFile], *, commits: Sequence[CommitCopy] = ()) -> Iterator[Path]:
        yield self.directory


def spending(hourly_usd: float, *, billed: bool) -> Spending:
    """Return the facts of a run with one machine at this price, asked for at the beginning of the fakes' clock."""
    attempt = Attempt(
        cloud="aws",
        region="us-east-1",
        zone="us-east-1a",
        instance_type="m6i.large",
        spot=False,
        hourly_usd=hourly_usd,
        requested_at=FakeClock().now(),
    )
    return Spending(attempts=(attempt,), nodes=1, disk_gb=100, billed=billed)


@dataclass
class FakeReporter:
    said: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    remote_lines: list[str] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    spending: Spending | None = None
    outcome: Outcome | None = None

    def show_phase(self, phase: Phase) -> None:
        self.phases.append(phase)

    def show_price(self, spending: Spending) -> None:
        self.spending = spending
        self.said.append(f"${spending.hourly_usd} billed={spending.billed}")

    def show_launch(self, launch: Launch) -> None:
        self.said.append(f"on {launch.instance_type}")

    def progress(self, text: str) -> None:
        self.said.append(text)

    def show_job_line(self, text: str) -> None:
        self.remote_lines.append(text)

    def show(self, text: str) -> None:
        self.said.append(text)

    def notice(self, text: str) -> None:
        self.notices.append(text)
        self.said.append(text)

    def warning(self, text: str) -> None:
        self.said.append(f"warning: {text}")

    def show_quote(self, plan: RunPlan, text: str) -> None:
        self.said.append(text)

    def show_outcome(self, outcome: Outcome) -> None:
        self.outcome = outcome


@dataclass
class FakeArtifacts:
    """`held`: name → the paths given. `kept`: the reason why nothing is taken; `broken`: what goes wrong instead."""

    held: dict[str, tuple[Path, Sequence[str]]] = field(default_factory=dict)
    contents: dict[str, dict[str, str]] = field(default_factory=dict)
    retention: list[int | None] = field(default_factory=list)
    kept: str = ""
    broken: Exception | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    at: Callable[[str], None] = lambda step: None

    def upload(
        self, name: str, *, root: Path, paths: Sequence[str], retention_days: int | None = None
    ) -> Uploaded | NotUploaded:
        self.at(f"upload {name}")
        if self.broken is not None:
            raise self.broken
        if self.kept:
            return NotUploaded(name=name, reason=self.kept)
        self.held[name] = (root, paths)
        self.retention.append(retention_days)
        results = [path for item in paths for path in ([root / item] if (root / item).is_file() else root.rglob("*"))]
        self.contents[name] = {
            path.relative_to(root).as_posix(): path.read_text() for path in results if path.is_file()
        }
        number = len(self.held)
        url = f"https://github.com/cvl/ci/actions/runs/7/artifacts/{number}"
        return Uploaded(name=name, id=number, url=url, bytes=9, sha256="", files=len(results), left_out=self.left_out)


@dataclass
class FakePage:
    """What was told, in order. `broken`: which of them raise."""

    outputs: dict[str, str] = field(default_factory=dict)
    comments: list[list[str]] = field(default_factory=list)
    pointers: list[list[str]] = field(default_factory=list)
    broken: bool = False
    at: Callable[[str], None] = lambda step: None

    def set_outputs(self, values: Mapping[str, str]) -> None:
        self._at("artifact outputs" if set(values) == {"artifact_id", "artifact_url"} else "outputs")
        self.outputs |= values

    def comment(self, outcome: Outcome, artifacts: Sequence[Link]) -> None:
        self._at("comment")
        self.comments.append([link.text for link in artifacts])

    def point_to(self, artifacts: Sequence[Link]) -> None:
        self._at("page")
        self.pointers.append([link.text for link in artifacts])

    def _at(self, step: str) -> None:
        self.at(step)
        if self.broken:
            raise OSError("no room on the disk")


class FakePrices:
    date = "a Tuesday"

    def date_of(self, _clouds: Collection[str]) -> str:
        return self.date

    def is_complete(self, _cloud: str) -> bool:
        return False

    def age_warning(self, _clouds: Collection[str]) -> str:
        return ""

    def offers(self, needs: ResourceRequest, *, locations: Sequence[Location], spot: Spot) -> Sequence[Offer]:
        return [
            Offer(
                cloud="aws",
                region="us-east-1",
                instance_type="m6i.large",
                accelerators={},
                spot=spot is not Spot.NEVER,
                hourly_usd=0.1,
            )
        ]

    def accelerators(self) -> Sequence[str]:
        return ["L4"]

    def clouds(self) -> Sequence[str]:
        return ["aws"]

    def regions(self, cloud: str) -> Sequence[str]:
        return ["us-east-1"]

    def machine_types(self, _cloud: str) -> Sequence[str]:
        return ["m6i.large"]


@dataclass
class FakeKeyLock:
    locks: FakeKeyLocks
    key: str

    def release(self) -> None:
        self.locks.held.discard(self.key)


@dataclass
class FakeKeyLocks:
    """Locks in a set. `on_refusal`: called at each refusal, such as the end of the other user."""

    held: set[str] = field(default_factory=set)
    on_refusal: Callable[[], None] = lambda: None

    def acquire(self, key: str) -> FakeKeyLock | None:
        if key in self.held:
            self.on_refusal()
            return None
        self.held.add(key)
        return FakeKeyLock(self, key)
