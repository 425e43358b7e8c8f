"""An API server's word is proof of what went through it, and of nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from cvl_ci.engine.machines import SkyPilotMachines
from cvl_ci.engine.server import server_inventory as served
from cvl_ci.errors import CredentialsError, EngineError
from cvl_ci.model.ledger import Life, Memory
from cvl_ci.model.location import Location
from cvl_ci.ports import Inventory
from cvl_ci.wiring import OpenClouds

THERE = Location(cloud=served.CLOUD, region="us-east-1")
AWS = Location(cloud="aws")


@dataclass
class Server:
    """An engine whose server still has these of a lease."""

    left: list[dict[str, str]] = field(default_factory=list)
    broken: bool = False
    down_of: list[str] = field(default_factory=list)
    recorded: list[dict[str, Any]] = field(default_factory=list)

    def recorded_on_server(self, _cluster: str) -> list[dict[str, Any]]:
        return self.recorded

    def on_server(self, _cluster: str | None) -> list[dict[str, str]]:
        if self.broken:
            raise EngineError("It did not answer within 120 s.")
        return self.left

    def down(self, cluster: str) -> None:
        self.down_of.append(cluster)


def inventory(server: Server) -> served.ServedInventory:
    return served.ServedInventory(cast("SkyPilotMachines", server), endpoint="https://sky.example.com:46580/team")


def test_nothing_left_of_what_went_through_it_is_clean_and_names_the_host_alone() -> None:
    found = inventory(Server()).find(lease="cvl-1", locations=[THERE])
    [asked] = found.asked
    assert (asked.clean, asked.region, found.unproved) == (True, "sky.example.com", ())


@pytest.mark.parametrize("locations", [[AWS], []])
def test_it_proves_nothing_of_a_lease_that_it_has_never_heard_of(locations: list[Location]) -> None:
    found = inventory(Server()).find(lease="cvl-1", locations=locations)
    assert (found.asked, found.read()[0]) == ((), ())
    assert found.unproved


def test_its_records_date_the_machines_that_came_up_and_name_those_that_may_not_have() -> None:
    record = {"cloud": "aws", "region": "us-east-1", "instance_type": "m6i.large", "spot": False, "hourly_usd": 0.1}
    dated = {**record, "nodes": 2, "came_up": True, "start": 1.0, "end": 61.0, "slack": 2.0}
    server = Server(recorded=[dated, {**dated, "came_up": False, "region": "us-west-2", "end": None}])
    memory = inventory(server).lives(lease="cvl-1", locations=[THERE])
    assert [(life.region, life.start, life.end, life.is_gone) for life in memory.lives] == [
        ("us-east-1", 1.0, 61.0, True)
    ] * 2
    assert len({life.id for life in memory.lives}) == 2
    assert [life.region for life in memory.requested] == ["us-east-1", "us-west-2"]
    assert not memory.remembers("aws", seconds=1.0), "a machine that a record lacks may have lived"


class Aws:
    """AWS by keys of this computer. `lives_`: machines of the lease in that account; None: it refuses to tell."""

    def __init__(self, *lives: Life, refuses: bool = False) -> None:
        self._lives, self._refuses = lives, refuses
        self.asked: list[Location] = []

    def lives(self, *, lease: str, locations: list[Location]) -> Memory:
        assert lease == "cvl-1"
        self.asked += locations
        if self._refuses:
            raise EngineError("UnauthorizedOperation")
        return Memory(lives=self._lives, clouds=frozenset({"aws"}))


TAKEN = Life(id="i-1", cloud="aws", region="us-east-1", spot=True, start=2.0, end=50.0, is_gone=True, was_taken=True)
RECORD = {
    "cloud": "aws",
    "region": "us-east-1",
    "instance_type": "m6i.large",
    "spot": True,
    "hourly_usd": 0.1,
    "nodes": 1,
    "came_up": True,
    "start": 1.0,
    "end": 61.0,
    "slack": 2.0,
}


def seen_by(aws: Aws, *records: dict[str, Any]) -> Memory:
    machines = cast("SkyPilotMachines", Server(recorded=list(records)))
    served_by = served.ServedInventory(machines, endpoint="https://sky.example.com", aws=cast("Inventory", aws))
    return served_by.lives(lease="cvl-1", locations=[THERE, Location(cloud=served.CLOUD, region="us-central1")])


def test_with_keys_of_aws_here_aws_itself_dates_the_machines_and_tells_who_ended_them() -> None:
    aws = Aws(TAKEN)
    memory = seen_by(aws, RECORD, {**RECORD, "region": "us-west-2"})
    assert aws.asked == [Location(cloud="aws", region=region) for region in ("us-east-1", "us-west-2")]
    assert [(life.region, life.start, life.is_recorded) for life in memory.lives] == [
        ("us-west-2", 1.0, True),
        ("us-east-1", 2.0, False),
    ], "where AWS shows no machine, the record stands"
    assert memory.lives[1].was_taken
    assert [life.region for life in memory.requested] == ["us-east-1", "us-west-2"], "the record has the price"
    assert not memory.remembers("aws", seconds=1.0), "the keys may be of another account"


@pytest.mark.parametrize("aws", [Aws(), Aws(refuses=True)], ids=["another account", "no right"])
def test_keys_that_show_nothing_leave_the_record_of_the_server(aws: Aws) -> None:
    [life] = seen_by(aws, RECORD).lives
    assert (life.start, life.end, life.is_recorded) == (1.0, 61.0, True)
    assert aws.asked


@pytest.mark.parametrize(
    ("variables", "asks"),
    [({}, False), ({"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x"}, True), ({"AWS_PROFILE": "ci"}, True)],
)
def test_a_run_through_a_server_asks_aws_only_with_keys_in_its_environment(
    variables: dict[str, str], asks: bool
) -> None:
    environ = {"HOME": "/nowhere", served.ADDRESS: "https://sky.example.com", **variables}
    with OpenClouds(environ).open([AWS], user_id="u", watch=print) as cloud:
        assert (vars(cloud.inventory)["_aws"] is not None) is asks


def test_a_server_that_does_not_answer_is_not_clean() -> None:
    [asked] = inventory(Server(broken=True)).find(lease="cvl-1", locations=[THERE]).asked
    assert not asked.clean


def test_a_launch_that_is_under_way_is_left_and_is_ended_by_the_lease_s_name() -> None:
    server = Server(left=[{"kind": "launch", "id": "request-7", "state": "pending"}])
    found = inventory(server).find(lease="cvl-1", locations=[THERE])
    assert not found.asked[0].clean
    inventory(server).remove(found.read()[0])
    assert server.down_of == ["cvl-1"]


@pytest.mark.parametrize(
    ("locations", "by_record", "through"),
    [([AWS], False, True), ([AWS], True, False), ([THERE], True, True), ([], True, False), ([], False, True)],
)
def test_a_lease_goes_where_its_record_says_and_a_new_run_through_the_server(
    locations: list[Location], by_record: bool, through: bool
) -> None:
    environ = {served.ADDRESS: "https://sky.example.com"}
    assert served.goes_through(locations, environ, by_record=by_record) is through


def test_without_its_address_a_lease_that_went_through_it_is_no_other_cloud_s() -> None:
    environ: dict[str, Any] = {"HOME": "/nowhere"}
    with pytest.raises(CredentialsError, match="may still be running"):
        OpenClouds(environ, by_record=True).open([THERE], user_id="u", watch=print).__enter__()
