"""A run that leaves its machine alone, and its collection: on a cloud in a dict, by the real lease and verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cvl_ci.commands.collect import collect as collect_verb
from cvl_ci.commands.collect import text
from cvl_ci.commands.collect.collect import Collected, CollectPorts
from cvl_ci.commands.reap import down as taking_down
from cvl_ci.commands.reap import reap as reaping
from cvl_ci.commands.run import run as running
from cvl_ci.errors import EngineError, RequestError
from cvl_ci.local.lease_records import as_text, from_text
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.detached import DetachPlan
from cvl_ci.model.lease_name import LABEL_DEADLINE, LABEL_DETACHED, LABEL_KEPT, LABEL_OWNER, LABEL_RUN
from cvl_ci.model.limits import IdlePolicy, Limits
from cvl_ci.model.location import Location
from cvl_ci.model.node_end import IDLE, NodeEnd
from cvl_ci.model.outcome import Ending, Outcome
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import FilePlan, MachinePlan, RunPlan, WorkPlan
from cvl_ci.ports import DetachedEnd, LeaseRecord
from cvl_ci.result.matrix.failures import INFRASTRUCTURE, Failure
from cvl_ci.result.summary import lines
from tests.support.fakes import (
    FakeClock,
    FakeCloud,
    FakeClouds,
    FakeEngine,
    FakePrices,
    FakeRecords,
    FakeReporter,
    FakeResults,
    FakeStaging,
)

PLAN = RunPlan(
    title="train it",
    work=WorkPlan(run_commands=("python train.py",)),
    files=FilePlan(outputs=("out/**",)),
    machines=MachinePlan(locations=(Location(cloud="aws"),)),
    limits=Limits(max_runtime_minutes=60),
    detach=DetachPlan(place=BucketAddress(bucket="results", prefix="ci")),
)
OWNER = Owner(repository="a/b", run="1")
STILL = NodeEnd(rank=0, exit_code=None)
"""The answer of a node whose job runs."""


class Scene:
    """One run, and a second process with the same records. `collected`: what its publication got."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.cloud = FakeCloud(self.clock)
        self.engine = FakeEngine(self.cloud, ends=(STILL,))
        self.records, self.reporter, self.folder = FakeRecords(folder), FakeReporter(), folder
        self.results = FakeResults()
        self.published: list[str] = []

    def run(self, plan: RunPlan = PLAN) -> Outcome:
        ports = running.RunPorts(
            clouds=FakeClouds(self.engine),
            records=self.records,
            staging=FakeStaging(self.folder),
            reporter=self.reporter,
            prices=FakePrices(),
            clock=self.clock,
        )
        return running.run(plan, owner=OWNER, outputs=self.folder / "out", ports=ports)

    def collect(self, *names: str) -> Collected:
        def publish(record: LeaseRecord, outcome: Outcome, folder: Path) -> None:
            self.published.append(f"{record.name} {outcome.ending.value} {folder.name}")

        return collect_verb.collect(
            names,
            everything=not names,
            user_id=OWNER.user_id,
            folder_of=lambda name: self.folder / name,
            ports=CollectPorts(
                clouds=FakeClouds(self.engine, results=self.results),
                records=self.records,
                prices=FakePrices(),
                reporter=self.reporter,
                clock=self.clock,
                publish=publish,
            ),
        )

    def end_job(self, exit_code: int = 0, *, after: float = 600.0, phase: str = "running") -> None:
        """Let the job end, its machine store the end, and the machine end itself."""
        self.clock.sleep(after)
        node = NodeEnd(rank=0, exit_code=exit_code, phase=phase)
        self.results.stored = DetachedEnd(node=node, ended_at=self.clock.now())
        self.clock.sleep(75)
        for machine in self.cloud.running():
            self.cloud.end(machine)

    @property
    def record(self) -> LeaseRecord:
        return self.records.kept[OWNER.name]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


