"""The stages of a run, as tables: how each one ends, and which ones follow. Every other module answers from a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cvl_ci.commands.plan import quote as quoting
from cvl_ci.commands.run import detaching, recovery, serving, spending, stages
from cvl_ci.commands.run.state import MachineSharing, RunPorts, RunState, Timeline
from cvl_ci.commands.run.transitions import LAST, Stage, StageEnd
from cvl_ci.errors import CvlError, EngineError, RequestRefused
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.detached import DetachPlan
from cvl_ci.model.launch import Launch
from cvl_ci.model.limits import RELEASE_MINUTES, Limits
from cvl_ci.model.loss import LossKind, Lost
from cvl_ci.model.offer import Offer, Quote
from cvl_ci.model.outcome import Phase
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.release import Release
from cvl_ci.model.replicas import ReplicaPlan
from cvl_ci.model.resource_request import ResourceRequest
from cvl_ci.model.secret import Secret
from cvl_ci.model.service import ServicePlan
from cvl_ci.ports import JobEnd
from tests.support.fakes import FakeClock, FakePrices, FakeReporter

DEADLINE = FakeClock().now() + 3600
LAUNCH = Launch(
    cluster="cvl-1",
    cloud="aws",
    region="us-east-1",
    zone=None,
    instance_type="g6.xlarge",
    accelerators={"L4": 1},
    spot=True,
    num_nodes=1,
    hourly_usd=0.8,
    created_at=FakeClock().now(),
)
OFFER = Offer(cloud="aws", region="us-east-1", instance_type="g6.xlarge", accelerators={}, spot=True, hourly_usd=0.8)
QUOTE = Quote(
    offers=(), hourly_usd=None, first_usd=None, dearest_usd=None, max_usd=None, deadline_minutes=80, catalogue_date=""
)
LOSSES = {kind: Lost(kind=kind, why="the provider shows 0 of its 1 nodes") for kind in LossKind}
PREEMPTED, UNREACHABLE = LOSSES[LossKind.PREEMPTED], LOSSES[LossKind.UNREACHABLE]
ANSWERS: Mapping[str, object] = {
    "recovery.plan_of_launch": RunPlan(title="train"),
    "recovery.avoided": (),
    "recovery.unfinished_launch": LAUNCH,
    "recovery.asked_provider": None,
    "recovery.existed": True,
    "recovery.can_recover": False,
    "recovery.can_replace": False,
    "recovery.note_loss": None,
    "recovery.note_unfit": None,
    "recovery.note_gone": None,
    "stages.recovery_begins": "a recovery begins",
    "stages.replacement_begins": "a replacement begins",
    "spending.spent_before": 0.0,
    "spending.end_of_money": DEADLINE - 600,
    "serving.wait_and_smoke": None,
    "detaching.follow_until_it_runs": False,
}
MODULES = {
    "recovery": recovery,
    "stages": stages,
    "spending": spending,
    "serving": serving,
    "detaching": detaching,
}


def answering(result: object, calls: list[str], name: str) -> Callable[..., Any]:
    """Return a function that notes its call, and returns the result or raises it."""

    def answer(*_args: object, **kwargs: object) -> object:
        calls.append(name)
        if isinstance(result, BaseException):
            raise result
        return result(**kwargs) if callable(result) else result

    return answer


class Scene:
    """The stages of one run whose cloud, lease and other modules answer from tables."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._patch, self._folder = monkeypatch, folder
        self.calls: list[str] = []
        self.clock, self.reporter = FakeClock(), FakeReporter()
        self.fence = folder / "fence"
        ports: Any = SimpleNamespace(
            clock=self.clock,
            reporter=self.reporter,
            prices=FakePrices(),
            records=SimpleNamespace(fence=lambda _: self.fence),
            note_lease=lambda _: None,
            interruptible=None,
        )
        self.state = RunState(
            plan=RunPlan(title="train"),
            quote=QUOTE,
            owner=Owner(repository="o/r", run="1"),
            outputs=folder,
            ports=ports,
            timeline=Timeline(clock=self.clock, started=self.clock.now()),
        )
        self.state.launches.current = LAUNCH
        self.state.launches.recoveries = [SimpleNamespace(resumed_at=0.0, lost=PREEMPTED)]  # type: ignore[list-item]
        self.cloud: dict[str, object] = {
            "launch": LAUNCH,
            "stop": None,
            "submit": None,
            "follow": JobEnd(),
            "fetch": None,
            "newest_checkpoint": None,
        }
        self.release = Release(gone=True, at=self.clock.now())
        self.answer(**ANSWERS)

    def answer(self, **answers: object) -> None:
        for path, result in answers.items():
            module, _, name = path.partition(".")
            self._patch.setattr(MODULES[module], name, answering(result, self.calls, name))

    def stages(self) -> stages.Stages:
        answers = {name: answering(result, self.calls, name) for name, result in self.cloud.items()}
        cloud: Any = SimpleNamespace(machines=SimpleNamespace(**answers), jobs=SimpleNamespace(**answers))
        lease: Any = SimpleNamespace(
            name="cvl-1", record=SimpleNamespace(labels={}, deadline=DEADLINE), clear=lambda: self.release
        )
        return stages.Stages(self.state, cloud, lease, self._folder)

    def end_of(self, stage: Stage) -> StageEnd:
        """Carry out one stage, and return its end."""
        ends: list[StageEnd] = []

        def note(_stage: Stage, end: StageEnd) -> Stage:
            ends.append(end)
            return LAST

        self._patch.setattr(stages, "next_stage", note)
        self.stages().carry_out(stage)
        return ends[0]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scene:
    return Scene(monkeypatch, tmp_path)


