"""Preempted training ends with the state of an undisturbed one, and each loss costs one interval at most.

The machine's own program stores and restores the checkpoints, on a real disk and in a bucket of this process. The run
is that of test_recovery.py. Time is the fakes' clock.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.commands.reap import down_text
from cvl_ci.commands.reap.down import Downed
from cvl_ci.commands.run import run as running
from cvl_ci.engine.machine.checkpoints import rounds, snapshot, sync
from cvl_ci.engine.task import checkpoints
from cvl_ci.lease import Lease
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.checkpoint_plan import CheckpointPlan, StoredCheckpoint, StoredCheckpoints
from cvl_ci.model.ledger import CostKind
from cvl_ci.model.location import Location
from cvl_ci.model.loss import LossKind, Lost
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.outcome import EXIT_CODES, Ending, Outcome, Phase
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.storage import StoredBytes
from cvl_ci.ports import Began, Cloud, JobEnd, Watch
from cvl_ci.result.summary import sections, to_json
from tests import golden
from tests.commands.test_recovery import OWNER, House, Preempting, Watched
from tests.commands.test_recovery import plan as preempted_plan
from tests.engine.machine.test_machine_checkpoints import Memory
from tests.support.cases import generated
from tests.support.fakes import FakeClock, FakeClouds, FakePrices, FakeStaging

MESSAGES = golden.Messages(__name__)

PLACE = BucketAddress(bucket="b", prefix="c")
SCHEDULES, OF_A_TEST = 1000, 50
STEPS = 50
STEP_SECONDS = 3.0
NOTICE_SECONDS = 30.0
TORN_SECONDS = 0.9 * rounds.BEAT_SECONDS
"""The longest pause of a job within one file or folder that the beat can see."""
GLOBS = {"rename": "last.ckpt", "in place": "last.ckpt", "folders": "step-*"}
"""How the job saves: by a rename, over the old bytes, or as a folder of files."""


class Taken(BaseException):
    """The provider takes the machine at this moment."""


def trained(steps: int) -> str:
    state = ""
    for step in range(1, steps + 1):
        state = hashlib.sha256(f"{state} {step}".encode()).hexdigest()
    return state


@dataclass
class Machine:
    """One machine: its disk, its job, and the moments at which it gets notice and ends. Each moment is of the clock."""

    clock: FakeClock
    folder: Path
    mode: str
    save_every: int
    ends_at: float
    step: int = 0
    state: str = ""
    due: float = float("inf")
    pending: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    saved: list[tuple[float, int]] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        return self.step >= STEPS and not self.pending

    def sleep(self, seconds: float) -> None:
        """Let time pass for the job too. Raise Taken at the machine's end."""
        end = self.clock.now() + seconds
        while True:
            moments = [moment for moment, _ in self.pending] + ([] if self.step >= STEPS else [self.due])
            moment = min([*moments, end])
            if moment >= self.ends_at or (end >= self.ends_at and moment == end):
                self.clock.time = self.ends_at
                raise Taken
            self.clock.time = moment
            if moment == end and end not in moments:
                return
            if self.pending and self.pending[0][0] == moment:
                self.pending.pop(0)[1]()
            elif self.step < STEPS and moment == self.due:
                self._train()

    def _train(self) -> None:
        self.step += 1
        self.state = hashlib.sha256(f"{self.state} {self.step}".encode()).hexdigest()
        self.due += STEP_SECONDS
        if self.step % self.save_every == 0 or self.step == STEPS:
            self._save(self.clock.now())

    def _save(self, now: float) -> None:
        """Write the step, and later the state: between them, the bytes are torn."""
        step, state, folder = self.step, self.state, self.folder
        if self.mode == "folders":
            (folder / f"step-{step}").mkdir(exist_ok=True)
        first, last = {
            "folders": (f"step-{step}/step", f"step-{step}/state"),
            "in place": ("last.ckpt", "last.ckpt"),
            "rename": ("last.ckpt.tmp", "last.ckpt.tmp"),
        }[self.mode]
        self._write(first, str(step))

        def second() -> None:
            self._write(last, state if self.mode == "folders" else f"{step} {state}")
            if self.mode == "rename":
                (folder / last).rename(folder / "last.ckpt")

        def saved() -> None:
            second()
            self.saved.append((self.clock.now(), step))

        self.pending.append((now + TORN_SECONDS, saved))

    def _write(self, name: str, text: str) -> None:
        """Write a file with the time of the fakes' clock: all of this takes less than a tick of the disk's own."""
        (self.folder / name).write_text(text)
        os.utime(self.folder / name, (self.clock.now(), self.clock.now()))

    def resume(self, name: str) -> None:
        if name.endswith("last.ckpt"):
            step, self.state = (self.folder / "last.ckpt").read_text().split()
            self.step = int(step)
        elif name:
            path = self.folder / name.partition("/")[2]
            self.step, self.state = int((path / "step").read_text()), (path / "state").read_text()
        self.due = self.clock.now() + STEP_SECONDS


