"""`cvl-ci report` as a program: folders in, four files and an exit code out; nothing is asked of a network."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.cli.main import main
from tests import golden
from tests.result.benchmark.legs import NIGHT, never_started, summary

MESSAGES = golden.Messages(__name__)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of two commits."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    for turn in range(2):
        git("commit", "-q", "--allow-empty", "-m", str(turn))
    return tmp_path


def git(*words: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *who, *words], check=True, capture_output=True, text=True).stdout.strip()


def leave(folder: Path, *, accuracy: float = 0.9, commit: str = "", count: int = 5, **more: Any) -> None:
    """As artifacts are unpacked: a folder each."""
    for turn in range(count):
        name = f"cvl-{folder.name}-{turn}"
        said = summary(cluster=name, metrics={"accuracy": accuracy}, commit=commit, at=NIGHT + turn, **more)
        place, outputs = folder / f"leg-{turn}-cost", folder / f"leg-{turn}"
        place.mkdir(parents=True)
        (place / f"{name}.json").write_text(json.dumps(said))
        outputs.mkdir()
        (outputs / "metrics.json").write_text('{"accuracy": 0.1}')


def test_a_regression_against_the_commit_before_is_red_when_it_is_asked_for(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(repository / "legs", accuracy=0.8, commit=git("rev-parse", "HEAD"))
    leave(repository / "nights", accuracy=0.9, commit=git("rev-parse", "HEAD~1"))
    words = ["report", "legs", "--history-files", "nights"]
    assert main(words) == 0
    assert main([*words, "--fail-on-regression"]) == 1
    assert "worse  digits_sgd train on aws L4:1" in capsys.readouterr().out
    assert sorted(path.name for path in (repository / "cvl-report").iterdir()) == [
        "comment.md",
        "report.html",
        "report.json",
        "summary.md",
    ]


def test_lines_of_history_do_as_well_as_folders(repository: Path) -> None:
    leave(repository / "legs", accuracy=0.8, commit=git("rev-parse", "HEAD"))
    lines = [
        json.dumps(summary(cluster=str(at), metrics={"accuracy": 0.9}, commit=git("rev-parse", "HEAD~1")))
        for at in range(5)
    ]
    (repository / "history.jsonl").write_text("\n".join([*lines, '{"ending": "succ']))
    assert main(["report", "legs", "--history-files", "history.jsonl", "--fail-on-regression", "--into", "out"]) == 1
    assert json.loads((repository / "out/report.json").read_text())["rows"][0]["worse"] == ["accuracy"]


def test_rules_of_the_repository_are_taken_and_a_wrong_one_stops_it(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(repository / "legs", accuracy=0.8, commit=git("rev-parse", "HEAD"))
    leave(repository / "nights", accuracy=0.9, commit=git("rev-parse", "HEAD~1"))
    (repository / "cvl-ci.yml").write_text("metrics: {accuracy: ignore}\n")
    assert main(["report", "legs", "--history-files", "nights", "--fail-on-regression"]) == 0
    (repository / "cvl-ci.yml").write_text("metrics: {accuracy: hihger}\n")
    assert main(["report", "legs"]) == 64
    assert "Did you mean higher?" in capsys.readouterr().err


def test_history_that_knows_no_commits_is_all_the_base(repository: Path) -> None:
    leave(repository / "legs", accuracy=0.8)
    leave(repository / "nights", accuracy=0.9)
    assert main(["report", "legs", "--history-files", "nights", "--fail-on-regression"]) == 1


def test_a_checkout_without_the_base_compares_nothing_and_says_why(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(repository / "legs", accuracy=0.8, commit="c" * 40)
    leave(repository / "nights", accuracy=0.9, commit="b" * 40)
    git("checkout", "-q", "--orphan", "alone")
    git("commit", "-q", "--allow-empty", "-m", "alone")
    assert main(["report", "legs", "--history-files", "nights", "--fail-on-regression"]) == 0
    assert "fetch-depth: 0" in capsys.readouterr().err
    assert main(["report", "legs", "--history-files", "nights", "--base", "nowhere"]) == 64


def test_legs_without_a_machine_are_red_only_when_asked(repository: Path) -> None:
    leave(repository / "legs", count=1)
    (repository / "legs/cvl-x.json").write_text(json.dumps(never_started(75, "No machine was available.", cluster="x")))
    assert main(["report", "legs"]) == 0
    assert main(["report", "legs", "--infra-failures", "fail"]) == 75


def test_every_mistake_is_told_at_once(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "legs", "--infra-failures", "red", "--nigths", "3", "--nights", "0"]) == 64
    said = capsys.readouterr().err
    assert "--infra-failures: 'red'" in said
    assert "Did you mean --nights?" in said
    assert "--nights: '0'" in said
    assert main(["report"]) == 64
    assert main(["report", "nowhere"]) == 64


def test_a_broken_summary_is_named_and_links_are_not_followed(repository: Path) -> None:
    leave(repository / "legs", count=1)
    (repository / "legs/cvl-broken.json").write_text("{")
    (repository / "elsewhere.json").write_text(json.dumps(summary(cluster="other")))
    (repository / "legs/cvl-link.json").symlink_to(repository / "elsewhere.json")
    assert main(["report", "legs"]) == 1, "the end of a leg is unknown"
    said = (repository / "cvl-report/summary.md").read_text()
    assert "`cvl-broken.json is not JSON`" in said
    assert len(json.loads((repository / "cvl-report/report.json").read_text())["rows"]) == 1


FORGED = summary(cluster="cvl-forged", example="forged")


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("leg-0/cvl-forged.json", FORGED),
        ("leg-0/outputs/cvl-forged.json", FORGED),
        ("leg-0/leg-9-cost/cvl-forged.json", FORGED),
        ("leg-0/history.jsonl", FORGED),
        ("leg-0-log/cvl-forged.json", FORGED),
        ("leg-0-checkpoints/cvl-forged.json", FORGED),
        ("leg-0-cost/deeper/cvl-forged.json", FORGED),
        ("result.json", {"ending": "succeeded"}),
        ("result.json", {**FORGED, "schema": None}),
    ],
)
def test_a_job_s_own_file_is_never_read_as_a_leg(repository: Path, path: str, content: dict[str, Any]) -> None:
    """Whatever it is called: it lies where a job's outputs are unpacked, or it carries no marker."""
    leave(repository / "legs", count=1)
    file = repository / "legs" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    assert main(["report", "legs"]) == 0
    assert [row["example"] for row in json.loads((repository / "cvl-report/report.json").read_text())["rows"]] == [
        "digits_sgd"
    ]


