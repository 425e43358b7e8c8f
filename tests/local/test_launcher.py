"""The runs of a drill are this very program, in a folder that holds nothing of anybody's."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

from cvl_ci.local.process.launcher import LocalLauncher
from tests import golden

MESSAGES = golden.Messages(__name__)


def launcher(folder: Path, heard: list[str]) -> LocalLauncher:
    environment = {**os.environ, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    return LocalLauncher(folder, environment=environment, hear=heard.append, outage=lambda _: nullcontext())


def test_what_is_typed_is_carried_out_and_heard(tmp_path: Path) -> None:
    messages: list[str] = []
    arguments = launcher(tmp_path, messages).type(["down", "cvl-7-0badcafe"])
    assert arguments.wait(within=60) == 64
    assert any("not a lease of this computer's records" in line for line in messages)


def test_a_run_starts_with_the_task_and_refuses_what_is_wrong_with_it(tmp_path: Path) -> None:
    run = launcher(tmp_path, []).start(["--cloud", "sandbox", "--max-runtime", "soon"], task="run: sleep 1\n")
    assert run.wait(within=60) == 64
    MESSAGES.check("not a length", golden.line(run.lines, "'soon'"))
    assert (tmp_path / "task.yaml").read_text() == "run: sleep 1\n"