# ---- the run ---------------------------------------------------------------------------------------------------------


def test_the_run_ends_as_its_job_runs_and_leaves_the_machine_under_its_lease(scene: Scene) -> None:
    outcome = scene.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.DETACHED, 0)
    assert not scene.engine.brought, "nothing is fetched from a job that runs"
    (machine,) = scene.cloud.machines.values()
    assert machine.state == "running"
    until = int(scene.record.deadline)
    assert machine.labels[LABEL_KEPT] == machine.labels[LABEL_DEADLINE] == str(until)
    assert machine.labels[LABEL_DETACHED] == "results"
    assert until <= scene.clock.now() + (60 + 15 + 5) * 60, "the first deadline bounds it"
    told = "\n".join(lines(outcome, width=100))
    assert f"cvl-ci collect {OWNER.name}" in told
    assert "s3://results/ci/" in told
    assert outcome.cost is not None and outcome.cost.kept_usd


def test_its_record_has_all_that_another_process_needs(scene: Scene) -> None:
    scene.run()
    detached = scene.record.detached
    assert detached is not None
    assert detached.place == BucketAddress(bucket="results", prefix=f"ci/{OWNER.name}")
    assert (detached.outputs, detached.title) == (("out/**",), "train it")
    assert from_text(OWNER.name, as_text(scene.record)).detached == detached


def test_a_job_that_ends_before_it_was_left_alone_ends_as_any_other(scene: Scene) -> None:
    scene.engine.ends = (NodeEnd(rank=0, exit_code=3, phase="setup"),)
    outcome = scene.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.FAILED, 3)
    assert scene.engine.brought
    assert scene.cloud.running() == []
    assert scene.record.detached is None and scene.record.released_at


@pytest.mark.parametrize("step", ["keep", "ready"])
def test_a_machine_that_cannot_be_left_alone_is_taken_down_and_nothing_is_green(scene: Scene, step: str) -> None:
    def fail(at: str) -> None:
        if at == step:
            raise EngineError("no")

    scene.engine.at = fail
    outcome = scene.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.NEVER_STARTED, 70)
    assert scene.cloud.running() == []
    assert scene.record.detached is None


def test_labels_that_the_provider_refuses_leave_no_machine_alone(scene: Scene) -> None:
    scene.cloud.refuse_labels = True
    assert scene.run().exit_code == 70
    assert scene.cloud.running() == []


@pytest.mark.parametrize("step", ["ready", "keep", "close"])
def test_a_person_who_stops_the_run_stops_the_job_too(scene: Scene, step: str) -> None:
    pressed: list[str] = []

    def press(at: str) -> None:
        if at == step and not pressed:
            pressed.append(at)
            raise KeyboardInterrupt

    scene.engine.at = press
    outcome = scene.run()
    assert pressed
    assert scene.cloud.running() == []
    assert outcome.exit_code == 130


# ---- the collection --------------------------------------------------------------------------------------------------


def test_a_job_that_runs_is_left_alone(scene: Scene) -> None:
    scene.run()
    scene.clock.sleep(600)
    collected = scene.collect(OWNER.name)
    assert collected.outcomes == {}
    (one,) = collected.running
    assert (one.doubt, one.until) == ("", scene.record.deadline)
    assert one.usd == pytest.approx(0.1 * 660 / 3600, rel=0.4)
    assert len(scene.cloud.running()) == 1
    assert text.exit_code(collected, is_neutral=False) == 75
    assert text.exit_code(collected, is_neutral=True) == 0
    told = " ".join(text.lines(collected))
    assert "still runs" in told and "Nothing was taken down" in told


