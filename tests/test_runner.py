"""The library: the command line's road, but quiet; what a run does is tried in tests/commands and tests/e2e."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

import cvl_ci
from cvl_ci.errors import CredentialsError, RequestError
from cvl_ci.local.console.callback_reporter import CallbackReporter
from cvl_ci.runner import SkyPilotRunner

ROOT = Path(__file__).parents[1]


def test_the_package_offers_the_runner() -> None:
    assert cvl_ci.SkyPilotRunner is SkyPilotRunner
    with pytest.raises(AttributeError):
        _ = cvl_ci.nothing


def test_a_plan_needs_no_cloud() -> None:
    plan, quote = SkyPilotRunner(checkout=ROOT, cloud="sandbox").plan_example("digits_sgd", "train")
    assert plan.work.example == "digits-sgd"
    assert quote.hourly_usd


def test_what_a_single_run_asks_wins_over_what_the_runner_was_given() -> None:
    runner = SkyPilotRunner(checkout=ROOT, cloud="sandbox", num_nodes=3)
    plan, _ = runner.plan_example("digits_sgd", "train", num_nodes=2)
    assert plan.machines.num_nodes == 2


def test_every_mistake_is_raised_at_once_and_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    runner = SkyPilotRunner(checkout=ROOT, cloud="asw")
    with pytest.raises(RequestError) as raised:
        runner.run_example("digits_sdg", "train", num_nodes=0, colour="red")
    assert {mistake.field for mistake in raised.value.mistakes} == {"cloud", "example", "num_nodes", "colour"}
    assert capsys.readouterr() == ("", "")


def test_without_credentials_nothing_is_asked_for(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "AWS_EC2_METADATA_DISABLED": "true"}
    runner = SkyPilotRunner(checkout=ROOT, cloud="aws", environment=environment, outputs=tmp_path)
    with pytest.raises(CredentialsError, match=r"aws: any credentials missing"):
        runner.run_example("digits_sgd", "train")


SECRET = "hunter-2/with+signs&more"


def test_a_program_gets_no_line_no_word_and_no_error_with_a_secret() -> None:
    messages: list[str] = []
    environment = {"HOME": "/", "PATH": "/usr/bin", "DEPLOY_KEY": SECRET}
    runner = SkyPilotRunner(
        checkout=ROOT, cloud="sandbox", environment=environment, on_line=messages.append, on_notice=messages.append
    )
    runner.plan_example("digits_sgd", "train", env={"GH_PAT2": "another secret"})
    listener = CallbackReporter(on_line=messages.append, on_notice=messages.append, masks=runner._pool.masks())
    for tell in (listener.show_job_line, listener.notice, listener.warning, listener.progress):
        tell(f"{SECRET} and {quote(SECRET)} and another secret")
    assert [item.removeprefix("warning: ") for item in messages] == ["*** and *** and ***"] * 4
    with pytest.raises(RequestError) as raised:
        runner.plan_example("digits_sgd", "train", gpu="x" * 70 + SECRET)
    assert SECRET[:6] not in f"{raised.value} {raised.value.args} {raised.value.mistakes}"
