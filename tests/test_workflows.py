"""The workflows of this repository trust nothing that can change under them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_to_a_commit_and_says_which_version_it_is(path: Path) -> None:
    uses = re.findall(r"uses: *(.*)", path.read_text(encoding="utf-8"))
    assert uses
    for line in uses:
        assert re.fullmatch(r"\./.*|cvl/skypilot-run@v1|[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*", line), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_nothing_is_permitted_but_what_a_job_asks_for_and_every_job_ends(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        writes = {name for name, may in job["permissions"].items() if may != "read"}
        assert writes <= {"pull-requests"}, "the comment is all that is ever written"
        assert job["timeout-minutes"] <= 90


@pytest.mark.parametrize("script", [*sorted((ROOT / "script").iterdir()), ROOT / ".ci/run"], ids=lambda path: path.name)
def test_every_script_can_be_run_and_stops_at_the_first_mistake(script: Path) -> None:
    assert script.stat().st_mode & 0o111
    assert script.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in script.read_text(encoding="utf-8")
