"""Unpack archives from machines in a process that can be ended: no archive may delay the end of a run.

It is a program of its own (`python -m cvl_ci.engine.fetch.worker_unpack FOLDER INTO DIRECTORY PARENT`), with no secret
in its environment. It reports each file as soon as it exists, so that the taken files are known even if it is ended.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from pathlib import Path

from cvl_ci.engine.fetch.unpack import unpack
from cvl_ci.engine.own_processes import die_with_parent
from cvl_ci.model.outcome import FetchedFile

MEMORY_BYTES = 1 << 30
"""More bytes than the longest allowed lists of names need."""


def main() -> None:
    folder, into, directory, parent = sys.argv[1:5]
    die_with_parent(int(parent))
    signal.signal(signal.SIGTERM, _end)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    fetched = unpack(Path(folder), into=Path(into), directory=directory, tell=_tell)
    _say(refused=fetched.refused, problem=fetched.problem)


def _end(*_: object) -> None:
    """End as an exception, which removes the file at hand. A second signal does not disturb that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def _tell(news: FetchedFile | str) -> None:
    if isinstance(news, FetchedFile):
        _say(path=news.path, bytes=news.bytes)
    else:
        _say(refusal=news)


def _say(**values: object) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
