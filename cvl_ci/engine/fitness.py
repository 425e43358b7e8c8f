"""Read the answer of the probe that machine/fitness/ is. The machine may write anything, so every part is checked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

from cvl_ci.model.fitness import NO_ANSWER, Fitness, GpuState, MachineState
from cvl_ci.model.node_end import NodeEnd

PROBE_SECONDS = 30.0
"""For the second probe: the machine ends it after 20."""
UNFIT_CODE = 75
"""With it machine/fitness.sh ends a node that runs no job."""
MOST_REASONS = 3
MOST_GPUS = 16
MOST_FINDINGS = 20
LONGEST = 200
LARGEST = 1e6
_VERDICTS = {verdict.value: verdict for verdict in Fitness}


def read(text: str) -> MachineState:
    """Return the state of a machine. Text in another form counts as no answer."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return NO_ANSWER
    if not isinstance(document, dict) or document.get("verdict") not in _VERDICTS:
        return NO_ANSWER
    host = document.get("host")
    figures = host if isinstance(host, dict) else {}
    return MachineState(
        fitness=_VERDICTS[document["verdict"]],
        findings=tuple(words for item in _list(document.get("findings"), MOST_FINDINGS) if (words := _text_of(item))),
        driver=_driver(document.get("driver")),
        gpus=tuple(_gpu(item) for item in _list(document.get("gpus"), MOST_GPUS) if isinstance(item, dict)),
        disk_mbs=_number(figures.get("disk_mbs")),
        memory_gbs=_number(figures.get("memory_gbs")),
        allreduce_gbs=_number(figures.get("allreduce_gbs")),
        seconds=_number(document.get("seconds")),
    )


def why_unfit(nodes: Sequence[NodeEnd], *, begun: int, is_told: bool) -> str:
    """Return why a machine is broken; empty if none is. `nodes`: all of them. `begun`: on how many the job began.

    After its job began, a machine's words about that are the job's words. `is_told`: the stream had the line of a
    machine that ends before its job. A job can delete the stream's log, and forge the rest.
    """
    broken = [
        node for node in nodes if node.state and node.state.fitness is Fitness.BROKEN and node.exit_code == UNFIT_CODE
    ]
    if not is_told or not broken or len(broken) + begun > len(nodes):
        return ""
    first = broken[0]
    rank = f"node {first.rank}: " if len(nodes) > 1 else ""
    return rank + "; ".join(first.state.findings[:MOST_REASONS] if first.state else ())


def last_line(output: str) -> MachineState:
    """Return the state in the last line of a machine's output. A login shell may print before it."""
    lines = output.strip().splitlines()
    return read(lines[-1]) if lines else NO_ANSWER


def states(answers: Sequence[Mapping[str, object]], *, count: int) -> tuple[MachineState, ...]:
    """Return the state of each of `count` nodes. `answers`: none, or one of each node."""
    return tuple(last_line(str(answer.get("out", ""))) for answer in answers) or (NO_ANSWER,) * count


def _gpu(document: Mapping[str, object]) -> GpuState:
    return GpuState(
        uuid=_text(document.get("uuid")),
        name=_text(document.get("name")),
        temperature_c=_number(document.get("temperature_c")),
        clock_mhz=_number(document.get("clock_mhz")),
        most_clock_mhz=_number(document.get("most_clock_mhz")),
        tflops=_number(document.get("tflops")),
        to_gbs=_number(document.get("to_gbs")),
        from_gbs=_number(document.get("from_gbs")),
        throttled=tuple(name for item in _list(document.get("throttled"), MOST_FINDINGS) if (name := _text(item))),
    )


def _text_of(item: object) -> str:
    """Return the words of a finding: `["slow", "GPU 0: …"]`."""
    return _text(item[1]) if isinstance(item, list) and len(item) == 2 else ""


def _driver(value: object) -> str:
    text = _text(value)
    return text if re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,5}){1,3}", text) else ""


def _list(value: object, most: int) -> Sequence[object]:
    return value[:most] if isinstance(value, list) else ()


def _text(value: object) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", value)[:LONGEST].strip() if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and 0 <= value <= LARGEST else None
