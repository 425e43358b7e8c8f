"""A packed matrix on the sandbox: the plan of one step is the queue of the next, and each leg has its own row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cvl_ci.result.benchmark import leg_file
from tests.e2e.conftest import Terminal
from tests.e2e.test_deploy import step
from tests.support.field import plant

FILES = {
    "examples/marks/example.yaml": "name: marks\nresources: {gpu: 0}\npresets:\n"
    "  first: {script: mark.sh, args: first, docker: false}\n"
    "  second: {script: mark.sh, args: second, docker: false}\n",
    "examples/marks/mark.sh": """#!/usr/bin/env bash
ls "$HOME" | grep '^mark-' && echo "a file of another leg" && exit 9
touch "$HOME/mark-$1"
hostname > "of-$1.txt"
echo '{"marks": 1}' > metrics.json
""",
}


@pytest.mark.minutes(3)
def test_legs_of_a_packed_matrix_run_in_turn_on_one_clean_machine(terminal: Terminal, tmp_path: Path) -> None:
    checkout = plant(tmp_path / "repository", FILES)
    person = Terminal(home=tmp_path, directory=terminal.directory, sandbox=terminal.sandbox, checkout=checkout)
    given = {"examples": "marks", "presets": "first\nsecond", "clouds": "sandbox", "max_runtime": "10m"}
    _, planned = step(person, "/entrypoint", run=200, home=tmp_path / "plan", verb="matrix", pack="true", **given)
    [entry] = json.loads(planned["matrix"])["include"]
    leg = {"queue": entry["queue"], "leg": json.dumps({"name": entry["name"]}), "metrics": "metrics.json"}
    said, ran = step(person, "/entrypoint", run=200, home=tmp_path / "leg", verb="queue", **leg)
    assert (ran["ending"], ran["released"]) == ("succeeded", "true"), said
    assert person.machines() == []
    [costs] = (tmp_path / "leg").rglob("*.costs")
    legs = [leg_file.read(file.read_bytes()) for file in costs.iterdir()]
    assert sorted((one.key.preset, one.ending.value, one.key.warm) for one in legs) == [
        ("first", "succeeded", False),
        ("second", "succeeded", True),
    ]
    assert len({one.machines.cluster for one in legs}) == 2 and all(one.machines.is_gone for one in legs)
    hosts = [path.read_text() for path in checkout.rglob("of-*.txt")]
    assert len(hosts) == 2 and len(set(hosts)) == 1, "one machine for both legs"
    launched = [one for one in person.sandbox.status().instances if one.tags.get("cvl-ci-run") == "200-1"]
    assert len(launched) == 1
