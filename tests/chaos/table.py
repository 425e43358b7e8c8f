"""The records as Markdown: our leak rate, which line caught how many, and how long each took."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from textwrap import shorten

from tests.chaos.run_records import Record
from tests.chaos.scenes import AGAIN, BEFORE, COLLECT, LINES, PHASES

NAMES = {**LINES, BEFORE: "nothing: no machine existed when the kill came"}
CANCELLED = {"SIGINT", "SIGTERM"}
ORDER = (BEFORE, 1, 2, COLLECT, AGAIN, 3, 4)


def table(records: Sequence[Record]) -> str:
    """Runs that never came to their kill prove nothing, and are counted apart."""
    killed = _killed(records)
    lines = [
        f"Our leak rate: {leak_rate(records)} left something at the provider.",
        "",
        f"| caught by | runs | killed in {', '.join(PHASES)} | seconds to 0 left: median | maximum |",
        "|---|---|---|---|---|",
    ]
    for line in ORDER:
        caught = [record for record in killed if record.caught == line and not record.left]
        if caught:
            seconds = [record.seconds for record in caught]
            phases = ", ".join(str(sum(record.phase == phase for record in caught)) for phase in PHASES)
            times = f"{statistics.median(seconds):.0f} | {max(seconds):.0f}" if line != BEFORE else "– | –"
            lines.append(f"| {NAMES[line]} | {len(caught)} | {phases} | {times} |")
    return "\n".join([*lines, *_releases(killed), *_wrong(records)]) + "\n"


def leak_rate(records: Sequence[Record]) -> str:
    """Return `0 of 443 killed runs`."""
    killed = _killed(records)
    return f"{sum(bool(record.left) for record in killed)} of {len(killed)} killed runs"


def _killed(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.caught is not None or record.left]


def _releases(killed: Sequence[Record]) -> list[str]:
    """Of GitHub's 4 min 45 s."""
    ours = [record for record in killed if 2 not in record.cut and record.release_seconds is not None]
    rows = {
        "after a cancellation": [each for each in ours if each.kill in CANCELLED and not each.mishap],
        "after another kill": [each for each in ours if each.kill not in CANCELLED and not each.mishap],
        "and something else wrong": [each for each in ours if each.mishap],
    }
    lines = [
        f"| {what} | {len(found)} | {statistics.median(times):.0f} | {max(times):.0f} |"
        for what, found in rows.items()
        if (times := [each.release_seconds or 0.0 for each in found])
    ]
    head = "| `post` or `down`, from its start to its receipt | runs | seconds: median | maximum |"
    return ["", head, "|---|---|---|---|", *lines] if lines else []


def _wrong(records: Sequence[Record]) -> list[str]:
    wrong = [record for record in records if not record.fine]
    lame = sum(record.caught is None and not record.left for record in wrong)
    lines = ["", f"Runs that had ended before their kill, and are not counted: {lame}."] if lame else []
    told = [_in_words(record, records) for record in wrong if record.caught is not None or record.left]
    return [*lines, *(["", "Runs with a fault:", "", *told] if told else [])]


def _in_words(record: Record, records: Sequence[Record]) -> str:
    """And at which commit the same run was as it should be."""
    what = " ".join(part for part in (record.door, record.phase, record.kill, record.mishap) if part)
    left = f"; left: {', '.join(record.left)}" if record.left else ""
    same = [each for each in records if (each.seed, each.number) == (record.seed, record.number)]
    mended = [each.commit for each in same if each.fine and each.at > record.at]
    since = f"; correct since {mended[0]}" if mended else ""
    said = f"{shorten(record.said, 120, placeholder=' …') or 'leaked'}{left}{since}"
    return f"- seed {record.seed}, run {record.number} ({what}), at {record.commit}: {said}"
