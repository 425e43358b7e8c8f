"""Queues of twelve jobs on the emulated AWS, whose runner is killed in the middle, and which are resumed to their end.

    script/chaos queues --trials 5 --seed 1 --jobs 2

One job fails, and the provider takes the spot machine of another. Each kill takes the queue's process with all that it
has started, at a random moment after a random job began. A trial fails where a job runs again whose end is on disk,
where a job does not get the files of its needs, or where the provider shows a machine at the end.
"""

from __future__ import annotations

import argparse
import json
import queue
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cvl_ci import wiring
from cvl_ci.sandbox import Sandbox
from tests.chaos.family import Family, descendants
from tests.e2e.cloud import environment
from tests.e2e.conftest import PROGRAM, Terminal
from tests.support.field import plant

NEEDS: Mapping[str, Sequence[str]] = {
    "fetch": (),
    "clean": ("fetch",),
    "split": ("clean",),
    **{f"train-{number}": ("split",) for number in range(4)},
    "broken": (),
    "after-broken": (),
    "merge": tuple(f"train-{number}" for number in range(4)),
    "evaluate": ("merge", "split"),
    "report": (),
}
"""The jobs, and those whose files each one gets."""
ORDER = {"broken": ["split"], "after-broken": ["broken"], "report": ["evaluate", "broken"]}
"""The jobs that only wait for others. On a need's own machine they would use its files, and then it would run again."""
SPOT = "train-2"
STATES = {**dict.fromkeys(NEEDS, "succeeded"), "broken": "failed", "after-broken": "skipped"}
LONGEST_DELAY, MOST_KILLS, QUEUE_SECONDS = 20.0, 2, 1500.0
_RAN = re.compile(r"^\S+ \| ran (?P<job>\S+)$")


@dataclass
class Trial:
    """One queue. `dice`: of this trial alone."""

    terminal: Terminal
    dice: random.Random
    times: Counter[str] = field(default_factory=Counter)
    """How often each job began, by the lines that the jobs print."""
    interrupted: list[str] = field(default_factory=list)

    def play(self) -> str:
        """Return what happened, in a few words. Raises AssertionError."""
        kills = self.dice.randint(1, MOST_KILLS)
        moments = []
        for _ in range(kills):
            began, delay = self.dice.randint(1, 5), self.dice.uniform(0.0, LONGEST_DELAY)
            moments.append(f"{delay:.0f} s after {began} jobs began")
            if self._carry_out(kill=(began, delay)) is not None:
                break
        code = self._carry_out(kill=None)
        records = self._records()
        assert {name: one["state"] for name, one in records.items()} == STATES, records
        assert code == 7, f"the queue ended with {code}"
        assert all(one["is_gone"] for one in records.values()), records
        assert not self.terminal.machines(), "a machine is left"
        split = "split(clean(fetch()))"
        merged = f"merge({''.join(f'train-{number}({split})' for number in range(4))})"
        result = (Path(str(records["evaluate"]["folder"])) / "out.txt").read_text()
        assert result == f"evaluate({merged}{split})", result
        return f"killed {' and '.join(moments)}; the jobs began {sum(self.times.values())} times"

    def _carry_out(self, *, kill: tuple[int, float] | None) -> int | None:
        """Run the queue. Return its exit code; None: it was killed."""
        finished = {name for name, one in self._records().items() if one["state"] == "succeeded"}
        words = [str(PROGRAM), "queue", "queue.yaml", "--cloud", "sandbox", "--outputs-dir", str(self._folder)]
        logs = len(list(self.terminal.home.glob("*.log")))
        family = Family(
            words,
            environment=self.terminal.environment,
            folder=self.terminal.checkout,
            log=self.terminal.home / f"{logs}.log",
        )
        try:
            return self._watch(family, kill, finished=finished)
        finally:
            orphans = descendants(family.process.pid)
            family.end()
            family.end_all(orphans)

    def _watch(self, family: Family, kill: tuple[int, float] | None, *, finished: set[str]) -> int | None:
        until, began, read, killed_at = time.monotonic() + QUEUE_SECONDS, 0, 0, float("inf")
        while family.process.poll() is None:
            assert time.monotonic() < until, "the queue does not end"
            for line in family.lines[read:]:
                read += 1
                match = _RAN.match(line.rstrip("\n"))
                if match is None:
                    continue
                job, began = match["job"], began + 1
                self.times[job] += 1
                assert job not in finished, f"{job} ran again"
                if job == SPOT and not self.interrupted:
                    self._interrupt()
                if kill is not None and began == kill[0]:
                    killed_at = time.monotonic() + kill[1]
            if time.monotonic() > killed_at:
                return None
            time.sleep(0.1)
        return family.wait(within=10.0)

    def _interrupt(self) -> None:
        """Take the spot machine, without notice."""
        for machine in self.terminal.sandbox.status().instances:
            if machine.state == "running" and machine.spot:
                self.interrupted.append(machine.id)
                self.terminal.sandbox.interrupt(machine.id, notice_seconds=0.0)

    def _records(self) -> Mapping[str, Mapping[str, object]]:
        path = self._folder / "queue.json"
        jobs: Mapping[str, Mapping[str, object]] = json.loads(path.read_text())["jobs"] if path.exists() else {}
        return jobs

    @property
    def _folder(self) -> Path:
        return self.terminal.home / "queue"


