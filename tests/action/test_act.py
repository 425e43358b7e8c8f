"""The `uses:` line of a workflow, carried out by act with the real image: what a user sees of it."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvl_ci.sandbox import sandbox_spec
from cvl_ci.wiring import sandbox_directory
from tests.action import github
from tests.action.act import ROOT, ActWorkflow
from tests.action.conftest import docker, give_back, machines_of
from tests.e2e.cloud import NOTHING, eventually, leavings, sandbox_in
from tests.github.api import Api

PLAN = {"verb": "plan", "example": "examples/tabular/digits_sgd", "preset": "train", "cloud": "aws"}
RUN = {"example": "examples/tabular/digits_sgd", "cloud": "sandbox", "github_token": "${{ secrets.GITHUB_TOKEN }}"}
OUTCOME = "echo '${{ steps.gpu.outcome }}'"
OUTPUTS = f"{OUTCOME}\ncat <<'all'\n${{{{ toJSON(steps.gpu.outputs) }}}}\nall"


@pytest.fixture
def workflow(image: str, tmp_path: Path) -> Iterator[ActWorkflow]:
    yield from repository(image, tmp_path, home=tmp_path / "home")


@pytest.fixture
def on_sandbox(image: str, machine_image: str, tmp_path: Path, api_url: str) -> Iterator[ActWorkflow]:
    """A runner on which no sandbox is up: main brings one up in its HOME, and whoever comes last takes it down."""
    for made in repository(image, tmp_path, home=tmp_path / "home"):
        made.environment = {"GITHUB_API_URL": api_url}
        yield made
    sandbox_in(sandbox_of(made)).down()


def sandbox_of(workflow: ActWorkflow) -> Path:
    """Return where this computer has what the containers take for their sandbox's directory."""
    inside = "/github/home"
    return workflow.home / sandbox_directory({"HOME": inside}).relative_to(inside)


def leavings_of(workflow: ActWorkflow) -> dict[str, list[str]]:
    return leavings(sandbox_spec.identity(sandbox_of(workflow)))


def repository(image: str, folder: Path, *, home: Path) -> Iterator[ActWorkflow]:
    made = ActWorkflow(image=image, folder=folder, home=home)
    shutil.copytree(ROOT / "examples", made.repository / "examples")
    yield made
    made.stop()
    give_back(image, folder)


def test_a_plan_is_shown_and_post_has_nothing_to_do(workflow: ActWorkflow) -> None:
    """Modules in the workspace are not ours, whatever their names: a pull request may add any file."""
    litter(workflow)
    acted = workflow.run(PLAN, after=OUTCOME)
    assert acted.code == 0, acted.text
    assert "digits-sgd train" in acted.output("Main")
    assert "  First offer: $" in acted.output("Main")
    assert (acted.result("Main"), acted.result("Post")) == ("success", "success")
    assert acted.output("Post") == ""
    assert acted.output("Main", "after") == "success\n"
    assert not (workflow.repository / "obeyed").exists()


def test_a_wrong_input_turns_the_step_red_and_names_all_that_is_wrong(workflow: ActWorkflow) -> None:
    acted = workflow.run({**PLAN, "preset": "trian", "cloud": "asw"}, after=OUTCOME)
    assert acted.code == 1
    assert acted.result("Main") == "failure"
    assert "trian" in acted.output("Main")
    assert "asw" in acted.output("Main")
    assert acted.result("Post") == "success"
    assert acted.output("Main", "after") == "failure\n"


def test_a_run_is_green_and_its_outputs_comment_and_artifacts_are_there(on_sandbox: ActWorkflow, api: Api) -> None:
    litter(on_sandbox)
    acted = on_sandbox.run({**RUN, "preset": "train_quick"}, after=OUTPUTS, event=github.event())
    assert acted.code == 0, acted.text
    outcome, _, outputs = acted.output("Main", "after").partition("\n")
    known = json.loads(outputs)
    assert (outcome, known["ending"], known["exit_code"], known["released"]) == ("success", "succeeded", "0", "true")
    assert json.loads(known["metrics"])["test_accuracy"] > 0.5
    assert (on_sandbox.repository / known["outputs_dir"]).is_dir()
    [comment] = api.bodies()
    assert "Succeeded" in comment
    kept = uploaded(on_sandbox)
    assert any(name.endswith("metrics.json") for name in kept)
    assert any(name.endswith(".log") for name in kept)
    assert acted.output("Post") == ""
    assert "gone, proved at" in acted.output("Main")
    assert leavings_of(on_sandbox) == NOTHING
    assert not (on_sandbox.repository / "obeyed").exists()


@pytest.mark.minutes(3)
def test_after_a_main_that_was_killed_post_ends_its_machine_and_tells_what_was_known(
    on_sandbox: ActWorkflow, api: Api
) -> None:
    on_sandbox.start({**RUN, "preset": "slow"}, event=github.event())
    main = on_sandbox.container("/entrypoint")
    logs = on_sandbox.repository / "cvl-outputs"
    assert eventually(lambda: any("second 2 of" in path.read_text() for path in logs.glob("*.log")), within=600)
    [log] = logs.glob("*.log")
    assert len(machines_of(log.stem)) == 1
    docker("kill", main)
    acted = on_sandbox.ended()
    assert acted.code == 1
    assert (acted.result("Main"), acted.result("Post")) == ("failure", "success"), acted.text
    assert leavings_of(on_sandbox) == NOTHING
    assert "0 left" in acted.output("Post")
    [comment] = api.bodies()
    assert "Cancelled" in comment
    assert any(name.endswith(".log") for name in uploaded(on_sandbox))


def litter(workflow: ActWorkflow) -> None:
    """Files that would be imported first by a Python that looks where it stands."""
    obey = "open('/github/home/obeyed', 'w').close(); open('obeyed', 'w').close(); raise SystemExit(9)"
    for name in ("yaml", "json", "sitecustomize", "cvl_ci", "requests", "sky"):
        (workflow.repository / f"{name}.py").write_text(obey)
    workflow.environment["PYTHONPATH"] = str(workflow.repository)


def uploaded(workflow: ActWorkflow) -> list[str]:
    """The files in all artifacts, which act keeps as they came."""
    names = []
    for path in (path for path in workflow.artifacts.rglob("*") if path.is_file()):
        with zipfile.ZipFile(path) as packed:
            names += packed.namelist()
    return names
