"""A branch that many push to at once loses nobody's line, and is only ever appended to. Real git, a bare repository."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from cvl_ci.errors import CvlError, RequestError
from cvl_ci.local.clock import SystemClock
from cvl_ci.local.git.history import HistoryBranch
from cvl_ci.result.benchmark import leg_file
from cvl_ci.result.benchmark.leg import Leg
from tests.result.benchmark.legs import NIGHT, leg
from tests.result.matrix.matrix import failures, night
from tests.test_bounded import of, serving


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "--bare", "remote.git")
    return tmp_path / "remote.git"


def git(where: Path, *words: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false")
    result = subprocess.run(["git", "-C", str(where), *who, *words], check=True, capture_output=True, text=True)
    return result.stdout.strip()


def checkout(bare: Path, name: str) -> Path:
    root = bare.parent / name
    git(bare.parent, "clone", "-q", str(bare), name)
    (root / "work.txt").write_text("unsaved")
    return root


def branch(root: Path, *, remote: str = "origin", seed: int = 1) -> HistoryBranch:
    return HistoryBranch(root, remote=remote, branch="cvl-ci-history", clock=SystemClock(), dice=random.Random(seed))


def one(name: str, *, at: float = NIGHT) -> Leg:
    return replace(leg(), machines=replace(leg().machines, cluster=name), source=replace(leg().source, at=at))


def test_what_is_appended_is_read_again_to_the_last_digit(bare: Path) -> None:
    results = sorted([*night(), *failures()], key=lambda one: one.machines.cluster)
    assert branch(checkout(bare, "a")).append(results) == len(results)
    again = sorted(branch(checkout(bare, "b")).read(), key=lambda one: one.machines.cluster)
    assert [replace(one, machines=replace(one.machines, requested_locations=(), errors="")) for one in again] == [
        replace(one, machines=replace(one.machines, requested_locations=(), errors="")) for one in results
    ]


def test_a_branch_that_is_not_there_yet_holds_nothing(bare: Path) -> None:
    assert branch(checkout(bare, "a")).read() == []


def test_months_are_files_and_old_lines_stay_as_they_are(bare: Path) -> None:
    root = checkout(bare, "a")
    branch(root).append([one("first")])
    before = git(bare, "show", "cvl-ci-history:2026-09.jsonl")
    branch(root).append([one("second"), one("later", at=NIGHT + 40 * 86_400)])
    assert git(bare, "show", "cvl-ci-history:2026-09.jsonl").startswith(before)
    names = git(bare, "ls-tree", "--name-only", "cvl-ci-history").splitlines()
    assert names == ["2026-09.jsonl", "2026-10.jsonl", "README.md"]


def test_the_same_run_is_kept_once_and_its_late_proof_is_a_line_of_its_own(bare: Path) -> None:
    root = checkout(bare, "a")
    assert branch(root).append([replace(one("x"), machines=replace(one("x").machines, is_gone=False))]) == 1
    assert branch(root).append([replace(one("x"), machines=replace(one("x").machines, is_gone=False))]) == 0
    assert branch(root).append([one("x"), one("x")]) == 1


def test_the_checkout_s_own_files_and_branches_are_left_alone(bare: Path) -> None:
    root = checkout(bare, "a")
    before = git(root, "for-each-ref", "refs/heads", "refs/cvl-ci")
    branch(root).append([one("x")])
    branch(root).read()
    assert git(root, "for-each-ref", "refs/heads", "refs/cvl-ci") == before
    assert git(root, "status", "--porcelain") == "?? work.txt"


PUSHER = """
import random, sys
from pathlib import Path
from cvl_ci.local.clock import SystemClock
from cvl_ci.local.git.history import HistoryBranch
from tests.local.test_history import one
root, name = Path(sys.argv[1]), sys.argv[2]
kept = HistoryBranch(root, remote="origin", branch="cvl-ci-history", clock=SystemClock(), dice=random.Random(name))
for turn in range(3):
    kept.append([one(f"{name}-{turn}")])
