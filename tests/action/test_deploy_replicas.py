"""`verb: deploy` with several replicas through an API server: start, successor, end, and a step that is cut off."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from cvl_ci.model.lease_name import CLUSTER_TAG, LABEL_ENVIRONMENT, LABEL_LEASE
from tests import golden
from tests.action.test_deploy_verb import TOKEN, Deployments
from tests.github.runner import Runner

MESSAGES = golden.Messages(__name__)

SERVER_TOKEN = "sky_0123456789abcdef"
SERVER = {
    "INPUT_SKYPILOT_API_SERVER_ENDPOINT": "https://sky.example.com",
    "INPUT_SKYPILOT_SERVICE_ACCOUNT_TOKEN": SERVER_TOKEN,
}
REPLICAS = {**SERVER, "INPUT_REPLICAS": "2"}
NO_SERVER = dict.fromkeys([*SERVER, "INPUT_REPLICAS"], "")
KEYS = {"INPUT_AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "INPUT_AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI0123456789"}
END = {"INPUT_DOWN": "true", "INPUT_COMMAND": "", "INPUT_DEPLOY_TOKEN": "", "INPUT_REPLICAS": ""}


class ServedDeployments(Deployments):
    """Steps that have a token of an API server, and no credentials of a cloud."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environment.update(REPLICAS)
        (folder / "home/.aws/credentials").unlink()

    def services(self) -> list[str]:
        return [path.name for path in self.machines.glob("s-*")]

    def lease(self, name: str) -> str:
        return (self.machines / name).read_text().partition("\n")[0]

    def deployed(self, number: int, **changed: str) -> str:
        """Return the output of a rollout, after it has replaced all others."""
        self.rerun(number)
        code, said = self.run("/entrypoint", **changed)
        assert code == 0, said
        assert self.run("/post-entrypoint", **changed)[0] == 0
        return said


@pytest.fixture
def job(tmp_path: Path) -> ServedDeployments:
    return ServedDeployments(tmp_path)


def test_replicas_stay_under_their_lease_with_the_label_of_the_environment(job: ServedDeployments) -> None:
    code, said = job.run("/entrypoint")
    assert code == 0, said
    outputs = job.outputs()
    assert (outputs["ending"], outputs["url"]) == ("succeeded", "http://10.0.0.1:30001")
    assert outputs["released"] == f"kept until {outputs['expires_at']}"
    [service] = job.services()
    assert job.labels(service)[LABEL_ENVIRONMENT] == "pr-5" and job.alive() == []
    MESSAGES.check("the controller", golden.sentence(said, "::warning::SkyPilot's controller"))
    masked = {text for kind, _, text in Runner().read(said).obeyed if kind == "add-mask"}
    assert {TOKEN, SERVER_TOKEN} <= masked
    shown = "\n".join(line for line in said.splitlines() if not line.startswith("::add-mask::"))
    assert TOKEN not in shown + job.summary() and SERVER_TOKEN not in shown + job.summary()
    MESSAGES.check("no credentials", golden.line(said, "no credentials to ask aws"))
    code, said = job.run("/post-entrypoint")
    assert (code, job.services()) == (0, [service]) and "is kept until" in said


def test_a_push_replaces_the_service_and_a_failed_one_leaves_it(job: ServedDeployments) -> None:
    job.deployed(1)
    [first] = job.services()
    job.rerun(2)
    code, said = job.run("/entrypoint", STAGE_NEVER_READY="1")
    assert code == 124, said
    assert job.services() == [first], "the new one is gone, the old one serves"
    said = job.deployed(3)
    [second] = job.services()
    assert second != first and "The older one answers for 30 s more" in said
    job.rerun(1)
    code, said = job.run("/entrypoint")
    assert code == 0 and "A later run has pr-5 already" in said
    assert (job.services(), job.outputs()["ending"]) == ([second], "skipped")


