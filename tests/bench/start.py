"""The processor time of a start, as a multiple of an interpreter that loads a few modules of the standard library.

script/bench start --rounds 15
"""

from __future__ import annotations

import argparse

from tests.support.starts import COMMANDS, YARDSTICK, program, ratios


def main() -> None:
    parser = argparse.ArgumentParser(prog="script/bench start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    programs = {name: program(*words) for name, words in COMMANDS.items()}
    programs["the same --help with SkyPilot loaded"] = program("--help", first="import sky")
    print(f"The median of {rounds} starts, as a multiple of `python -c '{YARDSTICK}'`:")
    for name, ratio in ratios(programs, rounds=rounds).items():
        print(f"  {name:<40} {ratio:5.1f}")


if __name__ == "__main__":
    main()
