"""The last to leave a sandbox that a run had brought up ends it, and nobody else does."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from cvl_ci.sandbox.usage_lock import is_started_by_run, use


def test_of_two_that_are_in_it_the_last_alone_may_end_it(tmp_path: Path) -> None:
    with ExitStack() as first:
        one = first.enter_context(use(tmp_path / "s"))
        one.mark_started_by_run()
        with use(tmp_path / "s") as other:
            assert not one.lock_for_removal()
            assert not other.lock_for_removal()
        assert one.lock_for_removal()


def test_what_a_person_brought_up_is_nobodys_to_end(tmp_path: Path) -> None:
    with use(tmp_path) as only:
        assert not only.lock_for_removal()
        only.mark_started_by_run()
        assert is_started_by_run(tmp_path)
        assert only.lock_for_removal()
        only.unmark_started_by_run()
        assert not only.lock_for_removal()
        assert not is_started_by_run(tmp_path)


def test_a_killed_run_is_in_it_no_more(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from cvl_ci.sandbox.usage_lock import use\n"
        "with use(Path(sys.argv[1])) as it: it.mark_started_by_run(); os.kill(os.getpid(), 9)"
    )
    died = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert died.returncode == -9
    with use(tmp_path) as next_one:
        assert next_one.lock_for_removal()
