"""Managed jobs by a server's word: a job that is not proved over is left, and silence proves nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from cvl_ci.engine.managed_inventory import ManagedInventory
from cvl_ci.engine.managed_machines import ManagedMachines
from cvl_ci.errors import EngineError
from cvl_ci.model.lease_name import LABEL_DEADLINE, LABEL_LEASE
from cvl_ci.model.location import MANAGED, Location
from cvl_ci.ports import ResourceKind

LEASE = "cvl-1a-0123abcd"
THERE = Location(cloud=MANAGED, region="us-east-1")
JOB = {"kind": "managed job", "id": "7", "name": LEASE, "state": "running", "labels": {LABEL_DEADLINE: "99"}}


@dataclass
class Server:
    left: list[dict[str, Any]] = field(default_factory=list)
    broken: bool = False
    down_of: list[str] = field(default_factory=list)

    def jobs_on_server(self, _cluster: str | None) -> list[dict[str, Any]]:
        if self.broken:
            raise EngineError("It did not answer within 120 s.")
        return self.left

    def down(self, cluster: str) -> None:
        self.down_of.append(cluster)


def inventory(server: Server) -> ManagedInventory:
    return ManagedInventory(cast("ManagedMachines", server), endpoint="https://sky.example.com:46580/team")


def test_a_lease_without_a_living_job_is_clean_and_the_proof_names_the_host_alone() -> None:
    answer = inventory(Server()).find(lease=LEASE, locations=[THERE])
    [check] = answer.asked
    assert (check.clean, check.provider, check.region, answer.unproved) == (True, MANAGED, "sky.example.com", ())


def test_a_living_job_is_left_and_may_launch_more_machines() -> None:
    answer = inventory(Server(left=[JOB])).find(lease=LEASE, locations=[THERE])
    [job], silent = answer.read()
    assert (job.kind, job.id, job.is_leftover) == (ResourceKind.MANAGED_JOB, "7", True)
    assert not silent
    assert job.kind.creates_others
    assert answer.asked[0].leftovers == ("managed job 7 (running)",)


def test_a_server_that_does_not_answer_proves_nothing() -> None:
    answer = inventory(Server(broken=True)).find(lease=LEASE, locations=[THERE])
    assert not answer.asked[0].clean
    assert answer.read()[1]


def test_a_lease_of_another_place_is_unproved() -> None:
    answer = inventory(Server()).find(lease=LEASE, locations=[Location(cloud="aws")])
    assert (answer.asked, answer.unproved) == ((), ("aws",))


def test_a_question_without_a_name_shows_the_jobs_of_leases_with_the_labels_of_their_machines() -> None:
    others = {**JOB, "id": "8", "name": "train-llama"}
    [job], _ = inventory(Server(left=[JOB, others])).find(lease=None, locations=[THERE]).read()
    assert job.labels == {LABEL_DEADLINE: "99", LABEL_LEASE: LEASE}


def test_removing_a_job_cancels_it_by_the_name_of_its_lease() -> None:
    server = Server(left=[JOB])
    one = inventory(server)
    one.remove(one.find(lease=LEASE, locations=[THERE]).read()[0])
    assert server.down_of == [LEASE]
