"""Whom `reap` ends and whom it never touches: decided from labels, the clock and GitHub's own word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from cvl_ci.commands.reap.reap import Reaped, ReapPorts, read_request, reap
from cvl_ci.commands.reap.text import lines, verdict
from cvl_ci.errors import CvlError, LeftoversFound, NotProvedGone, RequestError
from cvl_ci.model.lease_name import LABEL_KEPT, LABEL_LEASE
from cvl_ci.model.location import Location
from cvl_ci.model.owner import Owner
from cvl_ci.ports import InventoryResult, Resource
from tests.support.fakes import FakeClock, FakeCloud, FakeClouds, FakeEngine, FakePrices, FakeReporter

HOUR = 3600.0


@dataclass
class Runs:
    """`ended`: run-attempt → when GitHub says that it was completed."""

    ended: dict[str, float] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def ended_at(self, run: str, attempt: str) -> float | None:
        self.asked.append(f"{run}-{attempt}")
        return self.ended.get(f"{run}-{attempt}")


@dataclass
class Account(FakeCloud):
    """A cloud whose machines carry the labels of leases, others' beside ours."""

    unproved: tuple[str, ...] = ()
    stubborn: set[str] = field(default_factory=set)

    def machine(
        self, *, run: str = "100", attempt: str = "1", repository: str = "cvl/ci", ends_in: float, **labels: str
    ) -> str:
        owner = Owner(repository=repository, run=run, attempt=attempt)
        name = self.create(lease=owner.name, region="us-east-1")
        every = {**owner.labels(deadline=self.clock.now() + ends_in), **labels}
        self.machines[name] = replace(
            self.machines[name], labels=every, instance_type="m6i.large", created_at=self.clock.now() - 2 * HOUR
        )
        return name

    def find(self, *, lease: str | None, locations: Sequence[Location]) -> InventoryResult:
        found = super().find(lease=lease, locations=locations)
        return InventoryResult(resources=found.read()[0], asked=found.asked, unproved=self.unproved)

    def remove(self, resources: Sequence[Resource]) -> None:
        super().remove([each for each in resources if each.id not in self.stubborn])


class Stage:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.account = Account(clock=self.clock)
        self.runs = Runs()
        self.reporter = FakeReporter()

    def reap(self, **changed: Any) -> Reaped:
        arguments: dict[str, Any] = {"owner": "cvl/ci", "repository": "cvl/ci", "named": False, "grace": 600.0}
        arguments |= {"dry_run": False, "user_id": "0a1b2c3d", **changed}
        ports = ReapPorts(
            clouds=FakeClouds(engine=FakeEngine(cloud=self.account)),
            prices=FakePrices(),
            reporter=self.reporter,
            clock=self.clock,
            runs=self.runs,
        )
        return reap([Location(cloud="aws")], ports=ports, **arguments)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def text_of(reaped: Reaped) -> str:
    return "\n".join(lines(reaped))


def test_what_is_past_its_deadline_and_grace_goes_and_that_is_an_error_with_its_cost(stage: Stage) -> None:
    name = stage.account.machine(ends_in=-HOUR)
    reaped = stage.reap()
    assert stage.account.running() == []
    assert f"removed: {reaped.due[0].lease}" in text_of(reaped)
    assert name in text_of(reaped)
    error = verdict(reaped)
    assert isinstance(error, LeftoversFound)
    assert "$0.21" in error.money, "two hours of a machine and its address"
    assert error.next_step.endswith(f"check the post step of run {reaped.due[0].run}."), "wherever it is read"


def test_what_is_past_its_deadline_is_marked_first(stage: Stage) -> None:
    name = stage.account.machine(ends_in=-300)
    reaped = stage.reap()
    assert stage.account.running() == [name]
    assert reaped.due == ()
    assert [suspect.resources[0].id for suspect in reaped.marked] == [name]
    assert "left in its grace" in text_of(reaped)
    assert verdict(reaped) is None
    stage.clock.sleep(301)
    assert stage.reap().due
    assert stage.account.running() == []


def test_a_living_run_s_machine_is_never_touched(stage: Stage) -> None:
    name = stage.account.machine(ends_in=60)
    reaped = stage.reap(grace=0.0)
    assert stage.account.running() == [name]
    assert reaped.living == 1
    assert verdict(reaped) is None
    assert stage.runs.asked == ["100-1"]


def test_what_is_left_of_a_completed_run_goes_before_its_deadline(stage: Stage) -> None:
    stage.account.machine(ends_in=HOUR)
    stage.runs.ended["100-1"] = stage.clock.now() - 700
    reaped = stage.reap()
    assert stage.account.running() == []
    assert "run 100, attempt 1, which is completed" in text_of(reaped)


def test_the_grace_counts_from_the_end_of_the_run(stage: Stage) -> None:
    name = stage.account.machine(ends_in=HOUR)
    stage.runs.ended["100-1"] = stage.clock.now() - 500
    assert stage.reap().marked
    assert stage.account.running() == [name]


