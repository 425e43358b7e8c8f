"""A deployment on a cloud in a dict: it is handed over only when it answers and refuses strangers; else it is gone."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.commands.run import run as running
from cvl_ci.commands.run import serving
from cvl_ci.errors import EngineError
from cvl_ci.lease import Lease
from cvl_ci.model.lease_name import (
    LABEL_DEADLINE,
    LABEL_DOMAIN,
    LABEL_KEPT,
    LABEL_SERVICE,
    service_address,
    service_labels,
    service_url,
)
from cvl_ci.model.limits import Limits
from cvl_ci.model.location import Location
from cvl_ci.model.loss import LossKind, Lost
from cvl_ci.model.node_end import NodeEnd
from cvl_ci.model.outcome import Ending, Outcome
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import MachinePlan, RunPlan, WorkPlan
from cvl_ci.model.secret import Secret
from cvl_ci.model.service import Probe, ServerKind, ServicePlan, TlsPlan, token_digest
from cvl_ci.ports import ServiceRequest
from cvl_ci.result.summary import lines, to_json
from tests import golden
from tests.support.fake_services import FakeServices
from tests.support.fakes import (
    FakeClock,
    FakeCloud,
    FakeClouds,
    FakeEngine,
    FakePrices,
    FakeRecords,
    FakeReporter,
    FakeStaging,
    Killed,
)

MESSAGES = golden.Messages(__name__)

TOKEN = "the-token-of-this-deployment-0123456789"
SERVICE = ServicePlan(
    port=8000,
    probe=Probe(path="/health", initial_delay_seconds=300),
    ttl_minutes=30,
    token_digest=token_digest(TOKEN),
)
PLAN = RunPlan(
    title="hello serve",
    work=WorkPlan(run_commands=("bash serve.sh",)),
    machines=MachinePlan(locations=(Location(cloud="aws"),)),
    limits=Limits(max_runtime_minutes=35),
    service=SERVICE,
)
OWNER = Owner(repository="a/b", run="1")
TO = ServiceRequest(url="http://x", token=TOKEN)
STEPS = ("warm", "launch", "asked", "created", "address", "follow", "ready", "keep", "unpack", "close", "down")


class House:
    """One deployment. `ready_after`: seconds from now until the server accepts connections; None: never."""

    def __init__(self, folder: Path, *, ready_after: float | None = 100.0) -> None:
        self.clock = FakeClock()
        self.cloud = FakeCloud(self.clock)
        self.engine = FakeEngine(self.cloud, ends=(NodeEnd(rank=0, exit_code=None),))
        self.records, self.reporter, self.folder = FakeRecords(folder), FakeReporter(), folder
        ready_at = None if ready_after is None else self.clock.now() + ready_after
        self.services = FakeServices(self.clock, digest=SERVICE.token_digest, ready_at=ready_at)

    def run(self, plan: RunPlan = PLAN) -> Outcome:
        ports = running.RunPorts(
            clouds=FakeClouds(self.engine),
            records=self.records,
            staging=FakeStaging(self.folder),
            reporter=self.reporter,
            prices=FakePrices(),
            clock=self.clock,
            services=self.services,
            token=TOKEN,
        )
        return running.run(plan, owner=OWNER, outputs=self.folder / "out", ports=ports)

    def assert_gone(self, outcome: Outcome) -> None:
        assert outcome.release is not None and outcome.release.gone and outcome.release.kept is None
        assert self.cloud.running() == []


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_service_that_answers_stays_under_its_lease_for_its_ttl(house: House) -> None:
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.SUCCEEDED, 0)
    service = outcome.machines.service
    assert service is not None and service.url == "http://10.0.0.1:8080"
    assert service.ready_seconds >= 100
    assert service.smoke is not None and (service.smoke.requests, service.smoke.status) == (20, 200)
    assert outcome.release is not None and outcome.release.kept is not None
    until = outcome.release.kept.until
    assert until == pytest.approx(house.clock.now() + 30 * 60, abs=5)
    (machine,) = house.cloud.machines.values()
    assert machine.state == "running"
    assert machine.labels[LABEL_DEADLINE] == machine.labels[LABEL_KEPT] == str(int(until))
    assert service_url(machine.labels) == service.url
    record = house.records.kept[OWNER.name]
    assert (record.deadline, record.released_at) == (until, None)
    assert house.records.fence(OWNER.name).exists(), "nothing else is launched under it"
    assert outcome.cost is not None and outcome.cost.kept_usd is not None and outcome.cost.kept_usd > 0


def test_what_is_told_has_the_url_the_end_and_the_way_to_stop_but_no_token(house: House) -> None:
    outcome = house.run()
    text = "\n".join(lines(outcome, width=200)) + json.dumps(to_json(outcome)) + "\n".join(house.reporter.said)
    assert "http://10.0.0.1:8080" in text and "kept until" in text and f"cvl-ci down {OWNER.name}" in text
    assert "for its service" in text and TOKEN not in text


def test_a_service_that_never_answers_times_out_and_is_gone(tmp_path: Path) -> None:
    house = House(tmp_path, ready_after=None)
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.TIMED_OUT, 124)
    assert "/health within 5 min" in outcome.reason
    assert any("accepted no connection" in warning for warning in outcome.warnings)
    house.assert_gone(outcome)


@pytest.mark.parametrize(("code", "exit_code"), [(0, 1), (3, 3), (98, 98)])
def test_a_server_that_ends_early_ends_the_deployment_with_its_code(house: House, code: int, exit_code: int) -> None:
    house.engine.ends = (NodeEnd(rank=0, exit_code=code),)
    house.engine.lines = ("OSError: address already in use",)
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.FAILED, exit_code)
    assert f"ended with code {code} before it answered" in outcome.reason
    assert house.reporter.remote_lines == ["OSError: address already in use"]
    house.assert_gone(outcome)


def test_a_door_without_a_lock_is_never_handed_over(house: House) -> None:
    house.services.is_open = True
    outcome = house.run()
    assert outcome.exit_code == 70 and "without the token was not refused" in outcome.reason
    house.assert_gone(outcome)


def test_an_error_of_the_server_is_not_ready(house: House) -> None:
    house.services.status = 500
    outcome = house.run()
    assert outcome.exit_code == 124
    assert any("answered 500" in warning for warning in outcome.warnings)
    house.assert_gone(outcome)


def test_a_machine_that_is_lost_before_it_answers_is_infrastructure(house: House) -> None:
    house.engine.lost = Lost(kind=LossKind.NODE_LOST, why="the provider shows 0 of its 1 nodes")
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.PREEMPTED, 75)
    house.assert_gone(outcome)


def test_a_broken_machine_is_no_fault_of_the_server(house: House) -> None:
    house.engine.ends = (NodeEnd(rank=0, exit_code=1),)
    house.engine.unfit = "GPU 0: ECC"
    outcome = house.run()
    assert (outcome.ending, outcome.exit_code) == (Ending.UNFIT, 75)
    house.assert_gone(outcome)


@pytest.mark.parametrize(("field", "ending"), [("never_began", "never_started"), ("failed_mount", "storage_failed")])
def test_a_server_that_infrastructure_kept_from_its_begin_has_no_fault(house: House, field: str, ending: str) -> None:
    house.engine.ends = (NodeEnd(rank=0, exit_code=74),)
    setattr(house.engine, field, "It never began.")
    outcome = house.run()
    assert (outcome.ending.value, outcome.exit_code, outcome.reason) == (ending, 70, "It never began.")
    house.assert_gone(outcome)


def test_an_address_that_no_label_holds_takes_the_machine_down(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeEngine, "address", lambda _: "2001:db8::1")
    outcome = house.run()
    assert outcome.exit_code == 70 and "no address for a service" in outcome.reason
    house.assert_gone(outcome)


def test_labels_that_are_refused_take_the_machine_down(house: House) -> None:
    house.cloud.refuse_labels = True
    outcome = house.run()
    assert outcome.exit_code == 70 and "could not be kept" in outcome.reason
    house.assert_gone(outcome)


@pytest.mark.parametrize("step", ["unpack", "close", "show"])
def test_a_person_who_stops_the_run_after_the_service_was_kept_gets_no_machine(house: House, step: str) -> None:
    """The token is shown at the very end, so nobody could use the service, and its machine would cost money."""
    steps = [step]

    def at(now: str) -> None:
        if now in steps:
            steps.remove(now)
            raise KeyboardInterrupt

    def show(outcome: Outcome) -> None:
        at("show")
        house.reporter.outcome = outcome

    house.engine.at, house.reporter.show_outcome = at, show  # type: ignore[method-assign]
    outcome = house.run()
    assert outcome.ending is Ending.CANCELLED and not steps
    assert house.reporter.outcome == outcome
    house.assert_gone(outcome)


def test_a_service_that_cannot_be_ended_after_all_is_an_alarm(house: House) -> None:
    """The provider refuses for longer than the proof may take."""
    house.cloud.refuse_removals, steps = 10_000, ["unpack"]

    def at(now: str) -> None:
        if now in steps:
            steps.remove(now)
            raise KeyboardInterrupt

    house.engine.at = at
    outcome = house.run()
    assert outcome.exit_code != 0 and outcome.release is not None and not outcome.release.gone
    assert lines(outcome, width=200)[0].startswith("A MACHINE MAY STILL BE RUNNING")


def test_a_budget_shortens_the_life_of_a_service(house: House) -> None:
    limits = replace(PLAN.limits, max_cost_usd=0.04)
    outcome = house.run(replace(PLAN, limits=limits))
    assert outcome.release is not None
    if outcome.release.kept is not None:
        assert outcome.release.kept.until < house.clock.now() + 30 * 60
    assert outcome.cost is not None and outcome.cost.usd <= 0.04


def test_an_openai_compatible_server_is_asked_for_a_completion(house: House) -> None:
    house.services.bodies = {
        "/v1/models": b'{"data": [{"id": "m"}]}',
        "/v1/completions": b'{"usage": {"completion_tokens": 8}}',
    }
    outcome = house.run(replace(PLAN, service=replace(SERVICE, kind=ServerKind.VLLM)))
    smoke = outcome.machines.service and outcome.machines.service.smoke
    assert smoke and smoke.path == "/v1/completions"
    assert smoke.tokens_per_second == pytest.approx(8 / 0.05)
    assert {request.body for request in house.services.asked if request.path == "/v1/completions"} == {
        b'{"prompt": "Say hello.", "max_tokens": 32, "model": "m"}'
    }


@pytest.mark.parametrize("models", [b"", b"[]", b'{"data": 1}', b'{"data": [{"id": 5}]}', b"[" * 100_000])
def test_a_hostile_list_of_models_is_no_model(house: House, models: bytes) -> None:
    house.services.bodies = {"/v1/models": models}
    house.services.ready_at = 0.0
    kind = replace(SERVICE, kind=ServerKind.VLLM)
    smoke = serving.smoke_requests(kind, to=TO, services=house.services, clock=house.clock)
    assert (smoke.path, smoke.tokens_per_second) == ("/health", None)


TLS = TlsPlan(chain="the chain", key=Secret("the private key of the certificate"), domain="models.example.com")


def test_a_service_with_a_certificate_has_its_name_in_the_url_and_is_asked_at_its_address(house: House) -> None:
    """Its DNS leads nowhere before a person knows the address, so no request waits for it."""
    outcome = house.run(replace(PLAN, service=replace(SERVICE, tls=TLS)))
    service = outcome.machines.service
    assert outcome.exit_code == 0 and service is not None
    assert (service.url, service.address) == ("https://models.example.com:8080", "10.0.0.1")
    assert service.is_encrypted and len(house.services.asked) > 20
    assert {(one.url, one.address, one.chain) for one in house.services.asked} == {
        ("https://models.example.com:8080", "10.0.0.1", "the chain")
    }
    assert sum(not one.token for one in house.services.asked) == 1, "the one request of a stranger"
    (machine,) = house.cloud.machines.values()
    assert service_url(machine.labels) == service.url
    text = "\n".join(lines(outcome, width=200)) + json.dumps(to_json(outcome)) + "\n".join(house.reporter.said)
    assert "point models.example.com at 10.0.0.1" in text
    assert "private key" not in text + repr(machine.labels)


def test_a_certificate_without_a_name_has_the_address_in_the_url(house: House) -> None:
    outcome = house.run(replace(PLAN, service=replace(SERVICE, tls=replace(TLS, domain=""))))
    assert outcome.machines.service is not None and outcome.machines.service.url == "https://10.0.0.1:8080"
    assert "A record" not in "\n".join(lines(outcome, width=200))


def test_a_certificate_that_is_refused_ends_the_wait_at_once(house: House) -> None:
    house.services.is_distrusted = True
    outcome = house.run(replace(PLAN, service=replace(SERVICE, tls=TLS)))
    assert outcome.exit_code == 70
    MESSAGES.check("a refused certificate", outcome.reason)
    assert len(house.services.asked) == 1, "no later request changes it"
    house.assert_gone(outcome)


def with_schema(schema: dict[str, object]) -> RunPlan:
    return replace(PLAN, service=replace(SERVICE, smoke_schema=schema))


def test_answers_as_the_schema_says_are_told_and_others_end_the_service_with_its_machine(house: House) -> None:
    house.services.bodies["/health"] = b'{"version": 1}'
    outcome = house.run(with_schema({"required": ["version"]}))
    assert (outcome.ending, outcome.exit_code) == (Ending.SUCCEEDED, 0)
    assert house.cloud.running() != []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"version": "x"}', "/version: 'x' is not of type 'integer'"),
        (b"{}", "'version' is a required property"),
        (b"<html>", "the answer is not JSON"),
    ],
)
def test_an_answer_against_the_schema_fails_the_deployment(house: House, body: bytes, why: str) -> None:
    house.services.bodies["/health"] = body
    schema: dict[str, object] = {"required": ["version"], "properties": {"version": {"type": "integer"}}}
    outcome = house.run(with_schema(schema))
    assert (outcome.ending, outcome.exit_code) == (Ending.FAILED, 1)
    assert why in outcome.reason
    house.assert_gone(outcome)


@pytest.mark.parametrize("status", [500, 0])
def test_no_good_answer_is_no_match(house: House, status: int) -> None:
    services = house.services
    services.ready_at, services.status, services.is_reachable = 0.0, status or 200, bool(status)
    plan = replace(SERVICE, smoke_schema={})
    smoke = serving.smoke_requests(plan, to=TO, services=services, clock=house.clock)
    assert "no good answer" in smoke.mismatch


def test_an_answer_that_was_cut_matches_nothing(house: House) -> None:
    services = house.services
    services.ready_at, services.bodies["/health"] = 0.0, b" " * (1 << 20)
    plan = replace(SERVICE, smoke_schema={})
    smoke = serving.smoke_requests(plan, to=TO, services=services, clock=house.clock)
    assert "1024 KiB or more" in smoke.mismatch


def test_a_slow_server_gets_few_smoke_requests(house: House) -> None:
    house.services.ready_at, house.services.seconds = 0.0, 25.0
    smoke = serving.smoke_requests(SERVICE, to=TO, services=house.services, clock=house.clock)
    assert (smoke.requests, smoke.p95_seconds) == (3, 25.0)


@pytest.mark.parametrize("seed", range(200))
def test_a_deployment_that_is_cut_off_anywhere_leaves_nothing_or_a_lease_with_a_deadline(
    tmp_path: Path, seed: int
) -> None:
    """As by SIGKILL, a person or a fault, at each step. After a SIGKILL a later process has the record alone."""
    chance = random.Random(seed)
    house = House(tmp_path, ready_after=chance.choice((0.0, 90.0, 250.0, None)))
    house.cloud.refuse_removals = chance.choice((0, 0, 1, 3))
    house.cloud.refuse_labels = chance.random() < 0.15
    house.engine.down_fails = chance.random() < 0.15
    step, error = chance.choice(STEPS), chance.choice((Killed(), Killed(), KeyboardInterrupt(), EngineError("fault")))
    # EC2's list may lag for seconds after a request, not minutes later.
    house.engine.eventually = chance.choice((0, 2)) if step in {"asked", "created"} else 0
    is_hit = False

    def at(now: str) -> None:
        nonlocal is_hit
        if now == step and not is_hit:
            is_hit = True
            house.cloud.cut_off = isinstance(error, Killed)
            raise error

    house.engine.at = at
    try:
        outcome = house.run()
    except Killed:
        house.engine.at, house.cloud.cut_off = (lambda _: None), False
        record = house.records.read(OWNER.name)
        assert record is not None or house.cloud.running() == [], "recorded before anything is created"
        if record is None:
            return
        longest = PLAN.limits.longest_minutes * 60
        assert record.taken_at < record.deadline <= record.taken_at + longest + 1
        assert all(machine.labels["cvl-ci-lease"] == OWNER.name for machine in house.cloud.machines.values())
        lease = Lease(
            record, machines=house.engine, inventory=house.cloud, records=house.records, clock=house.clock, say=print
        )
        assert lease.release(maybe_created=True).gone
        assert house.cloud.running() == []
        return
    except EngineError:
        assert step == "warm" and house.cloud.running() == []
        return
    if outcome.release is not None and outcome.release.kept is not None:
        assert outcome.exit_code == 0 and outcome.machines.service is not None
        (machine,) = [house.cloud.machines[name] for name in house.cloud.running()]
        assert int(machine.labels[LABEL_DEADLINE]) <= house.clock.now() + 30 * 60
        return
    assert outcome.exit_code != 0
    assert house.cloud.running() == []


@pytest.mark.parametrize(
    ("labels", "url"),
    [
        (service_labels("54.12.3.4", 8080), "http://54.12.3.4:8080"),
        (service_labels("54.12.3.4", 8081, is_encrypted=True), "https://54.12.3.4:8081"),
        (
            service_labels("54.12.3.4", 8080, is_encrypted=True, domain="a-b.example.com"),
            "https://a-b.example.com:8080",
        ),
        ({LABEL_SERVICE: "1-2-3-4-8080-tls", LABEL_DOMAIN: "evil_example/x"}, "https://1.2.3.4:8080"),
        ({LABEL_SERVICE: "1-2-3-4-8080-tls", LABEL_DOMAIN: "1_2_3_5"}, "https://1.2.3.4:8080"),
        ({LABEL_SERVICE: "1-2-3-4-8080", LABEL_DOMAIN: "a_example"}, "http://1.2.3.4:8080"),
        ({LABEL_DOMAIN: "a_example"}, ""),
        *(({LABEL_SERVICE: text}, "") for text in ("", "x", "1-2-3-8080", "1-2-3-4-8080-9", "evil.example-1-2-3-4")),
    ],
)
def test_a_service_s_labels_are_read_back_and_no_other_text(labels: dict[str, str], url: str) -> None:
    assert service_url(labels) == url
    assert service_address(labels) == (labels[LABEL_SERVICE].replace("-", ".").rpartition(".8")[0] if url else "")
    assert all(set(value) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_./") for value in labels.values())


def test_only_an_ipv4_address_has_a_label() -> None:
    with pytest.raises(ValueError, match="not an IPv4 address"):
        service_labels("::1", 8080)
