"""How runs end: the job's code, limits, signals in each phase, a killed run; and each time 0 machines are left."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from cvl_ci.sandbox import Faults, Throttle
from tests.e2e.conftest import PROGRAM, Ran, Terminal
from tests.e2e.metering import TASK_DISK_GB, assert_told_as_metered
from tests.support.git import git

TREE = {
    "data/train.csv": b"a,b\n1,2\n",
    "src/data/nested.bin": bytes(range(256)),
    "src/train.py": b"print('x')\n",
    ".gitignore": b"data/*\noutputs/\n",
    "src/.gitignore": b"*.txt\n",
    "src/requirements.txt": b"numpy\n",
    "with space/ünï.md": "é".encode(),
    "vendored/lib.py": b"a submodule's\n",
}
NOT_TRACKED = {"data/not-tracked.csv": b"ignored by git\n", "scratch.py": b"new\n"}
LINKS = {
    "linked.py": ("src/train.py", {"linked.py": "src/train.py"}),
    "chain.py": ("linked.py", {"chain.py": "src/train.py"}),
    "folder": ("src/data", {"folder/nested.bin": "src/data/nested.bin"}),
    "src/up.csv": ("../data/train.csv", {"src/up.csv": "data/train.csv"}),
}
"""Of git or not, each arrives as the files that it leads to: name → target, and name of a file there → its content."""
LINKS_THAT_STAY = {
    "out": "/etc/hostname",
    "nowhere": "missing",
    "src/around": "..",
    "config": ".git/config",
}
"""Out of the repository, to nothing, around themselves, and to where a checkout keeps its token."""
GLOBS = ("outputs/**", "**/*.{json,csv}", "!runs/*/d.json", "none/*.txt")
BY_GLOB = {"e.json": "e\n", "runs/1/a.json": "a.json\n", "runs/1/b.csv": "b.csv\n"}
"""Name and content of files that the globs take, next to those in `outputs`."""
STAYS = {".env": b"TOKEN=x\n", "venv/pyvenv.cfg": b"home = /usr\n", "big/raw.bin": b"named by exclude\n"}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Tracked files that .gitignore names, one that is ignored and not tracked, a submodule, and files that stay."""
    root = tmp_path / "repository"
    for name, content in TREE.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    for folder in (root / "vendored", root):
        git(folder, "init", "-q")
        git(folder, "add", "-f", ".")
        git(folder, "commit", "-q", "-m", "all")
    git(root, "tag", "v1.0")
    for name, content in {**NOT_TRACKED, **STAYS}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    for name, target in {**{name: target for name, (target, _) in LINKS.items()}, **LINKS_THAT_STAY}.items():
        (root / name).symlink_to(target)
    return root


def assert_links_came(ran: Ran) -> None:
    """Assert that links stay, come or are refused, each kind as it should, and a large file whole."""
    outputs = ran.folder / "outputs"
    for link, content in {"latest": "1\n", "chain": "1\n", "absolute": "1\n", "hard": "1\n"}.items():
        assert (outputs / link).read_text() == content
        assert (outputs / link).resolve().is_relative_to(outputs.resolve())
    random = (outputs / "deep/random").read_bytes()
    assert f"said {hashlib.sha256(random).hexdigest()} -\n" in ran.out
    assert (outputs / "folder/random").read_bytes() == random
    assert not [name for name in ("door", "up", "pipe") if os.path.lexists(outputs / name)]


