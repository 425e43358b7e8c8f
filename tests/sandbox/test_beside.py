"""A change and its base on one real machine, in turn: a fifth slower is called worse, and what is the same is not."""

from __future__ import annotations

from pathlib import Path

from tests.field import run_git
from tests.sandbox.conftest import Terminal
from tests.timing import SLOWER, WORK, timing


def test_what_got_slower_is_told_and_fails_it(terminal: Terminal, tmp_path: Path) -> None:
    repository = timing(tmp_path / "repository")
    work = repository / WORK
    work.write_text(SLOWER)
    (repository / "unrelated").write_text("x")
    run_git(repository, "add", "unrelated")
    ran = terminal.run("timing", "--compare", "HEAD", "--fail-on-regression", checkout=repository)
    assert ran.code == 1, ran.err
    told = ran.summary["beside"]
    assert sorted(told["order"]) == sorted(f"{side}-{turn}" for side in ("head", "base") for turn in range(1, 6))
    found = {change["metric"]: change["verdict"] for change in told["changes"]}
    assert found["accuracy"] == "same"
    assert found["latency_ms"] == "worse", told
    assert (len(ran.summary["samples"]["latency_ms"]), len(ran.summary["samples"]["time.turn"])) == (5, 5)
    kept = [f"{side}-{turn}/outputs/metrics.json" for side in ("base", "head") for turn in range(1, 6)]
    assert sorted(each["path"] for each in ran.summary["files"]) == kept
    assert work.read_text() == SLOWER, "the working tree is as it was"
    assert terminal.machines() == []
