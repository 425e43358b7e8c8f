"""`hf_cache` and `models` of a run: in the plan, in its mistakes, and stored before a machine is launched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.commands.plan.quote import quote
from cvl_ci.commands.plan.quote_text import as_text
from cvl_ci.commands.run import run as running
from cvl_ci.commands.run.run import RunPorts
from cvl_ci.engine.task import script
from cvl_ci.errors import RequestError
from cvl_ci.inputs.reader import from_keywords
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.model.bucket import BucketAddress
from cvl_ci.model.model_plan import ModelName, ModelPlan
from cvl_ci.model.owner import Owner
from cvl_ci.model.plan import RunPlan, WorkPlan
from tests import golden
from tests.support.fakes import (
    FakeClock,
    FakeCloud,
    FakeClouds,
    FakeEngine,
    FakePrices,
    FakeRecords,
    FakeReporter,
    FakeStaging,
)

MESSAGES = golden.Messages(__name__)

PRICES = CataloguePrices()


def plan(folder: Path, **given: object) -> RunPlan:
    inputs = from_keywords({"command": "true", "gpu": "L4", **given}, environment={})
    return prepare(inputs, checkout=open_checkout(folder), prices=PRICES)


def test_a_plan_shows_the_models_and_their_bucket(tmp_path: Path) -> None:
    named = plan(tmp_path, cloud="aws", hf_cache="s3://b-1/hub/", models="acme/tiny@v2, acme/other")
    assert named.models.cache == BucketAddress(bucket="b-1", prefix="hub")
    text = as_text(named, quote(named, PRICES), PRICES)
    MESSAGES.check("named models", golden.line(text, "models   "))
    assert "hf_cache works" not in text
    learned = plan(tmp_path, cloud="gcp", hf_cache="s3://b-1")
    text = as_text(learned, quote(learned, PRICES), PRICES)
    MESSAGES.check("learned models", golden.line(text, "models   "))
    MESSAGES.check("another cloud", golden.line(text, "hf_cache works"))


@pytest.mark.parametrize(
    ("given", "mistake"),
    [
        ({"models": "acme/tiny"}, "models: 'acme/tiny' needs the bucket of models: hf_cache."),
        ({"models": "a/b/c", "hf_cache": "s3://b-1"}, "models: 'a/b/c' is neither OWNER/NAME"),
        ({"models": "a/b@../x", "hf_cache": "s3://b-1"}, "is neither OWNER/NAME nor OWNER/NAME@REVISION"),
        ({"hf_cache": "gs://b-1"}, "hf_cache: 'gs://b-1' is not an S3 address"),
    ],
)
def test_a_mistake_is_named_before_any_cost(tmp_path: Path, given: dict[str, object], mistake: str) -> None:
    with pytest.raises(RequestError) as error:
        plan(tmp_path, **given)
    assert mistake in str(error.value)


def test_a_run_without_a_cache_has_no_text_and_no_variable_of_it(tmp_path: Path) -> None:
    one = RunPlan(title="x", work=WorkPlan(setup_commands=("true",), run_commands=("true",)))
    assert "cvl_ci_models" not in script.run(one, lease="l") + (script.setup(one) or "")
    assert "CVL_CI_MODELS" not in script.environment(one, lease="l", deadline=1, staged=tmp_path)


def test_models_are_stored_before_a_machine_is_launched(tmp_path: Path) -> None:
    """No machine is billed while the hub sends."""
    clock = FakeClock()
    cloud = FakeCloud(clock)
    engine = FakeEngine(cloud)
    calls: list[tuple[str, list[str]]] = []

    def store(models: ModelPlan, owner: str, tell: object) -> None:
        calls.append((str(models.names[0]), cloud.running()))

    one = replace(
        RunPlan(title="x", work=WorkPlan(run_commands=("true",))),
        models=ModelPlan(cache=BucketAddress(bucket="b-1"), names=(ModelName(repo="acme/tiny"),)),
    )
    ports = RunPorts(
        clouds=FakeClouds(engine),
        records=FakeRecords(tmp_path),
        staging=FakeStaging(tmp_path),
        reporter=FakeReporter(),
        prices=FakePrices(),
        clock=clock,
        models=store,
    )
    outcome = running.run(one, owner=Owner(repository="a/b", run="1"), outputs=tmp_path / "out", ports=ports)
    assert calls == [("acme/tiny", [])]
    assert outcome.exit_code == 0
