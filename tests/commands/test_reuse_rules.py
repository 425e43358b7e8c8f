"""The inputs of a machine that waits between runs: the plan has them, and all that cannot work is named at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.plan import quote, quote_text
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.errors import RequestError
from cvl_ci.inputs.reader import Inputs, from_environment, from_keywords
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.reuse import IfBusy, ReusePlan
from cvl_ci.model.secret import Secret
from tests import golden
from tests.support.field import plant

MESSAGES = golden.Messages(__name__)

SECRET = "0123456789abcdef" * 2 + "-zebra"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return plant(tmp_path / "project", {"train.py": ""})


def plan(project: Path, *, through_server: bool = False, **inputs: object) -> RunPlan:
    words = {"command": "true", "workdir": str(project), "cloud": "aws", "gpu": "none", **inputs}
    return prepare(
        from_keywords(words, environment={}),
        checkout=open_checkout(project),
        prices=CataloguePrices(),
        through_server=through_server,
    )


def wrong(project: Path, **inputs: object) -> dict[str, str]:
    with pytest.raises(RequestError) as error:
        plan(project, **inputs)  # type: ignore[arg-type]
    return {mistake.field: str(mistake) for mistake in error.value.mistakes}


def problems_of(inputs: Inputs, project: Path) -> dict[str, str]:
    try:
        prepare(inputs, checkout=open_checkout(project), prices=CataloguePrices(), through_server=False)
    except RequestError as error:
        return {mistake.field: str(mistake) for mistake in error.mistakes}
    return {}


def test_the_plan_has_the_machine_and_tells_its_bounds(project: Path) -> None:
    told = plan(project, reuse="trainer", idle="20m", max_age="3h", if_busy="new")
    assert told.machines.reuse == ReusePlan(key="trainer", idle_minutes=20, max_age_minutes=180, if_busy=IfBusy.NEW)
    assert (told.limits.keep_minutes, told.limits.keeps_after_success) == (20, True)
    prices = CataloguePrices()
    text = quote_text.as_text(told, quote.quote(told, prices), prices)
    assert "kept 20 min after the job" in text and "at most 3 h old" in text
    assert "the machine of key trainer" in text and "takes a new one" in text
    assert "and kept after the job" in text, "the bound of the wait is in the price"


def test_without_a_key_a_run_has_a_machine_of_its_own(project: Path) -> None:
    told = plan(project)
    assert told.machines.reuse is None and told.limits.keep_minutes == 0


def test_all_that_does_not_go_with_it_is_named_at_once(project: Path) -> None:
    told = wrong(
        project,
        reuse="trainer",
        keep_on_failure=10,
        down="false",
        ssh_public_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFDYWOCYXsx/YEGKrwzFq1h/QsJXCohAlanozKzQ9lRc a@b",
        recover=2,
        checkpoints="out/*",
        checkpoint_to="s3://bucket/place",
        mounts="/data=s3://bucket/data",
        max_age="30m",
        idle="30s",
        through_server=True,
    )
    assert set(told) >= {
        "reuse",
        "keep_on_failure",
        "down",
        "ssh_public_key",
        "recover",
        "checkpoint_to",
        "mounts",
        "max_age",
        "idle",
    }
    assert "API server" in told["reuse"] and "AAAA" not in told["ssh_public_key"]


def test_a_task_with_volumes_has_a_machine_of_its_own(project: Path) -> None:
    plant(project, {"task.yaml": "run: echo\nvolumes: {/data: cache}\n"})
    told = wrong(project, command=None, task="task.yaml", reuse="trainer")
    MESSAGES.check("volumes", told["volumes"])


def test_compare_and_detach_do_not_go_with_it(project: Path) -> None:
    told = wrong(project, reuse="trainer", detach="true", detach_to="s3://bucket/results")
    assert "cannot be combined with reuse" in told["detach"]
    assert "both sides need a machine" in wrong(project, reuse="trainer", compare="HEAD")["compare"]


@pytest.mark.parametrize("key", ["", "Trainer", "a b", "-a", "a-", "x" * 41, "a/b", "ä"])
def test_a_key_that_no_label_holds_is_refused(project: Path, key: str) -> None:
    assert ("is not a key" if key else "is empty") in wrong(project, reuse=key)["reuse"]


@pytest.mark.parametrize(("name", "value"), [("idle", "5m"), ("max_age", "2h"), ("if_busy", "new")])
def test_words_about_a_machine_without_its_key_are_refused(project: Path, name: str, value: str) -> None:
    assert "works only with reuse" in wrong(project, **{name: value})[name]


def test_a_wrong_answer_to_a_busy_machine_names_the_near_one(project: Path) -> None:
    assert "wait" in wrong(project, reuse="trainer", if_busy="wiat")["if_busy"]


def test_a_workflow_needs_the_secret_because_its_home_folder_is_lost(project: Path) -> None:
    words = {"INPUT_COMMAND": "true", "INPUT_CLOUD": "aws", "INPUT_REUSE": "trainer"}
    assert "needs reuse_key" in problems_of(from_environment(words), project)["reuse"]
    assert problems_of(from_environment({**words, "INPUT_REUSE_KEY": SECRET}), project) == {}


def test_a_secret_is_long_is_never_shown_and_is_read_from_the_variable_too(project: Path) -> None:
    told = plan(project, reuse="trainer", reuse_key=SECRET)
    assert told.machines.reuse is not None and told.machines.reuse.secret == Secret(SECRET)
    assert SECRET not in repr(told)
    short = wrong(project, reuse="trainer", reuse_key=SECRET[:31])["reuse_key"]
    assert "32 characters" in short and SECRET[:31] not in short
    by_variable = from_keywords({"command": "true", "reuse": "trainer"}, environment={"CVL_CI_REUSE_KEY": SECRET})
    assert by_variable.keep.reuse_key == Secret(SECRET)
    alone = from_keywords({"command": "true"}, environment={"CVL_CI_REUSE_KEY": SECRET})
    assert alone.keep.reuse_key is None and alone.mistakes == ()
    workflow = from_environment({"INPUT_REUSE": "trainer", "CVL_CI_REUSE_KEY": SECRET})
    assert workflow.keep.reuse_key is None, "the job of a workflow may set variables"


def test_a_machine_of_several_computers_is_on_aws_and_has_no_image(project: Path) -> None:
    told = wrong(project, reuse="trainer", reuse_key=SECRET, cloud="gcp", image="python:3.12")
    assert "name aws" in told["cloud"] and "its container" in told["image"]
    assert "name aws" in wrong(project, reuse="trainer", reuse_key=SECRET, cloud="any")["cloud"]
    assert "works only with reuse" in wrong(project, reuse_key=SECRET)["reuse_key"]
