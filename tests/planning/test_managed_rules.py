"""The inputs of a managed job: what goes together, what bounds it, and what the plan cannot promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.plan import bounds
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.commands.plan.quote import quote
from cvl_ci.commands.plan.quote_text import as_text
from cvl_ci.errors import RequestError
from cvl_ci.inputs.reader import from_keywords
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.plan import RunPlan
from tests import golden
from tests.support.field import plant

MESSAGES = golden.Messages(__name__)

PRICES = CataloguePrices()
USUAL = {"command": "python train.py", "managed": "true", "detach_to": "s3://my-bucket/ci", "cloud": "aws"}


def planned(folder: Path, *, through_server: bool = True, **words: object) -> RunPlan:
    folder.mkdir(exist_ok=True)
    inputs = from_keywords({**USUAL, **words}, environment={})
    checkout = open_checkout(plant(folder / "field"))
    return prepare(inputs, checkout=checkout, prices=PRICES, through_server=through_server)


def test_the_plan_tells_the_bucket_and_what_cvl_ci_cannot_promise(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert (plan.detach.place, plan.detach.is_managed) == (BucketAddress(bucket="my-bucket", prefix="ci"), True)
    text = as_text(plan, quote(plan, PRICES), PRICES)
    MESSAGES.check("a managed job", golden.line(text, "a managed job of"))
    MESSAGES.check("the controller", golden.sentence(text, "SkyPilot's controller"))
    assert "No timer starts at its boot" in text and "the controller's own cost" in text


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ({"through_server": False}, "needs a SkyPilot API server"),
        ({"detach_to": None}, "needs detach_to"),
        ({"managed": None}, "works only with detach or managed"),
        ({"detach": "true"}, "cannot be combined with detach"),
        ({"keep_on_failure": 30}, "cannot be combined with keep_on_failure"),
        ({"down": "false"}, "cannot be combined with `down false`"),
        ({"recover": 2, "spot": "true"}, "cannot be combined with recover: until the deadline"),
        ({"recover": 0}, "cannot be combined with recover: until the deadline"),
        ({"repeat": 3}, "cannot be combined with repeat"),
        ({"compare": "main"}, "cannot be combined with compare"),
        ({"reuse": "trainer"}, "cannot be combined with reuse"),
        ({"num_nodes": 2}, "works only with one machine"),
        ({"cloud": "gcp"}, "those of gcp have no access"),
        ({"cloud": "any"}, "needs the cloud aws by name"),
        ({"cloud": "sandbox"}, "cannot be combined with the sandbox"),
        ({"checkpoints": "out/**", "checkpoint_to": "runner"}, "cannot be combined with a SkyPilot API server"),
    ],
)
def test_inputs_that_cannot_work_together_are_refused(tmp_path: Path, words: dict[str, object], problem: str) -> None:
    with pytest.raises(RequestError) as refused:
        planned(tmp_path, **words)  # type: ignore[arg-type]
    assert problem in str(refused.value)


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as refused:
        planned(tmp_path, through_server=False, detach_to=None, num_nodes=2, cloud="gcp", recover=1, reuse="trainer")
    assert len(refused.value.mistakes) >= 6


def test_checkpoints_in_a_bucket_go_along_and_words_about_recovery_have_no_number(tmp_path: Path) -> None:
    plan = planned(tmp_path, spot="true", checkpoints="out/**", checkpoint_to="s3://my-bucket/c")
    assert plan.machines.recoveries == 0
    assert any("recovers a managed job after each loss" in warning for warning in plan.warnings)


def test_the_dearest_machine_bounds_the_time_because_the_controller_may_take_it(tmp_path: Path) -> None:
    plan = planned(tmp_path, gpu="L4,A10G", max_cost=5, max_runtime="20h")
    quoted = quote(plan, PRICES)
    hourly = bounds.most_hourly_usd(plan, bounds.most_expensive(plan, quoted.offers))
    assert quoted.deadline_minutes * hourly / 60 == pytest.approx(5)
    attached = quote(
        planned(tmp_path / "attached", managed=None, detach_to=None, gpu="L4,A10G", max_cost=5, max_runtime="20h"),
        PRICES,
    )
    assert quoted.deadline_minutes < attached.deadline_minutes
