"""The workflows of this repository trust nothing that can change under them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import snippets
from tests.support.doc_tables import PAGES

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = [*sorted(path for path in (ROOT / "script").iterdir() if not path.suffix), ROOT / ".ci/run"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
WRITES = {"release.yml": {"contents", "packages"}, "nightly-benchmark.yml": {"pull-requests", "issues"}}
TO_COPY = ("gpu-pull-request.yml", "gpu-regression.yml", "nightly-benchmark.yml", "reap.yml")
FINE = """\
name: Fine
on: push
permissions: {}
concurrency:
  group: fine
  cancel-in-progress: false
jobs:
  fine:
    name: Fine
    runs-on: ubuntu-latest
    steps:
      - run: echo fine
"""


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_to_a_commit_and_says_which_version_it_is(path: Path) -> None:
    uses = re.findall(r"uses: *(.*)", path.read_text(encoding="utf-8"))
    assert uses
    for line in uses:
        assert re.fullmatch(r"\./.*|cvl/skypilot-run@v1|[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*", line), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_nothing_is_permitted_but_what_a_job_asks_for_and_every_job_ends(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {}
    allowed = WRITES.get(path.name, {"pull-requests"}) | ({"id-token"} if path.name in TO_COPY else set())
    for job in workflow["jobs"].values():
        writes = {name for name, may in job["permissions"].items() if may != "read"}
        assert writes <= allowed, "the comment is all that is ever written, but by a release and of a bad night"
        assert job["timeout-minutes"] <= 90


@pytest.mark.parametrize("name", TO_COPY)
def test_a_workflow_to_copy_signs_in_by_oidc_where_it_goes_to_a_cloud_and_stores_no_key(name: str) -> None:
    text = (ROOT / ".github/workflows" / name).read_text(encoding="utf-8")
    assert "secrets." not in text
    jobs = yaml.safe_load(text)["jobs"].values()
    signed_in = [job for job in jobs if any("role_to_assume" in step.get("with", {}) for step in job["steps"])]
    assert signed_in
    for job in jobs:
        assert (job["permissions"].get("id-token") == "write") is (job in signed_in)
        events = yaml.safe_load(text)[True]
        if job in signed_in and "pull_request" in events:
            assert job["environment"] == "gpu", "a pull request's `sub` names no branch"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_can_be_run_and_stops_at_the_first_mistake(script: Path) -> None:
    assert script.stat().st_mode & 0o111
    assert script.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in script.read_text(encoding="utf-8")


def shipped() -> dict[str, Any]:
    """Return our workflows, and those in README and docs, by name."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in WORKFLOWS}
    for page in PAGES:
        results = snippets.workflows(page.read_text(encoding="utf-8"))
        texts |= {f"{page.stem} {line}": text for line, text in results}
    return {name: yaml.safe_load(text) for name, text in texts.items()}


def test_the_readme_gives_a_workflow_to_copy() -> None:
    assert any(name.startswith("README") for name in shipped())


def test_every_input_that_a_workflow_gives_us_is_one_of_action_yml() -> None:
    inputs = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))["inputs"].keys()
    values = {
        key
        for workflow in shipped().values()
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if step.get("uses", "").startswith(("cvl/skypilot-run@", "./"))
        for key in step.get("with", {})
    }
    assert values
    assert values - inputs == set()


# ---- labels ----------------------------------------------------------------------------------------------------------


class Context(dict[str, Any]):
    """A context of GitHub's expressions: what it lacks is empty and false."""

    def __getattr__(self, name: str) -> Any:
        result = self.get(name, Context())
        return Context(result) if isinstance(result, dict) else result


def evaluate(expression: str, event: dict[str, Any], *, run_id: int) -> Any:
    """Return what an expression of the few operators and functions that our workflows use comes to."""
    labels = [label["name"] for label in event.get("pull_request", {}).get("labels", [])]
    python = expression.replace("github.event.pull_request.labels.*.name", "labels")
    python = python.replace("&&", " and ").replace("||", " or ")
    name = "pull_request" if "pull_request" in event else "push"
    scope = {
        "github": Context(event=event, event_name=name, run_id=run_id, sha="0" * 40),
        "vars": Context(CVL_CI_CLOUD="aws", CVL_CI_CLOUDS="aws"),
        "labels": labels,
        "contains": lambda texts, text: text in texts,
        "format": lambda text, *values: text.format(*values),
    }
    return eval(" ".join(python.split()), {"__builtins__": {}}, scope)


def group(workflow: dict[str, Any], event: dict[str, Any], *, run_id: int) -> str:
    text = str(workflow["concurrency"]["group"])
    return re.sub(r"\$\{\{(.*?)\}\}", lambda match: str(evaluate(match[1], event, run_id=run_id)), text)


def starts(workflow: dict[str, Any], event: dict[str, Any]) -> list[str]:
    """Return the jobs that wait for no other and whose condition holds."""
    return [
        name for name, job in workflow["jobs"].items() if "needs" not in job and evaluate(job["if"], event, run_id=1)
    ]


def pull_request(action: str, *labels: str, put: str = "") -> dict[str, Any]:
    """Return a webhook's event. `put`: the label that was put on."""
    event: dict[str, Any] = {"action": action, "pull_request": {"number": 7, "labels": [{"name": x} for x in labels]}}
    return {**event, "label": {"name": put}} if put else event


def is_started_by_a_label(workflow: dict[Any, Any]) -> bool:
    """YAML 1.1 reads the key `on` as true."""
    events = workflow.get(True)
    return isinstance(events, dict) and "labeled" in ((events.get("pull_request") or {}).get("types") or [])


