"""Read from a summary which GPUs a run had: a machine has an identity, by which another run knows it again. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from cvl_ci.model.fitness import GpuState
from cvl_ci.result.benchmark.readings import finite

MOST_GPUS = 128
LARGEST = 1e6
_UUID = re.compile(r"GPU-[0-9a-fA-F-]{1,60}")


def gpus_of(document: Mapping[str, object]) -> tuple[GpuState, ...]:
    """Return the GPUs of a summary (`machine_states`), or of a line of the history (`gpus`), before the job."""
    entries = document.get("gpus") or [gpu for state in _list(document.get("machine_states")) for gpu in _before(state)]
    return tuple(gpu for entry in _list(entries)[:MOST_GPUS] if (gpu := _gpu(entry)) is not None)


def as_json(gpus: Iterable[GpuState]) -> list[dict[str, object]]:
    return [{name: value for name, value in vars(gpu).items() if value not in (None, "", ())} for gpu in gpus]


def _before(state: object) -> Sequence[object]:
    before = state.get("before") if isinstance(state, dict) else None
    return _list(before.get("gpus")) if isinstance(before, dict) else ()


def _gpu(entry: object) -> GpuState | None:
    uuid = entry.get("uuid") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(uuid, str) or not _UUID.fullmatch(uuid):
        return None
    name = entry.get("name")
    return GpuState(
        uuid=uuid,
        name=re.sub(r"[^\w .-]", "?", name)[:80] if isinstance(name, str) else "",
        temperature_c=_figure(entry.get("temperature_c")),
        clock_mhz=_figure(entry.get("clock_mhz")),
        tflops=_figure(entry.get("tflops")),
        to_gbs=_figure(entry.get("to_gbs")),
        from_gbs=_figure(entry.get("from_gbs")),
    )


def _figure(value: object) -> float | None:
    number = finite(value)
    return number if number is not None and 0 <= number <= LARGEST else None


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()