def test_the_staged_tree_arrives_byte_for_byte_and_the_jobs_code_is_ours(terminal: Terminal, repository: Path) -> None:
    """One run, four promises: files arrive whole, hostile outputs are refused, 7 is 7, a second terminal follows."""
    followers: list[subprocess.Popen[str]] = []

    def follow(line: str) -> bool:
        if name := re.search(r"lease (cvl-[a-z0-9-]+):", line):
            words, pipe = [PROGRAM, "logs", name[1]], subprocess.PIPE
            followers.append(subprocess.Popen(words, env=terminal.environment, stdout=pipe, stderr=pipe, text=True))
        return False

    command = (
        "find . -type f -not -path '*/.git/*' -not -name .skyignore -print0 | sort -z | xargs -0 sha256sum; "
        "mkdir outputs; echo 1 > outputs/kept; ln -s /etc/passwd outputs/door; : > outputs/$'esc\\033[2J'; "
        "ln -s kept outputs/latest; echo 2 > outputs/$'caf\\351.txt'; "
        "mkdir outputs/deep; head -c 3000001 /dev/urandom > outputs/deep/random; ln outputs/kept outputs/hard; "
        "ln -s deep outputs/folder; ln -s latest outputs/chain; ln -s $PWD/outputs/kept outputs/absolute; "
        "ln -s ../../../../etc outputs/up; ln -s missing outputs/nothing; mkfifo outputs/pipe; "
        "mkdir -p runs/1; for name in a.json b.csv c.tmp d.json; do echo $name > runs/1/$name; done; echo e > e.json; "
        "echo said $(sha256sum < outputs/deep/random); exit 7"
    )
    secret = "hunter-2/with+signs&more"
    command = f"echo said $(git describe --tags --dirty) $(git rev-parse HEAD); {command}"
    command = f"printenv GH_PAT2 | sed 's|^|said  |'; printenv GH_PAT2 | base64 | sed 's|^|said  |'; {command}"
    ran = terminal.run(
        "--command",
        command,
        "--workdir",
        ".",
        "--exclude",
        "big",
        *(word for glob in GLOBS for word in ("--outputs", glob)),
        "--env",
        f"GH_PAT2={secret}",
        "--env",
        "GREETING=hello",
        checkout=repository,
        stop=follow,
    )
    assert ran.code == 7, ran.err
    [follower] = followers
    assert follower.communicate(timeout=60) == (ran.out, "")
    assert follower.returncode == 0
    again = terminal.type("logs", ran.summary["cluster"])
    assert (again.returncode, again.stdout, again.stderr) == (0, ran.out, "")
    assert ran.out.count("said  ***") == 2
    assert f"said v1.0 {git(repository, 'rev-parse', 'HEAD')}\n" in ran.out
    assert "big/ (named by exclude)" in ran.err and "venv/ (a virtual environment)" in ran.err
    told = f"{ran.out}{ran.err}{json.dumps(ran.summary)}"
    assert secret not in told
    assert base64.b64encode(secret.encode()).decode()[:30] not in told
    assert (ran.summary["ending"], ran.summary["exit_code"]) == ("failed", 7)
    arrived = {}
    for line in ran.out.splitlines():
        if line.startswith("said"):
            continue
        digest, _, name = line.partition("  ./")
        arrived[name] = digest
    linked = {name: TREE[source] for _, files in LINKS.values() for name, source in files.items()}
    sent = {**TREE, **NOT_TRACKED, **linked}
    assert arrived == {name: hashlib.sha256(content).hexdigest() for name, content in sent.items()}
    assert_links_came(ran)
    assert {name: (ran.folder / name).read_text() for name in BY_GLOB} == BY_GLOB
    assert not (ran.folder / "runs/1/c.tmp").exists() and not (ran.folder / "runs/1/d.json").exists()
    assert f"{GLOBS[-1]}" in ran.err, "a pattern without a match is named"
    paths = {each["path"] for each in ran.summary["files"]}
    assert {"outputs/kept", "outputs/hard", "outputs/caf%E9.txt", "outputs/deep/random"} <= paths
    assert terminal.machines() == []
    assert_told_as_metered(ran.summary, terminal.sandbox, case="failed")


