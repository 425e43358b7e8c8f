"""The verb `queue` as a person types it, on the fakes of the library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cvl_ci.cli.main import main
from tests.support.fake_library import checkout, on_fakes

FILE = """
jobs:
  - {id: data, command: make data}
  - {id: use, command: cat, inputs: {from: data}}
  - {id: bad, command: bad, needs: data}
  - {id: after, command: x, needs: bad}
"""


def test_a_file_is_run_shown_and_not_run_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = on_fakes(monkeypatch, end=lambda plan: 5 if plan.work.run_commands == ("bad",) else 0)
    folder = checkout(tmp_path / "work")
    (folder / "q.yaml").write_text(FILE)
    monkeypatch.chdir(folder)
    assert main(["queue", "q.yaml", "--cloud", "aws", "--max-parallel", "1"]) == 5, "the code of the failed job"
    out = capsys.readouterr().out
    assert "data | hello" in out
    assert "4 jobs: 2 succeeded, 1 failed, 1 skipped" in out
    assert "it needs bad (failed)" in out
    assert seen.running() == []
    assert json.loads((folder / "cvl-outputs/queue/queue.json").read_text())["jobs"]["use"]["state"] == "succeeded"
    assert len(seen.plans) == 3
    assert main(["queue", "q.yaml", "--cloud", "aws"]) == 5
    assert [plan.work.run_commands for plan in seen.plans[3:]] == [("bad",)], "only the failed job runs again"
    assert "2 of an earlier queue" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["queue"], "is missing"),
        (["queue", "a.yaml", "b.yaml"], "is one word too many"),
        (["queue", "none.yaml"], "is not a readable file"),
        (["queue", "q.yaml", "--max-parallel", "0"], "--max-parallel"),
        (["queue", "q.yaml", "--colour", "red"], "is no option"),
    ],
)
def test_a_wrong_line_starts_nothing(
    words: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = on_fakes(monkeypatch)
    (tmp_path / "q.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    assert main(words) == 64
    assert problem in capsys.readouterr().err
    assert seen.plans == []