@pytest.mark.parametrize(
    ("path", "content", "named"),
    [
        ("leg-9-cost/cvl-other.json", FORGED, "another name than the run"),
        ("leg-9-cost/cvl-forged.json", {**FORGED, "schema": None}, "has no `schema`"),
        ("leg-9-cost/cvl-forged.json", [], "is not a summary of a run"),
        ("leg-9-cost/cvl-forged.txt", {}, "leg-9-cost holds no summary"),
    ],
)
def test_an_artifact_that_should_hold_a_summary_and_holds_none_is_red_and_named(
    repository: Path, path: str, content: object, named: str
) -> None:
    leave(repository / "legs", count=1)
    file = repository / "legs" / path
    file.parent.mkdir()
    file.write_text(json.dumps(content))
    assert main(["report", "legs"]) == 1
    assert named in (repository / "cvl-report/summary.md").read_text()


def test_what_a_run_writes_on_this_computer_is_read_beside_its_outputs(repository: Path) -> None:
    """`cvl-outputs/<lease>/` with `<lease>.json` next to it; what `--json-summary` wrote has a name of its own."""
    (repository / "out/cvl-1").mkdir(parents=True)
    (repository / "out/cvl-1/cvl-forged.json").write_text(json.dumps(FORGED))
    (repository / "out/cvl-1.json").write_text(json.dumps(summary(cluster="cvl-1")))
    (repository / "east.json").write_text(json.dumps(summary(cluster="cvl-2", example="east")))
    assert main(["report", "out", "east.json"]) == 0
    rows = json.loads((repository / "cvl-report/report.json").read_text())["rows"]
    assert [row["example"] for row in rows] == ["digits_sgd", "east"]


def test_a_report_of_nothing_is_red_and_adds_nothing_to_history(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "legs").mkdir()
    assert main(["report", "legs"]) == 1
    assert "No legs were found" in capsys.readouterr().out
    git("init", "-q", "--bare", "remote.git")
    git("remote", "add", "origin", str(repository / "remote.git"))
    assert main(["history", "legs"]) == 70
    assert "nothing was added to cvl-ci-history" in capsys.readouterr().err


