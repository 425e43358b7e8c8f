"""The verb `queue` as a person types it, on the fakes of the library."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from cvl_ci.cli.main import main
from cvl_ci.model.queue import JobRecord, JobState
from cvl_ci.result import queue_text
from tests import golden
from tests.support.fake_library import checkout, on_fakes

MESSAGES = golden.Messages(__name__)

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


@pytest.mark.parametrize("repository", [".", "results"], ids=["checkout", "submodule"])
def test_a_record_that_came_with_a_commit_is_refused_in_a_folder_of_any_name(
    repository: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A pull request could commit a success that never ran, or the lease of another run."""
    seen = on_fakes(monkeypatch)
    folder = checkout(tmp_path / "work")
    (folder / "q.yaml").write_text("jobs: [{id: data, command: make data}]")
    monkeypatch.chdir(folder)
    words = ["queue", "q.yaml", "--cloud", "aws", "--outputs-dir", "results/nightly"]
    assert main(words) == 0
    git = ("git", "-C", repository)
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--force", "."], check=True)
    code = main(words)
    said = capsys.readouterr().err
    assert code == 64, said
    assert "results/nightly/queue.json" in said and "is in git" in said
    assert len(seen.plans) == 1


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["queue"], "is missing"),
        (["queue", "a.yaml", "b.yaml"], "is one word too many"),
        (["queue", "none.yaml"], "is not a readable file"),
        (["queue", "q.yaml", "--max-parallel", "0"], "--max-parallel"),
        (["queue", "q.yaml", "--colour", "red"], "is not an option"),
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


def test_a_later_job_without_its_script_starts_no_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = on_fakes(monkeypatch)
    folder = checkout(tmp_path / "work")
    example = folder / "examples/alone/one/example.yaml"
    example.parent.mkdir(parents=True)
    example.write_text("name: alone\npresets: {go: {script: go.sh}}\n")
    job = "{id: second, example: alone, preset: go, needs: first, machine: one}"
    (folder / "q.yaml").write_text(f"jobs:\n  - {{id: first, command: x, machine: one}}\n  - {job}\n")
    monkeypatch.chdir(folder)
    assert main(["queue", "q.yaml", "--cloud", "aws"]) == 64
    said = capsys.readouterr().err
    assert "job second: example" in said
    assert "has no go.sh" in said
    MESSAGES.check("no script", golden.sentence(said, "Run it from a checkout"))
    assert seen.plans == []


def test_the_live_table_has_the_running_jobs_and_counts_the_rest() -> None:
    records = {f"job-{number}": JobRecord(state=JobState.RUNNING) for number in range(12)}
    records["over"] = JobRecord(state=JobState.SUCCEEDED)
    lines = queue_text.live(records, seconds={"job-0": 75.0})
    assert lines[0] == "  job-0   running  1 min 15 s"
    assert len(lines) == queue_text.MOST_LIVE + 1
    assert lines[-1] == "  and 2 more"
    assert queue_text.live({"over": records["over"]}, seconds={}) == []


def test_the_presets_of_an_example_share_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One builds what the next runs. The second queue runs nothing."""
    seen = on_fakes(monkeypatch)
    folder = checkout(tmp_path / "work")
    example = folder / "examples/chain"
    example.mkdir(parents=True)
    scripts = {name: f"echo {name}\n" for name in ("build", "download", "train")}
    for name, text in scripts.items():
        (example / f"{name}.sh").write_text(text)
    presets = "".join(f"  {name}: {{script: {name}.sh}}\n" for name in scripts)
    (example / "example.yaml").write_text(f"name: chain\npresets:\n{presets}")
    monkeypatch.chdir(folder)
    words = ["queue", "--example", "chain", "build", "download", "train", "--cloud", "aws"]
    assert main(words) == 0, capsys.readouterr().err
    said = capsys.readouterr()
    MESSAGES.check("jobs of one machine", golden.sentence(said.out + said.err, "run in turn on one").partition("] ")[2])
    assert len(seen.plans) == 1, "one launch"
    assert len(seen.clouds[0].machines) == 1
    assert seen.running() == []
    assert main(words) == 0
    assert len(seen.plans) == 1


ESTIMATED = """
max_parallel: 2
budget: 20
defaults: {cloud: aws/us-east-1, gpu: "L4:1", max_runtime: 2h, spot: "false"}
jobs:
  - {id: prepare, command: make data, gpu: none, max_runtime: 30m}
  - {id: build, command: make, machine: trainer}
  - {id: train, command: make train, needs: build, machine: trainer, retry: {on: [preempted], limit: 2}}
"""


def test_an_estimate_sums_the_worst_of_each_machine_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = on_fakes(monkeypatch)
    folder = checkout(tmp_path / "work")
    (folder / "q.yaml").write_text(ESTIMATED)
    monkeypatch.chdir(folder)

    def most(*words: str) -> list[float]:
        assert main([*words, "--estimate-cost"]) == 0
        out = capsys.readouterr().out
        return [
            float(usd)
            for usd in re.findall(
                r"(?:At most|at most|up to) \$([0-9.]+)(?: with disk and address)?(?:,? within| for|  ?more)", out
            )
        ]

    single = ["run", "--cloud", "aws/us-east-1", "--command", "true", "--spot", "false", "--max-runtime"]
    [small], [large] = most(*single, "30m", "--gpu", "none"), most(*single, "2h", "--gpu", "L4:1")
    prepare, trainer, total, again = most("queue", "q.yaml")
    assert prepare == small
    assert trainer == pytest.approx(2 * large, rel=0.05), "the sum of the limits of its jobs"
    assert total == pytest.approx(prepare + trainer, abs=0.02)
    assert again == pytest.approx(2 * large, abs=0.02), "two further attempts of train"
    main(["queue", "q.yaml", "--estimate-cost"])
    out = capsys.readouterr().out
    assert out.startswith("prepare:\n  Estimated cost: $") and "\nbuild, train:\n" in out
    assert "for 3 jobs on 2 machines" in out and "The budget of $20.00 starts no job" in out
    assert seen.plans == [] and not (folder / "cvl-outputs").exists()


def test_an_estimate_names_all_mistakes_as_the_queue_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_fakes(monkeypatch)
    folder = checkout(tmp_path / "work")
    (folder / "q.yaml").write_text("jobs: [{id: a, command: x, gpu: H1000}, {id: b, command: x, num_nodes: 0}]")
    monkeypatch.chdir(folder)
    assert main(["queue", "q.yaml", "--cloud", "aws", "--estimate-cost"]) == 64
    err = capsys.readouterr().err
    assert "job a: gpu" in err and "job b: num_nodes" in err
