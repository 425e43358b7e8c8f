"""`down --all` looks at who was silent: what no provider said is never "nothing is left"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from cvl_ci.commands.reap import down, down_text
from cvl_ci.commands.reap.down import Downed, DownPorts
from cvl_ci.errors import EngineError
from cvl_ci.model.location import Location
from cvl_ci.model.release import ProviderCheck
from cvl_ci.ports import InventoryResult, LeaseRecord, Resource, ResourceKind
from tests.support.fakes import FakeClock

AWS, GCP = Location(cloud="aws"), Location(cloud="gcp")
REFUSED = ProviderCheck(provider="aws", region="us-east-1", kinds=("instances",), error="AuthFailure: not validated")
CLEAN = ProviderCheck(provider="aws", region="us-east-1", kinds=("instances",))


class Nothing:
    """Records of no lease, and a workflow that is told nothing."""

    def all(self) -> list[Any]:
        return []

    def show(self, text: str) -> None: ...

    def notice(self, text: str) -> None: ...

    warning = notice


@dataclass
class Opened:
    found: InventoryResult

    @property
    def inventory(self) -> Opened:
        return self

    def find(self, *, lease: str | None, places: Sequence[Location]) -> InventoryResult:
        return self.found


@dataclass
class Played:
    """Cloud → its answer; an exception is raised where it is opened."""

    answers: dict[str, InventoryResult | Exception] = field(default_factory=dict)

    @contextmanager
    def open(self, places: Sequence[Location], **_: Any) -> Iterator[Opened]:
        answer = self.answers[places[0].cloud]
        if isinstance(answer, Exception):
            raise answer
        yield Opened(answer)


def everything(**answers: InventoryResult | Exception) -> tuple[Downed, str]:
    places = [Location(cloud=cloud) for cloud in answers]
    tools = DownPorts(
        clouds=cast("Any", Played(answers)),
        records=cast("Any", Nothing()),
        workflow=cast("Any", Nothing()),
        clock=FakeClock(),
    )
    downed = down.down([], everything=True, places=places, user_id="u", tools=tools)
    return downed, "\n".join(down_text.lines(downed, places=places))


def test_a_provider_that_answers_and_shows_nothing_is_proof() -> None:
    downed, text = everything(aws=InventoryResult(asked=[CLEAN]))
    assert downed.proved
    assert "Nothing of ours is left" in text
    assert "aws" in text


@pytest.mark.parametrize(
    "silence",
    [
        InventoryResult(asked=[REFUSED]),
        InventoryResult(asked=[CLEAN, REFUSED]),
        InventoryResult(unproved=["aws"]),
        InventoryResult(asked=[CLEAN], unproved=["aws"]),
        InventoryResult(),
        EngineError("The AWS client is not installed."),
    ],
)
def test_whoever_was_silent_proves_nothing(silence: InventoryResult | Exception) -> None:
    downed, text = everything(aws=silence)
    assert not downed.proved
    assert "Nothing of ours" not in text
    assert "NO WHOLE ANSWER" in text
    assert "billed" in text


def test_one_cloud_s_silence_hides_no_other_s_machines() -> None:
    pod = Resource(provider="gcp", region="r", kind=ResourceKind.MACHINE, id="ours", state="RUNNING", labels={})
    downed, text = everything(aws=EngineError("no client"), gcp=InventoryResult(resources=[pod], asked=[CLEAN]))
    assert [one.id for one in downed.unlabelled] == ["ours"]
    assert "named like ours" in text
    assert "no client" in text


def test_nobody_asked_is_said_and_nothing_claimed() -> None:
    downed, text = everything()
    assert downed.proved
    assert "No cloud was asked" in text
    assert "Nothing of ours" not in text


@pytest.mark.parametrize(
    "found",
    [
        InventoryResult(),
        InventoryResult(asked=[REFUSED]),
        InventoryResult(unproved=["x"]),
        InventoryResult(asked=[CLEAN, REFUSED]),
    ],
)
def test_findings_are_never_read_without_the_silence(found: InventoryResult) -> None:
    resources, silent = found.read()
    assert (resources, bool(silent)) == ((), True)
    assert bool(found.only([]).read()[1])
    with pytest.raises(AttributeError):
        found.resources  # type: ignore[attr-defined]  # noqa: B018


def record(**changed: Any) -> LeaseRecord:
    values = {"name": "cvl-7-0badcafe", "labels": {}, "deadline": 0.0, "locations": (GCP,), "taken_at": 0.0}
    return LeaseRecord(**{**values, **changed})


def test_a_machine_whose_lease_was_called_released_is_ended_when_a_provider_shows_it() -> None:
    released = {"cvl-7-0badcafe": record(released_at=1.0)}
    shown = Resource(
        kind=ResourceKind.MACHINE,
        id="i-1",
        region="us-east-1",
        provider="aws",
        state="running",
        labels={"cvl-ci-lease": "cvl-7-0badcafe"},
    )
    open_records = {name: one for name, one in released.items() if one.released_at is None}
    [found] = down._unknown([(AWS, shown)], open_records, FakeClock())
    assert (found.name, found.locations) == ("cvl-7-0badcafe", (AWS,))


def test_a_place_that_a_person_names_is_asked_as_well_as_those_of_the_record() -> None:
    known = {"cvl-7-0badcafe": record(regions=("gcp/us-central1",))}
    asked = down._known_or_new("cvl-7-0badcafe", known, [AWS], FakeClock())
    assert asked.locations == (AWS, GCP, Location(cloud="gcp", region="us-central1"))
    assert asked.regions == ()
