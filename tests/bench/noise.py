"""How often noise alone is called a regression, and how often a real one is seen: synthetic noise, seeded dice.

`script/noise-study` prints the table. `none`: both sides are the same code, so every `worse` is a false alarm.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cvl_ci.result.benchmark.noise import Verdict, judge

Noise = Callable[[random.Random, int], list[float]]
"""So many measurements of 1.0, one after the other."""

TOLERANCE = 0.05
SLOWER = (0.0, 0.05, 0.10, 0.20, 0.40)
COUNTS = (3, 5, 8, 12, 20)


def normal(dice: random.Random, count: int) -> list[float]:
    return [max(0.1, dice.gauss(1, 0.02)) for _ in range(count)]


def heavy_tailed(dice: random.Random, count: int) -> list[float]:
    """One in ten is hit by a neighbour: up to several times as slow."""
    return [dice.gauss(1, 0.01) + (dice.paretovariate(1.5) - 1 if dice.random() < 0.1 else 0) for _ in range(count)]


def bimodal(dice: random.Random, count: int) -> list[float]:
    """A machine that is in one of two states, 15 % apart, anew for each sample."""
    return [dice.gauss(1, 0.005) * (1.15 if dice.random() < 0.5 else 1) for _ in range(count)]


def rarely_bimodal(dice: random.Random, count: int) -> list[float]:
    return [dice.gauss(1, 0.005) * (1.15 if dice.random() < 0.15 else 1) for _ in range(count)]


def drifting(dice: random.Random, count: int) -> list[float]:
    """A machine that warms up: every sample is half a percent slower than the last."""
    return [dice.gauss(1 + 0.005 * at, 0.01) for at in range(count)]


KINDS: dict[str, Noise] = {
    "normal, σ 2 %": normal,
    "heavy-tailed": heavy_tailed,
    "bimodal, 15 % apart": bimodal,
    "bimodal, one in seven": rarely_bimodal,
    "drifting, 0.5 % a sample": drifting,
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """`worse`: share of trials called worse, for each true slowdown."""

    kind: str
    order: str
    samples: int
    worse: tuple[float, ...]


def rate(noise: Noise, *, samples: int, slower: float, interleaved: bool, trials: int, seed: str) -> float:
    """The share of trials called worse."""
    dice = random.Random(seed)
    called = 0
    for _ in range(trials):
        base, head = _measured(noise, dice, samples, interleaved=interleaved)
        slowed = [value * (1 + slower) for value in head]
        called += judge(slowed, base, lower_is_better=True, tolerance=TOLERANCE).verdict is Verdict.WORSE
    return called / trials


def study(*, trials: int, seed: int, counts: Sequence[int] = COUNTS, kinds: Sequence[str] = tuple(KINDS)) -> list[Row]:
    return [
        Row(
            kind=kind,
            order="interleaved" if interleaved else "base, then head",
            samples=samples,
            worse=tuple(
                rate(
                    KINDS[kind],
                    samples=samples,
                    slower=slower,
                    interleaved=interleaved,
                    trials=trials,
                    seed=f"{seed} {kind} {samples} {slower} {interleaved}",
                )
                for slower in SLOWER
            ),
        )
        for kind in kinds
        for interleaved in ((False, True) if kind.startswith("drifting") else (False,))
        for samples in counts
    ]


def table(rows: Sequence[Row]) -> str:
    head = ["noise", "order", "n", *("none" if s == 0 else f"+{s:.0%}" for s in SLOWER)]
    lines = [head, *([row.kind, row.order, str(row.samples), *(f"{w:.1%}" for w in row.worse)] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" if at < 2 else f"{cell:>{width}}" for at, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parsed = parser.parse_args()
    print(f"Called worse at {TOLERANCE:.0%} tolerance, of {parsed.trials} trials; `none` is the false-alarm rate.\n")
    print(table(study(trials=parsed.trials, seed=parsed.seed)))


def _measured(noise: Noise, dice: random.Random, samples: int, *, interleaved: bool) -> tuple[list[float], list[float]]:
    """Interleaved: in pairs, which of the two comes first thrown anew."""
    row = noise(dice, 2 * samples)
    if not interleaved:
        return row[:samples], row[samples:]
    base, head = [], []
    for one, other in zip(row[::2], row[1::2], strict=True):
        first = dice.random() < 0.5
        base.append(one if first else other)
        head.append(other if first else one)
    return base, head


if __name__ == "__main__":
    main()
