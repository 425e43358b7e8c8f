"""A process that unpacks what machines packed, and that can be ended: no archive may hold up the end of a run.

A program of its own (`python -m cvl_ci.engine.worker_unpack FOLDER INTO DIRECTORY PARENT`) without any secret in its
environment. It tells each file as soon as it is there, so that what was taken is known also when it is ended.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from cvl_ci.engine.unpack import unpack
from cvl_ci.engine.worker import die_with_parent
from cvl_ci.model.outcome import FetchedFile

MEMORY_BYTES = 1 << 30
"""More than it takes for the longest lists of names that it may make."""


def main() -> None:
    folder, into, directory, parent = sys.argv[1:5]
    die_with_parent(int(parent))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    fetched = unpack(Path(folder), into=Path(into), directory=directory, tell=_tell)
    _say(refused=fetched.refused, problem=fetched.problem)


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
