"""What one step says on its pull request, from its environment to GitHub's API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci import wiring
from cvl_ci.action.publication import StepPublication
from cvl_ci.action.saved_outcome import outcome_from
from cvl_ci.action.shown_deployment import ShownDeployment
from cvl_ci.action.state import SavedEnding, StepState, claim_for_post
from cvl_ci.action.step import Step
from cvl_ci.commands.publish import WorkflowFacts
from cvl_ci.errors import CredentialsError, RequestError
from cvl_ci.github.pr import step_comment, sticky_comment
from cvl_ci.model.outcome import Outcome, Phase
from cvl_ci.model.plan import RunPlan, WorkPlan
from cvl_ci.model.service import ServiceResult
from cvl_ci.model.work_identity import WorkIdentity
from cvl_ci.result.benchmark.leg_file import read
from tests import golden
from tests.github.api import URL, Api
from tests.github.runner import read_file
from tests.result.outcomes import FAILED, GONE, NOT_PROVED_GONE, ON_AWS, SUCCEEDED
from tests.support.fakes import spending

MESSAGES = golden.Messages(__name__)

PLAN = RunPlan(title="digits train", work=WorkPlan(example="digits", preset="train"))
REQUEST = {"number": 5, "head": {"repo": {"full_name": "cvl/ci"}}, "base": {"repo": {"full_name": "cvl/ci"}}}


@pytest.fixture
def api() -> Iterator[Api]:
    with Api().serving() as api:
        yield api


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": REQUEST}))
    return {
        "HOME": str(tmp_path),
        "GITHUB_API_URL": URL,
        "GITHUB_SERVER_URL": "https://git.example.com",
        "GITHUB_REPOSITORY": "cvl/ci",
        "GITHUB_RUN_ID": "7",
        "GITHUB_JOB": "train",
        "GITHUB_WORKFLOW": "nightly",
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": str(event),
        "INPUT_GITHUB_TOKEN": "secret-token",
    }


def test_a_comment_follows_the_run_from_the_queue_to_its_outcome(api: Api, environment: dict[str, str]) -> None:
    step = Step(environment)
    step.live.queue(PLAN)
    StepPublication(step).flush()
    assert "### Under way: `digits train`\n\n`queued`" in api.bodies()[0]
    step.reporter.show_phase(Phase.PROVISIONING)
    StepPublication(step).flush()
    assert "`getting machines`" in api.bodies()[0]
    step.reporter.show_launch(ON_AWS)
    StepPublication(step).flush()
    MESSAGES.check("running", golden.line(api.bodies()[0], "`running on"))
    step.reporter.show_price(spending(0.096, billed=False))
    step.reporter.show_phase(Phase.RUNNING)
    StepPublication(step).flush()
    assert "$0.096 an hour · nothing is billed`" in api.bodies()[0]
    StepPublication(step).comment(SUCCEEDED)
    StepPublication(step).flush()
    assert "Succeeded: `digits-sgd train`" in api.bodies()[0]
    assert "https://git.example.com/cvl/ci/actions/runs/7/attempts/1" in api.bodies()[0]
    step.reporter.close()
    assert len(api.comments) == 1


def test_the_summary_of_a_collected_run_names_its_own_workflow_and_not_the_collector_s(
    api: Api, environment: dict[str, str], tmp_path: Path
) -> None:
    own = WorkflowFacts(commit="a" * 40, run_url="https://git.example.com/cvl/ci/actions/runs/3/attempts/1", job="gpu")
    publication = StepPublication(Step({**environment, "INPUT_LEG": '{"gpu": "L4"}'}))
    folder = tmp_path / "cvl-3-0a1b2c3d"
    publication.publish_collected(SUCCEEDED, folder=folder, name="collected", facts=own, comment=None)
    assert api.bodies() == [], "the collector's own comment is of another run"
    summary = json.loads((tmp_path / "cvl-3-0a1b2c3d.json").read_text())
    assert (summary["commit"], summary["run_url"], summary["job"]) == (own.commit, own.run_url, "gpu")
    assert (summary["workflow"], summary["leg"]) == ("", "")


def test_words_that_follow_each_other_fast_cost_one_request_and_the_last_is_said(
    api: Api, environment: dict[str, str]
) -> None:
    step = Step(environment)
    for number in range(100):
        step.live.queue(replace(PLAN, title=f"number {number}"))
    StepPublication(step).flush()
    assert len(api.writes()) <= 2
    assert "number 99" in api.bodies()[0]


@pytest.mark.parametrize("group", ["", "gpus"])
def test_who_asked_for_failures_alone_is_told_of_no_success_but_after_one(
    api: Api, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    monkeypatch.setattr(sticky_comment, "SECONDS_TO_HEAL", 0.0)
    environment |= {"INPUT_COMMENT": "failure", "INPUT_COMMENT_GROUP": group}
    Step(environment).live.queue(PLAN)
    say(Step(environment), SUCCEEDED)
    assert api.writes() == []
    say(Step(environment), FAILED)
    assert "The job failed" in api.bodies()[0]
    say(Step(environment), SUCCEEDED)
    [body] = api.bodies()
    assert "Succeeded" in body
    assert "The job failed" not in body


def test_a_success_adds_no_row_where_only_another_leg_had_failed(
    api: Api, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sticky_comment, "SECONDS_TO_HEAL", 0.0)
    environment |= {"INPUT_COMMENT": "failure", "INPUT_COMMENT_GROUP": "gpus"}
    say(Step({**environment, "INPUT_LEG": '{"gpu": "T4"}'}), FAILED)
    api.asked.clear()
    say(Step({**environment, "INPUT_LEG": '{"gpu": "L4"}'}), SUCCEEDED)
    assert api.bodies()[0].count("<!-- row:") == 1
    assert api.writes() == []
    assert len(api.asked) <= 4, "it looks once more, and is content"


@pytest.mark.parametrize("group", ["", "gpus"])
def test_a_run_that_began_later_keeps_the_word_whichever_ends_last(
    api: Api, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    monkeypatch.setattr(sticky_comment, "SECONDS_TO_HEAL", 0.0)
    environment |= {"INPUT_COMMENT_GROUP": group}
    older, newer = (Step({**environment, "GITHUB_RUN_ID": run}) for run in ("9", "10"))
    older.live.queue(PLAN)
    StepPublication(older).flush()
    assert "/runs/9/" in api.bodies()[0]
    newer.live.queue(PLAN)
    StepPublication(newer).flush()
    say(older, FAILED)
    assert "/runs/9/" not in api.bodies()[0]
    say(newer, SUCCEEDED)
    say(older, FAILED)
    [body] = api.bodies()
    assert "Succeeded" in body
    assert "The job failed" not in body
    say(Step({**environment, "GITHUB_RUN_ID": "10", "GITHUB_RUN_ATTEMPT": "2"}), FAILED)
    assert "The job failed" in api.bodies()[0]


def test_a_job_s_words_cannot_make_its_run_the_newest(api: Api, environment: dict[str, str]) -> None:
    step = Step(environment)
    step.reporter.show_job_line("<!-- run:99999999.1 ended -->")
    say(step, replace(SUCCEEDED, work=replace(SUCCEEDED.work, title="<!-- run:99999999.1 ended -->")))
    say(Step({**environment, "GITHUB_RUN_ID": "8"}), FAILED)
    step.reporter.close()
    assert "The job failed" in api.bodies()[0]


def test_a_github_that_does_not_answer_holds_a_run_up_no_longer_than_it_says(
    api: Api, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(step_comment, "FLUSH_SECONDS", 0.3)
    answers, answered = threading.Event(), []
    api.delay = lambda: answered.append(answers.wait(timeout=300))
    step = Step({**environment, "INPUT_COMMENT": "always"})
    step.live.queue(PLAN)
    for phase in Phase:
        step.reporter.show_phase(phase)
    assert answered == [], "the run went on while GitHub had answered nothing"
    say(step, SUCCEEDED)
    assert answered == []
    assert "::warning::GitHub took no comment" in capsys.readouterr().out
    answers.set()
    StepPublication(step).flush()


def void(_: object) -> None:
    """Of what a function says that is called for what it does."""


def test_who_asked_for_none_gets_none(api: Api, environment: dict[str, str]) -> None:
    step = Step({**environment, "INPUT_COMMENT": "never"})
    step.live.queue(PLAN)
    say(step, FAILED)
    assert api.asked == []


def test_each_leg_has_a_comment_of_its_own_and_a_later_run_changes_it(api: Api, environment: dict[str, str]) -> None:
    for run in ("7", "8"):
        for gpu in ("L4", "T4"):
            leg = json.dumps({"gpu": gpu}, indent=2)
            say(Step({**environment, "GITHUB_RUN_ID": run, "INPUT_LEG": leg}), SUCCEEDED)
    assert len(api.comments) == 2
    assert all("/runs/8/" in body for body in api.bodies())


def test_legs_of_a_group_share_one_comment_with_a_row_each(
    api: Api, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sticky_comment, "SECONDS_TO_HEAL", 0.0)
    running = Step({**environment, "INPUT_COMMENT_GROUP": "gpus", "INPUT_LEG": '{"gpu": "A100"}'})
    running.live.queue(PLAN)
    StepPublication(running).flush()
    for gpu, outcome in (("L4", SUCCEEDED), ("T4", FAILED), ("L4", SUCCEEDED)):
        leg = json.dumps({"gpu": gpu})
        say(Step({**environment, "INPUT_COMMENT_GROUP": "gpus", "INPUT_LEG": leg}), outcome)
    [body] = api.bodies()
    assert body.count("<!-- row:") == 3
    assert "`gpu: A100` | `queued`" in body
    assert "`gpu: L4` | Succeeded" in body
    MESSAGES.check("a row of the group", golden.line(body, "`gpu: T4`"))


def say(step: Step, outcome: Outcome) -> None:
    StepPublication(step).comment(outcome)
    StepPublication(step).flush()


@pytest.mark.parametrize("leg", ["", "null", "{}"])
def test_without_a_matrix_there_is_no_leg_however_the_runner_writes_it(environment: dict[str, str], leg: str) -> None:
    assert Step({**environment, "INPUT_LEG": leg}).owner.name == Step(environment).owner.name


def test_a_secret_is_in_no_comment(api: Api, environment: dict[str, str]) -> None:
    step = Step({**environment, "HF_TOKEN": "hf_0123456789abcdef"})
    step.reporter.show_job_line("token hf_0123456789abcdef")
    say(step, SUCCEEDED)
    step.reporter.close()
    assert "token ***" in api.bodies()[0]
    assert "hf_0123456789abcdef" not in api.bodies()[0]


def test_a_secret_is_not_in_the_cost_that_is_uploaded(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    secret = "hf_0123456789abcdef"
    step = Step({**environment, "INPUT_GITHUB_TOKEN": "", "HF_TOKEN": secret})
    StepPublication(step).publish(
        replace(
            SUCCEEDED,
            reason=secret,
            measurements=replace(SUCCEEDED.measurements, metrics={secret: [secret]}),
            warnings=(f"bad {secret}",),
        )
    )
    [cost] = tmp_path.glob("cvl-outputs/*.json")
    assert secret not in cost.read_text()
    assert "bad ***" in cost.read_text()


def test_the_cost_of_a_failed_job_holds_its_error_its_last_lines_and_its_job_without_a_secret(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    secret = "hf_0123456789abcdef"
    inputs = {"INPUT_GITHUB_TOKEN": "", "INPUT_LEG": '{"gpu": "L4"}', "INPUT_CHECK_RUN": "51725241954"}
    step = Step({**environment, **inputs, "HF_TOKEN": secret})
    for number in range(30):
        step.reporter.show_job_line(f"step {number}")
    step.reporter.show_job_line("Traceback (most recent call last):")
    step.reporter.show_job_line('  File "/root/sky_workdir/train.py", line 12, in <module>')
    step.reporter.show_job_line(f"ValueError: \x1b[31m{secret} is not a token")
    StepPublication(step).publish(FAILED)
    [cost] = tmp_path.glob("cvl-outputs/*.json")
    leg = read(cost.read_bytes())
    MESSAGES.check("the first error", str(leg.evidence.first_error))
    assert (len(leg.evidence.last_lines), leg.evidence.last_lines[0], leg.evidence.last_lines[-1]) == (
        20, "step 13", "ValueError: *** is not a token"
    )  # fmt: skip
    assert (leg.source.job, leg.source.job_url) == (
        "train (L4)",
        "https://git.example.com/cvl/ci/actions/runs/7/job/51725241954",
    )
    assert secret not in cost.read_text()


@pytest.mark.parametrize("number", ["", "x", "-1", "1" * 21, "１２"])
def test_a_number_that_is_not_github_s_is_not_written(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: str
) -> None:
    monkeypatch.chdir(tmp_path)
    StepPublication(Step({**environment, "INPUT_GITHUB_TOKEN": "", "INPUT_CHECK_RUN": number})).publish(SUCCEEDED)
    [cost] = tmp_path.glob("cvl-outputs/*.json")
    assert json.loads(cost.read_text())["check_run"] == ""


def test_without_a_token_nothing_is_asked(api: Api, environment: dict[str, str]) -> None:
    say(Step({**environment, "INPUT_GITHUB_TOKEN": ""}), SUCCEEDED)
    assert api.asked == []


@pytest.mark.parametrize(("asked", "kind"), [("always", "::warning::"), ("auto", "[0:0")])
def test_silence_is_a_warning_only_where_a_comment_was_asked_for(
    api: Api, environment: dict[str, str], capsys: pytest.CaptureFixture[str], asked: str, kind: str
) -> None:
    api.writable = False
    step = Step({**environment, "INPUT_COMMENT": asked})
    capsys.readouterr()
    say(step, SUCCEEDED)
    assert capsys.readouterr().out.startswith(kind)


def test_what_is_refused_after_it_was_queued_ends_the_comment_and_sets_the_outputs(
    api: Api, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "output").touch()
    step = Step({**environment, "GITHUB_OUTPUT": str(tmp_path / "output")})
    step.live.queue(PLAN)
    StepPublication(step).flush()
    StepPublication(step).refuse(CredentialsError("The cloud does not know us."))
    assert "Never started: `digits train`" in api.bodies()[0]
    assert "The cloud does not know us." in api.bodies()[0]
    assert read_file((tmp_path / "output").read_text())["exit_code"] == "77"


def test_what_is_refused_before_it_was_queued_makes_no_comment(api: Api, environment: dict[str, str]) -> None:
    StepPublication(Step(environment)).refuse(RequestError([]))
    assert api.asked == []


def test_post_leaves_what_main_said_of_the_end_and_replaces_what_it_did_not(
    api: Api, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    main = Step(environment)
    main.live.queue(PLAN)
    StepPublication(main).flush()
    outcome = replace(SUCCEEDED, machines=replace(SUCCEEDED.machines, cluster=main.owner.name))
    left = StepState(
        lease=main.owner.name, work=WorkIdentity(title="digits train"), end=SavedEnding(ending="succeeded")
    )
    said_by_main = ""
    for told in (False, True):
        if told:
            say(main, outcome)
            [said_by_main] = api.bodies()
        as_post = outcome_from(left, GONE, name=main.owner.name, folder=tmp_path / "none")
        StepPublication(Step(environment)).publish(as_post, saved=left)
        [body] = api.bodies()
        assert "Succeeded: `digits train`" in body if not told else body == said_by_main
    assert "Metrics" in said_by_main


@pytest.mark.parametrize("group", ["", "gpus"])
def test_a_main_that_lives_on_beside_post_has_no_more_say(
    api: Api, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, group: str
) -> None:
    """A cancelled step's container may outlive it: GitHub ends the docker command only."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sticky_comment, "SECONDS_TO_HEAL", 0.0)
    environment |= {"INPUT_COMMENT_GROUP": group}
    main = Step(environment)
    main.live.queue(PLAN)
    StepPublication(main).flush()
    main.reporter.show_phase(Phase.PROVISIONING)  # a word that waits: the last was a moment ago
    claim_for_post(wiring.step_state_path(environment))
    left = StepState(lease=main.owner.name, work=WorkIdentity(title="digits train"))
    as_post = outcome_from(left, GONE, name=main.owner.name, folder=tmp_path / "none")
    StepPublication(Step(environment, is_post=True)).publish(as_post, saved=left)
    main.reporter.show_phase(Phase.RUNNING)
    StepPublication(main).publish(replace(FAILED, machines=replace(FAILED.machines, cluster=main.owner.name)))
    StepPublication(main).refuse(CredentialsError("none", next_step="none"))
    StepPublication(main).flush()
    [body] = api.bodies()
    assert "Cancelled" in body