SERVICE = ServicePlan(port=8080)
WITH_REPLICAS = replace(SERVICE, replicas=ReplicaPlan(least=2, most=2, probe_token=Secret("t")))
MANAGED = DetachPlan(is_managed=True, place=BucketAddress(bucket="b"))
DETACHED = DetachPlan(place=BucketAddress(bucket="b"))


@pytest.mark.parametrize(
    ("plan", "end"),
    [
        pytest.param({}, StageEnd.RUNNING, id="a job"),
        pytest.param({"service": SERVICE}, StageEnd.SERVING, id="a service"),
        pytest.param(
            {"service": WITH_REPLICAS},
            StageEnd.SERVING,
            id="replicas",
        ),
        pytest.param({"detach": MANAGED}, StageEnd.MANAGED, id="a managed job"),
    ],
)
def test_a_launch(scene: Scene, plan: dict[str, Any], end: StageEnd) -> None:
    scene.state.plan = replace(scene.state.plan, **plan)
    assert scene.end_of(Stage.LAUNCH) is end
    is_shown = any("g6.xlarge" in text for text in scene.reporter.said)
    assert is_shown is (end is StageEnd.RUNNING or plan.get("service") is SERVICE)


@pytest.mark.parametrize(("resumed_at", "phases"), [(0.0, [Phase.PROVISIONING]), (None, [])], ids=["first", "next"])
def test_a_launch_begins_a_phase_unless_it_recovers(
    scene: Scene, resumed_at: float | None, phases: list[Phase]
) -> None:
    scene.state.launches.recoveries = [SimpleNamespace(resumed_at=resumed_at, lost=PREEMPTED)]  # type: ignore[list-item]
    scene.cloud["launch"] = EngineError("broke")
    scene.answer(**{"recovery.asked_provider": None})
    assert scene.end_of(Stage.LAUNCH) is StageEnd.FAILED
    assert (scene.reporter.phases, "avoided" in scene.calls) == (phases, resumed_at is None)


@pytest.mark.parametrize(
    ("answers", "has_fence", "end"),
    [
        pytest.param({"recovery.asked_provider": None}, False, StageEnd.FAILED, id="no loss"),
        pytest.param({"recovery.asked_provider": UNREACHABLE}, False, StageEnd.FAILED, id="no proved loss"),
        pytest.param({"recovery.asked_provider": PREEMPTED}, True, StageEnd.FAILED, id="a person stopped it"),
        pytest.param(
            {"recovery.asked_provider": PREEMPTED, "recovery.existed": False}, False, StageEnd.FAILED, id="none existed"
        ),
        pytest.param({"recovery.asked_provider": PREEMPTED}, False, StageEnd.LOST_FOR_GOOD, id="no recovery"),
        pytest.param(
            {"recovery.asked_provider": PREEMPTED, "recovery.can_recover": True}, False, StageEnd.LOST, id="a recovery"
        ),
    ],
)
def test_a_failed_launch(scene: Scene, answers: dict[str, object], has_fence: bool, end: StageEnd) -> None:
    error = EngineError("broke")
    scene.cloud["launch"] = error
    scene.answer(**answers)
    if has_fence:
        scene.fence.touch()
    assert scene.end_of(Stage.LAUNCH) is end
    assert scene.state.facts.failure is (error if end is StageEnd.FAILED else None)
    assert scene.state.facts.lost is (None if end is StageEnd.FAILED else PREEMPTED)


