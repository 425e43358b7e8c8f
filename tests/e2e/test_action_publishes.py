"""The action on the emulated cloud, as GitHub starts it: what the official client downloads in the end."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import Terminal
from tests.github.runner import Runner, read_file
from tests.peers import node
from tests.peers.results import Results

SECRET = "hf_0123456789abcdef"
EXAMPLE = """\
name: speaks
capability: test/speaks
resources: {gpu: 0, cpu_cores: 1, ram_gb: 1, disk_gb: 5}
presets:
  train: {script: train.sh, docker: false, description: Says too much and fails}
  slow: {script: slow.sh, docker: false, description: Says too much and goes on}
"""
SAYS = """\
echo "the token is $HF_TOKEN, or $(printf %s "$HF_TOKEN" | base64)"
mkdir -p outputs
"""
FAILS = 'head -c 9000000 /dev/urandom > outputs/weights.bin\necho "ValueError: no such column"\nexit 7\n'
FILES = ("GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")

pytestmark = pytest.mark.peers


@dataclass
class Step:
    terminal: Terminal
    service: Results
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.terminal.environment,
            **self.service.environ,
            **{name: str(self.folder / name) for name in FILES},
            "GITHUB_JOB": "train",
            "GITHUB_ACTION": "__self",
            "GITHUB_EVENT_NAME": "push",
            "INPUT_EXAMPLE": "examples/speaks",
            "INPUT_CLOUD": "sandbox",
            "INPUT_SECRETS": f"HF_TOKEN={SECRET}",
            "INPUT_LEG": "null",
        }

    def start(self, name: str, **changed: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "cvl_ci.action.main", name],
            env={**self.environment, **changed},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.terminal.processes.append(process)
        return process

    def run(self, name: str, **changed: str) -> tuple[int, str]:
        process = self.start(name, **changed)
        said, _ = process.communicate(timeout=600)
        return process.returncode, said

    def downloaded(self, name: str) -> dict[str, bytes]:
        into = self.folder.parent / name
        seen = node.run("download.mjs", name, into, environ=self.service.environ)
        assert seen["digestMismatch"] is False
        return {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()}


@pytest.fixture
def step(terminal: Terminal, service: Results, tmp_path: Path) -> Step:
    example = tmp_path / "workspace" / "examples" / "speaks"
    example.mkdir(parents=True)
    (example / "example.yaml").write_text(EXAMPLE)
    (example / "train.sh").write_text(SAYS + FAILS)
    (example / "slow.sh").write_text(f"{SAYS}sleep 600\n")
    for name in FILES:
        (tmp_path / "workspace" / name).touch()
    return Step(terminal, service, tmp_path / "workspace")


def test_a_red_run_s_files_and_log_outlive_its_machine_and_no_secret_is_in_them(step: Step) -> None:
    code, said = step.run("/entrypoint", INPUT_PRESET="train")
    assert code == 7, said
    assert step.terminal.machines() == []
    [properties] = [properties for name, properties, _ in Runner().read(said).obeyed if name == "error"]
    assert properties["file"] == "examples/speaks/example.yaml"
    assert "ValueError: no such column" in Runner().read(said).commands("error")[0]
    outputs = read_file((step.folder / "GITHUB_OUTPUT").read_text())
    fetched = step.downloaded("cvl-train-attempt2")
    assert outputs["artifact_id"] == str(step.service.artifacts["cvl-train-attempt2"].number)
    [weights] = [text for path, text in fetched.items() if path.endswith("weights.bin")]
    assert len(weights) == 9_000_000
    kept = {**step.downloaded("cvl-train-attempt2-log"), **step.downloaded("cvl-train-attempt2-cost")}
    cost, log = (next(text for path, text in kept.items() if path.endswith(end)) for end in (".json", ".log"))
    assert json.loads(cost)["exit_code"] == 7
    assert json.loads(cost)["released"]["gone"] is True
    assert b"the token is ***, or ***" in log
    spoken = (SECRET.encode(), base64.b64encode(SECRET.encode())[:24])
    assert not [path for files in (fetched, kept) for path, text in files.items() for form in spoken if form in text]
    assert step.run("/post-entrypoint") == (0, "")


def test_what_a_cancelled_run_had_said_is_uploaded_by_post_when_the_machine_is_gone(step: Step) -> None:
    main = step.start("/entrypoint", INPUT_PRESET="slow")
    assert main.stdout is not None
    _read_until(main.stdout.readline, "the token is")
    main.send_signal(signal.SIGINT)
    main.communicate(timeout=30)
    assert main.returncode == 130
    assert step.service.artifacts == {}
    code, said = step.run("/post-entrypoint", INPUT_PRESET="slow")
    assert code == 0, said
    assert step.terminal.machines() == []
    kept = {**step.downloaded("cvl-train-attempt2-log"), **step.downloaded("cvl-train-attempt2-cost")}
    cost, log = (next(text for path, text in kept.items() if path.endswith(end)) for end in (".json", ".log"))
    assert json.loads(cost)["ending"] == "cancelled"
    assert b"the token is ***, or ***" in log
    assert "Cancelled" in (step.folder / "GITHUB_STEP_SUMMARY").read_text()


def _read_until(line: Callable[[], str], word: str) -> None:
    said = list[str]()
    while word not in (read := line()):
        assert read, "".join(said)
        said.append(read)