@pytest.mark.parametrize(("code", "ended"), [(0, Ending.SUCCEEDED), (7, Ending.FAILED)])
def test_the_end_of_a_job_is_that_which_its_machine_stored(scene: Scene, code: int, ended: Ending) -> None:
    scene.run()
    scene.end_job(code)
    collected = scene.collect()
    outcome = collected.outcomes[OWNER.name]
    assert (outcome.ending, outcome.exit_code) == (ended, code)
    assert text.exit_code(collected, is_neutral=True) == code
    assert outcome.release is not None and outcome.release.gone
    assert outcome.measurements.metrics == {"loss": 0.5}
    assert scene.reporter.remote_lines[-1] == "a line of the job"
    assert scene.reporter.outcome == outcome
    assert scene.published == [f"{OWNER.name} {ended.value} {OWNER.name}"]
    assert outcome.timing.phases["running"] == pytest.approx(600, abs=5)
    assert scene.record.released_at and scene.record.detached is not None and scene.record.detached.is_collected


@pytest.mark.parametrize("order", [("lost", "own"), ("own", "lost")])
def test_of_many_runs_the_code_of_the_job_that_failed_comes_before_the_code_of_infrastructure(
    scene: Scene, order: tuple[str, str]
) -> None:
    scene.run()
    scene.end_job(7)
    (own,) = scene.collect().outcomes.values()
    lost = replace(own, ending=Ending.PREEMPTED, exit_code=75)
    collected = Collected(outcomes={name: {"own": own, "lost": lost}[name] for name in order})
    assert text.exit_code(collected, is_neutral=True) == 7


@pytest.mark.parametrize(("is_neutral", "code"), [(False, 124), (True, 0)])
def test_a_job_that_left_its_gpus_alone_ends_as_idle_also_when_it_is_collected(
    scene: Scene, is_neutral: bool, code: int
) -> None:
    idle = IdlePolicy(min_percent=10, is_neutral=is_neutral)
    scene.run(replace(PLAN, limits=replace(PLAN.limits, idle=idle)))
    scene.end_job(124, phase=IDLE)
    outcome = scene.collect().outcomes[OWNER.name]
    assert (outcome.ending, outcome.exit_code) == (Ending.IDLE, code)


def test_the_cost_is_that_of_the_meter(scene: Scene) -> None:
    scene.run()
    scene.end_job(after=1200)
    scene.clock.sleep(1200)
    outcome = scene.collect().outcomes[OWNER.name]
    traffic = 13 / 1e9 * 0.09
    assert outcome.cost is not None
    assert outcome.cost.usd == pytest.approx(scene.cloud.meter.usd(scene.clock.now()) + traffic, rel=0.01)


def test_the_cost_of_a_machine_that_the_provider_forgot_is_a_bound(scene: Scene) -> None:
    scene.run()
    scene.end_job()
    scene.clock.sleep(6 * 3600)
    scene.cloud.remembers = False
    outcome = scene.collect().outcomes[OWNER.name]
    assert outcome.cost is not None and outcome.cost.ledger.is_bound
    assert outcome.cost.usd >= scene.cloud.meter.usd(scene.clock.now())
    longest = scene.record.deadline + 60 - (outcome.machines.attempts[0].requested_at)
    assert outcome.cost.usd <= 0.1 * longest / 3600 * 1.5, "not the six hours"


def test_a_machine_that_stored_its_end_and_still_lives_is_taken_down(scene: Scene) -> None:
    scene.run()
    scene.clock.sleep(300)
    scene.results.stored = DetachedEnd(node=NodeEnd(rank=0, exit_code=0), ended_at=scene.clock.now())
    assert scene.collect(OWNER.name).outcomes[OWNER.name].ending is Ending.SUCCEEDED
    assert scene.cloud.running() == []


@pytest.mark.parametrize("label", [LABEL_OWNER, LABEL_RUN])
def test_a_machine_of_another_run_with_the_name_of_the_lease_is_not_taken_down(scene: Scene, label: str) -> None:
    scene.run()
    scene.end_job()
    scene.cloud.create(lease=OWNER.name, region="us-east-1", labels={**scene.record.labels, label: "another"})
    (doubt,) = scene.collect().running
    assert "another run" in doubt.doubt
    assert len(scene.cloud.running()) == 1