"""


def test_many_that_push_at_once_lose_no_line(bare: Path) -> None:
    """Five processes, three of them in the same checkout, the first of all making the branch."""
    roots = [checkout(bare, str(at)) for at in range(3)]
    roots += [roots[0], roots[0]]
    here = Path(__file__).resolve().parents[2]
    pushers = [
        subprocess.Popen([sys.executable, "-c", PUSHER, str(root), f"p{at}"], cwd=here, stderr=subprocess.PIPE)
        for at, root in enumerate(roots)
    ]
    lines = [pusher.communicate(timeout=110)[1] for pusher in pushers]
    assert [pusher.returncode for pusher in pushers] == [0] * len(pushers), lines
    kept = sorted(leg.machines.cluster for leg in branch(roots[1]).read())
    assert kept == sorted(f"p{at}-{turn}" for at in range(len(roots)) for turn in range(3))
    log = git(bare, "rev-list", "--parents", "cvl-ci-history").splitlines()
    assert len(log) == len(kept)  # no merge, no rewriting: each push stands on the one before
    assert all(len(line.split()) <= 2 for line in log)


def test_one_that_others_overtake_reads_again(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, theirs = branch(checkout(bare, "a")), branch(checkout(bare, "b"), seed=2)
    theirs.append([one("first")])
    push = HistoryBranch._push
    overtaken = threading.Event()

    def slow(self: HistoryBranch, commit: str, tip: str) -> str:
        if self is own and not overtaken.is_set():
            overtaken.set()
            theirs.append([one("theirs")])
        return push(self, commit, tip)

    monkeypatch.setattr(HistoryBranch, "_push", slow)
    assert own.append([one("mine")]) == 1
    assert {leg.machines.cluster for leg in own.read()} == {"first", "theirs", "mine"}


def test_a_remote_that_refuses_is_told_with_the_permission_it_takes(bare: Path) -> None:
    hook = bare / "hooks" / "pre-receive"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(CvlError, match="contents: write"):
        branch(checkout(bare, "a")).append([one("x")])


def test_a_remote_that_is_none_is_told_without_its_address(bare: Path) -> None:
    secret = "https://user:hunter2@127.0.0.1:9/nowhere.git"
    with pytest.raises(CvlError) as refused:
        branch(checkout(bare, "a"), remote=secret).read()
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("remote", "name"), [("--upload-pack=x", "b"), ("origin", "--x"), ("origin", "a..b"), ("origin", "")]
)
def test_names_are_no_options(bare: Path, remote: str, name: str) -> None:
    with pytest.raises(RequestError):
        HistoryBranch(bare, remote=remote, branch=name, clock=SystemClock(), dice=random.Random(1))


def test_a_line_is_one_line_and_says_the_same() -> None:
    hostile = leg(
        reason="a\nb\x1b[2J", metrics={"x\n": 1, "label": '"\n'}, cluster="c\nd", accelerators={"a,b:c": {"d": 1}}
    )
    text = leg_file.line(hostile)
    assert "\n" not in text
    assert replace(
        leg_file.read(text.encode()),
        machines=replace(leg_file.read(text.encode()).machines, requested_locations=(), errors=""),
    ) == replace(hostile, machines=replace(hostile.machines, requested_locations=(), errors=""))


def test_lines_that_nobody_can_read_stay_and_are_nobody_s_run(bare: Path) -> None:
    root = checkout(bare, "a")
    branch(root).append([one("x")])
    git(root, "fetch", "-q", "origin", "cvl-ci-history:other")
    git(root, "checkout", "-q", "other")
    kept = (root / "2026-09.jsonl").read_bytes()
    (root / "2026-09.jsonl").write_bytes(kept + b'{"ending": "\xff')
    git(root, "commit", "-qam", "cut short")
    git(root, "push", "-q", "origin", "other:cvl-ci-history")
    branch(root).append([one("y")])
    assert {leg.machines.cluster for leg in branch(root).read()} == {"x", "y"}
    result = subprocess.run(
        ["git", "-C", bare, "show", "cvl-ci-history:2026-09.jsonl"], check=True, capture_output=True
    )
    assert result.stdout.startswith(kept + b'{"ending": "\xff\n')


def test_a_remote_is_reached_by_the_proxy_of_the_environment(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "here")
    with serving(of(b"", status=404)) as (proxy, requests):
        environ = {"http_proxy": proxy, "no_proxy": "elsewhere.example"}
        remote = "http://history.example/runs.git"
        with pytest.raises(CvlError, match="git failed for the history branch"):
            reaching(tmp_path / "here", remote, environ).read()
    assert {one["host"] for one in requests} == {"history.example"}


def test_a_remote_gets_the_ssh_agent_and_certificates_and_no_secret(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "here")
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\nenv > {tmp_path}/seen\nexit 1\n")
    ssh.chmod(0o755)
    needed = {"SSH_AUTH_SOCK": "/run/agent", "GIT_SSL_CAINFO": "/etc/ours.pem", "HTTPS_PROXY": "http://proxy:1"}
    secret = {"HF_TOKEN": "hf_0123456789", "INPUT_SECRETS": "A=b", "GITHUB_TOKEN": "t", "GIT_DIR": "/elsewhere"}
    environ = {**needed, **secret, "GIT_SSH_COMMAND": str(ssh), "HOME": str(tmp_path)}
    with pytest.raises(CvlError, match="git failed"):
        reaching(tmp_path / "here", "ssh://git@history.example/runs.git", environ).read()
    values = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines() if "=" in line)
    assert {name: values.get(name) for name in needed} == needed
    assert not set(secret) & set(values)


def reaching(root: Path, remote: str, environ: dict[str, str]) -> HistoryBranch:
    clock, dice = SystemClock(), random.Random(1)
    return HistoryBranch(root, remote=remote, branch="cvl-ci-history", clock=clock, dice=dice, environ=environ)
