"""The costs of a queue's jobs reach the history of runs, so that they count for the budget of the month."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.action.publication import StepPublication
from cvl_ci.action.saved_outcome import outcome_from
from cvl_ci.action.state import StepState, load
from cvl_ci.action.step import Step
from cvl_ci.action.step_costs import StepCosts
from cvl_ci.commands.reap.reap import Reaped, Suspect
from cvl_ci.model.billing import UnitPrice
from cvl_ci.model.ledger import BilledTime, CostKind, Ledger, LedgerEntry, Life, Memory
from cvl_ci.model.location import Location
from cvl_ci.model.outcome import Ending, Outcome
from cvl_ci.model.plan import RunPlan, WorkPlan
from cvl_ci.model.queue import OVER, JobRecord, JobState, Queue, QueueJob
from cvl_ci.model.resource import Resource, ResourceKind
from cvl_ci.result.benchmark.leg import Leg
from cvl_ci.result.matrix import source
from cvl_ci.result.matrix.claims import latest
from cvl_ci.result.matrix.spend import spend
from cvl_ci.wiring.queue_runs import EndedJob
from tests.result.outcomes import FAILED, GONE, NOT_PROVED_GONE, SUCCEEDED
from tests.support.fakes import FakeArtifacts, spending

PLAN = RunPlan(title="digits train", work=WorkPlan(example="digits", preset="train"))


@pytest.fixture
def artifacts(monkeypatch: pytest.MonkeyPatch) -> FakeArtifacts:
    artifacts = FakeArtifacts()
    monkeypatch.setattr(Step, "artifacts", lambda _: artifacts)
    return artifacts


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    return {
        "HOME": str(tmp_path),
        "GITHUB_REPOSITORY": "cvl/ci",
        "GITHUB_RUN_ID": "7",
        "GITHUB_JOB": "train",
        "GITHUB_WORKFLOW": "nightly",
        "GITHUB_SERVER_URL": "https://git.example.com",
        "INPUT_VERB": "queue",
    }


def opened(environment: dict[str, str], *, is_post: bool = False) -> tuple[Step, StepCosts]:
    step = Step(environment, is_post=is_post)
    return step, StepCosts(step, StepPublication(step))


def legs_in(artifacts: FakeArtifacts) -> list[Leg]:
    [(name, files)] = artifacts.contents.items()
    assert source.step_of(name), "the history takes this name for costs"
    return [source.read(path, text.encode()) for path, text in files.items()]


def ended(job: str, outcome: Outcome) -> EndedJob:
    return EndedJob(job=job, lease=f"cvl-{job}", outcome=outcome)


def test_each_job_is_a_run_with_its_own_cost_and_all_are_one_artifact(
    environment: dict[str, str], artifacts: FakeArtifacts
) -> None:
    step, costs = opened(environment)
    costs.add([ended("build", SUCCEEDED), ended("train", FAILED)])
    costs.add([ended("other", SUCCEEDED)])
    costs.upload()
    legs = latest(legs_in(artifacts))
    assert {leg.name: leg.ending for leg in legs} == {
        "build": SUCCEEDED.ending,
        "train": FAILED.ending,
        "other": SUCCEEDED.ending,
    }
    usd = sum(outcome.cost.usd for outcome in (SUCCEEDED, FAILED, SUCCEEDED) if outcome.cost)
    assert sum(leg.cost.usd or 0.0 for leg in legs) == pytest.approx(usd)
    assert all(leg.source.run_url.endswith("/runs/7/attempts/1") for leg in legs)
    assert all(leg.source.workflow == "nightly" and leg.source.job for leg in legs)
    assert spend(legs, since=0.0).usd == pytest.approx(usd), "so it is in the spend and in the month's budget"
    step.reporter.close()


def test_the_logs_of_the_jobs_are_one_artifact_that_the_costs_of_failed_jobs_name(
    environment: dict[str, str], artifacts: FakeArtifacts, tmp_path: Path
) -> None:
    outputs = Path("cvl-outputs/queue")
    step = Step(environment)
    costs = StepCosts(step, StepPublication(step), outputs=outputs)
    costs.add([ended("build", SUCCEEDED), ended("train", FAILED)])
    records = {name: JobRecord(folder=f"{outputs}/{name}/cvl-{name}") for name in ("build", "train", "old", "none")}
    records["old"] = replace(records["old"], is_reused=True)
    records["forged"] = JobRecord(folder=f"{outputs}/../../secret")
    records["elsewhere"] = JobRecord(folder=str(tmp_path / "secret"))
    for name in ("build", "train", "old"):
        (outputs / name).mkdir(parents=True)
        (outputs / name / f"cvl-{name}.log").write_text(f"lines of {name}\n")
    (tmp_path / "secret.log").write_text("of nobody")
    costs.upload_logs(records)
    [(name, files)] = artifacts.contents.items()
    assert name.endswith("-log")
    assert files == {"build/cvl-build.log": "lines of build\n", "train/cvl-train.log": "lines of train\n"}
    costs.upload()
    [read] = [files for name, files in artifacts.contents.items() if name.endswith("-cost")]
    legs = {leg.name: leg for leg in (source.read(path, text.encode()) for path, text in read.items())}
    assert legs["train"].evidence.artifact_url and not legs["build"].evidence.artifact_url
    step.reporter.close()


def test_without_logs_there_is_no_artifact_of_them(environment: dict[str, str], artifacts: FakeArtifacts) -> None:
    step = Step(environment)
    StepCosts(step, StepPublication(step), outputs=Path("cvl-outputs/queue")).upload_logs({"a": JobRecord()})
    assert artifacts.contents == {}
    step.reporter.close()


def test_without_a_proof_the_machine_s_own_name_has_the_whole_cost(
    environment: dict[str, str], artifacts: FakeArtifacts
) -> None:
    first = replace(NOT_PROVED_GONE, machines=replace(NOT_PROVED_GONE.machines, cluster="cvl-build"))
    second = replace(FAILED, release=NOT_PROVED_GONE.release, machines=first.machines)
    step, costs = opened(environment)
    costs.add([ended("build", first), ended("train", second)])
    costs.upload()
    [leg] = legs_in(artifacts)
    assert first.cost is not None and second.cost is not None
    assert (leg.machines.cluster, leg.machines.is_gone) == ("cvl-build", False)
    assert leg.cost.usd == pytest.approx(first.cost.usd + second.cost.usd)
    step.reporter.close()


def test_post_tells_the_cost_of_a_killed_job_from_what_main_saved(
    environment: dict[str, str], artifacts: FakeArtifacts
) -> None:
    step, costs = opened(environment)
    costs.add([ended("build", SUCCEEDED)])
    costs.note("train", PLAN, "cvl-train", spending(3.0, billed=True))
    step.reporter.close()
    saved = load(next(Path(environment["HOME"]).rglob("*.json")))
    assert saved is not None and saved.jobs["cvl-train"].work == PLAN.identity
    post, costs = opened(environment, is_post=True)
    release = replace(GONE, at=spending(3.0, billed=True).attempts[0].requested_at + 3600)
    dollars = costs.add_released({"cvl-train": release, "cvl-never-asked": release}, saved)
    costs.upload()
    assert list(dollars) == ["cvl-train"] and dollars["cvl-train"] == pytest.approx(3.0, rel=0.01)
    by_name = {leg.name: leg for leg in legs_in(artifacts)}
    assert set(by_name) == {"build", "train"}
    assert (by_name["train"].key.example, by_name["train"].key.preset) == ("digits", "train")
    assert by_name["train"].cost.usd == pytest.approx(dollars["cvl-train"], abs=0.0001)
    post.reporter.close()


@pytest.mark.parametrize("last", [JobState.RUNNING, JobState.FAILED])
def test_post_tells_a_finished_job_of_a_shared_machine_by_its_own_end(
    environment: dict[str, str], artifacts: FakeArtifacts, last: JobState
) -> None:
    """Main was killed after the first job. What the machine cost is told once."""
    records = {
        "a": JobRecord(state=JobState.SUCCEEDED, lease="cvl-pack"),
        "b": JobRecord(state=last, lease="cvl-pack", exit_code=3 if last is JobState.FAILED else None),
        "c": JobRecord(),
    }
    queued = Queue(jobs=tuple(QueueJob(id=name, request={}, machine="pack", leg=f"leg {name}") for name in records))
    step, costs = opened(environment)
    costs.note("a", PLAN, "cvl-pack", spending(3.0, billed=True))
    step.reporter.close()
    saved = load(next(Path(environment["HOME"]).rglob("*.json")))
    assert saved is not None
    post = Step(environment, is_post=True)
    costs = StepCosts(post, StepPublication(post), queued=queued)
    release = replace(GONE, at=spending(3.0, billed=True).attempts[0].requested_at + 3600)
    dollars = costs.add_released({"cvl-pack": release}, saved, records=records)
    over = {name: record for name, record in records.items() if record.state in OVER}
    costs.add_untold(over, reason="the step was cut off", exit_code=130)
    costs.upload()
    legs = {leg.name: leg for leg in legs_in(artifacts)}
    ends = {name: (leg.ending, leg.exit_code) for name, leg in legs.items()}
    b = (Ending.CANCELLED, 130) if last is JobState.RUNNING else (Ending.FAILED, 3)
    assert ends == {"leg a": (Ending.SUCCEEDED, 0), "leg b": b, "leg c": (Ending.CANCELLED, 130)}
    usd = {name: leg.cost.usd or 0.0 for name, leg in legs.items()}
    assert sum(usd.values()) == pytest.approx(dollars["cvl-pack"], abs=0.0001) and dollars["cvl-pack"] > 0
    assert usd["leg b" if last is JobState.RUNNING else "leg a"] == pytest.approx(dollars["cvl-pack"], abs=0.0001)
    post.reporter.close()


def test_post_counts_a_machine_of_earlier_runs_from_the_request_of_its_own_run(tmp_path: Path) -> None:
    saved = StepState(lease="cvl-warm", spending=spending(3.0, billed=True))
    entered_at = saved.spending.attempts[0].requested_at
    life = Life(
        id="i-0", cloud="aws", region="us-east-1", instance_type="m6i.large", start=entered_at - 3600, is_gone=True
    )
    release = replace(
        GONE, at=entered_at + 300, removed_at=entered_at + 300, memory=Memory(lives=(life,), clouds=frozenset({"aws"}))
    )
    outcome = outcome_from(saved, release, name="cvl-warm", folder=tmp_path / "none")
    assert outcome.cost is not None and outcome.cost.seconds == pytest.approx(300)
    assert outcome.cost.usd == pytest.approx(3.0 * 300 / 3600, rel=0.05)


def test_a_sweep_tells_the_cost_of_the_runs_that_could_not(
    environment: dict[str, str], artifacts: FakeArtifacts
) -> None:
    machine = Resource(
        provider="aws",
        region="us-east-1",
        kind=ResourceKind.MACHINE,
        id="i-1",
        state="running",
        labels={},
        instance_type="m6i.large",
        created_at=1000.0,
    )
    price = UnitPrice(usd=2.0, per="hour", source="a test")
    hour = LedgerEntry(
        kind=CostKind.MACHINE,
        item="m6i.large",
        place=Location(cloud="aws", region="us-east-1"),
        attempt=1,
        time=BilledTime(start=1000.0, end=4600.0),
        quantity=1,
        price=price,
    )
    gone = Suspect(
        lease="cvl-7-0123abcd",
        run="7-1",
        owner="cvl/ci",
        why="its deadline has passed",
        over_at=3000.0,
        resources=(machine,),
        ledger=Ledger(entries=(hour,)),
    )
    left = replace(gone, lease="cvl-8-0123abcd", resources=(replace(machine, id="i-2"),))
    forged = replace(gone, lease="../../cvl-9-0123abcd")
    unpriced = replace(gone, lease="cvl-6-0123abcd", ledger=Ledger())
    reaped = Reaped(
        at=4600.0,
        asked_at=4700.0,
        dry_run=False,
        due=(gone, left, forged, unpriced),
        remaining=left.resources,
        silent=(),
    )
    step, costs = opened(environment)
    costs.add_reaped(reaped)
    costs.upload()
    by_lease = {leg.machines.cluster: leg for leg in legs_in(artifacts)}
    assert set(by_lease) == {gone.lease, left.lease}, "a label is no path, and a cost without a price is none"
    assert [by_lease[one.lease].machines.is_gone for one in (gone, left)] == [True, False]
    assert all(leg.source.is_sweep for leg in by_lease.values())
    assert spend(by_lease.values(), since=0.0).by["cloud"] == {"aws": pytest.approx(4.0)}
    step.reporter.close()
