"""A service with several replicas on a server in a dict: handed over until its one deadline, and updated in place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.commands.deploy import update as updates
from cvl_ci.commands.deploy.update import Updated
from cvl_ci.commands.run import run as running
from cvl_ci.commands.run.state import RunPorts
from cvl_ci.errors import EngineError, RequestError
from cvl_ci.local.lease_records import as_text, from_text
from cvl_ci.model.lease_name import LABEL_DEADLINE, LABEL_KEPT, LABEL_SERVICE, service_url
from cvl_ci.model.location import REPLICATED
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.outcome import Ending, Outcome
from cvl_ci.model.owner import Owner
from cvl_ci.model.replicas import ReplicaPlan
from cvl_ci.model.secret import Secret
from cvl_ci.ports import LeaseRecord
from tests.commands.test_deploy import OWNER, PLAN, SERVICE, TOKEN, House
from tests.support.fakes import FakeClouds, FakePrices, FakeStaging

REPLICAS = ReplicaPlan(least=2, most=2, policy={"replicas": 2}, probe_token=Secret("of-the-probe"))
REPLICA_PLAN = replace(PLAN, service=replace(SERVICE, replicas=REPLICAS), machines=replace(PLAN.machines, num_nodes=2))
LATER = Owner(repository="a/b", run="2")


class ServedHouse(House):
    """The same deployment, where an API server answers for the cloud. Its load balancer has a port of its own."""

    def __init__(self, folder: Path, *, ready_after: float | None = 100.0) -> None:
        super().__init__(folder, ready_after=ready_after)
        self.engine.address = lambda: "10.0.0.1:30001"  # type: ignore[method-assign]

    @property
    def ports(self) -> RunPorts:
        return RunPorts(
            clouds=FakeClouds(self.engine, through=REPLICATED),
            records=self.records,
            staging=FakeStaging(self.folder),
            reporter=self.reporter,
            prices=FakePrices(),
            clock=self.clock,
            services=self.services,
            token=TOKEN,
        )

    def deploy(self) -> Outcome:
        return running.run(REPLICA_PLAN, owner=OWNER, outputs=self.folder / "out", ports=self.ports)

    def record(self, token: str = TOKEN) -> LeaseRecord:
        return updates.open_record(
            OWNER.name,
            records=self.records,
            services=self.services,
            token=token,
            field="--update",
            warn=self.reporter.warning,
        )

    def update(self) -> Updated:
        return updates.update(REPLICA_PLAN, self.record(), owner=LATER, outputs=self.folder / "out", ports=self.ports)


@pytest.fixture
def house(tmp_path: Path) -> ServedHouse:
    return ServedHouse(tmp_path)


def test_the_service_stays_under_its_lease_until_the_deadline_of_its_task(house: ServedHouse) -> None:
    outcome = house.deploy()
    assert (outcome.ending, outcome.exit_code) == (Ending.SUCCEEDED, 0), outcome.reason
    assert outcome.machines.service is not None and outcome.machines.service.url == "http://10.0.0.1:30001"
    record = house.records.kept[OWNER.name]
    assert from_text(OWNER.name, as_text(record)) == record
    assert record.released_at is None and service_url(record.labels) == "http://10.0.0.1:30001"
    [machine] = house.cloud.machines.values()
    deadline = str(int(record.deadline))
    assert machine.labels[LABEL_DEADLINE] == machine.labels[LABEL_KEPT] == deadline, "from its birth on"
    assert outcome.release is not None and outcome.release.kept is not None
    assert outcome.release.kept.until == record.deadline >= house.clock.now() + SERVICE.ttl_minutes * 60


def test_a_server_that_does_not_show_the_service_leaves_none_alone(house: ServedHouse) -> None:
    house.engine.at = lambda step: setattr(house.cloud, "silent", step == "keep" or house.cloud.silent)
    outcome = house.deploy()
    assert outcome.release is not None and outcome.release.kept is None
    assert any("does not show the service" in warning for warning in outcome.warnings)


def test_an_update_has_a_deadline_of_its_own_and_the_same_address(house: ServedHouse) -> None:
    house.deploy()
    before = house.records.kept[OWNER.name]
    house.clock.sleep(600)
    updated = house.update()
    assert (updated.exit_code, updated.problem) == (0, "")
    assert updated.service is not None and updated.service.url == service_url(before.labels)
    record = house.records.kept[OWNER.name]
    assert record.deadline == updated.until > before.deadline
    _, new = house.cloud.machines.values()
    assert new.labels[LABEL_DEADLINE] == new.labels[LABEL_KEPT] == record.labels[LABEL_DEADLINE]
    assert LABEL_SERVICE not in new.labels and new.labels["cvl-ci-lease"] == OWNER.name
    assert house.engine.downs == []


@pytest.mark.parametrize("fault", ["late", "ended", "refused"])
def test_an_update_that_fails_takes_nothing_down_and_tells_why(house: ServedHouse, fault: str) -> None:
    house.deploy()
    if fault == "late":
        house.services.status = 503
    elif fault == "ended":
        house.engine.ends = (NodeEnd(rank=0, exit_code=7),)
    else:
        house.engine.failure = EngineError("The API server refused it.")
    updated = house.update()
    assert updated.exit_code == {"late": 124, "ended": 7, "refused": 70}[fault]
    assert updated.problem and updated.service is None
    assert house.cloud.running() and house.engine.downs == []
    assert house.records.kept[OWNER.name].released_at is None


def test_what_cannot_be_updated_is_refused(house: ServedHouse) -> None:
    with pytest.raises(RequestError, match="not an open service"):
        house.record()
    house.deploy()
    with pytest.raises(RequestError, match="not the token of this service") as refused:
        house.record("another-token-0123456789")
    assert "another-token" not in str(refused.value)
    record = house.records.kept[OWNER.name]
    house.records.write(replace(record, locations=PLAN.machines.locations))
    with pytest.raises(RequestError, match="has one machine"):
        house.record()
    house.records.write(replace(record, released_at=house.clock.now()))
    with pytest.raises(RequestError, match="not an open service"):
        house.record()


@pytest.mark.parametrize(
    ("fault", "is_told"), [("", False), ("unreachable", True), ("no replica", True), ("its own 404", False)]
)
def test_a_token_that_could_not_be_compared_is_one_warning(house: ServedHouse, fault: str, is_told: bool) -> None:
    house.deploy()
    house.reporter.said.clear()
    if fault == "unreachable":
        house.services.is_reachable = False
    elif fault:
        house.services.status = {"no replica": 503, "its own 404": 404}[fault]
    house.record()
    warnings = [text for text in house.reporter.said if "could not compare" in text]
    assert len(warnings) == is_told
    assert not is_told or ("The update goes on" in warnings[0] and "CVL_CI_DEPLOY_TOKEN" in warnings[0])
    assert TOKEN not in "".join(warnings)


def test_a_server_that_still_starts_has_taken_the_token(house: ServedHouse) -> None:
    """Its proxy answers for it: 401 for another token, else 503."""
    house.deploy()
    house.reporter.said.clear()
    house.services.ready_at = None
    house.record()
    assert not any("could not compare" in text for text in house.reporter.said)