@dataclass
class Slow(Memory):
    """A bucket that takes time for each answer, and gives none between two moments."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.machine: Machine | None = None
        self.chance, self.away = chance, (0.0, 0.0)

    def _step(self) -> None:
        if self.machine is None:
            return
        self.machine.sleep(self.chance.uniform(0.0, 0.3))
        if self.away[0] <= self.machine.clock.now() < self.away[1]:
            raise sync.NoAnswer("503")


@dataclass
class Training(Preempting):
    """The engine of a run whose job trains. `bucket`: what outlives the machines."""

    bucket: Slow = field(default_factory=lambda: Slow(random.Random(0)))
    mode: str = "rename"
    save_every: int = 1
    every: float = 20.0
    notices: Sequence[bool] = ()
    outage: tuple[int, float] = (-1, 0.0)
    """The number of the machines, and the seconds after their start, at which the bucket goes away for a minute."""
    machines: list[Machine] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)

    def follow(self, *, watch: Watch, until: float) -> JobEnd:
        watch(Began(phase=Phase.RUNNING))
        clock, number = self.cloud.clock, len(self.requests)
        seconds = self.schedule[number - 1] if number <= len(self.schedule) else float("inf")
        disk = self.records / f"machine-{number}"
        (disk / "job").mkdir(parents=True)
        machine = Machine(clock, disk / "job", self.mode, self.save_every, ends_at=clock.now() + seconds)
        self.machines.append(machine)
        self.bucket.machine = machine
        if self.outage[0] == number:
            self.bucket.away = (clock.now() + self.outage[1], clock.now() + self.outage[1] + 60)
        try:
            self._job(machine, disk, has_notice=number <= len(self.notices) and self.notices[number - 1])
        except Taken:
            assert isinstance(self.cloud, Watched)
            self.cloud.preempt(self.cloud.running())
            return JobEnd(lost=Lost(kind=LossKind.PREEMPTED, why="taken"))
        finally:
            self.bucket.machine = None
        return JobEnd(nodes=(NodeEnd(rank=0, exit_code=0),))

    records: Path = Path()

    def _job(self, machine: Machine, disk: Path, *, has_notice: bool) -> None:
        plan = self.requests[-1].plan.checkpoints
        (disk / "into").mkdir()
        (disk / "into/root").symlink_to(disk / "job")
        manifest = self._restored(disk, machine)
        machine.resume(manifest)
        self.resumed.append(machine.step)
        one = rounds.Request(
            bases={"root": str(disk / "job")},
            rules=snapshot.rules(checkpoints.rules(plan.globs, directory=".")),
            scratch=str(disk / "held"),
            interval=plan.every_seconds,
            keep=plan.keep,
            generation=plan.attempt,
        )
        syncing = rounds.Rounds(
            one,
            self.bucket,
            say=lambda _: None,
            stored_states={unit.name: unit.states for unit in snapshot.units(one.bases, one.rules)},
            clock=machine.clock.now,
            sleep=machine.sleep,
        )
        events = rounds.Watch(
            is_over=lambda: machine.is_over,
            has_notice=lambda: has_notice and machine.clock.now() >= machine.ends_at - NOTICE_SECONDS,
            pause=lambda: machine.sleep(0.5),
        )
        rounds.until_over(syncing, events, clock=machine.clock.now)

    def _restored(self, disk: Path, machine: Machine) -> str:
        while True:
            try:
                manifest = sync.restore(self.bucket, into=str(disk / "into"))
            except sync.NoAnswer:
                machine.sleep(10.0)
            else:
                return str(manifest["name"]) if manifest else ""


class Shelf:
    """The runner's view of the bucket."""

    def __init__(self, bucket: Slow) -> None:
        self.bucket, self.asked = bucket, list[BucketAddress]()

    def checkpoints(self, place: BucketAddress) -> StoredCheckpoints:
        self.asked.append(place)
        manifests = sync.stored(self.bucket)
        size = sum(map(len, self.bucket.objects.values()))
        newest = [
            StoredCheckpoint(name=one["name"].partition("/")[2], step=one["step"], at=one["at"])
            for one in manifests[:1]
        ]
        content = StoredBytes(files=len(self.bucket.objects), bytes=size)
        return StoredCheckpoints(content=content, newest=newest[0] if newest else None)

    def end_uploads(self, place: BucketAddress) -> None:
        assert self.bucket.machine is None, "a machine may still upload"