def test_a_machine_that_is_kept_for_a_person_outlives_its_run_and_not_its_time(stage: Stage) -> None:
    until = stage.clock.now() + 1800
    name = stage.account.machine(ends_in=1800, **{LABEL_KEPT: str(int(until))})
    stage.runs.ended["100-1"] = stage.clock.now() - HOUR
    assert stage.reap().due == ()
    assert stage.account.running() == [name]
    stage.clock.sleep(1800 + 601)
    assert stage.reap().due
    assert stage.account.running() == []


def test_a_first_attempt_that_is_over_says_nothing_of_the_second(stage: Stage) -> None:
    stage.account.machine(ends_in=HOUR, attempt="1")
    second = stage.account.machine(ends_in=HOUR, attempt="2")
    stage.runs.ended["100-1"] = stage.clock.now() - HOUR
    stage.reap()
    assert stage.account.running() == [second]


def test_another_repository_s_machine_is_left_alone_and_github_is_not_asked_about_its_run(stage: Stage) -> None:
    name = stage.account.machine(repository="else/where", ends_in=-HOUR)
    stage.runs.ended["100-1"] = 0.0
    reaped = stage.reap()
    assert stage.account.running() == [name]
    assert reaped.foreign_count == 1
    assert stage.runs.asked == []


def test_of_everybody_s_the_deadline_alone_decides_for_other_repositories(stage: Stage) -> None:
    living = stage.account.machine(repository="else/where", ends_in=HOUR)
    stage.account.machine(repository="else/where", run="101", ends_in=-HOUR)
    stage.runs.ended["100-1"] = 0.0
    stage.reap(owner=None)
    assert stage.account.running() == [living]


def test_an_owner_that_matches_nothing_beside_others_leases_is_a_mistake_with_the_near_right_ones(stage: Stage) -> None:
    stage.account.machine(repository="cvl/ci", ends_in=-HOUR)
    with pytest.raises(RequestError, match="matches nothing") as caught:
        stage.reap(owner="cvl/cl", named=True)
    assert "cvl-ci" in str(caught.value)
    assert stage.account.running() != []


def test_a_machine_without_a_deadline_is_left_to_github(stage: Stage) -> None:
    name = stage.account.machine(ends_in=-HOUR, **{"cvl-ci-deadline": "soon"})
    assert stage.reap().living == 1
    assert stage.account.running() == [name]


def test_of_machines_of_one_lease_the_latest_deadline_holds(stage: Stage) -> None:
    names = [stage.account.machine(ends_in=-HOUR), stage.account.machine(ends_in=HOUR)]
    stage.reap()
    assert stage.account.running() == names


def test_a_dry_run_names_exactly_what_a_real_one_ends_and_ends_nothing(stage: Stage) -> None:
    ours = [stage.account.machine(ends_in=-HOUR, run=str(run)) for run in (101, 102)]
    stage.account.machine(ends_in=HOUR)
    dry = stage.reap(dry_run=True)
    assert len(stage.account.running()) == 3
    assert isinstance(verdict(dry), LeftoversFound)
    real = stage.reap()
    assert [line.replace("would remove", "removed") for line in text_of(dry).splitlines()[:2]] == text_of(
        real
    ).splitlines()[:2]
    assert not set(ours) & set(stage.account.running())


def test_one_stubborn_machine_keeps_no_other_and_is_named(stage: Stage) -> None:
    ours = [stage.account.machine(ends_in=-HOUR, run=str(run)) for run in (101, 102, 103)]
    stage.account.stubborn = {ours[1]}
    reaped = stage.reap()
    assert stage.account.running() == [ours[1]]
    assert "NOT REMOVED" in text_of(reaped)
    error = verdict(reaped)
    assert isinstance(error, NotProvedGone)
    assert ours[1] in error.what
    assert ours[0] not in error.what


def test_what_has_our_name_without_our_labels_is_told_and_not_touched(stage: Stage) -> None:
    name = stage.account.machine(ends_in=-HOUR)
    machine = stage.account.machines[name]
    labels = {"skypilot-cluster-name": machine.labels[LABEL_LEASE] + "-0a1b2c3d"}
    stage.account.machines[name] = replace(machine, labels=labels)
    assert "stays untouched" in text_of(stage.reap())
    assert stage.account.running() == [name]


def test_a_cloud_that_did_not_answer_is_no_clean_sweep(stage: Stage) -> None:
    stage.account.silent = True
    error = verdict(stage.reap())
    assert isinstance(error, NotProvedGone)


def test_a_cloud_that_cannot_be_asked_is_no_clean_sweep(stage: Stage) -> None:
    stage.account.unproved = ("vast",)
    reaped = stage.reap()
    assert "cvl-ci cannot ask vast" in text_of(reaped)
    assert isinstance(verdict(reaped), NotProvedGone)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(RequestError) as caught:
        read_request("awss", grace="soon", regions=lambda _: ["us-east-1"], dashes="--")
    assert [mistake.field for mistake in caught.value.mistakes] == ["--cloud", "--grace"]
    with pytest.raises(RequestError, match="us-east-1"):
        read_request("aws/us-esat-1", grace="0", regions=lambda _: ["us-east-1"])


def test_nothing_found_is_no_error(stage: Stage) -> None:
    error: CvlError | None = verdict(stage.reap())
    assert error is None