def document(dice: random.Random) -> str:
    """Return the queue: each job on one of three shared machines, and one on a spot machine of its own."""
    return json.dumps(
        {
            "max_parallel": dice.randint(2, 3),
            "defaults": {"gpu": "none", "max_runtime": "5m"},
            "jobs": [_job(name, sources, dice) for name, sources in NEEDS.items()],
        }
    )


def _job(name: str, sources: Sequence[str], dice: random.Random) -> Mapping[str, object]:
    copies = " ".join(f"inputs/{source}/out.txt" for source in sources)
    text = f"$(cat {copies})" if copies else ""
    last = "exit 7" if name == "broken" else f"sleep {20 if name == SPOT else dice.randint(0, 6)}"
    job: dict[str, object] = {
        "id": name,
        "command": f'echo "ran {name}"; printf "%s" "{name}({text})" > out.txt; {last}',
    }
    if sources:
        job["inputs"] = {"from": list(sources)}
    if name in ORDER:
        job["needs"] = ORDER[name]
    if name == "report":
        job["allow_dependency_failure"] = True
    if name == SPOT:
        return {**job, "spot": True, "retry": {"on": ["preempted"], "limit": 2}}
    return {**job, "machine": "c" if name in ORDER else dice.choice("ab")}


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/chaos queues", description=__doc__)
    parser.add_argument("--trials", type=int, default=5, metavar="N", help="so many queues (default: 5)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of which series (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, metavar="J", help="so many at once (default: 2)")
    parsed = parser.parse_args()
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(parsed.trials):
        numbers.put(number)
    failed: list[int] = []
    folder = Path(tempfile.mkdtemp(prefix="cvl-ci-queues-"))
    work = [threading.Thread(target=_work, args=(numbers, parsed.seed, folder, failed)) for _ in range(parsed.jobs)]
    for worker in work:
        worker.start()
    for worker in work:
        worker.join()
    print(f"{parsed.trials - len(failed)} of {parsed.trials} queues as they should be")
    if failed:
        print(f"what they said: {folder}", file=sys.stderr)
    return 1 if failed else 0


def _work(numbers: queue.SimpleQueue[int], seed: int, folder: Path, failed: list[int]) -> None:
    while True:
        try:
            number = numbers.get_nowait()
        except queue.Empty:
            return
        try:
            words = _play(random.Random(1_000 * seed + number), folder / str(number))
        except Exception as error:  # noqa: BLE001  one trial's fault does not hide the others
            failed.append(number)
            print(f"{number}: WRONG: {error}", flush=True)
        else:
            print(f"{number}: {words}", flush=True)


def _play(dice: random.Random, folder: Path) -> str:
    directory = folder / "sandbox"
    sandbox = Sandbox(
        directory, machine_types=wiring.machine_types(), environment=environment(), progress=lambda _: None
    )
    try:
        sandbox.up()
        checkout = plant(folder / "project", {"queue.yaml": document(dice)})
        home = folder / "home"
        home.mkdir()
        return Trial(Terminal(home=home, directory=directory, sandbox=sandbox, checkout=checkout), dice).play()
    finally:
        sandbox.down()


if __name__ == "__main__":
    sys.exit(main())