@pytest.mark.parametrize(
    ("gpus", "offers", "what"),
    [
        pytest.param({"L4": 1}, (), "No such machine. There is: 2 × L4 on aws.", id="no offer"),
        pytest.param({}, (), "No such machine.", id="no alternative"),
        pytest.param({"L4": 1}, (OFFER,), "No such machine.", id="an offer"),
    ],
)
def test_a_refused_launch_names_the_machines_with_a_price(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, gpus: dict[str, float], offers: tuple[Offer, ...], what: str
) -> None:
    scene.cloud["launch"] = RequestRefused("No such machine.")
    scene.state.plan = replace(
        scene.state.plan, machines=replace(scene.state.plan.machines, needs=ResourceRequest(accelerators=gpus))
    )
    scene.state.quote = replace(QUOTE, offers=offers)
    monkeypatch.setattr(quoting, "alternatives_text", lambda plan, _: "2 × L4 on aws" * bool(_gpus(plan)))
    assert scene.end_of(Stage.LAUNCH) is StageEnd.FAILED
    assert scene.state.facts.failure is not None
    assert scene.state.facts.failure.what == what


def _gpus(plan: RunPlan) -> Mapping[str, float]:
    return plan.machines.needs.accelerators


STAGES_WITH_ERRORS = [stage for stage in Stage if stage not in {LAST, Stage.FETCH, Stage.RESCUE}]


@pytest.mark.parametrize("stage", STAGES_WITH_ERRORS)
@pytest.mark.parametrize(
    ("error", "end"), [(CvlError("broke"), StageEnd.FAILED), (KeyboardInterrupt(), StageEnd.STOPPED)]
)
def test_an_error_or_a_person_ends_a_stage(scene: Scene, stage: Stage, error: BaseException, end: StageEnd) -> None:
    scene.cloud |= {"launch": error, "submit": error, "follow": error, "newest_checkpoint": error}
    scene.answer(**{"serving.wait_and_smoke": error})
    assert scene.end_of(stage) is end
    facts = scene.state.facts
    assert (facts.failure, facts.cancelled) == (error if end is StageEnd.FAILED else None, end is StageEnd.STOPPED)


def test_the_first_error_stays(scene: Scene) -> None:
    first = scene.state.facts.failure = CvlError("first")
    scene.cloud["submit"] = CvlError("second")
    assert (scene.end_of(Stage.SUBMIT), scene.state.facts.failure) == (StageEnd.FAILED, first)


@pytest.mark.parametrize(("service", "end"), [(None, StageEnd.NOT_ANSWERED), (object(), StageEnd.ANSWERED)])
def test_a_service(scene: Scene, service: Any, end: StageEnd) -> None:
    scene.state.service = service
    assert scene.end_of(Stage.SERVE) is end


def test_a_further_job(scene: Scene) -> None:
    assert (scene.end_of(Stage.SUBMIT), scene.reporter.phases) == (StageEnd.RUNNING, [Phase.PROVISIONING])


BROKEN = JobEnd(unfit="Xid 79")


@pytest.mark.parametrize(
    ("job", "answers", "end"),
    [
        pytest.param(JobEnd(), {}, StageEnd.JOB_OVER, id="over"),
        pytest.param(None, {}, StageEnd.FAILED, id="no end"),
        pytest.param(BROKEN, {}, StageEnd.UNFIT, id="broken"),
        pytest.param(BROKEN, {"recovery.can_replace": True}, StageEnd.REPLACED, id="broken and replaced"),
        pytest.param(JobEnd(lost=PREEMPTED), {}, StageEnd.LOST_FOR_GOOD, id="lost"),
        pytest.param(JobEnd(lost=PREEMPTED), {"recovery.can_recover": True}, StageEnd.LOST, id="lost and recovered"),
    ],
)
def test_a_job(scene: Scene, job: JobEnd | None, answers: dict[str, object], end: StageEnd) -> None:
    scene.cloud["follow"] = job
    scene.answer(**answers)
    assert scene.end_of(Stage.FOLLOW) is end
    facts, is_over = scene.state.facts, end in {StageEnd.UNFIT, StageEnd.LOST_FOR_GOOD}
    assert facts.came_through is is_over
    assert (facts.lost_at is not None) is (job is not None and job.lost is not None)
    assert scene.reporter.phases == ([Phase.RECOVERING] if end in {StageEnd.LOST, StageEnd.REPLACED} else [])
    assert ("note_loss" in scene.calls, "note_unfit" in scene.calls) == (
        end is StageEnd.LOST,
        end is StageEnd.REPLACED,
    )


@pytest.mark.parametrize(
    ("lost", "answer", "expected"),
    [
        pytest.param(UNREACHABLE, PREEMPTED, PREEMPTED, id="the provider shows a loss"),
        pytest.param(UNREACHABLE, None, UNREACHABLE, id="the provider shows none"),
        pytest.param(PREEMPTED, UNREACHABLE, PREEMPTED, id="the loss is known"),
    ],
)
def test_a_machine_that_does_not_answer(scene: Scene, lost: Lost, answer: Lost | None, expected: Lost) -> None:
    scene.cloud["follow"] = JobEnd(lost=lost)
    scene.answer(**{"recovery.asked_provider": answer})
    assert (scene.end_of(Stage.FOLLOW), scene.state.facts.lost) == (StageEnd.LOST_FOR_GOOD, expected)