@dataclass
class WithShelf(FakeClouds):
    shelf: Shelf | None = None

    @contextmanager
    def open(self, locations: Sequence[Location], *, user_id: str, watch: Watch) -> Iterator[Cloud]:
        with super().open(locations, user_id=user_id, watch=watch) as cloud:
            yield replace(cloud, storage=self.shelf)  # type: ignore[arg-type]


def train(folder: Path, *, keep: int = 2, **engine: object) -> tuple[Outcome, Training, House]:
    house = House(folder)
    house.engine = training = Training(house.cloud, records=folder, **engine)  # type: ignore[arg-type]
    plan: RunPlan = replace(
        preempted_plan(recoveries=10),
        checkpoints=CheckpointPlan(globs=(GLOBS[training.mode],), place=PLACE, every_seconds=training.every, keep=keep),
    )
    ports = running.RunPorts(
        clouds=WithShelf(training, shelf=Shelf(training.bucket)),
        records=house.records,
        staging=FakeStaging(folder),
        reporter=house.reporter,
        prices=FakePrices(),
        clock=house.clock,
    )
    return running.run(plan, owner=OWNER, outputs=folder / "out", ports=ports), training, house


def assert_lost_little(training: Training) -> None:
    """Assert for each loss that the next machines go on from what was saved an interval before it, or later."""
    for number, (machine, step) in enumerate(zip(training.machines, training.resumed[1:], strict=False), 1):
        slack = rounds.BEAT_SECONDS + 9.0  # the rounds themselves, with a slow bucket
        if training.mode == "in place":
            slack += 4 * (rounds.RETRY_SECONDS + rounds.BEAT_SECONDS)  # until a look falls between two saves
        if training.outage[0] == number:
            slack += 60.0 + rounds.RETRY_SECONDS
        elif number <= len(training.notices) and training.notices[number - 1]:
            slack = NOTICE_SECONDS - training.every
        before = machine.ends_at - training.every - slack
        older = [saved for moment, saved in machine.saved if moment <= before]
        assert step >= max([training.resumed[number - 1], *older]), (number, machine.saved, machine.ends_at)