def test_a_branch_of_history_serves_as_the_base(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git("init", "-q", "--bare", "remote.git")
    git("remote", "add", "origin", str(repository / "remote.git"))
    leave(repository / "nights", accuracy=0.9, commit=git("rev-parse", "HEAD~1"))
    assert main(["history", "nights"]) == 0
    assert main(["history", "nights", "--into", "history.jsonl"]) == 0
    assert main(["history"]) == 0
    MESSAGES.check("runs of the history", capsys.readouterr().out)
    leave(repository / "legs", accuracy=0.8, commit=git("rev-parse", "HEAD"))
    assert main(["report", "legs", "--history-files", "history.jsonl", "--fail-on-regression"]) == 1


def test_what_five_legs_lost_is_red_and_listed(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As their files say it: NaN is null there, and what is gone is not there."""
    fine, lost = (
        {"loss": 0.5, "accuracy": 0.9, "passed": True, "errors": 0},
        {"loss": None, "passed": False, "errors": 37},
    )
    for folder, metrics, commit in (("legs", lost, "HEAD"), ("nights", fine, "HEAD~1")):
        for turn in range(5):
            name = f"cvl-{folder}-{turn}"
            said = summary(cluster=name, metrics=metrics, commit=git("rev-parse", commit), at=NIGHT + turn)
            (repository / folder).mkdir(exist_ok=True)
            (repository / folder / f"{name}.json").write_text(json.dumps(said))
    assert main(["report", "legs", "--history-files", "nights"]) == 0
    assert "1 leg, none red, 1 got worse" in capsys.readouterr().out
    assert main(["report", "legs", "--history-files", "nights", "--fail-on-regression"]) == 1
    [row] = json.loads((repository / "cvl-report/report.json").read_text())["rows"]
    assert sorted(row["worse"]) == ["accuracy", "errors", "loss", "passed"]
    comment = (repository / "cvl-report/comment.md").read_text()
    for line in (
        "| `accuracy` |  | `0.9` |  | worse | higher is better | `it is gone` |",
        "| `loss` |  | `0.5` |  | worse | lower is better | `it is not a number any more` |",
        "| `passed` | `False` | `True` |  | worse | higher is better | `true became false` |",
        "| `errors` | `37` | `0` |  | worse | lower is better | `the base is always 0` |",
    ):
        assert line in comment


@pytest.mark.parametrize("place", ["cvl-forged.json", "leg-9-cost/cvl-forged.json"])
@pytest.mark.parametrize("through", ["", "linked/"])
def test_a_summary_that_came_with_a_commit_is_not_a_leg(repository: Path, place: str, through: str) -> None:
    leave(repository / "legs", count=1)
    file = repository / "legs" / place
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(FORGED))
    (repository / "linked").symlink_to(repository)
    git("add", "-f", f"legs/{place}")
    assert main(["report", f"{through}legs"]) == 1, "a summary that cannot be read makes the report red"
    report = json.loads((repository / "cvl-report/report.json").read_text())
    assert [row["example"] for row in report["rows"]] == ["digits_sgd"]
    MESSAGES.check("a committed summary", report["unread"])


def test_a_summary_in_a_submodule_of_the_commit_is_not_a_leg(repository: Path) -> None:
    folder = repository / "legs/leg-9-cost"
    leave(repository / "legs", count=1)
    folder.mkdir()
    (folder / "cvl-forged.json").write_text(json.dumps(FORGED))
    git("-C", str(folder), "init", "-q")
    git("-C", str(folder), "add", "-f", ".")
    git("-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "forged")
    git("add", "-f", "legs/leg-9-cost")
    assert main(["report", "legs"]) == 1
    report = json.loads((repository / "cvl-report/report.json").read_text())
    MESSAGES.check("a committed summary", report["unread"])


def test_a_history_file_that_came_with_a_commit_is_read_and_named(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A team may keep its baseline in the repository. The checkout of another branch is no part of this commit."""
    leave(repository / "legs", accuracy=0.8, commit=git("rev-parse", "HEAD"))
    leave(repository / "nights", accuracy=0.9, commit=git("rev-parse", "HEAD~1"))
    git("-C", "nights", "init", "-q")
    git("-C", "nights", "add", "-f", ".")
    words = ["report", "legs", "--history-files", "nights", "--fail-on-regression"]
    assert main(words) == 1
    assert "are in git" not in capsys.readouterr().err
    (repository / "nights/.git").rename(repository / "other-branch")
    git("add", "-f", "nights")
    assert main(words) == 1
    assert "can change its own baseline" in capsys.readouterr().err


def test_each_job_of_a_shared_machine_is_a_line_of_history_and_a_part_of_the_sum(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a terminal they have one lease, one proof and one moment of it."""
    git("init", "-q", "--bare", "remote.git")
    git("remote", "add", "origin", str(repository / "remote.git"))
    for turn in (1, 2, 3):
        (repository / f"out/job-{turn}").mkdir(parents=True)
        told = summary(cluster="cvl-7-0123abcd", turn=turn, cost_usd=float(turn), title=f"job-{turn}", at=NIGHT)
        (repository / f"out/job-{turn}/cvl-7-{turn:08}.json").write_text(json.dumps(told))
    folders = [f"out/job-{turn}" for turn in (1, 2, 3)]
    for words in (["cost", *folders], ["cost"]):
        if words == ["cost"]:
            assert main(["history", *folders]) == 0
            assert "3 of 3 runs are new" in capsys.readouterr().out
        assert main([*words, "--since", "2026-01-01", "--json"]) == 0
        total = json.loads(capsys.readouterr().out)
        assert (total["usd"], total["runs"]) == (6.0, 3)
