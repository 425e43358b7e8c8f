"""A run as a managed job of a server, and its collection: on a cloud in a dict, by the real lease and verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.commands.collect import collect as collect_verb
from cvl_ci.commands.collect.collect import Collected, CollectPorts
from cvl_ci.commands.run import run as running
from cvl_ci.errors import CvlError, EngineError
from cvl_ci.local.lease_records import as_text, from_text
from cvl_ci.model.detached import DetachPlan
from cvl_ci.model.lease_name import LABEL_DEADLINE, LABEL_DETACHED, LABEL_KEPT
from cvl_ci.model.location import MANAGED
from cvl_ci.model.outcome import Ending, Outcome
from cvl_ci.model.plan import RunPlan
from cvl_ci.result.benchmark import leg_file
from cvl_ci.result.summary import lines, to_json
from tests.commands.test_detach import OWNER, PLAN, Scene
from tests.support.fakes import FakeClouds, FakePrices, FakeStaging

MANAGED_PLAN = replace(PLAN, detach=DetachPlan(place=PLAN.detach.place, is_managed=True))


class ServedScene(Scene):
    """The same scene, where an API server answers for the cloud. `counted`: the controller's recoveries of a job."""

    counted: int | CvlError | None = None

    def recoveries(self, lease: str) -> int | None:
        assert lease == OWNER.name
        if isinstance(self.counted, CvlError):
            raise self.counted
        return self.counted

    def run(self, plan: RunPlan = MANAGED_PLAN) -> Outcome:
        ports = running.RunPorts(
            clouds=FakeClouds(self.engine, through=MANAGED),
            records=self.records,
            staging=FakeStaging(self.folder),
            reporter=self.reporter,
            prices=FakePrices(),
            clock=self.clock,
        )
        return running.run(plan, owner=OWNER, outputs=self.folder / "out", ports=ports)

    def collect(self, *names: str) -> Collected:
        self.engine.recovery_count = self.recoveries  # type: ignore[attr-defined]
        return collect_verb.collect(
            names,
            everything=not names,
            user_id=OWNER.user_id,
            folder_of=lambda name: self.folder / name,
            ports=CollectPorts(
                clouds=FakeClouds(self.engine, through=MANAGED, results=self.results),
                records=self.records,
                prices=FakePrices(),
                reporter=self.reporter,
                clock=self.clock,
                publish=lambda *_: None,
            ),
        )


@pytest.fixture
def scene(tmp_path: Path) -> ServedScene:
    return ServedScene(tmp_path)


def test_the_run_ends_once_the_server_has_the_job_and_follows_nothing(scene: ServedScene) -> None:
    outcome = scene.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.DETACHED, 0)
    assert "The API server has the job." in outcome.reason and f"cvl-ci collect {OWNER.name}" in outcome.advice
    assert scene.engine.followed_until is None
    assert scene.record.is_managed
    [machine] = scene.cloud.machines.values()
    deadline = str(int(scene.record.deadline))
    assert machine.labels[LABEL_KEPT] == machine.labels[LABEL_DEADLINE] == deadline, "from its birth on"
    assert machine.labels[LABEL_DETACHED] == "results"


def test_its_record_survives_as_text(scene: ServedScene) -> None:
    scene.run()
    assert from_text(OWNER.name, as_text(scene.record)) == scene.record


def test_a_server_that_does_not_show_the_job_gets_no_job_left_alone(scene: ServedScene) -> None:
    scene.engine.at = lambda step: setattr(scene.cloud, "silent", step == "keep" or scene.cloud.silent)
    outcome = scene.run()
    assert outcome.ending is not Ending.DETACHED and outcome.exit_code != 0
    assert outcome.release is not None and not outcome.release.gone, "silence is never a proof"


def test_a_job_that_goes_on_is_left_alone_until_its_deadline_and_cancelled_long_after_it(scene: ServedScene) -> None:
    scene.run()
    [still] = scene.collect(OWNER.name).running
    assert not still.doubt
    scene.clock.sleep(scene.record.deadline - scene.clock.now() + 60)
    assert scene.collect(OWNER.name).running, "a machine that starts late ends its job at once"
    scene.clock.sleep(600)
    collected = scene.collect(OWNER.name)
    assert collected.outcomes[OWNER.name].exit_code != 0
    assert not scene.cloud.running()


def test_its_results_come_with_the_proof_of_the_server(scene: ServedScene) -> None:
    scene.run()
    scene.end_job(7)
    outcome = scene.collect(OWNER.name).outcomes[OWNER.name]
    assert (outcome.ending, outcome.exit_code) == (Ending.FAILED, 7)
    assert outcome.release is not None and outcome.release.gone


@pytest.mark.parametrize(
    ("counted", "count"), [(2, 2), (0, 0), (None, None), (EngineError("The server did not answer."), None)]
)
def test_its_recoveries_are_the_controllers_own_number(
    scene: ServedScene, counted: int | CvlError | None, count: int | None
) -> None:
    """No list of losses is told that cvl-ci has not seen: a report counts by the number alone."""
    submitted = to_json(scene.run())
    assert (submitted["recoveries"], submitted["recovery_count"]) == (None, None)
    scene.end_job(0)
    scene.counted = counted
    outcome = scene.collect(OWNER.name).outcomes[OWNER.name]
    told = json.loads(json.dumps(to_json(outcome)))
    assert (outcome.exit_code, told["recoveries"], told["recovery_count"]) == (0, None, count)
    assert leg_file.of_summary(told).machines.recoveries == count
    assert any("recovered the job 2 times" in line for line in lines(outcome)) == (count == 2)


def test_without_an_answer_of_the_server_nothing_is_proved(scene: ServedScene) -> None:
    scene.run()
    scene.end_job(0)
    scene.cloud.silent = True
    collected = scene.collect(OWNER.name)
    assert not collected.outcomes.get(OWNER.name) or not collected.outcomes[OWNER.name].release.gone  # type: ignore[union-attr]
    assert scene.record.detached is not None and not scene.record.detached.is_collected