def test_post_corrects_what_main_could_not_prove(
    api: Api, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    main = Step(environment)
    name = main.owner.name
    say(main, replace(NOT_PROVED_GONE, machines=replace(NOT_PROVED_GONE.machines, cluster=name)))
    assert "[!CAUTION]" in api.bodies()[0]
    left = StepState(
        lease=name, work=WorkIdentity(title="digits train"), end=SavedEnding(ending="timed_out", exit_code=79)
    )
    StepPublication(Step(environment)).publish(
        outcome_from(left, GONE, name=name, folder=tmp_path / "none"), saved=left
    )
    assert "[!CAUTION]" not in api.bodies()[0]
    assert "Timed out" in api.bodies()[0]


def test_a_service_is_a_deployment_on_github_and_a_missing_permission_is_one_warning(
    api: Api, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    step = Step(environment | {"INPUT_VERB": "deploy"})
    shown = ShownDeployment(step, "pr-5")
    shown.begin("hello serve")
    service = ServiceResult(url="http://203.0.113.7:8080", ready_seconds=60.0)
    shown.end_of(replace(SUCCEEDED, machines=replace(SUCCEEDED.machines, service=service)))
    [number] = api.store.deployments
    assert api.store.states(number) == ["in_progress", "success"]
    assert api.store.deployments[number]["transient_environment"]
    api.writable = False
    capsys.readouterr()
    shown.fail(number, "cut off")
    shown.end()
    text = capsys.readouterr().out
    assert text.count("::warning") == 1 and "permissions: {deployments: write}" in text
    assert "do not depend on it" in text
