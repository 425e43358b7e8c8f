"""The inputs of a detached run: what goes together, and what a person reads otherwise, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.commands.plan.quote import quote
from cvl_ci.commands.plan.quote_text import as_text
from cvl_ci.errors import RequestError
from cvl_ci.inputs.reader import from_environment, from_keywords
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.plan import RunPlan
from tests.support.field import plant

PRICES = CataloguePrices()
USUAL = {"command": "python train.py", "detach": "true", "detach_to": "s3://my-bucket/ci", "cloud": "aws"}


def asked(folder: Path, *, through_server: bool = False, **words: object) -> RunPlan:
    inputs = from_keywords({**USUAL, **words}, environment={})
    checkout = open_checkout(plant(folder / "field"))
    return prepare(inputs, checkout=checkout, prices=PRICES, through_server=through_server)


def test_the_plan_tells_bucket_and_bound_and_how_to_collect(tmp_path: Path) -> None:
    plan = asked(tmp_path)
    assert plan.detach.place == BucketAddress(bucket="my-bucket", prefix="ci")
    assert "gcp" in plan.machines.unfit_clouds and "aws" not in plan.machines.unfit_clouds
    text = as_text(plan, quote(plan, PRICES), PRICES)
    assert "s3://my-bucket/ci" in text and "cvl-ci collect" in text and "1 h on the machine" in text


def test_a_run_that_waits_for_its_job_has_no_place(tmp_path: Path) -> None:
    assert asked(tmp_path, detach=None, detach_to=None).detach.place is None


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"detach_to": None}, "needs detach_to"),
        ({"detach": None}, "works only with detach"),
        ({"detach": "false"}, "works only with detach"),
        ({"keep_on_failure": 30}, "cannot be combined with keep_on_failure"),
        ({"down": "false"}, "cannot be combined with `down false`"),
        ({"recover": 2, "spot": "true"}, "cannot be combined with recover"),
        ({"repeat": 3}, "cannot be combined with repeat"),
        ({"num_nodes": 2}, "works only with one machine"),
        ({"cloud": "gcp"}, "those of gcp have no access"),
        ({"through_server": True}, "API server"),
        ({"detach_to": "gs://my-bucket"}, "is not an S3 address"),
    ],
)
def test_what_cannot_work_together_is_refused(tmp_path: Path, words: dict[str, object], problem: str) -> None:
    with pytest.raises(RequestError) as refused:
        asked(tmp_path, **words)  # type: ignore[arg-type]
    assert problem in str(refused.value)


def test_the_action_refuses_a_sandbox_which_ends_with_its_runner(tmp_path: Path) -> None:
    words = {
        "INPUT_COMMAND": "true",
        "INPUT_CLOUD": "sandbox",
        "INPUT_DETACH": "true",
        "INPUT_DETACH_TO": "s3://my-bucket",
    }
    checkout = open_checkout(plant(tmp_path / "field"))
    with pytest.raises(RequestError) as refused:
        prepare(from_environment(words), checkout=checkout, prices=PRICES)
    assert "end with the runner" in str(refused.value)


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as refused:
        asked(tmp_path, detach_to=None, num_nodes=2, cloud="gcp", keep_on_failure=5)
    assert len(refused.value.mistakes) >= 4


def test_a_task_that_would_recover_runs_once_and_the_plan_says_so(tmp_path: Path) -> None:
    plan = asked(tmp_path, spot="true", checkpoints="out/**", checkpoint_to="s3://my-bucket/c")
    assert plan.machines.recoveries == 0
    assert any("does not recover" in warning for warning in plan.warnings)
