"""`verb: deploy` as GitHub calls it: a service that stays, its successor, its end, and a step that is cut off."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from cvl_ci.model.lease_name import LABEL_ENVIRONMENT, LABEL_KEPT
from tests.action.test_main import Job
from tests.github.runner import Runner
from tests.support import certificates

TOKEN = "a-token-of-the-callers-0123456789"
INPUTS = {
    "INPUT_VERB": "deploy",
    "INPUT_COMMAND": "python3 server.py --port 8123",
    "INPUT_DEPLOY_TOKEN": TOKEN,
    "INPUT_TTL": "30m",
    "STAGE_EXIT": "",
    "GITHUB_EVENT_NAME": "pull_request",
}


class Deployments(Job):
    """The steps of one pull request. Each `rerun` is a later run of its workflow."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environment.update(INPUTS)
        (self.workspace / "server.py").write_text("print(1)\n")
        self.event(action="opened")

    def event(self, *, action: str, fork: str = "cvl/ci") -> None:
        request = {"number": 5, "head": {"sha": "a" * 40, "repo": {"full_name": fork}}}
        payload = {"action": action, "pull_request": {**request, "base": {"repo": {"full_name": "cvl/ci"}}}}
        (self.folder / "event.json").write_text(json.dumps(payload))
        self.environment["GITHUB_EVENT_PATH"] = str(self.folder / "event.json")

    def rerun(self, number: int) -> None:
        self.environment["GITHUB_RUN_ID"] = str(number)
        for name in ("GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY"):
            (self.folder / name).write_text("")

    def labels(self, machine: str) -> dict[str, str]:
        labels: dict[str, str] = json.loads((self.machines / machine).read_text().partition("\n")[2])
        return labels


@pytest.fixture
def job(tmp_path: Path) -> Deployments:
    return Deployments(tmp_path)


def test_a_service_stays_after_post_and_its_token_is_masked(job: Deployments) -> None:
    code, said = job.run("/entrypoint")
    assert code == 0, said
    outputs = job.outputs()
    assert (outputs["ending"], outputs["url"]) == ("succeeded", "http://10.0.0.1:8080")
    assert outputs["expires_at"] and outputs["released"] == f"kept until {outputs['expires_at']}"
    assert float(outputs["hourly_usd"]) > 0 and float(outputs["cost_usd"]) > 0
    [machine] = job.alive()
    assert job.labels(machine)[LABEL_ENVIRONMENT] == "pr-5" and job.labels(machine)[LABEL_KEPT]
    assert ("add-mask", {}, TOKEN) in Runner().read(said).obeyed
    assert TOKEN not in said.replace(f"::add-mask::{TOKEN}", "")
    page = job.summary()
    assert "[http://10.0.0.1:8080](http://10.0.0.1:8080), with the token" in page and TOKEN not in page
    assert "Close the pull request to end it" in said
    code, said = job.run("/post-entrypoint")
    assert code == 0 and "is kept until" in said
    assert job.alive() == [machine]


def test_a_certificate_makes_the_address_https_and_its_key_is_masked(job: Deployments) -> None:
    own = certificates.pair()
    tls = {"INPUT_TLS_CERT": own.cert, "INPUT_TLS_KEY": own.key, "INPUT_DOMAIN": certificates.NAME}
    code, said = job.run("/entrypoint", **tls)
    assert code == 0, said
    url = f"https://{certificates.NAME}:8080"
    assert job.outputs()["url"] == url
    page = job.summary()
    assert f"[{url}]({url}), with the token" in page and f"point {certificates.NAME} at 10.0.0.1" in page
    secret = max(own.key.splitlines(), key=len)
    assert any(secret in text for kind, _, text in Runner().read(said).obeyed if kind == "add-mask")
    shown = "\n".join(line for line in said.splitlines() if not line.startswith("::add-mask::"))
    assert secret not in shown + page + json.dumps([job.outputs(), job.labels(job.alive()[0])])
    assert secret not in "".join(path.read_text() for path in job.folder.rglob("*.json")), "no record has it"


def test_a_push_replaces_the_service_and_a_failed_one_leaves_it(job: Deployments) -> None:
    assert job.run("/entrypoint")[0] == 0
    [first] = job.alive()
    job.rerun(123456790)
    code, said = job.run("/entrypoint", STAGE_NEVER_READY="1")
    assert code == 124, said
    assert job.alive() == [first], "the new one is gone, the old one serves"
    job.rerun(123456791)
    code, said = job.run("/entrypoint")
    assert code == 0, said
    [second] = job.alive()
    assert second != first
    job.rerun(123456789)
    code, said = job.run("/entrypoint")
    assert code == 0 and "A later run has pr-5 already" in said
    assert (job.alive(), job.outputs()["ending"]) == ([second], "skipped")


