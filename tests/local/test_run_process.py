"""A child is heard, told by its phase, and killed with all that it has started, whatever session that is in."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cvl_ci.local.process.run_process import Child
from cvl_ci.model.outcome import Phase

STARTS_A_SESSION = """
import subprocess, sys, time
def say(text): print(text, file=sys.stderr, flush=True)
say("[0:00] collecting the files")
say("[0:01] getting machines")
say("[0:01] lease cvl-7-0badcafe: if this run is lost, `cvl-ci down cvl-7-0badcafe` ends it")
apart = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(apart.pid, flush=True)
say("[0:02] asking aws/us-east-1a for 1 × m6i.large")
time.sleep(60)
"""


@contextmanager
def child(tmp_path: Path, source: str) -> Iterator[Child]:
    result = Child([], environment=dict(os.environ), folder=tmp_path, program=(sys.executable, "-c", source))
    try:
        yield result
    finally:
        result.close()


def alive(number: int) -> bool:
    """A zombie that nobody waits for is not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_tells_how_far_it_is_and_what_its_lease_is(tmp_path: Path) -> None:
    with child(tmp_path, STARTS_A_SESSION) as run:
        assert run.wait_for_phase(Phase.STAGING, within=60)
        assert run.wait_until(lambda: run.has_requested and bool(run.printed), 60)
        assert (run.lease, run.phase) == ("cvl-7-0badcafe", Phase.PROVISIONING)
        assert not run.wait_for_phase(Phase.RUNNING, within=0.2)
        assert run.wait(within=0.1) is None


def test_a_line_of_the_jobs_is_no_phase(tmp_path: Path) -> None:
    source = "import sys; print('[0:01] running'); print('running on empty', file=sys.stderr)"
    with child(tmp_path, source) as run:
        assert not run.wait_for_phase(Phase.RUNNING, within=60)
        assert run.printed == ["[0:01] running"]


def test_a_child_that_ends_before_its_phase_is_not_waited_for(tmp_path: Path) -> None:
    start = time.monotonic()
    with child(tmp_path, "raise SystemExit(3)") as run:
        assert not run.wait_for_phase(Phase.RUNNING, within=60)
        assert run.wait(within=50) == 3
    assert time.monotonic() - start < 55


def test_a_signal_reaches_the_one_process_alone(tmp_path: Path) -> None:
    with child(tmp_path, STARTS_A_SESSION) as run:
        assert run.wait_until(lambda: run.has_requested and bool(run.printed), 60)
        run.kill()
        assert run.wait(within=50) == 128 + signal.SIGKILL
        assert alive(int(run.printed[0]))


def test_with_the_runner_all_is_lost(tmp_path: Path) -> None:
    with child(tmp_path, STARTS_A_SESSION) as run:
        assert run.wait_until(lambda: run.has_requested and bool(run.printed), 60)
        apart = int(run.printed[0])
        assert alive(apart)
        run.kill_all()
        assert not alive(apart)
        assert run.processes() == []
        assert run.wait(within=50) == 128 + signal.SIGKILL
