"""Start cvl-ci's own processes without the modules of a working folder, and let them die with their parent."""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1

FROM_NO_FOLDER = {"PYTHONSAFEPATH": "1"}
"""A `random.py` or `queue.py` of a person would take the place of Python's module.

Python reads this variable from 3.11 on.
"""


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent dies.

    PDEATHSIG covers a parent killed by SIGKILL. The check after it covers a parent that died before the call.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
