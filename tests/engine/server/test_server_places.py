"""The places of an API server's launch, from its lines: each further one ends an attempt, refused or perhaps not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cvl_ci.engine.machines import SkyPilotMachines
from cvl_ci.engine.process import WorkerFailed
from cvl_ci.engine.server.server_lines import ServerPlace
from cvl_ci.engine.server.server_places import ServerPlaces
from cvl_ci.errors import CvlError
from cvl_ci.model.limits import Limits
from cvl_ci.model.offer import Offer
from cvl_ci.ports import AttemptFailed, Attempting, AttemptNamed, Event
from tests.engine.test_deadline import ATTEMPT, StandIn, clock, machines, request
from tests.support.fakes import FakeClock

__all__ = ["clock", "machines"]

FIRST = "\x1b[0m\u2699\ufe0e Launching on AWS us-east-1\x1b[0m (us-east-1a)."
SECOND = "\u2699\ufe0e Launching on AWS us-east-1 (us-east-1b,us-east-1c)."
ON_GCP = "\u2699\ufe0e Launching on GCP us-central1 (us-central1-a)."
ON_KUBERNETES = "\u2699\ufe0e Launching on Kubernetes."
REFUSED = "  AWS handler error: An error occurred (InsufficientInstanceCapacity) when calling RunInstances"
QUOTA = "An error occurred (VcpuLimitExceeded) when calling the RunInstances operation: You have requested more vCPU"


def heard(*lines: str) -> tuple[list[tuple[ServerPlace, bool]], ServerPlaces]:
    moves: list[tuple[ServerPlace, bool]] = []
    places = ServerPlaces(lambda place, is_refused: moves.append((place, is_refused)))
    for line in lines:
        places(line)
    return moves, places


def test_the_first_place_is_the_announced_attempt_and_a_repeated_line_is_no_move() -> None:
    moves, places = heard("Considered resources (1 node):", FIRST, FIRST, "Waiting for SSH to AWS", FIRST)
    assert moves == []
    assert places.had_machines


@pytest.mark.parametrize(("line", "is_refused"), [(REFUSED, True), (QUOTA, True), ("Waiting for SSH", False)])
def test_a_further_place_tells_whether_the_one_before_refused(line: str, is_refused: bool) -> None:
    moves, places = heard(FIRST, line, SECOND)
    assert moves == [(ServerPlace(cloud="aws", region="us-east-1", zone="us-east-1b,us-east-1c"), is_refused)]
    assert places.had_machines, "a refusal counts for its own place alone"


ZONE_REFUSED = (
    "W instance.py:415] create_instances: Attempt failed with An error occurred (InsufficientInstanceCapacity)"
)
TIMED_OUT = 'AWS handler error: Read timeout on endpoint URL: "http://10.149.48.1:39165/"'
ALL_ZONES = "AWS handler error: Failed to launch instances. Max attempts exceeded."
GIVEN_UP = (
    "sky.exceptions.ResourcesUnavailableError: Failed to acquire resources in all zones in us-east-1 for {AWS()}."
)


@pytest.mark.parametrize(
    ("lines", "may_have_machines"),
    [
        ((ZONE_REFUSED, TIMED_OUT, GIVEN_UP), True),
        ((ZONE_REFUSED, ZONE_REFUSED, ALL_ZONES, GIVEN_UP), False),
        ((ZONE_REFUSED, REFUSED, GIVEN_UP), False),
        ((TIMED_OUT, SECOND, ZONE_REFUSED, ALL_ZONES), False),
    ],
)
def test_one_zone_that_refuses_is_no_refusal_of_the_place(lines: tuple[str, ...], may_have_machines: bool) -> None:
    """As a run on the sandbox had it: the second zone made a machine, and then the provider's API timed out."""
    _, places = heard(FIRST, *lines)
    assert places.had_machines is may_have_machines


def test_other_clouds_and_the_last_refusal() -> None:
    moves, places = heard(FIRST, REFUSED, ON_GCP, ON_KUBERNETES, REFUSED)
    assert [(place.cloud, place.region, refused) for place, refused in moves] == [
        ("gcp", "us-central1", True),
        ("kubernetes", "", False),
    ]
    assert not places.had_machines


@pytest.mark.parametrize("line", ["", "Launching on", "Launching on AWS " + "x" * 5000 + ".", "\x00\ud800 Launching"])
def test_any_other_line_names_no_place(line: str) -> None:
    moves, places = heard(line, REFUSED)
    assert (moves, places.had_machines) == ([], False)


# ---- a launch through a server --------------------------------------------------------------------------------------

COMMON: dict[str, Any] = {"instance_type": "m6i.large", "accelerators": {}, "spot": False}
OFFERS = (
    Offer(cloud="aws", region="us-east-1", hourly_usd=0.1, **COMMON),
    Offer(cloud="aws", region="us-east-1", hourly_usd=0.2, most_usd=0.3, **COMMON),
    Offer(cloud="gcp", region="us-central1", hourly_usd=0.9, **COMMON),
)
ANY = {**ATTEMPT, "cloud": "any", "region": "", "zone": None, "instance_type": "", "hourly_usd": None}


def launched(
    machines: SkyPilotMachines, clock: FakeClock, lines: list[str], *, fails: bool = False
) -> list[Attempting | AttemptFailed]:
    """Return the events of a launch whose server streams these lines."""
    events: list[Event] = []

    def during(call: dict[str, Any]) -> None:
        call["on_event"]({"kind": "attempting", "attempt": ANY})
        for line in lines:
            call["on_line"](line)
        if fails:
            raise WorkerFailed(error="ResourcesUnavailableError", text="no place has it", trace="")

    StandIn.during = staticmethod(during)
    work: Callable[[], object] = lambda: machines.launch(  # noqa: E731
        replace(request(clock, Limits()), offers=OFFERS), watch=events.append
    )
    if fails:
        with pytest.raises(CvlError):
            work()
    else:
        work()
    return [event for event in events if isinstance(event, AttemptFailed | Attempting)]


