"""The lock of a key: one process at a time, freed by the kernel; the fake of the tests answers in the same way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cvl_ci.errors import EngineError
from cvl_ci.local.key_locks import FileKeyLocks
from cvl_ci.ports import KeyLocks
from tests.support.fakes import FakeKeyLocks

HOLD = """
import sys, time
from pathlib import Path
from cvl_ci.local.key_locks import FileKeyLocks
lock = FileKeyLocks(Path(sys.argv[1])).acquire("reuse-1")
print("held" if lock else "busy", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("make", [FileKeyLocks, lambda _: FakeKeyLocks()])
def test_a_key_has_one_holder_until_it_lets_go(tmp_path: Path, make: Callable[[Path], KeyLocks]) -> None:
    locks = make(tmp_path / "leases")
    first, other = locks.acquire("reuse-1"), locks.acquire("reuse-2")
    assert first is not None and other is not None
    assert locks.acquire("reuse-1") is None
    first.release()
    again = locks.acquire("reuse-1")
    assert again is not None
    again.release()
    other.release()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    locks = FileKeyLocks(tmp_path)
    assert locks.acquire("reuse-1") is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    lock = locks.acquire("reuse-1")
    assert lock is not None
    lock.release()


def test_a_folder_that_is_a_file_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "leases").write_text("")
    with pytest.raises(EngineError, match="lock of the machine could not be taken"):
        FileKeyLocks(tmp_path / "leases").acquire("reuse-1")
