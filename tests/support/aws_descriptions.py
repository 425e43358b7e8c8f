"""The descriptions of AWS's services, which botocore reads: once for all tests of a process, not for each session.

Each takes up to a fifth of a second of the processor. The clients of one session share them anyway.
"""

from __future__ import annotations

import functools
import sys


def share() -> None:
    """Let all sessions of this process read with one loader, as soon as a test has loaded botocore."""
    session = sys.modules.get("botocore.session")
    if session is not None and not hasattr(session.create_loader, "cache_clear"):
        session.create_loader = functools.cache(session.create_loader)  # type: ignore[attr-defined]
