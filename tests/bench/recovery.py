"""Trials of a training whose spot machine is taken three times, at random moments, on the sandbox with SkyPilot itself.

    .venv/bin/python -m tests.bench.recovery --trials 20 --seed 1 --into FILE
    .venv/bin/python -m tests.bench.recovery --trials 1 --to runner

A record of each trial is appended to FILE. The program fails when a trial does not end with the weights of an
undisturbed one, leaves a machine, or tells a cost that is more than 1 % away from the emulator's meter.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from cvl_ci import wiring
from cvl_ci.sandbox import Faults, Sandbox
from tests.e2e.conftest import Ran, Terminal
from tests.e2e.metering import ONE_PERCENT, metered_usd
from tests.e2e.test_recovery import CHECKPOINT, JOB, sums_of
from tests.e2e.test_storage import s3_of
from tests.support.field import plant

ROOT = Path(__file__).parents[2]
LOSSES, LONGEST_LIFE_SECONDS, INTERVAL_SECONDS = 3, 30.0, 10
EPOCHS = 100
"""One takes a second or more, so a training outlives three losses."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Seconds. `ran`: the job's life on the machine. `repeated`: since its last checkpoint. `pause`: without a job."""

    ran: float
    repeated: float | None
    pause: float | None


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A record. `sums`: of the training and of an undisturbed one. `left`: machines that the provider still showed.

    `to`: where its checkpoints were. `cold`: seconds of the run's first launch, from the request to the job.
    """

    seed: int
    number: int
    commit: str
    at: str
    ending: str
    sums: tuple[str, ...]
    losses: tuple[Loss, ...]
    left: tuple[str, ...]
    told_usd: float
    metered_usd: float
    to: str = "s3"
    cold: float | None = None

    @property
    def is_fine(self) -> bool:
        is_same = len(self.sums) == 2 and len(set(self.sums)) == 1
        is_priced = abs(self.told_usd - self.metered_usd) <= ONE_PERCENT * self.metered_usd
        return self.ending == "succeeded" and is_same and is_priced and not self.left


@dataclass
class Provider:
    """It takes the machine each time that the job runs, after the next of these seconds."""

    terminal: Terminal
    seconds: list[float]
    taken: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def on_line(self, line: str) -> bool:
        if line.rstrip().endswith("] running") and len(self.threads) < len(self.seconds):
            self.threads.append(threading.Thread(target=self._preempt, args=(self.seconds[len(self.threads)],)))
            self.threads[-1].start()
        return False

    def _preempt(self, seconds: float) -> None:
        time.sleep(seconds)
        for machine in self.terminal.machines():
            self.terminal.sandbox.interrupt(machine, notice_seconds=0.0)
            self.taken.append(machine)


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/bench recovery", description=__doc__)
    parser.add_argument("--trials", type=int, default=20, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="from this trial of the seed on")
    parser.add_argument("--until", default="24:00", metavar="HH:MM", help="begin no trial after this time, UTC")
    parser.add_argument(
        "--to", default="s3", choices=("s3", "runner"), help="where checkpoints are stored (default: s3)"
    )
    parser.add_argument("--into", type=Path, metavar="FILE", help="append the records to this file")
    parsed = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cvl-ci-trials-"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    sandbox = Sandbox(folder / "sandbox", machine_types=wiring.machine_types(), environment=kept, progress=print)
    checkout = folder / "checkout"
    shutil.copytree(ROOT / "examples", checkout / "examples", ignore=shutil.ignore_patterns("__pycache__", "outputs"))
    plant(checkout, {})
    trials = []
    sandbox.up()
    try:
        for number in range(parsed.first, parsed.first + parsed.trials):
            if f"{datetime.now(timezone.utc):%H:%M}" >= parsed.until:
                break
            trials.append(carry_out(parsed.seed, number, sandbox, folder=folder, checkout=checkout, to=parsed.to))
            print(trials[-1], flush=True)
            if parsed.into:
                with parsed.into.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(trials[-1])) + "\n")
    finally:
        sandbox.down()
    print(in_words(trials))
    return 0 if trials and all(trial.is_fine for trial in trials) else 1


def carry_out(seed: int, number: int, sandbox: Sandbox, *, folder: Path, checkout: Path, to: str) -> Trial:
    chance = random.Random(f"{seed}/trial {number}")
    home = folder / f"trial-{number}"
    home.mkdir()
    sandbox.set_faults(Faults())
    terminal = Terminal(home=home, directory=folder / "sandbox", sandbox=sandbox, checkout=checkout)
    bucket = f"trial-{seed}-{number}"
    s3_of(terminal).create_bucket(Bucket=bucket)
    provider = Provider(terminal, [chance.uniform(0.0, LONGEST_LIFE_SECONDS) for _ in range(LOSSES)])
    started_at = datetime.now(timezone.utc)
    ran = terminal.run(
        *("--command", JOB, "--spot", "true", "--gpu", "none", "--max-runtime", "60m", "--recover", str(LOSSES)),
        *("--env", f"EPOCHS={EPOCHS}", "--env", "PAUSE=1", "--checkpoints", CHECKPOINT),
        *("--checkpoint-to", "runner" if to == "runner" else f"s3://{bucket}/ci"),
        *("--checkpoint-every", f"{INTERVAL_SECONDS}s"),
        stop=provider.on_line,
    )
    for thread in provider.threads:
        thread.join()
    return Trial(
        seed=seed,
        number=number,
        commit=_commit(),
        at=f"{started_at:%Y-%m-%dT%H:%M:%SZ}",
        ending=ran.summary.get("ending", ""),
        sums=tuple(sums_of(ran)),
        losses=tuple(_losses(ran)),
        left=tuple(terminal.machines()),
        told_usd=ran.summary.get("cost_usd") or 0.0,
        metered_usd=metered_usd(ran.summary, sandbox, taken=provider.taken),
        to=to,
        cold=ran.summary.get("phases", {}).get("provisioning"),
    )


def in_words(trials: list[Trial]) -> str:
    losses = [loss for trial in trials for loss in trial.losses]
    pauses = [loss.pause for loss in losses if loss.pause is not None]
    repeated = [loss.repeated for loss in losses if loss.repeated is not None]
    fine = sum(trial.is_fine for trial in trials)
    ratios = [loss.pause / trial.cold for trial in trials for loss in trial.losses if loss.pause and trial.cold]
    return (
        f"{fine} of {len(trials)} trials fine, {len(losses)} losses; "
        f"back in training after {statistics.median(pauses) if pauses else float('nan'):.0f} s in the median, "
        f"{statistics.median(ratios) if ratios else float('nan'):.2f} of a cold launch in the same run; "
        f"repeated at most {max(repeated, default=float('nan')):.0f} s"
    )


def _losses(ran: Ran) -> list[Loss]:
    def seconds(recovery: dict[str, str]) -> float | None:
        moments = [recovery["lost_at"], recovery["resumed_at"]]
        if None in moments:
            return None
        lost, resumed = (datetime.fromisoformat(moment.replace("Z", "+00:00")) for moment in moments)
        return (resumed - lost).total_seconds()

    return [
        Loss(ran=one["ran_seconds"], repeated=one["repeated_seconds"], pause=seconds(one))
        for one in ran.summary.get("recoveries", ())
    ]


def _commit() -> str:
    words = ["git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
