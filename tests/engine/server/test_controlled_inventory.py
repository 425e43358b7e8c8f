"""Managed jobs and services of replicas by a server's word: what is not proved over is left, silence proves nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from cvl_ci.clouds.aws.inventory import AwsInventory
from cvl_ci.engine.machines import SkyPilotMachines
from cvl_ci.engine.server.controlled_inventory import ControlledInventory
from cvl_ci.engine.server.managed_machines import ManagedMachines
from cvl_ci.engine.server.serve_machines import ReplicaMachines
from cvl_ci.errors import EngineError
from cvl_ci.model.lease_name import LABEL_DEADLINE, LABEL_LEASE
from cvl_ci.model.location import MANAGED, REPLICATED, Location
from cvl_ci.model.release import ProviderCheck
from cvl_ci.model.resource import in_removal_order
from cvl_ci.ports import InventoryResult, Resource, ResourceKind
from cvl_ci.wiring.clouds import OpenClouds
from cvl_ci.wiring.sweep import all_places

LEASE = "cvl-1a-0123abcd"
JOB = {"kind": "managed job", "id": "7", "name": LEASE, "state": "running", "labels": {LABEL_DEADLINE: "99"}}
SERVICE = {"kind": "service", "id": LEASE, "name": LEASE, "state": "ready", "labels": {LABEL_DEADLINE: "99"}}
MACHINE = {"kind": "cluster", "id": f"{LEASE}-1", "name": LEASE, "state": "alive", "labels": {}}
WORK = {MANAGED: JOB, REPLICATED: SERVICE}
of_both_kinds = pytest.mark.parametrize("cloud", [MANAGED, REPLICATED])


def there(cloud: str) -> Location:
    return Location(cloud=cloud, region="us-east-1")


@dataclass
class Server:
    left: list[dict[str, Any]] = field(default_factory=list)
    broken: bool = False
    down_of: list[str] = field(default_factory=list)

    def on_server(self, _cluster: str | None) -> list[dict[str, Any]]:
        if self.broken:
            raise EngineError("It did not answer within 120 s.")
        return self.left

    def down(self, cluster: str) -> None:
        self.down_of.append(cluster)


def inventory(server: Server, cloud: str) -> ControlledInventory:
    machines = cast("SkyPilotMachines", server)
    return ControlledInventory(machines, cloud=cloud, endpoint="https://sky.example.com:46580/team")


@of_both_kinds
def test_a_lease_without_living_work_is_clean_and_the_proof_names_the_host_alone(cloud: str) -> None:
    answer = inventory(Server(), cloud).find(lease=LEASE, locations=[there(cloud)])
    [check] = answer.asked
    assert (check.clean, check.provider, check.region, answer.unproved) == (True, cloud, "sky.example.com", ())
    assert f"{WORK[cloud]['kind']}s" in check.kinds


def test_a_living_job_is_left_and_may_launch_more_machines() -> None:
    answer = inventory(Server(left=[JOB]), MANAGED).find(lease=LEASE, locations=[there(MANAGED)])
    [job], silent = answer.read()
    assert (job.kind, job.id, job.is_leftover) == (ResourceKind.MANAGED_JOB, "7", True)
    assert not silent
    assert job.kind.creates_others
    assert answer.asked[0].leftovers == ("managed job 7 (running)",)


def test_a_service_is_left_may_launch_more_machines_and_goes_before_them() -> None:
    answer = inventory(Server(left=[MACHINE, SERVICE]), REPLICATED).find(lease=LEASE, locations=[there(REPLICATED)])
    resources, silent = answer.read()
    assert not silent
    assert answer.asked[0].leftovers == (f"cluster {LEASE}-1 (alive)", f"service controller {LEASE} (ready)")
    [controller], [machine] = in_removal_order(resources)
    assert (controller.kind, machine.kind) == (ResourceKind.SERVICE_CONTROLLER, ResourceKind.CLUSTER)
    assert controller.kind.creates_others and controller.is_leftover


@of_both_kinds
def test_a_server_that_does_not_answer_proves_nothing(cloud: str) -> None:
    answer = inventory(Server(broken=True), cloud).find(lease=LEASE, locations=[there(cloud)])
    assert not answer.asked[0].clean
    assert answer.read()[1]


@of_both_kinds
def test_an_answer_of_an_unknown_kind_proves_nothing(cloud: str) -> None:
    unknown = {**WORK[cloud], "kind": "pool"}
    answer = inventory(Server(left=[unknown]), cloud).find(lease=LEASE, locations=[there(cloud)])
    assert not answer.asked[0].clean
    assert answer.read()[1]


@of_both_kinds
def test_a_lease_of_another_place_is_unproved(cloud: str) -> None:
    answer = inventory(Server(), cloud).find(lease=LEASE, locations=[Location(cloud="aws")])
    assert (answer.asked, answer.unproved) == ((), ("aws",))


@of_both_kinds
def test_a_question_without_a_name_shows_the_work_of_leases_with_its_labels(cloud: str) -> None:
    others = {**WORK[cloud], "id": "8", "name": "train-llama"}
    answer = inventory(Server(left=[WORK[cloud], others]), cloud).find(lease=None, locations=[there(cloud)])
    [own], _ = answer.read()
    assert own.labels == {LABEL_DEADLINE: "99", LABEL_LEASE: LEASE}
    assert answer.asked[0].clean


@of_both_kinds
def test_removing_work_ends_it_by_the_name_of_its_lease(cloud: str) -> None:
    server = Server(left=[WORK[cloud]])
    one = inventory(server, cloud)
    one.remove(one.find(lease=LEASE, locations=[there(cloud)]).read()[0])
    assert server.down_of == [LEASE]


def test_a_sweep_with_a_server_asks_for_its_jobs_and_for_its_services(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"SKYPILOT_API_SERVER_ENDPOINT": "https://sky.example.com", "HOME": "/nonexistent"}
    places = [place for place in all_places(environ) if place.cloud in {MANAGED, REPLICATED}]
    assert {place.cloud for place in places} == {MANAGED, REPLICATED}
    monkeypatch.setattr(ManagedMachines, "on_server", lambda *_: [])
    monkeypatch.setattr(ReplicaMachines, "on_server", lambda *_: [SERVICE])
    with OpenClouds(environ, by_record=True).open(places, user_id="u", watch=print) as cloud:
        answer = cloud.inventory.find(lease=None, locations=places)
    [service], silent = answer.read()
    assert (service.provider, silent) == (REPLICATED, ())
    assert {check.provider for check in answer.asked} == {MANAGED, REPLICATED}


def test_the_record_of_a_service_leads_to_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"SKYPILOT_API_SERVER_ENDPOINT": "https://sky.example.com", "HOME": "/nonexistent"}
    monkeypatch.setattr(ReplicaMachines, "on_server", lambda *_: [])
    with OpenClouds(environ, by_record=True).open([there(REPLICATED)], user_id="u", watch=print) as cloud:
        [check] = cloud.inventory.find(lease=LEASE, locations=[there(REPLICATED)]).asked
    assert (check.provider, check.clean, cloud.through) == (REPLICATED, True, REPLICATED)


@pytest.mark.parametrize("lease", [None, LEASE])
def test_an_environment_is_looked_for_at_its_server_and_on_a_cloud(
    monkeypatch: pytest.MonkeyPatch, lease: str | None
) -> None:
    """An older service may have one machine there. The server ends a service, and the cloud that machine."""
    environ = {"SKYPILOT_API_SERVER_ENDPOINT": "https://sky.example.com", "HOME": "/nonexistent"}
    machine = Resource(
        provider="aws",
        region="us-east-1",
        kind=ResourceKind.MACHINE,
        id="i-1",
        state="running",
        labels={LABEL_LEASE: LEASE},
    )
    check = ProviderCheck(provider="aws", region="us-east-1", kinds=("instances",), leftovers=("i-1",))
    removed: list[str] = []
    monkeypatch.setattr(AwsInventory, "find", lambda *_, **__: InventoryResult(resources=[machine], asked=[check]))
    monkeypatch.setattr(AwsInventory, "remove", lambda _, resources: removed.extend(one.id for one in resources))
    monkeypatch.setattr(ReplicaMachines, "on_server", lambda *_: [SERVICE])
    monkeypatch.setattr(ReplicaMachines, "down", lambda _, cluster: removed.append(cluster))
    locations = [Location(cloud=REPLICATED), Location(cloud="aws")]
    with OpenClouds(environ, to_end=True).open(locations, user_id="u", watch=print) as cloud:
        answer = cloud.inventory.find(lease=lease, locations=locations)
        resources, silent = answer.read()
        assert ({one.provider for one in resources}, silent) == ({REPLICATED, "aws"}, ())
        assert {check.provider for check in answer.asked} == {REPLICATED, "aws"}
        cloud.inventory.remove(resources)
    assert sorted(removed) == [LEASE, "i-1"]
