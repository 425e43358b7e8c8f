"""What a change is compared with on its own machine: the same work as its base's commit has it, or a word why not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.errors import RequestError
from cvl_ci.model.plan import BASE_FOLDER, FEWEST_TRIALS, TRIALS
from cvl_ci.model.staged_files import Blob
from cvl_ci.result.benchmark import noise
from tests import golden
from tests.commands.test_build_run import Ask, ask, field
from tests.support.field import plant

MESSAGES = golden.Messages(__name__)

__all__ = ["ask", "field"]


def test_a_base_is_laid_beside_as_its_commit_has_it(ask: Ask, field: Path) -> None:
    plant(field, {"benchmarks/plain/train.sh": "echo new\n", "benchmarks/plain/more.py": "x"})
    plan = ask(example="plain", compare="HEAD~1")
    base = {file.path: file for file in plan.files.staged if file.path.startswith(BASE_FOLDER)}
    head = {file.path: file for file in plan.files.staged if not file.path.startswith(BASE_FOLDER)}
    assert set(base) == {f"{BASE_FOLDER}/{path}" for path in head if path != "benchmarks/plain/more.py"}
    assert isinstance(base[f"{BASE_FOLDER}/benchmarks/plain/train.sh"].source, Blob)
    assert plan.trials.base is not None
    assert (plan.trials.base.ref, plan.trials.base.run_commands) == ("HEAD~1", plan.work.run_commands)
    assert (plan.trials.repeat, plan.trials.has_samples) == (TRIALS, True)


def test_how_often_is_said_by_repeat(ask: Ask) -> None:
    assert ask(example="plain", repeat=3).trials.repeat == 3
    assert ask(example="plain", repeat="7", compare="HEAD").trials.repeat == 7
    assert not ask(example="plain").trials.has_samples


def test_a_gate_that_can_hardly_fail_says_so(ask: Ask) -> None:
    """As many trials as the verdict's own rule needs."""
    assert (noise.enough(TRIALS, TRIALS), noise.enough(TRIALS - 1, TRIALS - 1), noise.ALIKE) == (
        True,
        False,
        FEWEST_TRIALS,
    )
    hardly = ask(example="plain", compare="HEAD", repeat=4, fail_on_regression=True)
    MESSAGES.check("a gate that hardly fails", golden.line(hardly.warnings, "with repeat 4"))
    for given in ({"compare": "HEAD", "fail_on_regression": True}, {"compare": "HEAD", "repeat": 2}):
        assert not any("fail_on_regression" in one for one in ask(example="plain", **given).warnings)


def test_a_base_without_this_example_is_nothing_to_compare_with(ask: Ask, field: Path) -> None:
    new = {
        "new/example.yaml": "name: brand-new\nresources: {gpu: 0}\npresets: {train: {script: t.sh, docker: false}}\n"
    }
    plant(field, {**new, "new/t.sh": "echo x\n"})
    plan = ask(example="brand-new", compare="HEAD~1")
    assert plan.trials.base is None
    MESSAGES.check("no such work", golden.line(plan.warnings, "Not compared with HEAD~1").partition(": example")[0])


def test_a_base_without_the_file_of_a_command_is_nothing_to_compare_with(ask: Ask, field: Path) -> None:
    plant(field, {"new.py": "print(1)\n"})
    plan = ask(command="python new.py", compare="HEAD~1")
    assert plan.trials.base is None
    MESSAGES.check("no such file", golden.line(plan.warnings, "Not compared with HEAD~1"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"compare": "no/such"}, "compare: 'no/such' is not a commit here"),
        ({"compare": "HEAD", "num_nodes": 2}, "compare: 'HEAD' works only with one machine"),
        ({"repeat": 2, "num_nodes": 2}, "repeat: '2' works only with one machine"),
        ({"repeat": 101}, "repeat: '101' is more than 100"),
        ({"fail_on_regression": True}, "fail_on_regression: 'true' works only with compare"),
        *(
            ({"compare": "HEAD", "repeat": few, "fail_on_regression": True}, f"repeat: '{few}' is too few to tell")
            for few in range(1, FEWEST_TRIALS)
        ),
    ],
)
def test_what_cannot_be_compared_is_a_mistake(ask: Ask, given: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=re.escape(said)):
        ask(example="plain", **given)


def test_rules_that_are_wrong_are_told_before_anything_is_spent(ask: Ask, field: Path) -> None:
    plant(field, {"cvl-ci.yml": "metrics: {accuracy: up}\n"})
    with pytest.raises(RequestError, match="is not a direction"):
        ask(example="plain", compare="HEAD")