@pytest.mark.parametrize("changed", [{}, {"INPUT_DOWN": "true"}])
def test_a_closed_pull_request_ends_all_of_its_services_with_proof(job: Deployments, changed: dict[str, str]) -> None:
    assert job.run("/entrypoint")[0] == 0
    job.rerun(123456790)
    assert job.run("/entrypoint", INPUT_ENVIRONMENT="other")[0] == 0
    assert len(job.alive()) == 2
    job.rerun(123456791)
    if not changed:
        job.event(action="closed")
    code, said = job.run("/entrypoint", INPUT_COMMAND="", INPUT_DEPLOY_TOKEN="", **changed)
    assert code == 0, said
    [other] = job.alive()
    assert job.labels(other)[LABEL_ENVIRONMENT] == "pr-5-other"
    assert (job.outputs()["released"], job.outputs()["url"]) == ("true", "")
    assert "pr-5 was taken down: ended cvl-" in job.summary()
    assert job.run("/post-entrypoint") == (0, "")
    code, said = job.run("/entrypoint", INPUT_COMMAND="", INPUT_DEPLOY_TOKEN="", **changed)
    assert code == 0 and "the provider shows no service of it" in said


def test_an_end_without_an_answer_is_red_and_speaks_of_machines_that_may_run(job: Deployments) -> None:
    assert job.run("/entrypoint")[0] == 0
    job.rerun(123456790)
    code, said = job.run("/entrypoint", INPUT_DOWN="true", STAGE_SILENT="1")
    assert code == 70 and "may still run" in said and "nothing is billed" not in said
    assert job.outputs()["released"] == "false"
    assert len(job.alive()) == 1
    code, said = job.run("/entrypoint", STAGE_SILENT="1")
    assert code == 70 and "Nothing was started" in said
    assert "launch" not in job.steps()[-3:]


@pytest.mark.parametrize(("number", "step"), [(signal.SIGTERM, "created"), (signal.SIGKILL, "ready")])
def test_post_of_a_cancelled_step_takes_the_new_service_down_and_no_other(
    job: Deployments, number: int, step: str
) -> None:
    assert job.run("/entrypoint")[0] == 0
    [first] = job.alive()
    job.rerun(123456790)
    (job.machines / "steps").unlink()
    process = job.hung_at(step)
    assert len(job.alive()) == 2
    process.send_signal(number)
    process.communicate(timeout=60)
    code, said = job.run("/post-entrypoint")
    assert code == 0, said
    assert job.alive() == [first]


def test_a_fork_gets_only_the_plan_and_its_close_ends_nothing(job: Deployments) -> None:
    assert job.run("/entrypoint")[0] == 0
    job.rerun(123456790)
    job.event(action="synchronize", fork="stranger/ci")
    code, said = job.run("/entrypoint")
    assert code == 0 and job.outputs()["ending"] == "skipped", said
    job.event(action="closed", fork="stranger/ci")
    assert job.run("/entrypoint")[0] == 0
    assert len(job.alive()) == 1


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"INPUT_DEPLOY_TOKEN": ""}, "deploy_token"),
        ({"INPUT_DEPLOY_TOKEN": "short"}, "is not a token of 24"),
        ({"INPUT_REPEAT": "3"}, "repeat"),
        ({"INPUT_TTL": "soon"}, "ttl"),
        ({"INPUT_DRAIN": "60"}, "is more than 15m"),
        ({"INPUT_QUEUE": "queue.yaml"}, "is not an input of `verb: deploy`"),
        ({"INPUT_CLOUD": "gcp"}, "opens no port"),
        ({"INPUT_COMMAND": "./server"}, "names no port"),
        ({"INPUT_DOMAIN": "models.example.com"}, "tls_cert: '' is missing"),
        ({"INPUT_TLS_KEY": "/etc/passwd"}, "tls_key: '***' is not PEM: give the text itself"),
    ],
)
def test_a_wrong_input_starts_nothing(job: Deployments, changed: dict[str, str], problem: str) -> None:
    code, said = job.run("/entrypoint", **changed)
    assert code == 64 and problem in said, said
    assert job.steps() == []
    assert job.run("/post-entrypoint") == (0, "")
