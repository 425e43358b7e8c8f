"""The words of the runner that this library replaces: each means something here, or a warning tells its meaning."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.commands.plan import quote as quoting
from cvl_ci.commands.plan import quote_text
from cvl_ci.commands.plan.build_run import prepare
from cvl_ci.errors import RequestError
from cvl_ci.inputs.reader import from_environment, from_keywords
from cvl_ci.local.git.checkout import open_checkout
from cvl_ci.model.plan import RunPlan
from cvl_ci.model.resource_request import Spot
from tests.support.field import plant

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFDYWOCYXsx/YEGKrwzFq1h/QsJXCohAlanozKzQ9lRc anna@laptop"
TASK = "run: python train.py\nsetup: pip install torch\nfile_mounts:\n  /data: s3://bucket/data\n  /more: ./more\n"


@pytest.fixture
def field(tmp_path: Path) -> Path:
    return plant(tmp_path / "field", {"train.py": "print(1)\n", "task.yaml": TASK, "more/one.txt": "1\n"})


def ask(field: Path, **given: object) -> RunPlan:
    inputs = from_keywords({"command": "python train.py", **given}, environment={})
    return prepare(inputs, checkout=open_checkout(field), prices=CataloguePrices())


def refused(field: Path, **given: object) -> dict[str, str]:
    with pytest.raises(RequestError) as caught:
        ask(field, **given)
    return {mistake.field: mistake.problem for mistake in caught.value.mistakes}


def test_setup_runs_before_the_command_and_replaces_a_tasks_own(field: Path) -> None:
    assert ask(field, setup="pip install -e .").work.commands == ("pip install -e .", "python train.py")
    assert ask(field, command=None, task="task.yaml").work.setup_commands == ("pip install torch",)
    assert ask(field, command=None, task="task.yaml", setup="true").work.setup_commands == ("true",)


def test_file_mounts_find_local_files_fill_in_variables_and_add_to_a_tasks_own(field: Path) -> None:
    mounts = {"/data": "$BUCKET/data", "~/more": "more"}
    planned = ask(field, file_mounts=mounts, env={"BUCKET": "s3://bucket"}).work.task_extra["file_mounts"]
    assert planned == {"/data": "s3://bucket/data", "~/more": f"{field}/more"}
    planned = ask(field, command=None, task="task.yaml", file_mounts={"/data": "s3://other"}).work.task_extra[
        "file_mounts"
    ]
    assert planned == {"/data": "s3://other", "/more": f"{field}/more"}
    assert "from $BUCKET" in refused(field, file_mounts=mounts)["command"]


def test_an_example_takes_neither_setup_nor_file_mounts(field: Path) -> None:
    wrong = refused(field, command=None, example="x", setup="true", file_mounts={"/d": "s3://b"})
    assert "has its preset `build`" in wrong["setup"]
    assert "takes its files from files" in wrong["file_mounts"]


def test_use_spot_is_spot_and_down_is_the_default(field: Path) -> None:
    plan = ask(field, use_spot=True, down=True)
    assert (plan.machines.spot, plan.limits.keep_minutes, plan.warnings) == (Spot.ALWAYS, 0, ())


@pytest.mark.parametrize(("words", "minutes"), [({}, 10), ({"idle_minutes_to_autostop": 25}, 25)])
def test_down_false_keeps_the_machine_and_the_quote_has_its_price(
    field: Path, words: dict[str, object], minutes: int
) -> None:
    plan, shorter = ask(field, gpu="L4:1", down=False, **words), ask(field, gpu="L4:1")
    assert (plan.limits.keep_minutes, plan.limits.keeps_after_success) == (minutes, True)
    prices = CataloguePrices()
    quoted, least = quoting.quote(plan, prices), quoting.quote(shorter, prices)
    assert quoted.max_usd is not None and least.max_usd is not None
    assert quoted.max_usd > least.max_usd
    assert f"kept {minutes} min after the job" in quote_text.as_text(plan, quoted, prices)


def test_words_without_an_effect_are_told(field: Path) -> None:
    (name, idle) = ask(field, cluster_name="my-training", idle_minutes_to_autostop=10).warnings
    assert name.startswith("cluster_name 'my-training' is a name")
    assert idle.startswith("idle_minutes_to_autostop is not used")


def test_two_ways_to_keep_a_machine_are_a_mistake(field: Path) -> None:
    assert set(refused(field, down=False, keep_on_failure=30)) == {"down"}


def test_in_a_workflow_a_kept_machine_needs_a_key_of_its_user(field: Path) -> None:
    variables = {"INPUT_COMMAND": "true", "INPUT_DOWN": "false"}
    checkout, prices = open_checkout(field), CataloguePrices()
    with pytest.raises(RequestError) as caught:
        prepare(from_environment(variables), checkout=checkout, prices=prices)
    (mistake,) = caught.value.mistakes
    assert (mistake.field, mistake.value) == ("down", "false")
    plan = prepare(from_environment({**variables, "INPUT_SSH_PUBLIC_KEY": KEY}), checkout=checkout, prices=prices)
    assert plan.limits.keep_minutes == 10
