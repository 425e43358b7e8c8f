"""The inputs about checkpoints: what goes together, and what a person reads otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.commands.plan.quote import quote
from cvl_ci.commands.plan.quote_text import as_text
from cvl_ci.engine.task import checkpoints
from cvl_ci.errors import RequestError
from cvl_ci.inputs.reader import from_keywords
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.model.checkpoint_plan import CheckpointPlan, Resume, folder_of
from cvl_ci.model.plan import RunPlan
from tests import golden
from tests.support.field import plant

MESSAGES = golden.Messages(__name__)

PRICES = CataloguePrices()
USUAL = {"command": "python train.py", "checkpoints": "out/**", "checkpoint_to": "s3://my-bucket/ci", "cloud": "aws"}


def asked(folder: Path, **words: object) -> RunPlan:
    inputs = from_keywords({**USUAL, **words}, environment={})
    return prepare(inputs, checkout=open_checkout(plant(folder / "field")), prices=PRICES)


def test_a_place_of_checkpoints_makes_a_spot_run_recover_and_narrows_the_clouds(tmp_path: Path) -> None:
    plan = asked(tmp_path, spot="fallback", checkpoint_every="90s", checkpoint_keep=1, resume="latest")
    one = plan.checkpoints
    assert (str(one.place), one.every_seconds, one.keep, one.resume) == ("s3://my-bucket/ci", 90.0, 1, Resume.LATEST)
    assert plan.machines.recoveries == 3
    assert "gcp" in plan.machines.unfit_clouds and "aws" not in plan.machines.unfit_clouds
    MESSAGES.check("to a bucket", golden.line(as_text(plan, quote(plan, PRICES), PRICES), "out/** to"))


def test_checkpoints_on_the_runner_go_with_every_cloud_and_their_spot_runs_recover(tmp_path: Path) -> None:
    plan = asked(tmp_path, checkpoint_to="runner", spot="true", cloud="gcp")
    one = plan.checkpoints
    assert (one.place, one.on_runner, one.is_stored, one.run_place) == (None, True, True, None)
    assert plan.machines.recoveries == 3
    assert "gcp" not in plan.machines.unfit_clouds
    MESSAGES.check("to this computer", golden.line(as_text(plan, quote(plan, PRICES), PRICES), "out/** to"))


def test_no_file_comes_through_an_api_server_during_a_job(tmp_path: Path) -> None:
    inputs = from_keywords({**USUAL, "checkpoint_to": "runner"}, environment={})
    with pytest.raises(RequestError, match="combined with a SkyPilot API server"):
        prepare(inputs, checkout=open_checkout(plant(tmp_path / "field")), prices=PRICES, through_server=True)


@pytest.mark.parametrize(
    ("words", "recoveries"), [({"spot": "true", "recover": 0}, 0), ({}, 0), ({"spot": "true", "recover": 7}, 7)]
)
def test_a_person_s_own_number_of_recoveries_stands(tmp_path: Path, words: dict[str, object], recoveries: int) -> None:
    plan = asked(tmp_path, **words)
    assert plan.machines.recoveries == recoveries
    assert (plan.checkpoints.every_seconds, plan.checkpoints.keep, plan.checkpoints.resume) == (300.0, 3, Resume.RUN)


@pytest.mark.parametrize(
    ("words", "field", "problem"),
    [
        ({"checkpoints": ""}, "checkpoint_to", "needs checkpoints"),
        ({"checkpoint_to": None, "resume": "latest"}, "resume", "works only with checkpoint_to"),
        ({"checkpoint_to": None, "checkpoint_keep": 2}, "checkpoint_keep", "works only with checkpoint_to"),
        ({"checkpoint_to": "gs://b"}, "checkpoint_to", "is not an S3 address"),
        ({"checkpoint_to": "runer"}, "checkpoint_to", "neither an S3 address such as s3://bucket/prefix nor `runner`"),
        ({"checkpoint_to": "runner", "checkpoints": ""}, "checkpoint_to", "needs checkpoints"),
        ({"checkpoint_to": "runner", "resume": "latest"}, "resume", "the runner's copy ends with its run"),
        ({"checkpoint_to": "runner", "num_nodes": 2}, "checkpoint_to", "works only with one machine"),
        ({"checkpoint_to": "runner", "repeat": 3}, "checkpoint_to", "cannot be combined with repeat"),
        (
            {"checkpoint_to": "runner", "detach": True, "detach_to": "s3://my-bucket/r"},
            "checkpoint_to",
            "cannot be combined with detach: then there is no runner",
        ),
        ({"cloud": "aws,gcp"}, "checkpoint_to", "those of gcp have no access"),
        ({"repeat": 3}, "checkpoint_to", "cannot be combined with repeat"),
        ({"checkpoint_every": "1s"}, "checkpoint_every", "less than 5 seconds"),
        ({"checkpoint_keep": 0}, "checkpoint_keep", ""),
        ({"resume": "lastest"}, "resume", "is none of run, latest, none"),
        ({"checkpoints": "/abs/*"}, "checkpoints", "leads out of the working directory"),
    ],
)
def test_words_that_cannot_work_are_one_mistake_before_any_cost(
    tmp_path: Path, words: dict[str, object], field: str, problem: str
) -> None:
    with pytest.raises(RequestError) as error:
        asked(tmp_path, **words)
    [mistake] = [one for one in error.value.mistakes if one.field == field]
    assert problem in mistake.problem


def test_legs_and_works_have_folders_of_their_own_and_runs_share_that_of_their_work() -> None:
    facts = {"title": "Train! it", "directory": "a", "leg": "", "run": "cvl-1"}
    first = folder_of(**facts)
    assert first.startswith("train-it-") and first.endswith("/cvl-1")
    others = [folder_of(**{**facts, name: "other"}) for name in facts]
    assert len({first, *others}) == 5
    assert [one.partition("/")[0] == first.partition("/")[0] for one in others] == [False, False, False, True]
    plan = CheckpointPlan(folder=first)
    assert (plan.work + "/" + plan.run, plan.run_place) == (first, None)


def test_a_run_without_a_place_sends_nothing_to_the_machine() -> None:
    plan = RunPlan(title="t")
    assert (checkpoints.environment(plan), checkpoints.before(plan), checkpoints.during(plan)) == ({}, "", "")