def test_a_lost_run_is_not_cancelled_when_it_is_collected_again(scene: Scene) -> None:
    scene.run()
    scene.clock.sleep(300)
    scene.cloud.end("i-0")
    ends = [scene.collect(OWNER.name).outcomes[OWNER.name] for _ in range(2)]
    assert [(end.ending, end.exit_code) for end in ends] == [(Ending.PREEMPTED, 75)] * 2


def test_a_bucket_that_stays_silent_after_the_deadline_is_the_likely_cause(scene: Scene) -> None:
    scene.run()
    scene.results.silent = True
    scene.clock.sleep(scene.record.deadline - scene.clock.now() + 60)
    scene.cloud.end("i-0")
    assert scene.collect().outcomes == {}, "the bucket may be away for a moment"
    scene.clock.sleep(3600)
    outcome = scene.collect().outcomes[OWNER.name]
    assert (outcome.ending, outcome.exit_code) == (Ending.PREEMPTED, 75)
    assert "The bucket results is the likely cause" in outcome.reason and "S3 did not answer." in outcome.reason


def test_a_silent_bucket_proves_nothing_while_the_provider_is_silent_or_shows_the_machine(scene: Scene) -> None:
    scene.run()
    scene.results.silent = True
    scene.clock.sleep(scene.record.deadline - scene.clock.now() + 7200)
    for scene.cloud.silent in (False, True):
        (one,) = scene.collect().running
        assert one.doubt
    assert len(scene.cloud.running()) == 1


