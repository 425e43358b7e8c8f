"""The workflows to copy, as they are, carried out by act on the sandbox: its two regions stand for two clouds.

act keeps artifacts as they came and knows no REST; the GitHub of these tests lists what lies in its folder. The night
before is run; those before it, which say how much the same work differs, are told: without noise each says the same.
"""

from __future__ import annotations

import io
import json
import shutil
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.result.benchmark import leg_file
from cvl_ci.result.benchmark.leg import Leg
from tests import golden
from tests.action import github
from tests.action.act import ROOT, Acted, ActWorkflow
from tests.action.conftest import Runner, give_back, machines_of
from tests.github import api as fake
from tests.github.api import Api
from tests.result.benchmark.legs import leg

MESSAGES = golden.Messages(__name__)

EAST, WEST = "sandbox/us-east-1", "sandbox/us-west-2"
UNPRICED = "aws/eu-central-1"
"""A place without a known price."""
DAY = 86_400.0
EXAMPLE = """\
name: {name}
description: Writes how long a step takes, which here is said and not measured.
resources: {{gpu: 0, cpu_cores: 2, ram_gb: 2, disk_gb: 5}}
presets:
  train: {{script: train.sh, docker: false, description: All of it}}
"""
STEP = 'echo \'{{"step_ms": {ms}, "accuracy": 0.9}}\' > metrics.json\n'


Verdicts = dict[str, tuple[str, bool, list[str]]]
"""Of each leg: its status, whether it is red, which metrics got worse."""


@dataclass
class Nights:
    """A repository whose workflow runs night after night, and the GitHub that keeps what each left."""

    workflow: ActWorkflow
    api: Api
    file: str

    def example(self, name: str, script: str) -> None:
        folder = self.workflow.repository / "bench" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "example.yaml").write_text(EXAMPLE.format(name=name))
        (folder / "train.sh").write_text(f"#!/usr/bin/env bash\nset -euo pipefail\n{script}")
        (folder / "train.sh").chmod(0o755)
        (self.workflow.repository / ".gitignore").write_text("cvl-*/\n")
        (self.workflow.repository / "cvl-ci.yml").write_text("metrics: {step_ms: {direction: lower, tolerance: 5%}}\n")

    def commit(self) -> str:
        shutil.copy(ROOT / ".github/workflows" / self.file, self.workflow.repository / ".github/workflows")
        sha = self.workflow.committed()
        self.api.store.commits.insert(0, sha)
        return sha

    def run(self, name: str, event: Mapping[str, Any], *, clouds: Sequence[str]) -> tuple[int, Acted]:
        """The number of this run on main, which GitHub then knows with all that it left."""
        number = uuid.uuid4().int >> 96
        self.workflow.artifacts = self.workflow.folder / f"artifacts-{number}"
        self.workflow.artifacts.mkdir()
        self.workflow.environment["GITHUB_RUN_ID"] = str(number)
        self.api.store.more_artifacts = lambda run: stored(self.workflow.folder / f"artifacts-{run}")
        words = ["--workflows", f".github/workflows/{self.file}"]
        for variable, value in (("CVL_CI_CLOUDS", ",".join(clouds)), ("CVL_CI_EXAMPLES", "bench/*")):
            words += ["--var", f"{variable}={value}"]
        self.workflow.launch(name, event, *words)
        acted = self.workflow.ended(within=1_500.0)
        give_back(self.workflow.image, self.workflow.folder)
        self.api.store.run(number, self.api.store.commits[0], event=name)
        self.api.store.runs.insert(0, self.api.store.runs.pop())  # as GitHub lists them, the last one first
        return number, acted

    def report(self, run: int) -> dict[str, Any]:
        return dict(json.loads(self.held(run, "cvl-report", "report.json")))

    def held(self, run: int, artifact: str, file: str) -> str:
        [archive] = [archive for name, archive in stored(self.workflow.folder / f"artifacts-{run}") if name == artifact]
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            return opened.read(file).decode()

    def remember(self, commit: str, names: Sequence[str], *, nights: int) -> None:
        """Reports of earlier nights, whose legs took 100 ms a step."""
        for back in range(1, nights + 1):
            number = self.api.store.run(back, commit)
            lines = [leg_file.line(baseline_leg(name, commit, number)) for name in names]
            self.api.store.artifact(number, "cvl-report", {"legs.jsonl": "".join(f"{line}\n" for line in lines)})


