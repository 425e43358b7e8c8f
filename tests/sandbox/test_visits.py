"""The last to leave a sandbox that a run had brought up ends it, and nobody else does."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from cvl_ci.sandbox.usage_lock import brought_up_by_a_run, visit


def test_of_two_that_are_in_it_the_last_alone_may_end_it(tmp_path: Path) -> None:
    with ExitStack() as first:
        one = first.enter_context(visit(tmp_path / "s"))
        one.note_that_a_run_brings_it_up()
        with visit(tmp_path / "s") as other:
            assert not one.may_end_it()
            assert not other.may_end_it()
        assert one.may_end_it()


def test_what_a_person_brought_up_is_nobodys_to_end(tmp_path: Path) -> None:
    with visit(tmp_path) as only:
        assert not only.may_end_it()
        only.note_that_a_run_brings_it_up()
        assert brought_up_by_a_run(tmp_path)
        assert only.may_end_it()
        only.forget_who_brought_it_up()
        assert not only.may_end_it()
        assert not brought_up_by_a_run(tmp_path)


def test_a_killed_run_is_in_it_no_more(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from cvl_ci.sandbox.usage_lock import visit\n"
        "with visit(Path(sys.argv[1])) as it: it.note_that_a_run_brings_it_up(); os.kill(os.getpid(), 9)"
    )
    died = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert died.returncode == -9
    with visit(tmp_path) as next_one:
        assert next_one.may_end_it()