@pytest.mark.parametrize("seed", range(generated(SCHEDULES // OF_A_TEST)))
def test_any_schedule_of_losses_notices_and_outages_ends_with_the_state_of_an_undisturbed_run(
    tmp_path: Path, seed: int
) -> None:
    for number in range(OF_A_TEST):
        chance = random.Random(seed * OF_A_TEST + number)
        folder = tmp_path / str(number)
        folder.mkdir()
        losses = [chance.uniform(1, 150) for _ in range(chance.randrange(5))]
        outcome, training, house = train(
            folder,
            keep=chance.choice((1, 2, 3)),
            bucket=Slow(chance),
            mode=chance.choice(tuple(GLOBS)),
            save_every=chance.choice((2, 3, 5)),
            schedule=losses,
            zones=("us-east-1a", "us-east-1b", "us-east-1c"),
            notices=[chance.random() < 0.4 for _ in losses],
            outage=(chance.randrange(1, 4), chance.uniform(0, 60)) if chance.random() < 0.4 else (-1, 0.0),
        )
        house.assert_clean()
        assert outcome.ending is Ending.SUCCEEDED, outcome.reason
        assert training.machines[-1].state == trained(STEPS)
        assert outcome.timing.phases["running"] >= STEPS * STEP_SECONDS
        assert_lost_little(training)
        assert [request.plan.checkpoints.attempt for request in training.requests] == list(
            range(1, len(training.requests) + 1)
        )
        assert len({request.plan.checkpoints.folder for request in training.requests}) == 1
        shutil.rmtree(folder)


def test_the_summary_names_the_last_checkpoint_its_age_and_the_place_that_stays(tmp_path: Path) -> None:
    outcome, training, house = train(tmp_path, schedule=(50.0, 5.0), save_every=5)
    first, second = outcome.machines.recoveries
    assert (first.checkpoint, second.checkpoint) == ("last.ckpt", "last.ckpt")
    assert first.repeated_seconds is not None and 0 < first.repeated_seconds <= training.every + rounds.BEAT_SECONDS + 5
    assert second.repeated_seconds == second.ran_seconds == 5.0, "the machine stored none of its own"
    told = "\n".join(section_lines(outcome))
    assert "the last checkpoint, last.ckpt, was" in told
    assert outcome.release is not None and outcome.release.checkpoints is not None
    place = outcome.release.checkpoints.place
    assert str(place).startswith("s3://b/c/train-") and place.prefix.endswith(f"/{OWNER.name}")
    MESSAGES.check(
        "the place that stays", golden.line(told, "stays with").replace(str(place), "PLACE").partition(";")[0]
    )
    record = house.records.read(OWNER.name)
    assert record is not None and record.checkpoints == place, "recorded before any machine"
    document = to_json(outcome)["released"]
    assert isinstance(document, dict) and document["checkpoints"]["newest"] == "last.ckpt"
    assert outcome.cost is not None and outcome.release.checkpoints.stored is not None
    [entry] = outcome.cost.ledger.of_kind(CostKind.BUCKET)
    assert (entry.item, entry.usd is not None) == (f"S3 Standard in {place}", True)
    assert entry.quantity == outcome.release.checkpoints.stored.content.bytes / (1 << 30)
    assert entry.note.startswith("it stays, at $") and entry.note.endswith("a month")


def test_no_capacity_after_a_loss_ends_75_and_names_the_place_from_which_a_later_run_goes_on(tmp_path: Path) -> None:
    outcome, first, house = train(tmp_path, schedule=(50.0,), full=((), ("us-east-1a", "us-east-1b")))
    house.assert_clean()
    assert (outcome.ending, outcome.exit_code) == (Ending.PREEMPTED, 75)
    assert outcome.release is not None and outcome.release.checkpoints is not None
    assert f"checkpoints are in {outcome.release.checkpoints.place}" in outcome.advice
    assert "`resume: latest`" in outcome.advice
    (tmp_path / "later").mkdir()
    later, second, _ = train(tmp_path / "later", bucket=first.bucket)
    assert later.ending is Ending.SUCCEEDED
    assert second.resumed[0] > 0 and second.machines[-1].state == trained(STEPS)


def test_a_run_that_lost_its_machines_before_any_checkpoint_names_no_place_to_go_on_from(tmp_path: Path) -> None:
    outcome, _, _ = train(tmp_path, schedule=(5.0,), full=((), ("us-east-1a", "us-east-1b")))
    assert "resume" not in outcome.advice
    assert "no checkpoint was stored, so" in "\n".join(section_lines(outcome))


def test_machines_whose_checkpoints_cannot_be_read_are_no_red_test(tmp_path: Path) -> None:
    def unreadable(training: Training) -> JobEnd:
        return JobEnd(nodes=(NodeEnd(rank=0, exit_code=75, phase="checkpoints"),))

    house = House(tmp_path)
    house.engine.follow = lambda **_: unreadable(house.engine)  # type: ignore[method-assign, arg-type]
    outcome = house.run(preempted_plan())
    assert (outcome.ending, outcome.exit_code) == (Ending.STORAGE_FAILED, EXIT_CODES[Ending.STORAGE_FAILED])
    assert "its checkpoints could not be read" in outcome.reason


def section_lines(outcome: Outcome) -> list[str]:
    return [line for section in sections(outcome) for line in section.lines]


def test_down_of_a_killed_run_names_its_checkpoints_from_the_record_alone(tmp_path: Path) -> None:
    _, training, house = train(tmp_path)
    record = house.records.read(OWNER.name)
    assert record is not None
    shelf: Any = Shelf(training.bucket)
    lease = Lease(
        replace(record, released_at=None),
        machines=training,
        inventory=house.cloud,
        records=house.records,
        clock=house.clock,
        say=print,
        storage=shelf,
    )
    release = lease.release(maybe_created=True)
    told = list(down_text.lines(Downed(releases={OWNER.name: release}, silent=(), unlabelled=()), locations=()))
    assert any(f"{record.checkpoints} stays with the run's checkpoints" in line for line in told)
