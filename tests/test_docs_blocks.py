"""Each block of code in README and docs is run as a person would run it, or read by the program that it is for."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from cvl_ci.commands.reap import reap
from cvl_ci.inputs import command_line, drill_inputs, line_parser, table, verb_options
from cvl_ci.local.run_logs import RunLogs
from cvl_ci.planning import queue_file, safe_yaml
from cvl_ci.result.benchmark import rules
from cvl_ci.result.summary import to_json
from cvl_ci.sandbox.command import add_arguments
from tests.result.outcomes import SUCCEEDED
from tests.support import snippets
from tests.support.doc_tables import PAGES, ROOT
from tests.support.fake_library import checkout, on_fakes
from tests.support.git import git

LEASE = "cvl-123456789-0a1b2c3d"
"""The name of a run in the docs."""


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Yield the name of its page, and the text of every block in one language."""
    for page in PAGES:
        for token in snippets.fences(page.read_text(encoding="utf-8")):
            if token.info.strip() == language:
                yield page.name, token.content


def lines(*languages: str) -> list[str]:
    """Return each command once, without its comment."""
    texts = [
        line
        for language in languages
        for _, text in blocks(language)
        for line in text.replace("\\\n", " ").splitlines()
    ]
    return list(dict.fromkeys(line for text in texts if (line := re.sub(r"\s+# .*$", "", text).strip())))


def spans() -> list[str]:
    """Return each command that stands in a sentence or a table: more than a verb, and not the name of an option."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    results = [span for text in texts for span in re.findall(r"`(cvl-ci [a-z][^`\n]*)`", text)]
    return [
        span
        for span in dict.fromkeys(results)
        if "…" not in span and len(span.split()) > 2 and span != "cvl-ci report --history"
    ]


SHELL = lines("sh")
OURS = [line for line in SHELL if line.startswith("cvl-ci ")]
RUN_HERE = {"matrix", "report", "history", "status", "logs", "sandbox"}
"""Verbs that ask no cloud: their commands are run. `plan` and `run` are planned in test_docs.py."""


def test_every_block_has_a_language_that_a_test_holds() -> None:
    infos = {token.info.strip() for page in PAGES for token in snippets.fences(page.read_text(encoding="utf-8"))}
    assert infos - {""} == {"sh", "fish", "yaml", "python"}
    assert [name for name, _ in blocks("")] == ["architecture.md"], "a diagram"


def test_every_command_is_of_a_program_that_a_test_runs_or_reads() -> None:
    """tests/clouds/credentials/test_documented_steps.py reads those of gcloud and az."""
    assert {line.split()[0].partition("/")[0] for line in SHELL} == {"cvl-ci", "script", "eval", "gcloud", "az"}


@pytest.mark.parametrize("line", dict.fromkeys([*OURS, *spans()]))
def test_every_command_is_read_without_a_mistake(line: str) -> None:
    parsed = command_line.parse(shlex.split(line)[1:], sandbox=add_arguments, version=str)
    if parsed.verb == "deploy":
        assert line_parser.line_mistakes(parsed) == []
    elif parsed.verb in verb_options.VERBS:
        assert verb_options.read(parsed, table.verb_options(parsed.verb)) or line in spans()
    if parsed.verb == "reap":
        assert reap.read_request(parsed.cloud, grace=parsed.grace, regions=lambda _: (), dashes="--")
    if parsed.verb == "drill":
        assert parsed.phase in drill_inputs.PHASES
    assert isinstance(parsed, argparse.Namespace)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A checkout as the docs suppose one: examples, legs and nights in folders, a remote with a branch, one log."""
    checkout = tmp_path / "checkout"
    for name in ("examples/vision/tiny", "examples/tabular/digits_sgd"):
        shutil.copytree(ROOT / "examples/tabular/digits_sgd", checkout / name)
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "remote.git")
    git(tmp_path, "init", "-q", "-b", "main", "checkout")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "before")
    git(checkout, "remote", "add", "origin", str(tmp_path / "remote.git"))
    git(checkout, "push", "-q", "--set-upstream", "origin", "main")
    (checkout / "examples/vision/tiny/train.py").write_text("print('changed')\n", encoding="utf-8")
    git(checkout, "commit", "-qam", "after")
    for folder in ("legs", "nights"):
        (checkout / folder).mkdir()
        (checkout / folder / f"{LEASE}.json").write_text(json.dumps(to_json(SUCCEEDED)), encoding="utf-8")
    (tmp_path / "job.log").write_text("hello\n", encoding="utf-8")
    with RunLogs(tmp_path / "home/.local/state/cvl-ci/leases").announced(LEASE, tmp_path / "job.log"):
        pass
    return checkout


