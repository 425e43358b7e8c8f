"""Millions of lines on the path of a job's line, and a plain copy: `python -m tests.support.flood LINES`.

A process of its own, so that its memory is this and nothing else. The plain copy is what any keeper of a log has to do:
each line written, and out of this process before the next.
"""

from __future__ import annotations

import itertools
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from cvl_ci.github.log.reporter import GitHubRunReporter
from cvl_ci.local.clock import SystemClock
from cvl_ci.result.masks import Masks
from tests.support.hostile import LINES, SECRET

TURNS = 10
AS_A_LOG: dict[str, Any] = {"encoding": "utf-8", "errors": "replace", "newline": "", "buffering": 1}

CYCLE = (
    *(f"step {number} loss {number / 1000:.3f}" for number in range(1_000)),
    *(line for line in LINES if "\n" not in line),
)


def lines(count: int) -> Iterator[str]:
    return itertools.islice(itertools.cycle(CYCLE), count)


def main(count: int) -> dict[str, float]:
    """Measure both in turns: what slows the processor down for a while then slows both."""
    copied = took = 0.0
    grown = 0
    with TemporaryDirectory() as name, (Path(name) / "copy").open("w", **AS_A_LOG) as copy:
        folder = Path(name)
        reporter = opened(folder)
        for line in lines(10_000):
            reporter.show_job_line(line)
        for _ in range(TURNS):
            copied += timed(lambda: write(copy, count // TURNS))
            before = resident()
            took += timed(lambda: through(reporter, count // TURNS))
            grown += resident() - before
        reporter.close()
        kept = sum(1 for _ in (folder / "job.log").open("rb"))
        size = (folder / "shown").stat().st_size
    return {
        "lines": kept - 10_000,
        "shown_bytes": size,
        "grown_bytes": grown,
        "lines_per_second": count / took,
        "copied_lines_per_second": count / copied,
    }


def opened(folder: Path) -> GitHubRunReporter:
    masks = Masks()
    reporter = GitHubRunReporter(
        out=(folder / "shown").open("w", encoding="utf-8"),
        clock=SystemClock(),
        files={},
        masks=masks,
        log=folder / "job.log",
        summarise=lambda _, __, ___: "",
    )
    reporter.mask(SECRET)
    return reporter


def through(reporter: GitHubRunReporter, count: int) -> None:
    for line in lines(count):
        reporter.show_job_line(line)


def write(copy: TextIO, count: int) -> None:
    copy.writelines(line + "\n" for line in lines(count))


def timed(work: Callable[[], object]) -> float:
    """Of the processor: what else the machine does takes nothing from it."""
    start = time.process_time()
    work()
    return time.process_time() - start


def resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
