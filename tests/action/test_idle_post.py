"""A post with nothing to do loads nothing heavy, also outside the image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import golden

MESSAGES = golden.Messages(__name__)

LIGHT = {
    *("action", "action.main", "action.state", "clouds", "clouds.credential_files", "errors", "inputs", "model"),
    *("github", "github.context", "github.event", "inputs.action_variables"),
    *(
        "model.launch",
        "model.node_end",
        "model.outcome",
        "model.paired_comparison",
        "model.release",
        "model.work_identity",
    ),
    *(
        "model.billing",
        "model.bucket",
        "model.checkpoint_plan",
        "model.fitness",
        "model.ledger",
        "model.location",
        "model.loss",
        "model.replicas",
        "model.reuse",
        "model.secret",
        "model.service",
        "model.storage",
    ),
    *("result", "result.no_follow", "wiring", "wiring.access", "wiring.directories"),
}
"""All that it loads of cvl-ci. A new name belongs here only if it is small and loads small ones."""


@pytest.mark.parametrize("kept_until", ["", "2026-11-29 10:00 UTC"])
def test_an_idle_post_loads_nothing_heavy(tmp_path: Path, kept_until: str) -> None:
    program = (
        "import sys; before = {*sys.modules}; from cvl_ci.action import main\n"
        "code = main.called_as('/post-entrypoint')\n"
        "sys.stdout = sys.stderr\n"
        "names = sorted({*sys.modules} - before)\n"
        f"own = [name for name in names if name.startswith('cvl_ci.') and name[7:] not in {LIGHT!r}]\n"
        "other = [name for name in names if name.partition('.')[0] not in {*sys.stdlib_module_names, 'cvl_ci'}]\n"
        "network = [name for name in names if name in {'ssl', 'http.client', 'asyncio', 'multiprocessing'}]\n"
        "print(code, *own, *other, *network)"
    )
    state = json.dumps({"lease": "cvl-1-00000000", "leg": "", "done": True, "kept_until": kept_until})
    environ = {"PATH": os.defpath, "HOME": str(tmp_path), "GITHUB_RUN_ID": "1", "STATE_step_state": state}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == "0\n"
    if kept_until:
        MESSAGES.check("a kept machine", done.stdout)
    assert bool(done.stdout) == bool(kept_until)
