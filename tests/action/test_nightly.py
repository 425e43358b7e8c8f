"""The workflows to copy, as they are, carried out by act on the sandbox: its two regions stand for two clouds.

act keeps artifacts as they came and knows no REST; the GitHub of these tests lists what lies in act's folder. The legs
run one after another, which act has to be told in the workflow: all containers have one HOME here. An earlier night is
a night that was run; those before it are the same numbers on other days, as a benchmark without noise has them.
"""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.result.benchmark import leg as legs
from tests.action import github
from tests.action.act import ROOT, Acted, Workflow
from tests.action.conftest import Runner, give_back, machines_of
from tests.github import api as fake
from tests.github.api import Api

EAST, WEST = "sandbox/us-east-1", "sandbox/us-west-2"
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

    workflow: Workflow
    api: Api
    file: str

    def example(self, name: str, script: str) -> None:
        folder = self.workflow.repository / "bench" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "example.yaml").write_text(EXAMPLE.format(name=name))
        (folder / "train.sh").write_text(f"#!/usr/bin/env bash\nset -euo pipefail\n{script}")
        (folder / "train.sh").chmod(0o755)
        (self.workflow.repository / ".gitignore").write_text("cvl-*/\n")

    def commit(self) -> str:
        text = (ROOT / ".github/workflows" / self.file).read_text()
        ours = text.replace("fail-fast: false\n", "fail-fast: false\n      max-parallel: 1\n")
        (self.workflow.repository / ".github/workflows" / self.file).write_text(ours)
        sha = self.workflow.committed()
        self.api.kept.commits.insert(0, sha)
        return sha

    def run(self, name: str, event: Mapping[str, Any], *, clouds: Sequence[str]) -> tuple[int, Acted]:
        """The number of this run on main, which GitHub then knows with all that it left."""
        number = uuid.uuid4().int >> 96
        self.workflow.artifacts = self.workflow.folder / f"artifacts-{number}"
        self.workflow.artifacts.mkdir()
        self.workflow.environment["GITHUB_RUN_ID"] = str(number)
        self.api.kept.more_artifacts = lambda run: stored(self.workflow.folder / f"artifacts-{run}")
        words = ["--workflows", f".github/workflows/{self.file}"]
        for variable, value in (("CVL_CI_CLOUDS", ",".join(clouds)), ("CVL_CI_EXAMPLES", "bench/*")):
            words += ["--var", f"{variable}={value}"]
        self.workflow.launch(name, event, *words)
        acted = self.workflow.ended(within=1_500.0)
        self.api.kept.run(number, self.api.kept.commits[0], event=name)
        return number, acted

    def report(self, run: int) -> dict[str, Any]:
        return dict(json.loads(self.held(run, "cvl-report", "report.json")))

    def held(self, run: int, artifact: str, file: str) -> str:
        [archive] = [archive for name, archive in stored(self.workflow.folder / f"artifacts-{run}") if name == artifact]
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            return opened.read(file).decode()

    def remember(self, run: int, *, nights: int) -> None:
        """The same night on earlier days."""
        lines = [legs.read(line.encode()) for line in self.held(run, "cvl-report", "legs.jsonl").splitlines()]
        for back in range(1, nights + 1):
            number = self.api.kept.run(back, lines[0].commit)
            told = [json.loads(legs.line(leg)) for leg in lines]
            for one in told:
                one["cluster"] += f"-{back}"
                one["at"] -= back * DAY
                one["run_url"] = f"https://github.com/cvl/ci/actions/runs/{number}/attempts/1"
            text = "".join(f"{json.dumps(one)}\n" for one in told)
            self.api.kept.artifact(number, "cvl-report", {"legs.jsonl": text})


def stored(folder: Path) -> list[tuple[str, bytes]]:
    """Names and zips, as act's server of artifacts lays them down."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.name.removesuffix(".zip"), path.read_bytes()) for path in files]


@pytest.fixture
def without_west(runner: Runner) -> Iterator[None]:
    runner.cvl_ci("sandbox", "faults", "--no-capacity", "us-west-2")
    yield
    runner.cvl_ci("sandbox", "faults", "--clear")


@pytest.fixture
def nightly(runner: Runner, tmp_path: Path, api: Api, api_url: str) -> Iterator[Nights]:
    yield from repository(runner, tmp_path, api, api_url, "nightly-benchmark.yml")


def repository(runner: Runner, folder: Path, api: Api, api_url: str, file: str) -> Iterator[Nights]:
    workflow = Workflow(image=runner.image, folder=folder, home=runner.home)
    workflow.environment = {"GITHUB_API_URL": api_url}
    yield Nights(workflow=workflow, api=api, file=file)
    workflow.stop()
    give_back(runner.image, folder)


def started_by_hand() -> dict[str, Any]:
    return {"ref": "refs/heads/main", "repository": {"full_name": "cvl/ci", "default_branch": "main"}}


def status_of(report: Mapping[str, Any]) -> Verdicts:
    return {row["name"]: (row["status"], row["red"], row["worse"]) for row in report["rows"]}


@pytest.mark.timeout(1_800)
@pytest.mark.usefixtures("without_west")
def test_a_night_tells_each_leg_s_verdict_once_and_opens_an_issue(nightly: Nights, api: Api) -> None:
    names = ("clean", "failing", "slower")
    for name in names:
        nightly.example(name, STEP.format(ms=100))
    nightly.commit()
    first, acted = nightly.run("workflow_dispatch", started_by_hand(), clouds=[EAST])
    assert acted.code == 0, acted.text
    assert status_of(nightly.report(first)) == {f"{name} train {EAST}": ("ok", False, []) for name in names}
    assert (api.bodies(), api.kept.issues) == ([], {})
    nightly.remember(first, nights=4)

    nightly.example("failing", "echo it goes wrong; exit 7\n")
    nightly.example("slower", STEP.format(ms=120))
    head = nightly.commit()
    api.pulls = [fake.pull(github.PULL_REQUEST, sha=head)]
    second, acted = nightly.run("workflow_dispatch", started_by_hand(), clouds=[EAST, WEST])
    report = nightly.report(second)
    no_machine: Verdicts = {f"{name} train {WEST}": ("no capacity", False, []) for name in names}
    assert status_of(report) == {
        **no_machine,
        f"clean train {EAST}": ("ok", False, []),
        f"failing train {EAST}": ("the job failed", True, []),
        f"slower train {EAST}": ("worse", True, ["step_ms"]),
    }
    assert (acted.code, report["exit_code"], report["missing"]) == (1, 1, [])
    assert sorted(report["rerun"]) == sorted(no_machine)
    [comment] = api.bodies()
    assert "`step_ms` +20.0 % worse" in comment
    assert nightly.held(second, "cvl-report", "report.html").startswith("<!doctype html>")
    assert [name for name, _ in stored(nightly.workflow.artifacts)].count("cvl-report") == 1
    [issue] = api.kept.open_issues()
    assert issue["title"] == "Nightly benchmark: 2 legs got worse or failed"
    leases = [json.loads(line)["cluster"] for line in nightly.held(second, "cvl-report", "legs.jsonl").splitlines()]
    assert (len(leases), [machines_of(lease) for lease in leases if machines_of(lease)]) == (6, [])
