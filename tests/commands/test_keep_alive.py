"""keep_on_failure: kept only when the job itself failed and all of keeping worked; else it is released, with proof."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.commands.plan import quote as quoting
from cvl_ci.commands.run import keep_alive as keeping
from cvl_ci.errors import CapacityError, CvlError, EngineError
from cvl_ci.model.lease_name import LABEL_DEADLINE, LABEL_KEPT
from cvl_ci.model.limits import Limits
from cvl_ci.model.loss import LossKind, Lost
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.outcome import Ending
from cvl_ci.result.text import money, released
from tests.commands.test_run import PLAN, House
from tests.support.fakes import FakePrices

HOURLY = 0.1 + (100 * 0.08 + 6.22) / (31 * 24) + 0.005
"""The machine of the fakes, its disk and its address."""
KEEP = replace(
    PLAN, limits=Limits(keep_minutes=10), machines=replace(PLAN.machines, public_key="ssh-ed25519 AAAA anna")
)


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House(tmp_path)
    made.engine.ends = (NodeEnd(rank=0, exit_code=7),)
    return made


def test_the_machine_of_a_job_that_failed_is_there_under_its_lease_with_a_new_end(house: House) -> None:
    outcome = house.run(KEEP)
    assert (outcome.ending, outcome.exit_code) == (Ending.FAILED, 7), "its own code, not 79"
    assert outcome.release is not None and outcome.release.kept is not None
    until = outcome.release.kept.until
    assert until == pytest.approx(house.clock.now() + 600, abs=2)
    assert outcome.release.kept.ways_in == ("ssh ubuntu@10.0.0.0",)
    assert house.engine.kept == (until, "ssh-ed25519 AAAA anna")
    assert house.engine.downs == []
    (machine,) = house.cloud.machines.values()
    assert machine.state == "running"
    assert machine.labels[LABEL_DEADLINE] == machine.labels[LABEL_KEPT] == str(int(until))
    record = house.records.kept[outcome.machines.cluster]
    assert (record.deadline, record.released_at) == (until, None), "down, post and reap find it"
    assert house.records.fence(outcome.machines.cluster).exists(), "nothing else is launched under it"


def test_what_is_told_counts_the_minutes_to_come(house: House) -> None:
    outcome = house.run(KEEP)
    assert outcome.cost is not None and outcome.cost.kept_usd is not None
    assert outcome.cost.kept_usd == pytest.approx(HOURLY * 600 / 3600, rel=0.01)
    assert outcome.cost.usd > 0.1 * (600 + 90) / 3600 * 0.99
    assert money(outcome.cost).startswith("at most $")
    assert f"ended sooner by: cvl-ci down {outcome.machines.cluster} --cloud aws" in released(outcome)


def test_fetched_first_so_that_nothing_depends_on_a_person_coming(house: House) -> None:
    steps: list[str] = []
    house.engine.at = steps.append
    assert house.run(KEEP).files.fetched
    assert steps.index("fetch") < steps.index("keep")


@pytest.mark.parametrize("end", [NodeEnd(rank=0, exit_code=3, phase="setup"), NodeEnd(rank=0, exit_code=None)])
def test_a_setup_that_failed_and_a_job_that_was_killed_are_failures_too(house: House, end: NodeEnd) -> None:
    house.engine.ends = (end,)
    release = house.run(KEEP).release
    assert release is not None and release.kept is not None


ENDS = {
    "success": (NodeEnd(rank=0, exit_code=0),),
    "time limit": (NodeEnd(rank=0, exit_code=124, timed_out=True),),
}


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
def test_any_other_end_of_the_job_keeps_nothing(house: House, ends: tuple[NodeEnd, ...]) -> None:
    house.engine.ends = ends
    outcome = house.run(KEEP)
    assert outcome.release is not None and outcome.release.gone
    assert house.cloud.running() == [] and house.engine.kept is None


def test_a_run_that_was_ended_by_its_budget_keeps_nothing(house: House) -> None:
    house.engine.ends = ENDS["time limit"]
    outcome = house.run(replace(KEEP, limits=Limits(keep_minutes=10, max_cost_usd=0.05)))
    assert outcome.ending is Ending.OVER_BUDGET
    assert house.cloud.running() == []


@pytest.mark.parametrize("failure", [CapacityError("none"), EngineError("SkyPilot failed.")])
def test_where_the_job_never_began_nothing_is_kept(house: House, failure: CvlError) -> None:
    house.engine.failure = failure
    assert house.run(KEEP).ending is Ending.NEVER_STARTED
    assert house.cloud.running() == []


def test_a_machine_that_was_lost_is_not_kept(house: House) -> None:
    house.engine.lost = Lost(kind=LossKind.UNREACHABLE, why="it does not answer")
    assert house.run(KEEP).ending is Ending.PREEMPTED
    assert house.cloud.running() == []


def test_a_broken_machine_is_not_kept(house: House) -> None:
    house.engine.unfit = "GPU 0: it fell off the bus"
    assert house.run(KEEP).ending is Ending.UNFIT
    assert house.cloud.running() == []


def test_a_machine_whose_job_never_began_is_not_kept(house: House) -> None:
    house.engine.ends = (NodeEnd(rank=0, exit_code=None),)
    house.engine.never_began = "The job never began on its machine: SkyPilot ended it as FAILED_DRIVER."
    outcome = house.run(KEEP)
    assert (outcome.ending, outcome.exit_code) == (Ending.NEVER_STARTED, 70)
    assert house.cloud.running() == []


def test_not_asked_for_keeps_nothing(house: House) -> None:
    outcome = house.run(PLAN)
    assert outcome.release is not None and outcome.release.gone


def test_a_mistake_of_ours_after_the_job_failed_keeps_nothing(house: House) -> None:
    def at(step: str) -> None:
        if step == "fetch":
            raise RuntimeError("a bug")

    house.engine.at = at
    outcome = house.run(KEEP)
    assert (outcome.ending, outcome.exit_code) == (Ending.FAILED, 7)
    assert house.cloud.running() == []


def test_the_reason_why_nothing_is_kept_does_not_say_that_nothing_is_billed(house: House) -> None:
    def at(step: str) -> None:
        if step == "keep":
            raise EngineError("The machine did not take its new end.")

    house.engine.at = at
    told = "\n".join(house.run(KEEP).warnings)
    assert "did not take its new end." in told and "billed" not in told


@pytest.mark.parametrize("step", ["ran", "fetch", "keep"])
def test_ctrl_c_keeps_nothing_not_even_while_it_is_being_kept(house: House, step: str) -> None:
    def at(now: str) -> None:
        if now == step:
            house.engine.at = lambda _: None
            raise KeyboardInterrupt

    house.engine.at = at
    assert house.run(KEEP).ending is Ending.CANCELLED
    assert house.cloud.running() == []


def _cannot_arm(house: House) -> None:
    def at(step: str) -> None:
        if step == "keep":
            raise EngineError("The machine did not take its new end.")

    house.engine.at = at


def _bug(house: House) -> None:
    def at(step: str) -> None:
        if step == "keep":
            raise ZeroDivisionError

    house.engine.at = at


def _no_label(house: House) -> None:
    house.cloud.refuse_labels = True


def _vanished(house: House) -> None:
    house.engine.at = lambda step: house.cloud.remove([*house.cloud.machines.values()]) if step == "keep" else None


def _no_disk(house: House) -> None:
    write = house.records.write

    def full(record: object) -> None:
        if house.engine.followed_until is not None:
            raise EngineError("No space left on device.")
        write(record)  # type: ignore[arg-type]

    house.records.write = full  # type: ignore[method-assign]


@pytest.mark.parametrize("broken", [_cannot_arm, _bug, _no_label, _vanished, _no_disk])
def test_whatever_fails_in_keeping_is_a_release_with_proof_and_is_told(house: House, broken: object) -> None:
    broken(house)  # type: ignore[operator]
    outcome = house.run(KEEP)
    assert outcome.release is not None and outcome.release.gone and outcome.release.kept is None
    assert outcome.exit_code == 7
    assert house.cloud.running() == []
    assert any("could not be kept" in text for text in outcome.warnings)


def test_a_provider_that_does_not_answer_is_no_machine_to_keep(house: House) -> None:
    house.engine.at = lambda step: setattr(house.cloud, "silent", step == "keep") if step in {"keep", "down"} else None
    outcome = house.run(KEEP)
    assert outcome.release is not None and outcome.release.gone


def test_max_cost_shortens_it_and_says_so(house: House) -> None:
    """$0.04 buys 19 minutes at $0.124 an hour; 90 seconds have passed, and the last 150 are a margin."""
    outcome = house.run(replace(KEEP, limits=Limits(keep_minutes=60, max_cost_usd=0.04)))
    assert outcome.release is not None and outcome.release.kept is not None
    assert outcome.cost is not None and outcome.cost.usd < 0.04
    assert outcome.release.kept.until - house.clock.now() == pytest.approx(0.04 / HOURLY * 3600 - 90 - 150, abs=2)
    assert any("max_cost does not pay for more" in text for text in outcome.warnings)


def test_a_machine_that_max_cost_cannot_pay_for_is_released(house: House) -> None:
    house.engine.hourly_usd = 0.9  # a failover to a dearer one: 100 seconds are left of $0.027
    outcome = house.run(replace(KEEP, limits=Limits(keep_minutes=60, max_cost_usd=0.045)))
    assert house.cloud.running() == []
    assert any("max_cost is used up" in text for text in outcome.warnings)


def test_the_quote_holds_what_keeping_may_cost() -> None:
    without, with_it = (quoting.quote(plan, FakePrices()) for plan in (PLAN, KEEP))
    assert without.max_usd is not None and with_it.max_usd is not None
    disk_and_address = (100 * 0.08 + 500 * 0.005 + 93 * 0.04) / (28 * 24) + 0.005
    assert with_it.max_usd - without.max_usd == pytest.approx((0.1 + disk_and_address) * 10 / 60)
    assert with_it.deadline_minutes == without.deadline_minutes, "a run that is lost does not get them"
    assert keeping.MARGIN_SECONDS > 0


def test_down_false_keeps_the_machine_of_a_job_that_succeeded_and_tells_its_price(house: House) -> None:
    house.engine.ends = (NodeEnd(rank=0, exit_code=0),)
    outcome = house.run(replace(KEEP, limits=Limits(keep_minutes=10, keeps_after_success=True)))
    assert (outcome.ending, outcome.exit_code) == (Ending.SUCCEEDED, 0)
    assert outcome.release is not None and outcome.release.kept is not None
    assert outcome.release.kept.until == pytest.approx(house.clock.now() + 600, abs=2)
    first, *_ = released(outcome)
    assert first.startswith("kept until ") and ", after its job: up to $" in first
    assert outcome.cost is not None and outcome.cost.kept_usd is not None


def test_down_false_keeps_no_machine_that_ran_out_of_time(house: House) -> None:
    house.engine.ends = (NodeEnd(rank=0, exit_code=124, timed_out=True),)
    outcome = house.run(replace(KEEP, limits=Limits(keep_minutes=10, keeps_after_success=True)))
    assert outcome.release is not None and outcome.release.gone