def test_a_job_that_hangs_is_ended_on_the_machine_at_its_limit(terminal: Terminal) -> None:
    ran = terminal.run("--command", "echo kept > kept; sleep 900", "--max-runtime", "0.1")
    assert ran.code == 124, ran.err
    assert ran.summary["ending"] == "timed_out"
    assert ran.out == "", "nothing of ours is in the job's log"
    assert ran.summary["phases"]["running"] >= 5, "it ran although it printed nothing"
    assert [each["path"] for each in ran.summary["files"]] == ["kept"], "what it had written comes back"
    assert terminal.machines() == []
    assert_told_as_metered(ran.summary, terminal.sandbox, case="timed out")


# While it sets up: tests/chaos/test_runs.py, test_action_publishes.py and tests/action/test_cancelled.py.
# While it releases: tests/commands/test_run.py, and the runs of script/chaos.
FETCHING = "fetching what it wrote"
SMALL, LARGE = 1_000, 300_000_000
"""Bytes that come at once, and bytes that take a while to fetch."""
PRESSES = {"provisioning": 1, "running": 1, "fetching": 2}
"""The phase of the last Ctrl-C → how many a person presses."""


@pytest.mark.parametrize("phase", PRESSES)
def test_ctrl_c_at_a_terminal_fetches_what_the_job_wrote_and_a_second_one_does_not_wait(
    terminal: Terminal, tmp_path: Path, phase: str
) -> None:
    """Each leaves no machine: asked for while the machines are, while the job runs, and again while the files come."""
    task = tmp_path / "task.yaml"
    size = LARGE if phase == "fetching" else SMALL
    task.write_text(f"run: |\n  head -c {size} /dev/urandom > step.ckpt\n  echo written\n  sleep 900\n")
    presses: list[str] = []

    def is_time(line: str) -> bool:
        if phase == "provisioning":
            return "asking sandbox/" in line
        if not presses:
            return any("written" in log.read_text() for log in terminal.home.glob("run-*/cvl-*.log"))
        return phase == "fetching" and FETCHING in line

    def press(line: str) -> bool:
        if len(presses) < PRESSES[phase] and is_time(line):
            presses.append(line)
            return True
        return False

    ran = terminal.run("--task", str(task), stop=press, in_terminal=True)
    assert (ran.code, ran.summary["ending"]) == (130, "cancelled"), ran.err
    assert len(presses) == PRESSES[phase]
    assert ran.summary["released"]["gone"] is True
    assert "shows 0 left" in ran.err, ran.err
    assert terminal.machines() == []
    assert phase in ran.summary["phases"]
    assert ("Ctrl-C again takes it down at once" in ran.err) is (phase != "provisioning")
    assert ("machine, which cvl-ci takes down now" in ran.err) is (phase == "fetching")
    files = {each["path"]: each["bytes"] for each in ran.summary["files"]}
    assert files == ({"step.ckpt": SMALL} if phase == "running" else {})
    came = [path.name for path in ran.folder.rglob("*") if path.suffix == ".ckpt"]
    assert came == (["step.ckpt"] if phase == "running" else [])
    assert ran.out == ("" if phase == "provisioning" else "written\n")
    assert [log.read_text() for log in ran.folder.glob("cvl-*.log")] == ([ran.out] if ran.out else [])
    case = f"cancelled by Ctrl-C while {phase}"
    assert_told_as_metered(ran.summary, terminal.sandbox, case=case, disk_gb=TASK_DISK_GB)


def test_a_killed_run_is_found_and_ended_by_down_at_an_api_that_throttles(terminal: Terminal) -> None:
    throttled = Throttle(action="DescribeInstances", probability=0.3)
    terminal.sandbox.set_faults(Faults(throttle=(throttled,)))

    def kill(line: str) -> bool:
        if "asking sandbox/" in line:
            terminal.processes[-1].kill()
        return False

    ran = terminal.run("--command", "sleep 60", stop=kill)
    assert ran.code == -9
    down = terminal.type("down", "--all")
    assert down.returncode == 0, down.stderr
    assert "gone" in down.stdout
    assert terminal.machines() == []