@pytest.mark.parametrize("is_closed", [True, False])
def test_an_end_asks_the_server_and_proves_it(job: ServedDeployments, is_closed: bool) -> None:
    job.deployed(1)
    job.deployed(2, INPUT_ENVIRONMENT="other")
    assert len(job.services()) == 2
    job.rerun(3)
    if is_closed:
        job.event(action="closed")
    code, said = job.run("/entrypoint", **{**END, "INPUT_DOWN": "" if is_closed else "true"})
    assert code == 0, said
    [other] = job.services()
    assert job.labels(other)[LABEL_ENVIRONMENT] == "pr-5-other"
    assert (job.outputs()["released"], job.outputs()["url"]) == ("true", "")
    assert "pr-5 was taken down: ended cvl-" in job.summary()
    assert "no credentials to ask aws" in job.summary(), "the page tells which places it did not ask"
    assert job.run("/post-entrypoint") == (0, "")


def test_an_end_without_the_server_s_answer_is_red(job: ServedDeployments) -> None:
    job.deployed(1)
    job.rerun(2)
    code, said = job.run("/entrypoint", **END, STAGE_SILENT="1")
    assert code == 70 and "may still run" in said and job.outputs()["released"] == "false"
    code, said = job.run("/entrypoint", STAGE_SILENT="1")
    assert code == 70 and "Nothing was started" in said
    assert len(job.services()) == 1


def test_a_service_that_does_not_end_is_named_with_the_place_to_look_for_it(job: ServedDeployments) -> None:
    job.deployed(1)
    [service] = job.services()
    command = f"cvl-ci down {job.lease(service)} --cloud sky-serve"
    job.rerun(2)
    code, said = job.run("/entrypoint", **END, STAGE_KEEPS=service)
    assert code == 79 and command in said and job.outputs()["released"] == "false", said
    code, said = job.run("/post-entrypoint", STAGE_KEEPS=service)
    assert code == 79 and f"A MACHINE MAY STILL BE RUNNING: {command}" in said
    job.rerun(3)
    code, said = job.run("/entrypoint", STAGE_KEEPS=service)
    assert code == 79 and f"A MACHINE MAY STILL BE RUNNING: {command}" in said
    assert service in job.services() and len(job.services()) == 2, "the new one stays"


def test_replicas_take_the_place_of_one_machine_that_the_step_may_ask_for(job: ServedDeployments) -> None:
    job.deployed(1, **NO_SERVER, **KEYS)
    [machine] = job.alive()
    said = job.deployed(2)
    assert job.alive() == [machine] and len(job.services()) == 1, "without keys it stays"
    assert "is billed until its own end" in said
    said = job.deployed(3, **KEYS)
    assert job.alive() == [] and len(job.services()) == 1
    assert "API server is asked" not in said


def test_an_end_with_all_credentials_ends_both_kinds(job: ServedDeployments) -> None:
    job.deployed(1, **NO_SERVER, **KEYS)
    job.deployed(2)
    assert len(job.alive()) == len(job.services()) == 1
    job.rerun(3)
    code, said = job.run("/entrypoint", **END, **KEYS)
    assert code == 0, said
    assert (job.alive(), job.services(), job.outputs()["released"]) == ([], [], "true")
    assert "no credentials to ask" not in said


def test_one_machine_does_not_forget_replicas_whose_machines_its_cloud_shows(job: ServedDeployments) -> None:
    """The server's controller replaces each machine that ends, so their end is no end of the service."""
    job.deployed(1)
    [service] = job.services()
    lease = job.lease(service)
    labels = {**job.labels(service), LABEL_LEASE: lease, CLUSTER_TAG: f"{lease}-1-0badcafe"}
    (job.machines / "i-7").write_text(f"{lease}\n{json.dumps(labels)}")
    job.rerun(2)
    before = job.steps()
    code, said = job.run("/entrypoint", **NO_SERVER, **KEYS)
    assert code == 70, said
    MESSAGES.check("replicas of the environment", golden.line(said, "│ pr-5 has a service").replace(lease, "LEASE"))
    assert "Nothing was started" in said and "skypilot_api_server_endpoint" in said
    assert "launch" not in job.steps()[len(before) :]
    code, said = job.run("/entrypoint", **{**END, **NO_SERVER}, **KEYS)
    assert code == 79 and "Its machines still run" in said and job.outputs()["released"] == "false"
    assert (job.alive(), job.services()) == (["i-7"], [service])
    code, said = job.run("/entrypoint", **END, **KEYS)
    assert code == 0, said
    assert (job.alive(), job.services()) == ([], [])


