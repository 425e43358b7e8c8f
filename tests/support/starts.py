"""How much of the processor the start of a command takes, by that of an interpreter that loads a few modules."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.processor import children_seconds

ROOT = Path(__file__).resolve().parents[2]
YARDSTICK = "import argparse, asyncio, dataclasses, json, logging, subprocess, urllib.request"
"""Modules of the standard library alone, about as a small program loads them."""
COMMANDS: Mapping[str, Sequence[str]] = {
    "cvl-ci --help": ("--help",),
    "cvl-ci plan digits_sgd train": ("plan", "digits_sgd", "train"),
}


def program(*words: str, first: str = "pass") -> str:
    """Return a Python program that is the command with these words, after a first statement."""
    return f"{first}\nimport sys; sys.argv[1:] = {list(words)!r}\nfrom cvl_ci.cli.main import main\nsys.exit(main())"


def ratios(programs: Mapping[str, str], *, rounds: int) -> dict[str, float]:
    """Return the median processor time of each program, as a multiple of the yardstick's.

    A round starts each of them once, so that a computer that slows down slows all of them.
    """
    measured = {"yardstick": YARDSTICK, **programs}
    seconds: dict[str, list[float]] = {name: [] for name in measured}
    for number in range(rounds + 1):
        for name, text in measured.items():
            spent = _seconds(text)
            if number:  # the first start may compile byte code
                seconds[name].append(spent)
    yardstick = statistics.median(seconds["yardstick"])
    return {name: statistics.median(seconds[name]) / yardstick for name in programs}


def _seconds(text: str) -> float:
    before = children_seconds()
    subprocess.run([sys.executable, "-c", text], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return children_seconds() - before
