"""One run as it went, and a line of JSON for it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).parent / "records"


@dataclass(frozen=True, kw_only=True)
class Record:
    """`caught`: the line that ended it (0: there was nothing any more when the kill came; None: none did).

    `seconds`: from the kill to the provider's first answer of 0 left. `release_seconds`: of post, `down` or `reap`,
    from its start to its end, receipt printed. `left`: what the provider still showed when patience ended.
    `said`: what was wrong with how the processes ended; empty when nothing was.
    """

    seed: int
    number: int
    commit: str
    at: str
    door: str
    phase: str
    kill: str
    then: str
    mishap: str
    delay: float
    cut: tuple[int, ...]
    caught: int | None
    seconds: float
    release_seconds: float | None
    left: tuple[str, ...]
    said: str = ""

    @property
    def fine(self) -> bool:
        return not self.left and not self.said

    def line(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


def read(paths: Iterable[Path]) -> list[Record]:
    """Each run of a seed at a commit once, as it was last recorded."""
    found: dict[tuple[int, int, str], Record] = {}
    for path in paths:
        for text in path.read_text(encoding="utf-8").splitlines():
            values = json.loads(text)
            record = Record(**{**values, "cut": tuple(values["cut"]), "left": tuple(values["left"])})
            found[record.seed, record.number, record.commit] = record
    return list(found.values())
