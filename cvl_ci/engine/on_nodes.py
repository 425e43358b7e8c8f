"""What is asked of every node of a cluster, head first, by whatever way SkyPilot has to reach them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

OUT_BYTES, ERR_BYTES = 65536, 2000


def ask(runners: Sequence[Any], command: str) -> list[dict[str, Any]]:
    """Of each: exit code, the beginning of stdout as it came, the end of stderr."""
    answers = []
    for runner in runners:
        code, out, err = runner.run(command, require_outputs=True, separate_stderr=True, stream_logs=False)
        answers.append({"code": code, "out": out[:OUT_BYTES], "err": err[-ERR_BYTES:]})
    return answers


def bring(runners: Sequence[Any], *, remote: str, into: Path) -> None:
    """Copy one remote directory from every node to `into`/RANK/."""
    for rank, runner in enumerate(runners):
        target = into / str(rank)
        target.mkdir(parents=True, exist_ok=True)
        runner.rsync(source=f"{remote}/", target=str(target), up=False, stream_logs=False, max_retry=3)