def baseline_leg(name: str, commit: str, run: int) -> Leg:
    """As a run in the east leaves it."""
    return leg(
        example=name,
        preset="train",
        cloud="sandbox",
        region="us-east-1",
        instance_type="m6i.large",
        accelerators={},
        cluster=f"cvl-{run}-{name}",
        commit=commit,
        at=time.time() - run * DAY,
        billed=False,
        run_url=f"https://github.com/cvl/ci/actions/runs/{run}/attempts/1",
        metrics={"step_ms": 100, "accuracy": 0.9},
    )


def stored(folder: Path) -> list[tuple[str, bytes]]:
    """Names and zips, as act's server of artifacts lays them down."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.name.removesuffix(".zip"), path.read_bytes()) for path in files]


@contextmanager
def without_west(runner: Runner) -> Iterator[None]:
    runner.cvl_ci("sandbox", "faults", "--no-capacity", "us-west-2")
    try:
        yield
    finally:
        runner.cvl_ci("sandbox", "faults", "--clear")


@pytest.fixture
def nightly(runner: Runner, tmp_path: Path, api: Api, api_url: str) -> Iterator[Nights]:
    yield from repository(runner, tmp_path, api, api_url, "nightly-benchmark.yml")


@pytest.fixture
def regression(runner: Runner, tmp_path: Path, api: Api, api_url: str) -> Iterator[Nights]:
    yield from repository(runner, tmp_path, api, api_url, "gpu-regression.yml")


def repository(runner: Runner, folder: Path, api: Api, api_url: str, file: str) -> Iterator[Nights]:
    workflow = ActWorkflow(image=runner.image, folder=folder, home=runner.home)
    workflow.environment = {"GITHUB_API_URL": api_url}
    yield Nights(workflow=workflow, api=api, file=file)
    workflow.stop()
    give_back(runner.image, folder)


def started_by_hand() -> dict[str, Any]:
    return {"ref": "refs/heads/main", "repository": {"full_name": "cvl/ci", "default_branch": "main"}}


def proposed(base: str, head: str) -> dict[str, Any]:
    """A pull request that carries the label which asks for GPUs."""
    event = github.event()
    request = event["pull_request"]
    sides = {"head": {**request["head"], "sha": head}, "base": {**request["base"], "sha": base}}
    return {**event, "pull_request": {**request, **sides, "labels": [{"name": "gpu"}]}}


def status_of(report: Mapping[str, Any]) -> Verdicts:
    return {row["name"]: (row["status"], row["red"], row["worse"]) for row in report["rows"]}


@pytest.mark.timeout(2_400)
@pytest.mark.minutes(6)
def test_a_night_tells_each_leg_s_verdict_once_and_opens_an_issue(nightly: Nights, api: Api, runner: Runner) -> None:
    names = ("failing", "slower")
    nightly.example("slower", STEP.format(ms=100))
    before = nightly.commit()
    nightly.remember(before, names, nights=5)

    nightly.example("failing", "echo it goes wrong; exit 7\n")
    nightly.example("slower", STEP.format(ms=120))
    head = nightly.commit()
    api.pulls = [fake.pull(github.PULL_REQUEST, sha=head)]
    with without_west(runner):
        run, acted = nightly.run("workflow_dispatch", started_by_hand(), clouds=[EAST, WEST, UNPRICED])
    assert "cvl-report" in dict(stored(nightly.workflow.artifacts)), acted.text
    report = nightly.report(run)
    no_machine: Verdicts = {f"{name} train {WEST}": ("no capacity", False, []) for name in names}
    assert status_of(report) == {
        **no_machine,
        f"failing train {EAST}": ("the job failed", True, []),
        f"slower train {EAST}": ("worse", True, ["step_ms"]),
    }
    assert sorted(one["name"] for one in report["dropped"]) == [f"{name} train {UNPRICED}" for name in names]
    shown = {row["name"]: row["compared"] for row in report["rows"]}
    against = f"against 5 runs of {before[:12]}, the base"
    assert shown[f"slower train {EAST}"] == against
    assert (acted.code, report["exit_code"], report["missing"]) == (1, 1, [])
    assert sorted(report["rerun"]) == sorted(no_machine)
    [comment] = api.bodies()
    [summary] = [text for text in acted.summaries if text.startswith("### 2 of 4 legs red")]
    assert "`step_ms` +20.0 % worse" in comment and "`step_ms` +20.0 % worse" in summary
    assert nightly.held(run, "cvl-report", "report.html").startswith("<!doctype html>")
    assert [name for name, _ in stored(nightly.workflow.artifacts)].count("cvl-report") == 1
    [issue] = api.store.open_issues()
    MESSAGES.check("the issue", issue["title"])
    leases = [json.loads(line)["cluster"] for line in nightly.held(run, "cvl-report", "legs.jsonl").splitlines()]
    assert (len(leases), [machines_of(lease) for lease in leases if machines_of(lease)]) == (4, [])

    for name in names:
        nightly.example(name, STEP.format(ms=100))
    nightly.commit()
    run, acted = nightly.run("workflow_dispatch", started_by_hand(), clouds=[EAST])
    assert "cvl-report" in dict(stored(nightly.workflow.artifacts)), acted.text
    report = nightly.report(run)
    fine: Verdicts = {f"failing train {EAST}": ("ok", False, []), f"slower train {EAST}": ("better", False, [])}
    assert (status_of(report), acted.code) == (fine, 0)
    shown = {row["name"]: row["compared"] for row in report["rows"]}
    assert shown[f"slower train {EAST}"] == f"against 1 run of {head[:12]}, the base", "which the night before left"
    assert api.store.open_issues() == []


@pytest.mark.minutes(3)
def test_a_pull_request_runs_what_its_library_changed_and_names_what_it_leaves_out(
    regression: Nights, api: Api
) -> None:
    """One leg that runs for a changed file outside its folder, next to one that no price is known for; then no leg."""
    library = regression.workflow.repository / "src/mylib/step_ms"
    library.parent.mkdir(parents=True)
    library.write_text("100\n")
    regression.example("slower", STEP.format(ms="'$(cat ../../src/mylib/step_ms)'"))
    regression.example("untouched", STEP.format(ms=100))
    base = regression.commit()
    regression.remember(base, ["slower"], nights=4)
    library.write_text("120\n")
    head = regression.commit()
    run, acted = regression.run("pull_request", proposed(base, head), clouds=[EAST, UNPRICED])
    assert "cvl-report" in dict(stored(regression.workflow.artifacts)), acted.text
    report = regression.report(run)
    assert status_of(report) == {f"slower train {EAST}": ("worse", True, ["step_ms"])}
    assert (acted.code, report["rows"][0]["baseline"]) == (1, base)
    assert [one["name"] for one in report["dropped"]] == [f"slower train {UNPRICED}"]
    [comment] = api.bodies()
    assert "1 of 1 leg red, 1 got worse, 1 left out" in comment
    assert f"> - `slower train {UNPRICED}: " in comment
    assert api.store.issues == {}

    run, acted = regression.run("pull_request", proposed(base, head), clouds=[UNPRICED])
    assert "cvl-report" in dict(stored(regression.workflow.artifacts)), acted.text
    assert (acted.code, regression.report(run)["exit_code"]) == (1, 1), "no leg, and the report was not skipped"
    assert "No legs were found, 1 left out" in "".join(acted.summaries)

    (regression.workflow.repository / "README.md").write_text("Other words.\n")
    last = regression.commit()
    run, acted = regression.run("pull_request", proposed(head, last), clouds=[EAST])
    assert "cvl-report" in dict(stored(regression.workflow.artifacts)), acted.text
    assert acted.code == 0
    MESSAGES.check("no leg", regression.report(run)["headline"])