def typed(line: str, place: Path, shell: str = "bash") -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(place.parent / "home"),
        "LANG": "C.UTF-8",
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@example.org",
    }
    return subprocess.run(
        [shell, "-c", line], cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=100
    )


@pytest.mark.parametrize("line", [line for line in SHELL if line.startswith("eval") or RUN_HERE & {*line.split()[1:2]}])
def test_every_command_that_asks_no_cloud_does_what_it_says(line: str, place: Path) -> None:
    result = typed(line, place)
    assert result.returncode == 0, result.stderr


@pytest.mark.peers
@pytest.mark.parametrize("line", lines("fish"))
def test_every_command_of_fish_does_what_it_says(line: str, place: Path) -> None:
    if shutil.which("fish") is None and not os.environ.get("CI"):
        pytest.skip("no fish is installed: script/bootstrap --with-peers installs one")
    result = typed(line, place, "fish")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("line", [line for line in SHELL if line.startswith("script/")])
def test_every_script_knows_its_options(line: str) -> None:
    script, *words = shlex.split(line)
    text = (ROOT / script).read_text(encoding="utf-8")
    assert all(word in text for word in words if word.startswith("--"))
    assert all((ROOT / word).exists() for word in words if "/" in word)


@pytest.mark.parametrize(("page", "text"), [*blocks("yaml")], ids=lambda value: value if value.endswith(".md") else "")
def test_every_yaml_is_a_workflow_or_rules_that_are_read(page: str, text: str) -> None:
    """script/lint and test_workflows.py hold the workflows."""
    if snippets.is_queue(yaml.safe_load(text)):
        assert queue_file.read(safe_yaml.load(text.encode()))[1] == []
    elif not list(snippets.workflows(f"```yaml\n{text}```\n")):
        read = rules.read(text.encode())
        assert len(read.patterns) == len(yaml.safe_load(text).get("metrics", {})), page
        assert read != rules.Rules(), page


PYTHON_PAGES = tuple(dict.fromkeys(page for page, _ in blocks("python")))


@pytest.mark.parametrize("page", PYTHON_PAGES)
def test_every_python_of_a_page_runs(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Everything but the cloud, which is in a dict. The blocks of a page follow each other, as a reader types them."""
    fakes = on_fakes(monkeypatch)
    folder = checkout(tmp_path / "work")
    shutil.copytree(ROOT / "examples/tabular/digits_sgd", folder / "examples/tabular/digits_sgd")
    (folder / "my_folder").mkdir()
    served = folder / "examples/llama_cpp"
    served.mkdir()
    (served / "example.yaml").write_text("name: llama_cpp\npresets: {serve: {script: serve.sh, docker: false}}\n")
    (served / "serve.sh").write_text('PORT="${PORT:-8080}" exec llama-server\n')
    for name in ("my_folder/train.py", "a.py", "b.py"):
        (folder / name).write_text("print(1)\n")
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    for text in [text for of, text in blocks("python") if of == page]:
        with suppress(SystemExit):
            exec(compile(text, page, "exec"), names)
    assert fakes.plans
    assert len(fakes.running()) == (page == "reuse.md"), "only a machine with a key waits for the next run"
