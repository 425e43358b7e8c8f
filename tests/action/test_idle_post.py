"""A post with nothing to do loads nothing heavy, also outside the image."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HEAVY = (
    *("sky", "github", "requests", "boto3", "actions_toolkit", "moto", "yaml", "http.client"),
    *("cvl_ci.action.step", "cvl_ci.action.publication", "cvl_ci.sandbox", "cvl_ci.wiring.clouds"),
    *("cvl_ci.inputs.reader", "cvl_ci.clouds.registry", "cvl_ci.clouds.http"),
)


def test_an_idle_post_loads_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; from cvl_ci.action import main; code = main.called_as('/post-entrypoint')\n"
        f"print(code, *sorted({{*{HEAVY!r}}} & {{*sys.modules}}))"
    )
    state = '{"lease": "cvl-1-00000000", "leg": "", "done": true}'
    environ = {"PATH": os.defpath, "HOME": str(tmp_path), "GITHUB_RUN_ID": "1", "STATE_handover": state}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