def test_an_error_after_the_release_keeps_the_end_and_stops_no_other_run(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.run()
    scene.end_job()
    scene.records.write(replace(scene.record, name="cvl-2-00000000", locations=()))

    def fail(_: str) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(scene, "published", SimpleNamespace(append=fail))
    collected = scene.collect()
    assert len(collected.outcomes) == 2 and collected.running == ()
    assert collected.outcomes[OWNER.name].ending is Ending.SUCCEEDED
    assert sum("the disk is full" in line for line in scene.reporter.said) == 2
    assert scene.record.detached is not None and not scene.record.detached.is_collected, "the next one tries again"


def test_a_fault_between_the_release_and_the_end_does_not_say_that_nothing_was_taken_down(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("odd")

    scene.run()
    scene.end_job()
    monkeypatch.setattr(scene.results, "fetch", fail)
    collected = scene.collect()
    line = " ".join(text.lines(collected))
    assert "took its machine down" in line and "Nothing was" not in line
    assert text.exit_code(collected, is_neutral=True) == 79


def test_a_machine_that_was_lost_without_an_end_is_infrastructure(scene: Scene) -> None:
    scene.run()
    scene.clock.sleep(300)
    scene.cloud.end("i-0")
    outcome = scene.collect().outcomes[OWNER.name]
    assert (outcome.ending, outcome.exit_code) == (Ending.PREEMPTED, 75)
    assert "no end of its job" in outcome.reason
    assert scene.results.fetched == 1, "the log so far is shown"
    assert outcome.release is not None and outcome.release.gone


def test_an_end_that_was_stored_between_the_two_questions_counts(scene: Scene) -> None:
    scene.run()
    scene.clock.sleep(300)
    scene.cloud.end("i-0")

    def store() -> None:
        scene.results.stored = DetachedEnd(node=NodeEnd(rank=0, exit_code=0), ended_at=scene.clock.now())

    scene.results.before_second = store
    assert scene.collect().outcomes[OWNER.name].ending is Ending.SUCCEEDED


def test_a_run_that_was_never_collected_in_time_is_no_success_and_the_reaper_finds_nothing(scene: Scene) -> None:
    scene.run()
    scene.clock.sleep(scene.record.deadline + 30 - scene.clock.now())
    for machine in scene.cloud.running():
        scene.cloud.end(machine)
    assert reap(scene).due == ()
    scene.clock.sleep(86_400)
    outcome = scene.collect().outcomes[OWNER.name]
    assert (outcome.ending, outcome.exit_code) == (Ending.PREEMPTED, 75)


def test_the_reaper_leaves_the_machine_alone_until_its_deadline_and_no_longer(scene: Scene) -> None:
    scene.run()
    assert reap(scene).due == ()
    scene.clock.sleep(scene.record.deadline + 1200 - scene.clock.now())
    assert len(reap(scene).due) == 1
    assert scene.cloud.running() == []


def reap(scene: Scene) -> reaping.Reaped:
    return reaping.reap(
        [Location(cloud="aws", region="us-east-1")],
        owner=None,
        repository="a/b",
        named=False,
        grace=600,
        dry_run=False,
        user_id=OWNER.user_id,
        ports=reaping.ReapPorts(
            clouds=FakeClouds(scene.engine),
            prices=FakePrices(),
            reporter=scene.reporter,
            clock=scene.clock,
            runs=None,
        ),
    )


def test_a_run_that_a_person_took_down_is_cancelled(scene: Scene) -> None:
    scene.run()
    ports = taking_down.DownPorts(
        clouds=FakeClouds(scene.engine), records=scene.records, reporter=scene.reporter, clock=scene.clock
    )
    assert taking_down.down([OWNER.name], everything=False, locations=[], user_id=OWNER.user_id, ports=ports).proved
    assert scene.cloud.running() == []
    outcome = scene.collect().outcomes[OWNER.name]
    assert (outcome.ending, outcome.exit_code) == (Ending.CANCELLED, 130)


@pytest.mark.parametrize("who", ["bucket", "provider"])
def test_silence_is_neither_an_end_nor_a_loss(scene: Scene, who: str) -> None:
    scene.run()
    scene.results.silent, scene.cloud.silent = who == "bucket", who == "provider"
    collected = scene.collect()
    (one,) = collected.running
    assert one.doubt
    assert text.exit_code(collected, is_neutral=True) == 79
    assert len(scene.cloud.running()) == 1
    assert scene.record.detached is not None and not scene.record.detached.is_collected


def test_a_machine_that_is_not_proved_gone_makes_no_end_green_and_waits_for_the_next_collection(scene: Scene) -> None:
    scene.run()
    scene.results.stored = DetachedEnd(node=NodeEnd(rank=0, exit_code=0), ended_at=scene.clock.now())
    scene.cloud.refuse_removals = 10_000
    collected = scene.collect()
    assert collected.outcomes[OWNER.name].exit_code == 79
    assert text.exit_code(collected, is_neutral=True) == 79
    scene.cloud.refuse_removals = 0
    assert scene.collect().outcomes[OWNER.name].exit_code == 0


def test_what_was_collected_waits_no_more_but_can_be_fetched_again_by_name(scene: Scene) -> None:
    scene.run()
    scene.end_job()
    scene.collect()
    empty = scene.collect()
    assert (empty.outcomes, empty.running) == ({}, ())
    assert "No detached run waits" in " ".join(text.lines(empty))
    assert scene.collect(OWNER.name).outcomes[OWNER.name].ending is Ending.SUCCEEDED


def test_a_name_without_a_detached_run_is_refused_with_near_ones(scene: Scene) -> None:
    scene.run()
    with pytest.raises(RequestError) as refused:
        scene.collect(OWNER.name[:-1] + "x")
    assert OWNER.name in str(refused.value)


def test_one_run_that_fails_does_not_stop_the_others(scene: Scene) -> None:
    scene.run()
    scene.end_job()
    other = replace(scene.record, name="cvl-2-00000000", locations=())
    scene.records.write(other)
    assert len(scene.collect().outcomes) == 2


def test_a_report_counts_it_as_infrastructure_and_not_as_a_success() -> None:
    assert Failure.DETACHED in INFRASTRUCTURE