@pytest.mark.parametrize(("number", "step"), [(signal.SIGTERM, "created"), (signal.SIGKILL, "ready")])
@pytest.mark.parametrize("lost", ["nothing", "records", "all state"])
def test_post_of_a_cut_off_step_ends_the_new_service_and_no_other(
    job: ServedDeployments, number: int, step: str, lost: str
) -> None:
    job.deployed(1)
    [first] = job.services()
    job.rerun(2)
    (job.machines / "steps").unlink()
    process = job.hung_at(step)
    assert len(job.services()) == 2
    process.send_signal(number)
    process.communicate(timeout=60)
    own = job.folder / "home/.local/state/cvl-ci"
    assert list(own.glob("leases/*.json"))
    if lost != "nothing":
        shutil.rmtree(own / "leases" if lost == "records" else own)
    code, said = job.run("/post-entrypoint")
    assert code == 0, said
    assert job.services() == [first]


@pytest.mark.parametrize("is_mixed", [False, True])
def test_post_ends_the_older_services_that_a_cut_off_step_was_about_to_end(
    job: ServedDeployments, is_mixed: bool
) -> None:
    job.deployed(1, **(NO_SERVER if is_mixed else {}), **KEYS)
    job.rerun(2)
    (job.machines / "steps").unlink()
    process = job.start("/entrypoint", STAGE_HANG="down", **KEYS)
    while "down" not in job.steps():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    code, said = job.run("/post-entrypoint", **KEYS)
    assert code == 0, said
    assert job.alive() == [] and len(job.services()) == 1, "the new one stays"
    assert "These services are gone: cvl-" in said


def test_a_fork_gets_only_the_plan_and_has_no_secrets_for_it(job: ServedDeployments) -> None:
    job.event(action="synchronize", fork="stranger/ci")
    code, said = job.run("/entrypoint", **dict.fromkeys([*SERVER, "INPUT_DEPLOY_TOKEN"], ""))
    assert code == 0 and job.outputs()["ending"] == "skipped", said
    assert job.services() == []


@pytest.mark.parametrize(
    ("changed", "code", "problems"),
    [
        (
            {"INPUT_REPLICAS": "1"},
            64,
            ["skypilot_api_server_endpoint: '***' is set", "replicas 2 or more", "down: true"],
        ),
        ({"INPUT_REPLICAS": ""}, 64, ["skypilot_api_server_endpoint: '***' is set"]),
        ({"INPUT_ALLOW": "203.0.113.0/24", "INPUT_SPOT": "fallback"}, 64, ["belongs to the server", "all spot or all"]),
        (dict.fromkeys(SERVER, ""), 64, ["set skypilot_api_server_endpoint and skypilot_service_account_token"]),
        ({"INPUT_SKYPILOT_SERVICE_ACCOUNT_TOKEN": ""}, 77, ["api-server: a token missing"]),
        ({"INPUT_REPLICAS": "101"}, 64, ["from 1 to 100"]),
    ],
)
def test_what_a_server_does_not_offer_starts_nothing(
    job: ServedDeployments, changed: dict[str, str], code: int, problems: list[str]
) -> None:
    actual, said = job.run("/entrypoint", **changed)
    assert actual == code, said
    assert all(problem in said for problem in problems), said
    assert job.steps() == [] and job.run("/post-entrypoint") == (0, "")
