"""A mount that fails is an infrastructure failure: the machine names it by values, and cached files are waited for."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvl_ci.engine import failed_mounts, sky_errors
from cvl_ci.engine.task import mounts, script
from cvl_ci.inputs.mounts import read
from cvl_ci.model.limits import Limits
from cvl_ci.model.mount import ALL_CACHED, digest
from cvl_ci.model.node_end import FailedMount, MountFault, NodeEnd
from cvl_ci.model.outcome import Ending
from cvl_ci.model.plan import FilePlan, RunPlan, WorkPlan
from cvl_ci.result.conclusion import conclude
from tests import golden
from tests.conftest import NO_DOCKER

MESSAGES = golden.Messages(__name__)

PLAN = RunPlan(title="t", files=FilePlan(mounts=read("/data=s3://b-b/p")))
CLEAN = "INFO  : vfs cache: cleaned: objects 1 (was 1) in use 0, to upload 0, uploading 0, total size 3"
BUSY = CLEAN.replace("to upload 0", "to upload 1")


def end(rank: int, text: str, *, code: int = 74) -> NodeEnd:
    return sky_errors.read_end(rank, f"exit_code={code}\ntimed_out=0\nphase=mounts\nmount={text}\n")


@pytest.mark.parametrize(
    "text", ["", "different", "different x", "different ABCDEF01", "other abcdef01", "unmade 0" * 9]
)
def test_a_machine_s_own_words_name_no_mount(text: str) -> None:
    assert end(0, text).failed_mount is None


def test_every_fault_has_a_sentence_that_names_path_and_source() -> None:
    for fault in MountFault:
        node = end(0, f"{fault.value} {digest('/data')}")
        assert node.failed_mount == FailedMount(fault=fault, digest=digest("/data"))
        sentence = failed_mounts.why([node], plan=PLAN, begun=0)
        assert "/data" in sentence
        assert sentence.endswith(".")
        assert "{" not in sentence
        judged = conclude(
            plan=PLAN,
            launch=None,
            nodes=[node],
            lost=None,
            release=None,
            failure=None,
            cancelled=False,
            attempts=(),
            ran_seconds=1.0,
            failed_mount=sentence,
        )
        assert (judged.ending, judged.exit_code, judged.reason) == (Ending.STORAGE_FAILED, 70, sentence)


def test_after_the_job_began_only_unsent_files_count() -> None:
    copy = end(0, f"different {digest('/data')}")
    unsent = end(0, f"unsent {ALL_CACHED}")
    assert failed_mounts.why([copy], plan=PLAN, begun=1) == ""
    assert "its cached mounts" in failed_mounts.why([unsent], plan=PLAN, begun=1)
    assert failed_mounts.why([end(0, f"unsent {ALL_CACHED}", code=1)], plan=PLAN, begun=1) == ""


def test_a_peer_of_a_node_without_its_mount_does_not_make_the_test_red_but_a_failed_job_does() -> None:
    peer = NodeEnd(rank=1, exit_code=1)
    copy = end(0, f"different {digest('/data')}")
    assert "(node 0 of 2)" in failed_mounts.why([copy, peer], plan=PLAN, begun=1)
    assert failed_mounts.why([end(0, f"unsent {ALL_CACHED}"), peer], plan=PLAN, begun=2) == ""


class Node:
    """A node whose job runs in a real shell, with a log of rclone. The shell's `sleep` adds lines to that log."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.log = home / ".sky/rclone_log/a.log"
        self.log.parent.mkdir(parents=True)
        self.log.write_text(f"{CLEAN}\n")
        (home / "work").mkdir()
        (home / "bin").mkdir()
        (home / "bin/docker").write_text('#!/bin/sh\n[ "$1" = info ] || echo "$@" > "$HOME/docker-words"\n')
        (home / "bin/docker").chmod(0o755)

    def run(
        self,
        command: str,
        *,
        then: str,
        minutes: float = 60.0,
        mounted: str = "/cached=s3://b-b:cached",
        own: Any = None,
    ) -> tuple[int, list[str]]:
        plan = RunPlan(
            title="t",
            work=WorkPlan(run_commands=(command,), task_extra={"file_mounts": own} if own else {}),
            files=FilePlan(mounts=read(mounted) if mounted else ()),
            limits=Limits(max_runtime_minutes=minutes),
        )
        text = script.run(plan, lease="cvl-1-abc")
        assert "sleep 2" in text
        sleep = f'sleep() {{ echo "{then}" >> {self.log}; }}\n'
        done = subprocess.run(
            ["bash", "-c", sleep + text],
            cwd=self.home / "work",
            env={
                "HOME": str(self.home),
                "PATH": f"{self.home}/bin:{NO_DOCKER}:/usr/bin:/bin",
                **script.environment(plan, lease="cvl-1-abc", deadline=time.time() + 7200),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout.splitlines()

    @property
    def ended(self) -> NodeEnd:
        return sky_errors.read_end(0, (self.home / ".cvl-ci/cvl-1-abc/end").read_text())


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_job_waits_for_a_line_that_is_newer_than_its_end(node: Node) -> None:
    assert node.run("true", then=CLEAN)[0] == 0
    assert len(node.log.read_text().splitlines()) == 2
    assert (node.ended.exit_code, node.ended.failed_mount) == (0, None)


def test_a_failed_job_waits_too_and_keeps_its_own_code(node: Node) -> None:
    code, lines = node.run("exit 3", then=CLEAN)
    assert (code, node.ended.exit_code) == (3, 3)
    assert len(node.log.read_text().splitlines()) == 2
    assert not any("not proved" in line for line in lines)


def test_a_failed_job_s_wait_has_an_end_and_the_log_tells_it(node: Node) -> None:
    code, lines = node.run("exit 3", then=BUSY)
    assert (code, node.ended.exit_code) == (3, 3)
    MESSAGES.check("buckets without proof", lines[-1])
    assert len(node.log.read_text().splitlines()) == 1 + 600 / 2


def test_a_successful_job_whose_files_did_not_arrive_is_neither_green_nor_a_red_test(node: Node) -> None:
    """The rclone of this mount is dead: its log gets no more lines of its state."""
    code, _ = node.run("true", then="nothing", minutes=1)
    assert code == 74
    assert node.ended.failed_mount == FailedMount(fault=MountFault.UNSENT, digest=ALL_CACHED)


@pytest.mark.parametrize("has_log", [True, False])
def test_a_missing_log_proves_nothing(node: Node, *, has_log: bool) -> None:
    """Two cached mounts have one log or none."""
    if not has_log:
        shutil.rmtree(node.home / ".sky")
        node.log = node.home / "elsewhere"
    two = "/cached=s3://b-b:cached\n/more=s3://c-c:cached"
    code, _ = node.run("true", then=CLEAN, minutes=1, mounted=two)
    assert code == 74
    assert node.ended.failed_mount == FailedMount(fault=MountFault.UNSENT, digest=ALL_CACHED)


def test_each_of_two_mounts_has_its_log(node: Node) -> None:
    other = node.log.with_name("b.log")
    other.write_text(f"{BUSY}\n")
    two = "/cached=s3://b-b:cached\n/more=s3://c-c:cached"
    assert node.run(f"echo '{CLEAN}' >> {other}", then=CLEAN, minutes=1, mounted=two)[0] == 74, "it is from before"
    again = Node(node.home / "again")
    other = again.log.with_name("b.log")
    other.write_text("")
    assert again.run("true", then=f'{CLEAN}" >> {other}; echo "{CLEAN}', mounted=two)[0] == 0


def test_a_cached_mount_of_a_task_is_waited_for_too(node: Node) -> None:
    own = {"/kept": {"source": "s3://b-b", "mode": "MOUNT_CACHED"}}
    assert node.run("docker run image", then="nothing", minutes=1, mounted="", own=own)[0] == 74
    assert (node.home / "docker-words").read_text() == "run image\n", "the task's own mounts are not bound"


def test_a_plan_without_cached_mounts_waits_for_nothing() -> None:
    copied = replace(PLAN, work=WorkPlan(run_commands=("true",)))
    assert mounts.wait_for_writes(copied) == mounts.send_at_exit(copied) == ""
