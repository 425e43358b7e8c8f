"""The `uses:` line of a workflow, carried out by act with the real image."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.action.act import ROOT, Workflow

PLAN = {"verb": "plan", "example": "examples/tabular/digits_sgd", "preset": "train", "cloud": "aws"}
OUTPUTS = 'echo "${{ steps.gpu.outcome }} ${{ steps.gpu.outputs.ending }} ${{ steps.gpu.outputs.exit_code }}"'


@pytest.fixture
def workflow(image: str, tmp_path: Path) -> Workflow:
    made = Workflow(image=image, folder=tmp_path)
    shutil.copytree(ROOT / "examples", made.repository / "examples")
    return made


def test_a_plan_is_shown_and_post_has_nothing_to_do(workflow: Workflow) -> None:
    acted = workflow.run(PLAN, after=OUTPUTS)
    assert acted.code == 0, acted.text
    assert "digits-sgd train" in acted.said("Main")
    assert "an hour, at most $" in acted.said("Main")
    assert (acted.result("Main"), acted.result("Post")) == ("success", "success")
    assert acted.said("Post") == ""
    assert acted.said("Main", "after").startswith("success")


def test_a_wrong_input_turns_the_step_red_and_names_all_that_is_wrong(workflow: Workflow) -> None:
    acted = workflow.run({**PLAN, "preset": "trian", "cloud": "asw"}, after=OUTPUTS)
    assert acted.code == 1
    assert acted.result("Main") == "failure"
    assert "trian" in acted.said("Main") and "asw" in acted.said("Main")
    assert acted.result("Post") == "success"
    assert acted.said("Main", "after").startswith("failure")


def test_modules_in_the_workspace_are_not_ours_whatever_they_are_named(workflow: Workflow) -> None:
    """A pull request may add any file: it must not run where the credentials are."""
    for name in ("yaml", "json", "sitecustomize", "cvl_ci", "requests"):
        (workflow.repository / f"{name}.py").write_text(
            "open('/github/workspace/obeyed', 'w').close(); raise SystemExit(9)"
        )
    workflow.environment = {"PYTHONPATH": str(workflow.repository), "PYTHONSTARTUP": "yaml.py"}
    assert workflow.run(PLAN).code == 0
    assert not (workflow.repository / "obeyed").exists()