LIMIT = stages.LIMIT_GRACE_SECONDS - RELEASE_MINUTES * 60
FURTHER = MachineSharing(limits=Limits(), is_further=True)


@pytest.mark.parametrize(
    ("launch", "sharing", "until"),
    [
        pytest.param(None, None, DEADLINE, id="no machine"),
        pytest.param(LAUNCH, None, DEADLINE - 600, id="its money"),
        pytest.param(LAUNCH, replace(FURTHER, is_further=False), DEADLINE - 600, id="the first job of a machine"),
        pytest.param(LAUNCH, FURTHER, DEADLINE, id="a further job of a machine"),
        pytest.param(replace(LAUNCH, deadline=DEADLINE - 60), FURTHER, DEADLINE - 60, id="the end of a dear machine"),
    ],
)
@pytest.mark.parametrize("detach", [DetachPlan(), DETACHED], ids=["attached", "detached"])
def test_the_limit_of_a_job(
    scene: Scene, launch: Launch | None, sharing: MachineSharing | None, until: float, detach: DetachPlan
) -> None:
    limits: list[float] = []

    def follow(*, until: float, **_: object) -> bool:
        limits.append(until)
        return True

    scene.state.launches.current, scene.state.sharing = launch, sharing
    scene.state.plan = replace(scene.state.plan, detach=detach)
    scene.cloud["follow"] = lambda **kwargs: JobEnd() if follow(**kwargs) else None
    scene.answer(**{"detaching.follow_until_it_runs": follow})
    assert scene.end_of(Stage.FOLLOW) is (StageEnd.DETACHED if detach.place else StageEnd.JOB_OVER)
    assert limits == [until + LIMIT]


def test_a_detached_job_may_end_before_it_runs(scene: Scene) -> None:
    scene.state.plan = replace(scene.state.plan, detach=DETACHED)
    scene.state.facts.job = JobEnd()
    assert scene.end_of(Stage.FOLLOW) is StageEnd.JOB_OVER


@pytest.mark.parametrize(("is_gone", "end"), [(True, StageEnd.GONE), (False, StageEnd.NOT_PROVED)])
def test_lost_machines_are_cleared(scene: Scene, is_gone: bool, end: StageEnd) -> None:
    scene.release = Release(gone=is_gone, at=scene.clock.now())
    scene.state.facts.lost_at = 1.0
    assert scene.end_of(Stage.CLEAR) is end
    assert (scene.state.facts.lost_at, bool(scene.state.facts.warnings)) == (None if is_gone else 1.0, not is_gone)


@pytest.mark.parametrize("error", [None, CvlError("no answer"), ValueError("a hostile name")], ids=repr)
def test_an_error_of_the_fetch_changes_no_end(scene: Scene, error: Exception | None) -> None:
    scene.cloud["fetch"] = error
    assert scene.end_of(Stage.FETCH) is StageEnd.DONE
    facts = scene.state.facts
    assert (facts.came_through, len(facts.warnings), facts.failure) == (error is None, int(error is not None), None)


@pytest.mark.parametrize(
    ("error", "calls", "texts"),
    [
        pytest.param(None, ["stop", "fetch"], 1, id="fetched"),
        pytest.param(KeyboardInterrupt(), ["stop", "fetch"], 2, id="a second Ctrl-C"),
        pytest.param(CvlError("no answer"), ["stop", "fetch"], 1, id="an error"),
    ],
)
def test_a_rescue(scene: Scene, error: BaseException | None, calls: list[str], texts: int) -> None:
    scene.state.ports = replace_ports(scene.state.ports)
    scene.cloud["fetch"] = error
    assert (scene.end_of(Stage.RESCUE), scene.calls) == (StageEnd.DONE, calls)
    assert len(scene.reporter.said) == texts
    assert len(scene.state.facts.warnings) == int(isinstance(error, Exception))


def replace_ports(ports: RunPorts) -> Any:
    """Return the ports of an entry point where a second Ctrl-C ends the rescue."""
    return SimpleNamespace(**{**vars(ports), "interruptible": nullcontext})


def test_without_a_second_ctrl_c_there_is_no_rescue(scene: Scene) -> None:
    assert (scene.end_of(Stage.RESCUE), scene.calls) == (StageEnd.DONE, [])


def test_the_stages_follow_the_table(scene: Scene) -> None:
    ends = iter([JobEnd(lost=PREEMPTED), JobEnd()])
    scene.cloud["follow"] = lambda **_: next(ends)
    scene.answer(**{"recovery.can_recover": True})
    scene.stages().carry_out()
    stages_of_cloud = [name for name in scene.calls if name in {"launch", "follow", "note_gone", "fetch"}]
    assert stages_of_cloud == ["launch", "follow", "note_gone", "launch", "follow", "fetch"]