def test_the_dearest_offer_bounds_what_the_server_does_not_name(machines: SkyPilotMachines, clock: FakeClock) -> None:
    [first] = launched(machines, clock, [FIRST])
    assert (first.attempt.hourly_usd, first.attempt.is_bound) == (0.9, True)


def test_each_place_is_an_attempt_with_the_dearest_price_there(machines: SkyPilotMachines, clock: FakeClock) -> None:
    lines = [ON_GCP, REFUSED, FIRST, "Waiting for SSH", SECOND]
    first, refused, second, failed, third = launched(machines, clock, lines)
    assert isinstance(refused, AttemptFailed) and isinstance(failed, AttemptFailed)
    assert (refused.attempt.machines, failed.attempt.machines) == (0, 2), "two nodes may have come up there"
    assert (first.attempt.hourly_usd, second.attempt.hourly_usd, third.attempt.hourly_usd) == (0.9, 0.3, 0.3)
    assert failed.attempt.where == "aws/us-east-1a"


@pytest.mark.parametrize(("lines", "count"), [([], 0), ([FIRST, REFUSED], 0), ([FIRST, "Waiting for SSH"], 2)])
def test_a_launch_that_fails_costs_only_where_machines_may_have_come_up(
    machines: SkyPilotMachines, clock: FakeClock, lines: list[str], count: int
) -> None:
    *_, last = launched(machines, clock, lines, fails=True)
    assert isinstance(last, AttemptFailed)
    assert last.attempt.machines == count


RECORD = {**COMMON, "cloud": "aws", "region": "us-east-1", "zone": None, "hourly_usd": 0.25}


def named(
    machines: SkyPilotMachines, clock: FakeClock, *script: str | dict[str, Any]
) -> list[Attempting | AttemptNamed | AttemptFailed]:
    """Return the events of a launch: the server streams a text, and the worker reads a record from it."""
    events: list[Event] = []

    def during(call: dict[str, Any]) -> None:
        call["on_event"]({"kind": "attempting", "attempt": ANY})
        for one in script:
            if isinstance(one, str):
                call["on_line"](one)
            else:
                call["on_event"]({"kind": "named", "attempt": one})
        raise WorkerFailed(error="ResourcesUnavailableError", text="no place has it", trace="")

    StandIn.during = staticmethod(during)
    with pytest.raises(CvlError):
        machines.launch(replace(request(clock, Limits()), offers=OFFERS), watch=events.append)
    return [event for event in events if isinstance(event, Attempting | AttemptNamed | AttemptFailed)]


def test_the_server_s_record_names_the_machine_of_each_place(machines: SkyPilotMachines, clock: FakeClock) -> None:
    there = {**RECORD, "zone": "us-east-1b", "instance_type": "m6i.xlarge", "hourly_usd": 0.28}
    _, first, failed, second, named_second, last = named(
        machines, clock, FIRST, RECORD, "Waiting for SSH", SECOND, there
    )
    assert (first.attempt.hourly_usd, first.attempt.zone, first.attempt.is_bound) == (0.25, None, False)
    assert isinstance(failed, AttemptFailed) and failed.attempt.hourly_usd == 0.25
    assert (second.attempt.hourly_usd, second.attempt.is_bound) == (0.3, True), "a bound, until the record names it"
    assert named_second.attempt.where == "aws/us-east-1b"
    assert isinstance(last, AttemptFailed)
    assert (last.attempt.hourly_usd, last.attempt.is_bound, last.attempt.machines) == (0.28, False, 2)


def test_another_machine_at_the_same_place_is_one_more_attempt(machines: SkyPilotMachines, clock: FakeClock) -> None:
    larger = {**RECORD, "instance_type": "m6i.xlarge", "hourly_usd": 0.28}
    events = named(machines, clock, FIRST, RECORD, REFUSED, FIRST, larger, larger)
    kinds = [type(event) for event in events]
    assert kinds == [Attempting, AttemptNamed, AttemptFailed, Attempting, AttemptNamed, AttemptNamed, AttemptFailed]
    assert (events[2].attempt.instance_type, events[2].attempt.machines) == ("m6i.large", 0)
    assert (events[-1].attempt.instance_type, events[-1].attempt.machines) == ("m6i.xlarge", 2)


@pytest.mark.parametrize(
    "record",
    [
        {**RECORD, "region": "us-west-2"},
        {**RECORD, "zone": "us-east-1f"},
        {**RECORD, "cloud": "gcp"},
        {**RECORD, "instance_type": "p5.48xlarge", "hourly_usd": None},
        {**RECORD, "hourly_usd": 0.0, "spot": True},
    ],
)
def test_a_record_of_another_place_or_without_a_price_names_nothing(
    machines: SkyPilotMachines, clock: FakeClock, record: dict[str, Any]
) -> None:
    first, last = named(machines, clock, FIRST, record)
    assert first.attempt.is_bound and last.attempt.is_bound
    assert last.attempt.hourly_usd == 0.9


def test_without_a_catalogue_here_the_quote_prices_the_recorded_machine(
    machines: SkyPilotMachines, clock: FakeClock
) -> None:
    _, first, _ = named(
        machines, clock, ON_GCP, {**RECORD, "cloud": "gcp", "region": "us-central1", "hourly_usd": None}
    )
    assert (first.attempt.hourly_usd, first.attempt.is_bound) == (0.9, False)
