"""action.yml says what the code's tables say, and asks GitHub for what the design stands on."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml

from cvl_ci.action.main import PHASES
from cvl_ci.inputs.action_outputs import ACTION_OUTPUTS, MATRIX_OUTPUTS
from cvl_ci.inputs.credential_inputs import CREDENTIAL_INPUTS
from cvl_ci.inputs.table import action_options
from cvl_ci.result.outputs import outputs
from tests.result.outcomes import EVERY

ROOT = Path(__file__).resolve().parent.parent
PATH = ROOT / "action.yml"


def expected() -> str:
    """After a change of a table: `GOLDEN=write pytest tests/test_action_yml.py`."""
    inputs: dict[str, dict[str, str]] = {}
    for one in action_options():
        many = " One a line." if one.is_repeatable else ""
        example = f" Such as {one.example}." if one.example not in {"", one.default} else ""
        absent = f" If not given: {one.default}." if one.default else ""
        default = {"default": one.action_default} if one.action_default else {}
        inputs[one.name] = {"description": f"{one.help}{many}{example}{absent}", **default}
        inputs |= {other: {"description": f"Another name of `{one.name}`."} for other in one.other_names}
    for credential in CREDENTIAL_INPUTS:
        inputs[credential.name] = {"description": credential.help}
    document = {
        "name": "cvl-ci: a GPU job on any cloud",
        "description": "Runs a job on cloud GPUs with SkyPilot and shows it live. Fetches its files, "
        "and proves that no machine is left.",
        "author": "cvl-ci",
        "branding": {"icon": "cpu", "color": "purple"},
        "inputs": inputs,
        "outputs": {own.name: {"description": own.help} for own in (*ACTION_OUTPUTS, *MATRIX_OUTPUTS)},
        "runs": {
            "using": "docker",
            "image": "Dockerfile",
            "entrypoint": "/entrypoint",
            "post-entrypoint": "/post-entrypoint",
            "post-if": "always()",
            "args": [],
        },
    }
    head = "# Written by `GOLDEN=write pytest tests/test_action_yml.py` from the code's tables.\n"
    return head + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1_000)


def action() -> Any:
    return yaml.safe_load(PATH.read_text(encoding="utf-8"))


def test_it_is_the_code_s() -> None:
    if os.environ.get("GOLDEN") == "write":
        PATH.write_text(expected(), encoding="utf-8")
    assert PATH.read_text(encoding="utf-8") == expected()


def test_every_output_is_set_whatever_the_outcome() -> None:
    for outcome in EVERY.values():
        assert list(outputs(outcome)) == [own.name for own in ACTION_OUTPUTS]
        assert not any("\n" in value for value in outputs(outcome).values())


def test_every_name_can_be_read_by_a_shell() -> None:
    for name in [*action()["inputs"], *action()["outputs"]]:
        assert re.fullmatch(r"[a-z][a-z_]*", name)


def test_the_input_args_cannot_become_words_of_the_docker_command() -> None:
    """Without `args` of its own, the runner puts an input of that name on docker's command line, unquoted."""
    assert action()["runs"]["args"] == []


def test_both_entrypoints_are_one_file_whose_name_is_the_phase() -> None:
    runs = action()["runs"]
    assert {Path(runs["entrypoint"]).name: "main", Path(runs["post-entrypoint"]).name: "post"} == PHASES
    assert "ln -s /entrypoint /post-entrypoint" in (ROOT / "Dockerfile").read_text()
    assert '"${0##*/}"' in (ROOT / "entrypoint").read_text()
    assert "$@" not in (ROOT / "entrypoint").read_text()