BY_LABEL = {name: workflow for name, workflow in shipped().items() if is_started_by_a_label(workflow)}


def test_both_workflows_that_a_label_starts_are_seen() -> None:
    assert {"gpu-pull-request.yml", "gpu-regression.yml"} <= BY_LABEL.keys()


@pytest.mark.parametrize("workflow", BY_LABEL.values(), ids=BY_LABEL)
def test_the_label_gpu_alone_starts_a_run(workflow: dict[str, Any]) -> None:
    assert starts(workflow, pull_request("labeled", "gpu", put="gpu"))
    assert starts(workflow, pull_request("synchronize", "docs", "gpu"))
    assert starts(workflow, pull_request("reopened", "gpu"))
    assert not starts(workflow, pull_request("labeled", "gpu", "docs", put="docs"))
    assert not starts(workflow, pull_request("labeled", "docs", put="docs"))
    assert not starts(workflow, pull_request("synchronize", "docs"))


@pytest.mark.parametrize("workflow", BY_LABEL.values(), ids=BY_LABEL)
def test_another_label_cancels_no_run(workflow: dict[str, Any]) -> None:
    """GitHub cancels by the group alone, before it reads any `if`: the group of such an event must be another."""
    running = group(workflow, pull_request("labeled", "gpu", put="gpu"), run_id=1)
    assert group(workflow, pull_request("labeled", "gpu", "docs", put="docs"), run_id=2) != running
    assert group(workflow, pull_request("labeled", "gpu", "wip", put="wip"), run_id=3) != running
    assert group(workflow, pull_request("synchronize", "gpu"), run_id=4) == running, "a new commit does cancel"
    assert group(workflow, pull_request("labeled", "gpu", put="gpu"), run_id=5) == running


def test_a_push_to_main_still_starts_the_regression_run() -> None:
    workflow = BY_LABEL["gpu-regression.yml"]
    assert starts(workflow, {}) == ["matrix"]
    assert group(workflow, {}, run_id=1) == f"gpu-regression-{'0' * 40}"


# ---- the linters -----------------------------------------------------------------------------------------------------


def lint(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    file = folder / "case.yml"
    file.write_text(text, encoding="utf-8")
    return subprocess.run(
        [ROOT / "script/lint-workflows", file], capture_output=True, text=True, check=False, timeout=60
    )


def test_a_workflow_that_is_fine_passes_the_linters(tmp_path: Path) -> None:
    result = lint(tmp_path, FINE)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("was", "becomes", "named"),
    [
        ("runs-on: ubuntu-latest", "runs_on: ubuntu-latest", "runs_on"),
        ("run: echo fine", "run: echo ${{ github.event.nowhere.title }} ${{ matrix.gpu }}", "matrix"),
        ("run: echo fine", "run: echo ${{ github.head_ref }}", "github.head_ref"),
        ("on: push", "on: pushed", "Schema validation errors"),
    ],
)
def test_the_linters_see_what_is_wrong(tmp_path: Path, was: str, becomes: str, named: str) -> None:
    result = lint(tmp_path, FINE.replace(was, becomes))
    assert result.returncode != 0
    assert named in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("was", "becomes", "named"),
    [
        ("run: echo fine", "uses: actions/checkout@v6", "unpinned-uses"),
        ("on: push", "on: pull_request_target", "dangerous-triggers"),
        ("permissions: {}", "permissions: write-all", "excessive-permissions"),
    ],
)
@pytest.mark.skipif(not (ROOT / ".venv/bin/zizmor").exists(), reason="NOT CHECKED FOR SAFETY: zizmor needs Python 3.11")
def test_the_linters_see_what_is_dangerous(tmp_path: Path, was: str, becomes: str, named: str) -> None:
    result = lint(tmp_path, FINE.replace(was, becomes))
    assert result.returncode != 0
    assert f"[{named}]" in result.stdout + result.stderr


def test_what_the_runner_refuses_in_an_action_is_refused_by_its_schema(tmp_path: Path) -> None:
    """A container action that says `post:` is one that never cleans up: the runner takes `post-entrypoint:` alone."""
    action = (ROOT / "action.yml").read_text(encoding="utf-8")
    file = tmp_path / "action.yml"
    file.write_text(action.replace("post-entrypoint:", "post:"), encoding="utf-8")
    for path, code in ((ROOT / "action.yml", 0), (file, 1)):
        command = [str(ROOT / ".venv/bin/check-jsonschema"), "--builtin-schema", "vendor.github-actions", str(path)]
        assert subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == code


# ---- what the README gives to copy -----------------------------------------------------------------------------------


def test_a_snippet_keeps_its_lines_numbers() -> None:
    [(line, text)] = snippets.workflows(f"# Title\n\nSay:\n\n```yaml\n{FINE}```\n")
    assert line == 6
    assert text.splitlines()[5:] == FINE.splitlines()


def test_steps_alone_become_a_whole_workflow(tmp_path: Path) -> None:
    text = "\n" * 20 + "```yaml\n- uses: actions/checkout@v6\n- run: nvidia-smi\n```\n"
    [(line, whole)] = snippets.workflows(text)
    assert whole.splitlines()[line - 1].strip() == "- uses: actions/checkout@v6"
    assert [*yaml.safe_load(whole)["jobs"]["steps"]["steps"][1]] == ["run"]


@pytest.mark.parametrize("text", ["resources: {cpus: 2}", "- a\n- b", "name: digits\npresets: {}"])
def test_other_yaml_is_no_workflow(text: str) -> None:
    assert list(snippets.workflows(f"```yaml\n{text}\n```\n")) == []
