"""`script/chaos`: carry out runs of a seed's schedule and append a record of each, or print the table of records."""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cvl_ci import wiring
from cvl_ci.sandbox import Faults, Sandbox
from tests.chaos import run_records, scenes
from tests.chaos.completed import saying_completed
from tests.chaos.performance import perform
from tests.chaos.run_records import Record
from tests.chaos.scenes import Drawn
from tests.chaos.stage import ROOT, Stage
from tests.chaos.table import table

WAITING = 2
"""Runs under way for each that uses the processor: the others wait for a machine to end itself."""


@dataclass(frozen=True, kw_only=True)
class Series:
    folder: Path
    into: Path | None
    commit: str
    api: str
    until: str
    busy: threading.Semaphore
    left: queue.SimpleQueue[Drawn]
    writing: threading.Lock
    told: list[Record]


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="so many of the schedule (default: 10)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of which schedule (default: 1)")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="from this run of it on (default: 0)")
    parser.add_argument("--only", type=int, nargs="+", metavar="K", help="these runs of it alone")
    parser.add_argument(
        "--phases", nargs="+", choices=scenes.PHASES, metavar="PHASE", help="only those that are killed in such a phase"
    )
    parser.add_argument("--jobs", type=int, default=2, metavar="J", help="so many at once (default: 2)")
    parser.add_argument("--until", metavar="HH:MM", help="begin no run after this time of today, UTC")
    parser.add_argument("--into", type=Path, metavar="FILE", help="append the records to this file")
    parser.add_argument("--list", action="store_true", help="print what would be done to each, and do nothing")
    parser.add_argument("--table", type=Path, nargs="+", metavar="FILE", help="print the table of these records")
    parsed = parser.parse_args()
    if parsed.table:
        print(table(run_records.read(parsed.table)), end="")
        return 0
    numbers = parsed.only or range(parsed.first, parsed.first + parsed.runs)
    schedule = [scenes.drawn(parsed.seed, number) for number in numbers]
    schedule = [drawn for drawn in schedule if not parsed.phases or drawn.scene.phase in parsed.phases]
    if parsed.list:
        for drawn in schedule:
            print(drawn.number, drawn.delay, drawn.scene, sep="\t")
        return 0
    told = carry_out(schedule, jobs=parsed.jobs, into=parsed.into, until=parsed.until or "24:00")
    print(table(told), end="")
    return 0 if all(record.fine for record in told) else 1


def carry_out(schedule: Sequence[Drawn], *, jobs: int, into: Path | None, until: str) -> list[Record]:
    folder = Path(tempfile.mkdtemp(prefix="cvl-ci-chaos-"))
    left: queue.SimpleQueue[Drawn] = queue.SimpleQueue()
    for drawn in schedule:
        left.put(drawn)
    with saying_completed() as api:
        series = Series(
            folder=folder,
            into=into,
            commit=commit(),
            api=api,
            until=until,
            busy=threading.Semaphore(jobs),
            left=left,
            writing=threading.Lock(),
            told=[],
        )
        places = min(len(schedule), jobs * WAITING)
        workers = [threading.Thread(target=_work, args=(series, folder / f"place-{n}")) for n in range(places)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    if all(record.fine for record in series.told):
        shutil.rmtree(folder)
    else:
        print(f"what was said in those that were not fine: {folder}", file=sys.stderr)
    return series.told


def _work(series: Series, place: Path) -> None:
    """One sandbox, one run in it at a time: all that its provider shows is that run's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    directory = place / "sandbox"
    sandbox = Sandbox(directory, machine_types=wiring.machine_types(), environment=kept, progress=lambda _: None)
    try:
        while True:
            try:
                drawn = series.left.get_nowait()
            except queue.Empty:
                return
            if f"{datetime.now(timezone.utc):%H:%M}" >= series.until:
                return
            sandbox.up()
            sandbox.set_faults(Faults())
            stage = Stage(
                folder=place / f"run-{drawn.number}",
                sandbox=sandbox,
                directory=directory,
                number=drawn.seed * 100_000 + drawn.number,
            )
            record = perform(drawn, stage, api=series.api, commit=series.commit, busy=series.busy)
            _tell(series, record)
            if record.fine:
                shutil.rmtree(stage.folder)
            if [each for each in sandbox.status().instances if each.state != "terminated"]:
                sandbox.reset()
    finally:
        sandbox.down()


def _tell(series: Series, record: Record) -> None:
    with series.writing:
        series.told.append(record)
        if series.into:
            with series.into.open("a", encoding="utf-8") as file:
                file.write(record.line())
        how = f"{record.door} {record.phase} {record.kill} then {record.then} {record.mishap}"
        end = f"line {record.caught} after {record.seconds} s" if record.fine else f"WRONG: {record.said} {record.left}"
        print(f"{len(series.told)}: run {record.number}: {how}: {end}", file=sys.stderr, flush=True)


def commit() -> str:
    """Of the code that is tried; with a + where files were changed since."""
    head = _git("rev-parse", "--short=10", "HEAD")
    changed = _git("status", "--porcelain", "cvl_ci", "tests/chaos/*.py")
    return head + ("+" if changed else "")


def _git(*words: str) -> str:
    git = ["git", "-C", str(ROOT), *words]
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
